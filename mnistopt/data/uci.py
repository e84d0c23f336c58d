"""Digits by other hands: those of the UCI repository, which scikit-learn ships."""

import numpy as np

from mnistopt.data.official import IMAGE_SIZE
from mnistopt.data.splits import Split
from mnistopt.data.strangers import make_strangers

# The highest value of a pixel: how many of 4 x 4 smaller ones have ink.
_MOST = 16


def read_uci() -> Split:
    """Returns 1,797 digits by 13 writers of Turkey, placed as MNIST's are.

    The test part of Alpaydin and Kaynak's "Optical Recognition of Handwritten Digits"
    (UCI repository, 1998, doi:10.24432/C50P49), of 8 x 8 pixels.

    Returns:
        Images uint8 [1797, 28, 28, 1] and labels int32 [1797].
    """
    # scikit-learn takes a second to import.
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (255 / _MOST * digits.images).round().astype(np.uint8)
    placed = make_strangers(pixels, (IMAGE_SIZE, IMAGE_SIZE, 1), False)
    return Split(placed.images, digits.target.astype(np.int32))
