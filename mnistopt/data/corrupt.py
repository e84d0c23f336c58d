"""Corrupts images in seven ways, each in five strengths, to see what a network bears.

The idea of a few common corruptions in five severities is Hendrycks and Dietterich's
(2019, arXiv:1903.12261), and its use for digits Mu and Gilmer's (2019, MNIST-C,
arXiv:1906.02337). The corruptions and strengths are this project's own, so figures are
not to be compared with theirs.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from mnistopt.data.official import IMAGE_SIZE
from mnistopt.errors import InputError

STRENGTHS = (1, 2, 3, 4, 5)
# The first word of each image's seed; the second is its index.
_SEED = 2019


class Corruption(NamedTuple):
    """A way to corrupt images.

    Attributes:
        amounts: The amount for each strength. Pixels are those of a 28 x 28 image:
            larger images are changed by as much of their shorter side.
        unit: The unit of the amounts.
        apply: Takes an image, floats [H, W, C] in [0, 1], background 0; the amount, in
            the image's own pixels where it is one of pixels; and what draws random
            numbers. Returns an image of that shape; what leaves [0, 1] is cut off.
    """

    amounts: tuple[float, float, float, float, float]
    unit: str
    apply: Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


def _noise(image, amount, rng):
    return image + amount * rng.standard_normal(image.shape)


def _blur(image, amount, rng):
    del rng
    return ndimage.gaussian_filter(image, (amount, amount, 0), mode="constant")


def _shift(image, amount, rng):
    """Moves it by whole pixels, which keeps its strokes sharp."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.rint(amount * np.array([np.sin(angle), np.cos(angle)]))
    return ndimage.shift(image, (rows, columns, 0), order=0)


def _rotate(image, amount, rng):
    sign = rng.choice([-1, 1])
    return ndimage.rotate(image, sign * amount, reshape=False, order=1)


def _fade(image, amount, rng):
    """Draws all pixels to the image's mean."""
    del rng
    return image.mean() + (1 - amount) * (image - image.mean())


def _occlude(image, amount, rng):
    """Erases a square whose middle is where digits are, in the middle half."""
    height, width, _ = image.shape
    middle = rng.uniform(0.25, 0.75, 2) * (height, width)
    top, left = np.maximum(np.rint(middle - amount / 2), 0).astype(int)
    bottom, right = np.rint(middle + amount / 2).astype(int)
    erased = image.copy()
    erased[top:bottom, left:right] = 0
    return erased


def _thicken(image, amount, rng):
    """Grows what is bright by a disk."""
    del rng
    reach = int(amount)
    rows, columns = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = rows**2 + columns**2 <= amount**2
    return ndimage.grey_dilation(image, footprint=disk[..., np.newaxis])


PIXELS = "pixels"
CORRUPTIONS = {
    "noise": Corruption((0.1, 0.2, 0.3, 0.4, 0.5), "deviation, share of white", _noise),
    "blur": Corruption((0.75, 1.25, 1.75, 2.25, 2.75), PIXELS, _blur),
    "shift": Corruption((1, 2, 3, 4, 5), PIXELS, _shift),
    "rotation": Corruption((15, 25, 35, 45, 55), "degrees", _rotate),
    "contrast": Corruption((0.5, 0.7, 0.8, 0.9, 0.95), "share lost", _fade),
    "occlusion": Corruption((6, 8, 10, 12, 14), PIXELS, _occlude),
    "thickness": Corruption((1, 1.5, 2, 2.5, 3), PIXELS, _thicken),
}


def corrupt(images: np.ndarray, name: str, strength: int) -> np.ndarray:
    """Returns images corrupted.

    What is random, noise and directions and places, is drawn for each image by its
    index, whatever the others, and is the same for all strengths.

    Args:
        images: uint8 [N, H, W, C].
        name: One of `CORRUPTIONS`.
        strength: One of `STRENGTHS`.

    Returns:
        uint8 [N, H, W, C].

    Raises:
        InputError: If an argument is something else.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise InputError(
            f"images are {images.dtype} {images.shape}; corruptions are defined for "
            "uint8 [N, H, W, C]: the range of floats is not known"
        )
    if name not in CORRUPTIONS or strength not in STRENGTHS:
        raise InputError(
            f"corruption {name!r} of strength {strength!r} is not known; there are "
            f"{', '.join(CORRUPTIONS)}, of strengths 1 to {len(STRENGTHS)}"
        )
    amounts, unit, apply = CORRUPTIONS[name]
    amount = amounts[STRENGTHS.index(strength)]
    if unit == PIXELS:
        amount *= min(images.shape[1:3]) / IMAGE_SIZE
    corrupted = np.empty_like(images)
    for index, image in enumerate(images):
        rng = np.random.default_rng([_SEED, index])
        changed = apply(image / 255, amount, rng)
        corrupted[index] = np.rint(255 * np.clip(changed, 0, 1))
    return corrupted
