"""Checks examples, and makes them ready for use."""

from typing import Any

import numpy as np

from mnistopt.data.official import IMAGE_SIZE, MAX_EXAMPLES, NUM_CLASSES, Stored
from mnistopt.data.splits import Split
from mnistopt.errors import InputError

# Predictions are kept as bytes.
MOST_CLASSES = 256


def check_stored(stored: Stored) -> Split:
    """Checks examples of a dataset that has a name, and returns them ready for use.

    Returns:
        Images uint8 `[N, 28, 28, 1]` and labels int32 `[N]`.

    Raises:
        InputError: If the images are of another size or type, the counts differ, or
            a label is not within 0..9.
    """
    images, labels, images_from, labels_from = stored
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    images = _as_bytes(images)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    if images.ndim != 3 or images.shape[1:] != size or images.dtype != np.uint8:
        raise InputError(
            f"{images_from} holds {images.dtype} of shape {images.shape}; expected "
            f"are images of {IMAGE_SIZE}x{IMAGE_SIZE} pixels, whole numbers 0 to 255. "
            "Others are read by --data=FILE.npz"
        )
    if not 1 <= len(images) <= MAX_EXAMPLES:
        raise InputError(
            f"{images_from} holds {len(images)} images; expected are 1 to "
            f"{MAX_EXAMPLES}: take a part of them"
        )
    labels = _plain_labels(labels, labels_from)
    if len(images) != len(labels):
        raise InputError(
            f"{images_from} holds {len(images)} images but {labels_from} "
            f"{len(labels)} labels; the two do not belong together."
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= NUM_CLASSES))
    if wrong.size:
        raise InputError(
            f"{labels_from} holds the label {labels[wrong[0]]:g} at position "
            f"{wrong[0]} (counted from 0); labels are 0 to {NUM_CLASSES - 1}."
        )
    return Split(images[..., np.newaxis], labels.astype(np.int32))


def check_own(
    images: Any, labels: Any, test_images: Any = None, test_labels: Any = None
) -> list[Split]:
    """Checks examples of one's own, and returns copies ready for use.

    Args:
        images: uint8 or floats [N, H, W, C] or [N, H, W].
        labels: Whole numbers [N].
        test_images: Of the same shape and type, if there is a test part.
        test_labels: With them.

    Returns:
        All of it, and the test part if there is one.

    Raises:
        InputError: If they cannot be used; says what was found.
    """
    examples = _check_arrays(images, labels, "images", "labels")
    if (test_images is None) != (test_labels is None):
        raise InputError("give test_images and test_labels together, or neither")
    if test_images is None:
        return [examples]
    test = _check_arrays(test_images, test_labels, "test_images", "test_labels")
    _check_alike(examples, test)
    return [examples, test]


def _check_arrays(
    images: Any, labels: Any, images_name: str, labels_name: str
) -> Split:
    """Checks images and labels, which errors call by these names."""
    images, labels = _as_bytes(np.asarray(images)), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or not images.size:
        raise InputError(
            f"{images_name} have shape {images.shape}; expected are [N, H, W, C], or "
            "[N, H, W] for one channel"
        )
    if images.dtype != np.uint8:
        if not np.issubdtype(images.dtype, np.floating):
            within = (
                f" of {images.min()} to {images.max()}"
                if images.dtype.kind in "iu"
                else ""
            )
            raise InputError(
                f"{images_name} are {images.dtype}{within}; expected are whole "
                "numbers 0 to 255, or floats"
            )
        images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise InputError(f"{images_name} hold values that are no finite numbers")
    labels = _plain_labels(labels, labels_name)
    if labels.shape != (len(images),):
        raise InputError(
            f"{labels_name} have shape {labels.shape}; expected is ({len(images)},), "
            f"one for each of the {len(images)} images"
        )
    if labels.min() < 0 or labels.max() >= MOST_CLASSES:
        raise InputError(
            f"{labels_name} are {labels.min():g} to {labels.max():g}; expected are 0 "
            f"to K - 1, K at most {MOST_CLASSES}"
        )
    return Split(np.array(images), labels.astype(np.int32))


def _as_bytes(images: np.ndarray) -> np.ndarray:
    """Returns whole numbers of 0 to 255, of whatever integer type, as uint8."""
    whole = images.dtype.kind in "iu" and images.dtype != np.uint8 and images.size
    fits = whole and images.min() >= 0 and images.max() <= 255
    return images.astype(np.uint8) if fits else images


def _plain_labels(labels: np.ndarray, name: str) -> np.ndarray:
    """Returns labels as a row of whole numbers, which columns and floats may be.

    Raises:
        InputError: If they are none.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise InputError(
            f"{name} have shape {labels.shape}, as one-hot labels have; expected is "
            "one whole number each: labels.argmax(axis=1)"
        )
    if labels.ndim == 2:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" and not (
        labels.dtype.kind == "f" and (labels == np.floor(labels)).all()
    ):
        raise InputError(
            f"{name} are {labels.dtype}; expected are whole numbers, 0 to K - 1"
        )
    return labels


def _check_alike(train: Split, test: Split) -> None:
    """Checks that test examples are of the kind of the others."""
    kinds = [(s.images.shape[1:], str(s.images.dtype)) for s in (train, test)]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"test_images are {kinds[1][0]} {kinds[1][1]}, images {kinds[0][0]} "
            f"{kinds[0][1]}; they must be alike"
        )
    most = train.labels.max()
    if test.labels.max() > most:
        raise InputError(
            f"test_labels hold {test.labels.max()}, but labels are 0 to {most}"
        )


def check_classes(train: Split, classes: int) -> None:
    """Checks that every class is trained on.

    Raises:
        InputError: If one is missing.
    """
    missing = set(range(classes)) - set(train.labels.tolist())
    if missing:
        raise InputError(
            f"labels are 0 to {classes - 1}, but the training part has none of "
            f"{', '.join(map(str, sorted(missing)))}: number the classes from 0 "
            "without gaps, and give several examples of each"
        )
