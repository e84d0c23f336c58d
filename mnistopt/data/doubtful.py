"""MNIST's test digits that most people do not take for what their label says.

Northcutt, Athalye and Mueller 2021, "Pervasive Label Errors in Test Sets Destabilize
Machine Learning Benchmarks" (arXiv:2103.14749): of the digits whose label networks
doubt, five people each said whether they see the label, what the networks
guess, or neither. These 15 are those of github.com/cleanlab/label-errors, file
mturk/mnist_mturk.json, in which fewer than three saw the label.
"""

import hashlib
from typing import NamedTuple

import numpy as np


class Doubtful(NamedTuple):
    """A digit whose label is doubtful.

    Attributes:
        number: Its place in the official test part, from 0.
        label: What the label says.
        guess: What networks say.
        saw_label: People of five who saw the label.
        saw_guess: Who saw the guess.
        saw_neither: Who saw neither.
        digest: The beginning of a SHA-256 of its pixels, by which it is found.
    """

    number: int
    label: int
    guess: int
    saw_label: int
    saw_guess: int
    saw_neither: int
    digest: str


DOUBTFUL = (
    Doubtful(947, 8, 9, 0, 5, 0, "9e571df431674b22"),
    Doubtful(1621, 0, 6, 2, 3, 0, "a6dbd7572d6b5235"),
    Doubtful(1901, 9, 4, 2, 3, 0, "ac85fc88d75848d8"),
    Doubtful(2130, 4, 9, 2, 2, 1, "3b659aa46e7e60f0"),
    Doubtful(2462, 2, 0, 0, 4, 1, "b79f052864e49eef"),
    Doubtful(2597, 5, 3, 0, 4, 1, "a8b3e479c863b2ec"),
    Doubtful(2654, 6, 1, 0, 2, 3, "2d23b44093568126"),
    Doubtful(3520, 6, 4, 2, 0, 3, "78b0ae6da7b031aa"),
    Doubtful(3558, 5, 0, 1, 4, 0, "2ade8bec31ce7dba"),
    Doubtful(5937, 5, 3, 1, 3, 1, "ae0606c84402b2d7"),
    Doubtful(6651, 0, 6, 0, 5, 0, "e58ee418a2c482c9"),
    Doubtful(6783, 1, 6, 2, 3, 0, "848efc6d40483e6f"),
    Doubtful(8527, 4, 9, 2, 2, 1, "b147b498facaa9a7"),
    Doubtful(9679, 6, 3, 2, 0, 3, "6d535e9edb86d534"),
    Doubtful(9729, 5, 6, 2, 3, 0, "142caf3509596eb9"),
)


def find_doubtful(images: np.ndarray) -> dict[int, Doubtful]:
    """Returns which of some images are doubtful, by their place.

    Args:
        images: uint8 [N, 28, 28, 1].
    """
    known = {digit.digest: digit for digit in DOUBTFUL}
    size = len(DOUBTFUL[0].digest)
    found = {}
    for place, image in enumerate(images):
        digest = hashlib.sha256(image.tobytes()).hexdigest()[:size]
        if digest in known:
            found[place] = known[digest]
    return found
