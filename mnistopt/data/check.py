"""Checks examples, makes them ready for use, and says what is doubtful in them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mnistopt.axes import layers, show
from mnistopt.data.classes import (
    MOST_CLASSES,
    check_names,
    default_names,
    plain,
    positions,
    sorted_names,
)
from mnistopt.data.official import (
    DATASETS,
    IMAGE_SIZE,
    NUM_CLASSES,
    Stored,
)
from mnistopt.data.splits import Split
from mnistopt.errors import InputError

# Pixels; a network of this kind on larger images is a mistake.
LARGEST_SIDE = 1024


def check_stored(stored: Stored) -> Split:
    """Checks examples of a dataset that has a name, and returns them ready for use.

    Returns:
        Images uint8 `[N, 28, 28, 1]` and labels int32 `[N]`.

    Raises:
        InputError: If the images are of another size or type, the counts differ, or
            a label is not within 0..9.
    """
    images, labels, images_from, labels_from = stored
    (images,) = _as_bytes([images])
    size = (IMAGE_SIZE, IMAGE_SIZE)
    if images.shape[1:] not in (size, (*size, 1)) or images.dtype != np.uint8:
        raise InputError(
            f"{images_from} holds {images.dtype} of shape {images.shape}; expected "
            f"are images of {IMAGE_SIZE}x{IMAGE_SIZE} pixels, whole numbers 0 to 255. "
            "Others are read by `data=FILE.npz`"
        )
    names = default_names(NUM_CLASSES)
    return _check_arrays(images, labels, images_from, labels_from, names)


def check_own(
    images: Any,
    labels: Any,
    test_images: Any = None,
    test_labels: Any = None,
    class_names: Any = None,
) -> tuple[list[Split], tuple[str, ...]]:
    """Checks a user's examples, and returns copies ready for use.

    Args:
        images: uint8, uint16 or floats [N, H, W, C] or [N, H, W].
        labels: Whole numbers [N], or words.
        test_images: Images of the same shape and dtype, if there is a test part.
        test_labels: With them.
        class_names: K names, of labels 0 to K - 1; None for the words that labels are,
            or "0" to the largest label.

    Returns:
        All of it, and the test part if there is one; and the names of the classes, in
        which labels are positions.

    Raises:
        InputError: If they cannot be used; says what was found.
    """
    if (test_images is None) != (test_labels is None):
        raise InputError("give test_images and test_labels together, or neither")
    known = None if class_names is None else check_names(class_names)
    words = _array(labels, "labels")
    in_words = words.dtype.kind in "USO" and words.ndim == 1
    if known is None and in_words and all(isinstance(w, (str, bytes)) for w in words):
        known = check_names(sorted_names(words.tolist()))
    brought = [images] if test_images is None else [images, test_images]
    pixels = _as_bytes([_array(part, "images") for part in brought])
    train = _check_arrays(pixels[0], labels, "images", "labels", known)
    names = known or default_names(int(train.labels.max()) + 1)
    if test_images is None:
        return [train], names
    test = _check_arrays(pixels[1], test_labels, "test_images", "test_labels", names)
    kinds = [(s.images.shape[1:], str(s.images.dtype)) for s in (train, test)]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"test_images are {kinds[1][0]} {kinds[1][1]}, images {kinds[0][0]} "
            f"{kinds[0][1]}; they must be alike"
        )
    return [train, test], names


def _array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:  # Rows of several lengths.
        raise InputError(f"{name} are not an array: {error}") from error


def _check_arrays(
    images: Any,
    labels: Any,
    images_name: str,
    labels_name: str,
    class_names: Sequence[str] | None,
) -> Split:
    """Checks images and labels, which errors call by these names."""
    labels = _array(labels, labels_name)
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
                "numbers 0 to 255, 16 bits, or floats"
            )
        images = images.astype(np.float32)
        if not np.isfinite(images).all():
            raise InputError(f"{images_name} contain NaN or infinity")
    if class_names is not None and labels.dtype.kind in "USO":
        names = list(map(plain, labels.reshape(-1).tolist()))
        order = np.arange(len(names))
        labels = positions(names, class_names, labels_name, order)
    labels = _plain_labels(labels, labels_name)
    if labels.shape != (len(images),):
        raise InputError(
            f"{labels_name} have shape {labels.shape}; expected is ({len(images)},), "
            f"one for each of the {len(images)} images"
        )
    most = MOST_CLASSES if class_names is None else len(class_names)
    wrong = np.flatnonzero((labels < 0) | (labels >= most))
    if wrong.size:
        raise InputError(
            f"{labels_name} are {labels.min():g} to {labels.max():g}, the first wrong "
            f"one {labels[wrong[0]]:g} at position {wrong[0]}; expected are positions "
            f"in the classes, 0 to {most - 1} at most"
        )
    return Split(np.array(images), labels.astype(np.int32))


def _as_bytes(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Returns whole numbers of any integer type as uint8, where they are 8 or 16 bits.

    Of 16 bits, up to 65,535 in any of the parts, the upper eight, as of pictures.
    """
    if all(part.dtype == np.uint8 for part in parts):
        return list(parts)
    whole = all(part.dtype.kind in "iu" and part.size for part in parts)
    most = max((part.max() for part in parts), default=0) if whole else 0
    # A mixture of 8 and 16 bits cannot be separated.
    mixed = most > 255 and len({part.dtype for part in parts}) > 1
    if not whole or mixed or min(part.min() for part in parts) < 0 or most > 65535:
        return list(parts)
    return [(part >> 8 if most > 255 else part).astype(np.uint8) for part in parts]


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
            f"{name} are {labels.dtype}; expected are whole numbers, 0 to K - 1, or "
            "words"
        )
    return labels


def check_classes(train: Split, class_names: Sequence[str]) -> None:
    """Checks that every class is trained on.

    Raises:
        InputError: If one is missing.
    """
    trained = set(train.labels.tolist())
    if missing := [name for k, name in enumerate(class_names) if k not in trained]:
        raise InputError(
            f"there are {len(class_names)} classes, {class_names[0]} to "
            f"{class_names[-1]}, but the training part has none of "
            f"{', '.join(missing[:8])}: number the classes from 0 without gaps, "
            "or give class_names, and several examples of each"
        )


def check_image_size(image_size: Any) -> tuple[int, int] | None:
    """Returns the size of images as (H, W), from a side, "28", "28x32", (28, 32), None.

    Raises:
        InputError: If it is none of these.
    """
    if image_size is None:
        return None
    try:
        sides = layers(None, "").clean(image_size)
    except (ValueError, TypeError, OverflowError):
        sides = ()
    if len(sides) not in (1, 2) or max(sides, default=0) > LARGEST_SIDE:
        raise InputError(
            f"image_size={show(image_size)} is not allowed: expected a side in pixels, "
            f"or height and width as in 28x32, each at most {LARGEST_SIDE}"
        )
    return sides[0], sides[-1]


# Of blank images; MNIST and its relatives have none.
_BLANK_SHARE = 0.01
# Of the pixels that are the most frequent value: MNIST's are 81 % background, those of
# Fashion-MNIST 50 %, of KMNIST 67 %, of noise and of photographs a few per cent.
_EMPTY_SHARE = 0.3
# The brightest pixel of all images: 12 bits stored in 16 come to 15.
_DARK = 64
# Images that show scale and ink: examples are in an order as good as random.
_LOOKED_AT = 1_000


def doubts(name: str, train: Split, classes: int) -> list[str]:
    """Returns what makes training examples doubtful, in words.

    Args:
        name: The name of the data; those in `DATASETS` have a known appearance.
        train: The examples.
        classes: K, of the data.
    """
    doubtful = []
    shown = len(np.unique(train.labels))
    if shown < classes:
        doubtful.append(
            f"the {len(train.labels)} training examples show {shown} of {classes} "
            "classes, so the others cannot be learned: give more train_examples"
        )
    pixels = train.images.reshape(len(train.images), -1)
    blank = int((pixels == pixels[:, :1]).all(axis=1).sum())
    if blank > _BLANK_SHARE * len(pixels):
        doubtful.append(
            f"{blank} of {len(pixels)} training images are blank: is the file whole?"
        )
    some = train.images[:_LOOKED_AT]
    doubtful += _scale(some)
    if name in DATASETS and blank < len(pixels):
        doubtful += _ink(some)
    return doubtful


def _scale(images: np.ndarray) -> list[str]:
    """Says where pixels are on another scale than training takes them to be on."""
    most = images.max()
    if images.dtype == np.uint8 and 0 < most <= 1:
        return [
            "pixels are 0 and 1, and training divides them by 255, so images are as "
            "good as black: multiply them by 255, or give floats"
        ]
    if images.dtype != np.uint8 and most > 2 and (images == np.floor(images)).all():
        white = next((level for level in (255, 65535) if most <= level), f"{most:g}")
        return [
            f"pixels are floats of {images.min():g} to {most:g}, which training takes "
            f"as they are: divide them by {white}, or give them as whole numbers"
        ]
    if images.dtype == np.uint8 and 1 < most < _DARK:
        return [
            f"the brightest pixel is {most} of 255, as of fewer bits stored in more: "
            "multiply the pixels by what makes white 255"
        ]
    return []


def dark_on_light(images: np.ndarray) -> bool:
    """Says whether images are dark ink on light paper, by their edges.

    Args:
        images: [N, H, W, C].
    """
    edge, inside = _brightness(images[:_LOOKED_AT])
    return bool(edge > inside)


def _brightness(images: np.ndarray) -> tuple[float, float]:
    """Returns the mean of the pixels at the edges, and of all others."""
    edges = np.ones(images.shape[1:3], bool)
    edges[1:-1, 1:-1] = False
    if edges.all():
        return 0.0, 0.0
    return images[:, edges].mean(), images[:, ~edges].mean()


def _ink(images: np.ndarray) -> list[str]:
    """Says where images are not light ink on dark paper, as the official ones are."""
    edge, inside = _brightness(images)
    if edge > inside:
        return [
            f"images are dark on light (their edges are {edge:.0f} of 255 on average, "
            f"the rest {inside:.0f}), and those of this name are light on dark: give "
            "255 minus the pixels"
        ]
    share = np.bincount(images.reshape(-1), minlength=256).max() / images.size
    if share < _EMPTY_SHARE:
        return [
            f"no value is that of more than {100 * share:.0f} % of the pixels, where "
            "images of this name are mostly empty: are these such images?"
        ]
    return []
