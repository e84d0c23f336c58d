"""Parts of the examples that are the same in every run, whatever file they came in."""

import hashlib
from typing import NamedTuple

import numpy as np

from mnistopt.errors import InputError


class Split(NamedTuple):
    """Examples: `images` uint8 or float32 `[N, H, W, C]`, `labels` int32 `[N]`."""

    images: np.ndarray
    labels: np.ndarray


class Taught(NamedTuple):
    """Examples as `Split`, and a teacher's `targets`: probabilities float32 [N, K]."""

    images: np.ndarray
    labels: np.ndarray
    targets: np.ndarray


def by_content(split: Split) -> Split:
    """Returns the examples in the order of their SHA-256, of pixels and label.

    As good as random, and the same however they were stored. Every choice of examples
    is of the first ones in this order, so an example's own content decides its place.
    """
    digests = [
        hashlib.sha256(image.tobytes() + label.tobytes()).digest()
        for image, label in zip(split.images, split.labels.astype("<i4"))
    ]
    order = sorted(range(len(digests)), key=digests.__getitem__)
    return Split(split.images[order], split.labels[order])


def make_splits(
    examples: Split, test: Split | None = None
) -> tuple[Split, Split, Split]:
    """Returns the train, validation and test splits, each ordered `by_content`.

    A twelfth of the examples is held out for validation, as 5,000 of MNIST's 60,000
    often are. Without a test part, a fifth is held out for that, and a tenth for
    validation. Both are stratified.

    Args:
        examples: Examples for training and validation, and for testing if there is no
            test part.
        test: The test part, if there is one.

    Raises:
        InputError: If there are too few for each to have one.
    """
    count, least = len(examples.labels), 10 if test is None else 2
    if count < least:
        raise InputError(
            f"{count} examples are too few to train on and to hold some out: give "
            f"{least} or more"
        )
    rest = by_content(examples)
    if test is None:
        rest, test = hold_out(rest, 2 * (count // 10))
        return *hold_out(rest, count // 10), test
    return *hold_out(rest, max(1, count // 12)), by_content(test)


def subset(train: Split, size: int) -> Split:
    """Returns a stratified part of `size` of the examples, the first of each class."""
    if not isinstance(size, (int, np.integer)) or not 1 <= size <= len(train.labels):
        raise InputError(
            f"train_examples is {size!r}, but must be a whole number from 1 to "
            f"{len(train.labels)}, the number of training examples there are."
        )
    return hold_out(train, size)[1]


def hold_out(split: Split, size: int) -> tuple[Split, Split]:
    """Returns the rest, and the first of each class: `size`, in proportion.

    Classes get their exact share rounded down; the examples left go to the largest
    remainders. Parts of different sizes are nested, but for these.

    Args:
        split: At least one example.
        size: The size of the part.
    """
    labels = split.labels
    counts = np.bincount(labels)
    shares, remainders = np.divmod(size * counts, len(labels))
    left = size - shares.sum()
    shares[np.argsort(-remainders, kind="stable")[:left]] += 1
    by_class = np.argsort(labels, kind="stable")
    ranks = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(len(labels), bool)
    held[by_class[ranks < np.repeat(shares, counts)]] = True
    rest = Split(split.images[~held], labels[~held])
    return rest, Split(split.images[held], labels[held])
