"""What makes examples doubtful: they can be used, and are hardly what was meant."""

import numpy as np

from mnistopt.data.official import DATASETS
from mnistopt.data.splits import Split

# Of blank images; MNIST and its relatives have none.
_BLANK_SHARE = 0.01
# Of the pixels that are the most frequent value: MNIST's are 81 % background, those of
# Fashion-MNIST 50 %, of KMNIST 67 %, of noise and of photographs a few per cent.
_EMPTY_SHARE = 0.3
# The brightest pixel of all images: 12 bits stored in 16 come to 15.
_DARK = 64
# Images that tell of scale and ink: examples are in an order as good as random.
_LOOKED_AT = 1_000


def doubts(name: str, train: Split, classes: int) -> list[str]:
    """Returns what makes training examples doubtful, in words.

    Args:
        name: Of the data; of those in `DATASETS` it is known what they look like.
        train: The examples.
        classes: K, of the data.
    """
    found = []
    known = len(np.unique(train.labels))
    if known < classes:
        found.append(
            f"the {len(train.labels)} training examples show {known} of {classes} "
            "classes, so the others cannot be learned: give more train_examples"
        )
    pixels = train.images.reshape(len(train.images), -1)
    blank = int((pixels == pixels[:, :1]).all(axis=1).sum())
    if blank > _BLANK_SHARE * len(pixels):
        found.append(
            f"{blank} of {len(pixels)} training images are blank: is the file whole?"
        )
    some = train.images[:_LOOKED_AT]
    found += _scale(some)
    if name in DATASETS and blank < len(pixels):
        found += _ink(some)
    return found


def _scale(images: np.ndarray) -> list[str]:
    """Says where pixels are on another scale than training takes them to be on."""
    most = images.max()
    if images.dtype == np.uint8 and 0 < most <= 1:
        return [
            "pixels are 0 and 1, and training divides them by 255, so images are as "
            "good as black: multiply them by 255, or give floats"
        ]
    if images.dtype != np.uint8 and most > 2 and (images == np.floor(images)).all():
        white = next((one for one in (255, 65535) if most <= one), f"{most:g}")
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
