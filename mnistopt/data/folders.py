"""Finds and reads folders of pictures, for training and for evaluation.

They are read as by torchvision's `ImageFolder` and Keras'
`image_dataset_from_directory`: a folder per class, with pictures anywhere below it.
"""

import collections
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mnistopt.data.classes import natural, plain, positions
from mnistopt.data.content import listed
from mnistopt.data.pictures import (
    as_bytes,
    fitted,
    is_picture,
    read_picture,
    suffixes,
    with_channels,
)
from mnistopt.errors import InputError

# What operating systems and programs leave in folders, in lower case; so are names that
# begin with a dot.
_LEFTOVERS = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "@eadir"),
    *("$recycle.bin", "lost+found", "system volume information", "__pycache__"),
}
_PARTS = ("train", "training"), ("test", "testing"), ("val", "valid", "validation")
_NAMED = 3  # Files that are named of each kind that is skipped.


class Pictures(NamedTuple):
    """Pictures that were found.

    Attributes:
        files: N files.
        labels: int [N], positions in `class_names`; None where they lie in one folder.
        class_names: K names of folders; () where they lie in one folder.
        skipped: Files and folders that are not read, by the words for why.
    """

    files: list[Path]
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    skipped: dict[str, list[Path]]


def find_pictures(folder: Path) -> Pictures:
    """Finds the pictures in a folder, or in a folder per class.

    Folders below a class's folder belong to it. Numbers in the names of classes sort as
    numbers. Pictures beside folders that hold some are skipped.

    Args:
        folder: Path of an existing folder.
    """
    skipped: dict[str, list[Path]] = collections.defaultdict(list)
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise InputError(f"Cannot read {folder}: {error.strerror}") from error
    classes: dict[str, list[Path]] = {}
    for entry in entries:
        if not _is_leftover(entry) and entry.is_dir():
            below = sorted(_pictures_below(entry, skipped), key=_by_path)
            if below:
                classes.setdefault(plain(entry.name), []).extend(below)
            else:
                skipped["folders without pictures"].append(entry)
    loose = list(_pictures_in(folder, entries, skipped))
    if not classes:
        return Pictures(sorted(loose, key=_by_path), None, (), skipped)
    if loose:
        skipped["pictures beside the folders"] = loose
    files = [file for below in classes.values() for file in below]
    labels = np.repeat(np.arange(len(classes)), list(map(len, classes.values())))
    return Pictures(files, labels, tuple(classes), skipped)


def _by_path(path: Path) -> list:
    return [natural(part) for part in path.parts]


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _LEFTOVERS


def _pictures_below(folder: Path, skipped: dict[str, list[Path]]) -> Iterator[Path]:
    """Yields the pictures in a folder and all folders below it."""
    seen: set[str] = set()  # Links may lead in a circle.
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(place)
        hidden = [name for name in folders if _is_leftover(Path(name))]
        skipped["leftovers"] += [Path(place, name) for name in hidden]
        folders[:] = sorted(set(folders) - set(hidden)) if real not in seen else []
        if real not in seen:
            seen.add(real)
            entries = [Path(place, name) for name in files]
            yield from _pictures_in(Path(place), entries, skipped)


def _refuse(error: OSError) -> None:
    raise InputError(f"Cannot read {error.filename}: {error.strerror}") from error


def _pictures_in(
    folder: Path, entries: Iterable[Path], skipped: dict[str, list[Path]]
) -> Iterator[Path]:
    """Yields those of a folder's entries that are pictures; notes what is skipped."""
    for entry in entries:
        if _is_leftover(entry):
            skipped["leftovers"].append(entry)
        elif not entry.is_dir():
            suffix = entry.suffix.lower()
            if suffix in suffixes() or (not suffix and is_picture(entry)):
                yield entry
            else:
                skipped[f"{suffix or 'nameless'} files"].append(entry)


def skipped_words(pictures: Pictures, folder: Path) -> str:
    """Says what of a folder is not read, with counts; "" for nothing."""
    words = []
    for kind, paths in pictures.skipped.items():
        if paths:
            names = [str(path.relative_to(folder)) for path in paths]
            words.append(f"{kind}: {len(names)} ({listed(names, _NAMED)})")
    if not words:
        return ""
    count = len(pictures.files)
    return f"{folder}: {count} pictures are read; skipped: {'; '.join(words)}"


def frames_words(files: Sequence[Path]) -> str:
    """Says which pictures have more frames than the one that is read; "" for none."""
    if not files:
        return ""
    names = listed([file.name for file in files], _NAMED)
    return f"{len(files)} pictures have several frames; the first is read ({names})"


def read_folder(
    folder: Path,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> dict[str, Any]:
    """Reads a folder with a folder of pictures per class, as `from_arrays` takes it.

    A folder of folders train and test has both parts; a part for validation is skipped,
    as it is held out of the training part.

    Args:
        folder: Path of an existing folder.
        image_size: (H, W) to fit pictures into; None for as they are.
        channels: 1 for grey, 3 for colours; None for colours where there are any.

    Raises:
        InputError: If it cannot be read; says what was found.
    """
    parts = _find_parts(folder)
    first = next(iter(parts.values()))
    if not first.class_names:
        loose = f"{len(first.files)} pictures, and " if first.files else ""
        raise InputError(
            f"data={folder} holds {loose}no folders with pictures in them, one per "
            f"class; there are {_entries(folder)}. IDX files are read by "
            "`dataset=mnist` `data_dir=...`"
        )
    if len(first.class_names) == 1 and not channels:
        raise InputError(
            f"data={folder} holds pictures of one class only, {first.class_names[0]}: "
            "expected is a folder per class. Is it one folder further down, or up?"
        )
    files = [file for part in parts.values() for file in part.files]
    images = _alike(files, image_size, channels)
    arrays: dict[str, Any] = {"class_names": first.class_names}
    start = 0
    for prefix, part in zip(("", "test_"), parts.values()):
        arrays[f"{prefix}images"] = images[start : start + len(part.files)]
        numbers: Any = part.labels  # Each part has a folder per class.
        arrays[f"{prefix}labels"] = positions(
            part.class_names, first.class_names, f"a part of {folder}", numbers
        )
        start += len(part.files)
    return arrays


def _find_parts(folder: Path) -> dict[str, Pictures]:
    """Returns the pictures by part: "train", or all there are, and perhaps "test".

    Raises:
        InputError: If there are two folders of one part.
    """
    whole = find_pictures(folder)
    train, test, rest = (
        [name for name in whole.class_names if name.lower() in part] for part in _PARTS
    )
    parts = {}
    if train and (test or rest):
        parts = {name: find_pictures(folder / name) for name in (*train, *test)}
    # Folders of parts have classes; a class may be called train as well.
    if not all(part.class_names for part in parts.values()) or not parts:
        _tell(whole, folder)
        return {"": whole}
    if len(train) > 1 or len(test) > 1:
        raise InputError(
            f"{folder} has the folders {', '.join(parts)}: which is the part to train "
            "on, and which the one to test on? Keep one of each"
        )
    for name, part in parts.items():
        _tell(part, folder / name)
    kept = [file for part in parts.values() for file in part.files]
    places = {folder / name for name in parts}
    skipped = {
        kind: [path for path in paths if not places & set(path.parents)]
        for kind, paths in whole.skipped.items()
    }
    others = sorted(set(whole.files) - set(kept), key=_by_path)
    skipped["pictures of other parts, as validation is held out of train"] = others
    _tell(Pictures(kept, None, (), skipped), folder)
    return parts


def _tell(pictures: Pictures, folder: Path) -> None:
    if words := skipped_words(pictures, folder):
        warnings.warn(words, stacklevel=2)


def _entries(folder: Path) -> str:
    return listed(entry.name for entry in folder.iterdir())


def _alike(
    files: Sequence[Path], image_size: tuple[int, int] | None, channels: int | None
) -> np.ndarray:
    """Returns pictures of one size, all grey or all in colour, uint8 [N, H, W, C]."""
    images: list[Any] = []
    frames: list[Path] = []
    deep: dict[int, np.ndarray] = {}
    for i, file in enumerate(files):
        picture = read_picture(file, frames)
        if picture.dtype in (np.uint8, np.uint16):
            picture = fitted(as_bytes(picture, file), image_size)
        else:
            deep[i] = picture
        images.append(picture)
    # White of other bit depths follows from all of them together.
    most = max((picture.max() for picture in deep.values()), default=0)
    for i, picture in deep.items():
        images[i] = fitted(as_bytes(picture, files[i], most), image_size)
    for file, image in zip(files, images):
        if image.shape[:2] != images[0].shape[:2]:
            sizes = ["x".join(map(str, i.shape[:2])) for i in (image, images[0])]
            raise InputError(
                f"{file} is {sizes[0]}, {files[0]} {sizes[1]} pixels: all pictures "
                "must be of one size; `image_size=28` fits all into one"
            )
    if words := frames_words(frames):
        warnings.warn(words, stacklevel=2)
    colours = sum(image.ndim == 3 for image in images)
    if 0 < colours < len(images) and not channels:
        warnings.warn(
            f"{colours} of {len(images)} pictures are in colour and the others grey: "
            "all are read as red, green and blue",
            stacklevel=2,
        )
    wanted = channels or (3 if colours else 1)
    return np.stack([with_channels(image, wanted) for image in images])
