"""Parts of the examples that are the same in every run."""

from typing import NamedTuple

import numpy as np

from mnistopt.errors import InputError

# Every choice of examples follows from this seed, so that all runs, whatever their own
# seeds, train on, select on and report the same examples.
DATA_SEED = 0
TEST, VALIDATION, SUBSET = range(3)  # independent draws under that seed


class Split(NamedTuple):
    """Examples: `images` uint8 or float32 `[N, H, W, C]`, `labels` int32 `[N]`."""

    images: np.ndarray
    labels: np.ndarray


def hold_out(split: Split, size: int, draw: int) -> tuple[Split, Split]:
    """Returns the rest, and a stratified part of `size` examples."""
    held = np.zeros(len(split.labels), bool)
    held[_stratified(split.labels, size, draw)] = True
    rest = Split(split.images[~held], split.labels[~held])
    return rest, Split(split.images[held], split.labels[held])


def subset(train: Split, size: int) -> Split:
    """Returns a stratified part of `size` examples."""
    if not isinstance(size, (int, np.integer)) or not 1 <= size <= len(train.labels):
        raise InputError(
            f"train_examples is {size!r}, but must be a whole number from 1 to "
            f"{len(train.labels)}, the number of training examples there are."
        )
    chosen = _stratified(train.labels, size, SUBSET)
    return Split(train.images[chosen], train.labels[chosen])


def _stratified(labels: np.ndarray, size: int, draw: int) -> np.ndarray:
    """Returns the sorted positions of `size` examples, each class in proportion.

    Classes get their exact share rounded down; the examples left go to the largest
    remainders. The examples of a class are taken in an order that does not depend on
    `size`, so that draws of different sizes are nested.
    """
    counts = np.bincount(labels, minlength=1)
    shares, remainders = np.divmod(size * counts, len(labels))
    left = size - shares.sum()
    shares[np.argsort(-remainders, kind="stable")[:left]] += 1
    # NumPy promises the stream of a bit generator to stay as it is for ever, but not
    # `Generator.permutation`.
    keys = np.random.PCG64([DATA_SEED, draw]).random_raw(len(labels))
    by_class = np.lexsort((keys, labels))
    ranks = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[ranks < np.repeat(shares, counts)])
