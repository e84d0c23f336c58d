"""Reads the IDX files of MNIST and of the datasets that copy its format.

Format: http://yann.lecun.com/exdb/mnist/, "FILE FORMATS FOR THE MNIST DATABASE".
"""

import contextlib
import gzip
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from mnistopt.errors import InputError

IMAGE_SIZE = 28
NUM_CLASSES = 10

# The largest relative of MNIST (EMNIST ByClass) has 814,255 examples. A header that
# promises more than this is damaged, and would ask for gigabytes of memory.
MAX_EXAMPLES = 1_000_000

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 8
_KINDS = {1: "labels", 3: "images"}

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def read_idx(path: str | os.PathLike, *, ndim: int) -> np.ndarray:
    """Reads one IDX file, gzipped or not.

    Args:
        path: The file. Whether it is gzipped is decided by its content, not its name.
        ndim: 3 for images, 1 for labels.

    Returns:
        uint8 `[N, 28, 28]` for images, uint8 `[N]` for labels; read-only.

    Raises:
        InputError: If the file cannot be read, is no IDX file of that kind, or is
            truncated, too long or otherwise damaged; names the file.
    """
    try:
        with open(path, "rb") as stream:
            return parse_idx(stream, str(path), ndim=ndim)
    except OSError as err:
        raise InputError(f"Cannot read {path}: {err.strerror or err}.") from err


def parse_idx(stream: IO[bytes], name: str, *, ndim: int) -> np.ndarray:
    """Reads IDX data from an open, seekable binary stream.

    Never takes more from the stream, nor unpacks more, than the header promises and
    one byte, so a small file cannot fill the memory.

    Args:
        stream: Positioned at its start.
        name: What to call the stream in errors.
        ndim: 3 for images, 1 for labels.

    Returns:
        As `read_idx`.

    Raises:
        InputError: As `read_idx`.
    """
    try:
        gzipped = stream.read(2) == _GZIP_MAGIC
        stream.seek(0)
        opened = gzip.GzipFile(fileobj=stream) if gzipped else None
        with opened or contextlib.nullcontext(stream) as plain:
            shape = _read_header(plain, name, ndim)
            size = math.prod(shape)
            # The byte too many finds trailing data, and takes gzip to its checksum.
            content = plain.read(size + 1)
    except (OSError, EOFError, zlib.error) as err:
        raise InputError(f"{name} is damaged ({err}). Get the file again.") from err
    if len(content) != size:
        found = "more" if len(content) > size else f"only {len(content)}"
        raise InputError(
            f"{name} is damaged: its header promises {size} bytes of data, it has "
            f"{found}. Get the file again."
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_header(
    stream: IO[bytes] | gzip.GzipFile, name: str, ndim: int
) -> tuple[int, ...]:
    """Returns the shape that a valid header states; raises InputError otherwise."""
    kind = _KINDS[ndim]
    magic = bytes((0, 0, _UNSIGNED_BYTE, ndim))
    header = stream.read(4 + 4 * ndim)
    if header[:4] != magic:
        hint = ""
        if header[:3] == magic[:3]:
            hint = " Are images and labels mixed up?"
        raise InputError(
            f"{name} is not an IDX file of {kind}: it starts with the bytes "
            f"{header[:4].hex() or '(none)'}, not {magic.hex()}.{hint}"
        )
    if len(header) < 4 + 4 * ndim:
        raise InputError(f"{name} ends within its header. Get the file again.")
    shape = struct.unpack(f">{ndim}I", header[4:])
    if ndim == 3 and shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        raise InputError(
            f"{name} holds images of {shape[1]}x{shape[2]} pixels; only "
            f"{IMAGE_SIZE}x{IMAGE_SIZE} can be used."
        )
    if not 1 <= shape[0] <= MAX_EXAMPLES:
        raise InputError(
            f"{name} states that it holds {shape[0]} {kind}; 1 to {MAX_EXAMPLES} "
            "are expected. Get the file again."
        )
    return shape


def expected_files(name: str) -> tuple[str, ...]:
    """Returns the four file names of a dataset, without `.gz`.

    Order: train images, train labels, test images, test labels.
    """
    parts = ("train", "t10k")
    if name == "emnist_digits":
        parts = ("emnist-digits-train", "emnist-digits-test")
    return tuple(
        f"{part}-{kind}"
        for part in parts
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )


def read_idx_folder(data_dir: str | os.PathLike, name: str) -> Arrays:
    """Reads a dataset from a folder with its four IDX files, gzipped or not.

    Args:
        data_dir: The folder. The spelling `train-images.idx3-ubyte` is found as well
            as `train-images-idx3-ubyte`.
        name: `mnist`, `fashion_mnist`, `kmnist` or `emnist_digits`.

    Returns:
        Train images, train labels, test images, test labels: images uint8
        `[N, 28, 28, 1]`, upright; labels int32 `[N]`.

    Raises:
        InputError: If a file is missing (names all that are) or cannot be used.
    """
    folder = Path(os.path.expanduser(data_dir))
    names = expected_files(name)
    paths = [path for path in (_find(folder, file) for file in names) if path]
    if len(paths) < len(names):
        missing = [file for file in names if not _find(folder, file)]
        problem = f"not there: {', '.join(missing)}"
        if not os.path.isdir(folder):
            problem = "there is no such folder"
        raise InputError(
            f"No {name} in {folder}: {problem}. Expected are the four files "
            f"{', '.join(names)} (each with or without .gz), or {name} as prepared by "
            "tensorflow-datasets."
        )
    arrays = read_idx_files(paths)
    return (
        *check_examples(arrays[0], arrays[1], str(paths[0]), str(paths[1]), name),
        *check_examples(arrays[2], arrays[3], str(paths[2]), str(paths[3]), name),
    )


def read_idx_files(paths: Sequence[str | os.PathLike]) -> list[np.ndarray]:
    """Reads the four files of a dataset, in the order of `expected_files`."""
    return [read_idx(path, ndim=ndim) for path, ndim in zip(paths, (3, 1, 3, 1))]


def read_idx_zip(path: str | os.PathLike, name: str) -> list[np.ndarray]:
    """Reads the four files of a dataset from a zip file such as EMNIST's.

    Args:
        path: The zip file, with the files gzipped in its folder `gzip`.
        name: The dataset.

    Returns:
        Four arrays as `read_idx` returns them, in the order of `expected_files`.

    Raises:
        InputError: If a file is missing from the zip file or damaged.
    """
    arrays = []
    try:
        with zipfile.ZipFile(path) as archive:
            for file, ndim in zip(expected_files(name), (3, 1, 3, 1)):
                with archive.open(f"gzip/{file}.gz") as stream:
                    arrays.append(parse_idx(stream, f"{file}.gz in {path}", ndim=ndim))
    except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as err:
        raise InputError(
            f"{path} is not the zip file of {name} ({err}). Get it again."
        ) from err
    return arrays


def _find(folder: Path, file: str) -> Path | None:
    for spelling in (file, file.replace("-idx", ".idx")):
        for path in (folder / spelling, folder / f"{spelling}.gz"):
            if os.path.isfile(path):  # Path.is_file raises where access is denied
                return path
    return None


def check_examples(
    images: np.ndarray,
    labels: np.ndarray,
    images_from: str,
    labels_from: str,
    name: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Checks images and labels as they are stored, and returns them ready for use.

    Args:
        images: uint8 `[N, 28, 28]`.
        labels: Integers `[N]`.
        images_from: The file they come from, for errors.
        labels_from: The file they come from, for errors.
        name: The dataset. The images of `emnist_digits` are stored with rows and
            columns exchanged, and turned upright here.

    Returns:
        Images uint8 `[N, 28, 28, 1]` and labels int32 `[N]`.

    Raises:
        InputError: If the counts differ or a label is not within 0..9.
    """
    if len(images) != len(labels):
        raise InputError(
            f"{images_from} holds {len(images)} images but {labels_from} "
            f"{len(labels)} labels; the two do not belong together."
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= NUM_CLASSES))
    if wrong.size:
        raise InputError(
            f"{labels_from} holds the label {labels[wrong[0]]} at position {wrong[0]} "
            f"(counted from 0); labels are 0 to {NUM_CLASSES - 1}."
        )
    if name == "emnist_digits":
        images = np.ascontiguousarray(images.transpose(0, 2, 1))
    return images[..., np.newaxis], labels.astype(np.int32)
