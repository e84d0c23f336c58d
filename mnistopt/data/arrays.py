"""Images of one's own: arrays, files of arrays, and folders of pictures."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mnistopt.errors import InputError

# Predictions are kept as bytes.
MOST_CLASSES = 256
_NAMES = ("images", "labels", "test_images", "test_labels")


def check_arrays(
    images: Any, labels: Any, images_name: str, labels_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Checks images and labels, and returns copies ready for use.

    Args:
        images: uint8 or floats [N, H, W, C] or [N, H, W].
        labels: Whole numbers [N].
        images_name: What to call the images in errors.
        labels_name: What to call the labels in errors.

    Returns:
        Images uint8 or float32 [N, H, W, C] and labels int32 [N].

    Raises:
        InputError: If they cannot be used; says what was found.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or not images.size:
        raise InputError(
            f"{images_name} have shape {images.shape}; expected are [N, H, W, C], or "
            "[N, H, W] for one channel"
        )
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.floating):
            raise InputError(
                f"{images_name} are {images.dtype}; expected are uint8, or floats"
            )
        images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise InputError(f"{images_name} hold values that are no finite numbers")
    return np.array(images), _check_labels(labels, len(images), labels_name)


def _check_labels(labels: np.ndarray, count: int, name: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise InputError(
            f"{name} have shape {labels.shape}, as one-hot labels have; expected is "
            f"one whole number each: {name}.argmax(axis=1)"
        )
    if labels.shape not in ((count,), (count, 1)):
        raise InputError(
            f"{name} have shape {labels.shape}; expected is ({count},), one for each "
            f"of the {count} images"
        )
    labels = labels.reshape(-1)
    if labels.dtype.kind not in "iu" and not (
        labels.dtype.kind == "f" and (labels == np.floor(labels)).all()
    ):
        raise InputError(
            f"{name} are {labels.dtype}; expected are whole numbers, 0 to K - 1"
        )
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise InputError(
            f"{name} are {labels.min():g} to {labels.max():g}; expected are 0 to "
            f"K - 1, K at most {MOST_CLASSES}"
        )
    return labels.astype(np.int32)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads images and labels, as `Dataset.from_arrays` takes them.

    Args:
        path: An .npz file, or a folder of class folders of PNGs.

    Raises:
        InputError: If it cannot be read.
    """
    if path.is_dir():
        return _read_folder(path)
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise InputError(f"{path} is one array; expected is an .npz file")
        with opened as kept:
            if not {"images", "labels"} <= set(kept.files):
                raise InputError(
                    f"{path} holds {', '.join(kept.files) or 'nothing'}; expected are "
                    f"the arrays images and labels, and perhaps test_images and "
                    "test_labels"
                )
            return {name: kept[name] for name in _NAMES if name in kept.files}
    except InputError:
        raise
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(
            f"data={path} cannot be read ({error}); expected is an .npz file with the "
            "arrays images and labels, or a folder with a folder of PNGs per class"
        ) from error


def _read_folder(path: Path) -> dict[str, np.ndarray]:
    """Reads a folder of class folders; its classes in the order of the alphabet."""
    from PIL import Image

    folders = sorted(one for one in path.iterdir() if one.is_dir())
    files = [(k, file) for k, one in enumerate(folders) for file in _pictures(one)]
    if not files:
        raise InputError(
            f"data={path} has no folders with PNGs in them, one per class; IDX files "
            "are read by --dataset=mnist --data_dir=..."
        )
    images = []
    for _, file in files:
        try:
            with Image.open(file) as picture:
                grey = picture.mode in ("1", "L")
                images.append(np.asarray(picture.convert("L" if grey else "RGB")))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{file} cannot be read as a picture ({error})") from error
        if images[-1].shape != images[0].shape:
            raise InputError(
                f"{file} is {images[-1].shape}, {files[0][1]} {images[0].shape}: all "
                "pictures must be of one size, and all grey or all in colour"
            )
    return {"images": np.stack(images), "labels": np.array([k for k, _ in files])}


def _pictures(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix.lower() == ".png")
