"""A trained classifier in whole numbers, as pages and C files have it, and in NumPy."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mnistopt.study.export.integers import WHOLE, Network, shares

# Shares of validation images that are refused: as unsure, and for their ink, at each
# end of its range.
_UNSURE, _ODD_INK = 0.005, 0.001


class Refusal(NamedTuple):
    """When an image is no digit.

    Attributes:
        least_ink: The least sum of its bytes of ink.
        most_ink: The most.
        least_share: The least share of certainty that the likeliest class has, a
            mean over the networks: `WHOLE` for certainty.
    """

    least_ink: int
    most_ink: int
    least_share: int


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """One network or several that vote, in whole numbers.

    Attributes:
        members: The networks.
        class_names: K names.
        dark_on_light: Whether ink is darker than paper.
        refusal: When an image is no digit.
        card: What is known of it, as it is written into each file.
    """

    members: tuple[Network, ...]
    class_names: tuple[str, ...]
    dark_on_light: bool
    refusal: Refusal
    card: Mapping[str, Any]

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Classifies images.

        Args:
            images: uint8 [N, H, W, C].

        Returns:
            The class of each, int [N], -1 for no digit; and how sure it is of each
            class, uint8 [N, K], in 255ths.
        """
        return self.decide(sum_shares(self.members, images), images)

    def decide(
        self, total: np.ndarray, images: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the same from what `sum_shares` returns of the images."""
        count = len(self.members)
        confidence = (510 * total + WHOLE * count) // (2 * WHOLE * count)
        classes, ink = total.argmax(-1), count_ink(images, self.dark_on_light)
        odd = (ink < max(1, self.refusal.least_ink)) | (ink > self.refusal.most_ink)
        odd |= total.max(-1) < self.refusal.least_share * count
        return np.where(odd, -1, classes), confidence.astype(np.uint8)


def sum_shares(members: Sequence[Network], images: np.ndarray) -> np.ndarray:
    """Returns the sum of the networks' shares of certainty, int64 [N, K]."""
    totals = [shares(network(images)) for network in members]
    return sum(totals[1:], totals[0])


def count_ink(images: np.ndarray, dark_on_light: bool) -> np.ndarray:
    """Returns how much ink images have: the sum of their bytes of it, int64 [N]."""
    total = images.reshape(len(images), -1).sum(1, dtype=np.int64)
    return images[0].size * 255 - total if dark_on_light else total


def choose_refusal(
    members: Sequence[Network], images: np.ndarray, dark_on_light: bool
) -> Refusal:
    """Chooses what is refused on images of which each is a digit.

    Args:
        members: The networks.
        images: uint8 [N, H, W, C], held out of training.
        dark_on_light: See `Classifier`.
    """
    sure = sum_shares(members, images).max(-1) // len(members)
    ink = count_ink(images, dark_on_light)
    least, most = np.quantile(ink, [_ODD_INK, 1 - _ODD_INK])
    return Refusal(int(least), int(most), int(np.quantile(sure, _UNSURE)))
