"""What the paper's outlook expects, as contrasts."""

import math

from mnistopt.paper.hypotheses import Claim, Hypothesis, Term
from mnistopt.paper.outlook.rows import BASE, BOTH, LIGHT, light, normalized
from mnistopt.paper.tables import MARGIN
from mnistopt.points import Point


def _more(words: str, one: Point, other: Point, metric: str) -> Hypothesis:
    """`one` is above `other`."""
    return Hypothesis(words, (Term(1, one, metric), Term(-1, other, metric)))


def _no_worse(words: str, one: Point, other: Point) -> Hypothesis:
    """`one` is below `other` by less than the margin, if at all."""
    terms = (Term(1, one, "test_accuracy"), Term(-1, other, "test_accuracy"))
    return Hypothesis(words, terms, low=-MARGIN)


def _faster(words: str, one: Point, other: Point) -> Hypothesis:
    """`one` needs fewer epochs than `other`."""
    metric = "log convergence_epoch"
    terms = (Term(1, other, metric), Term(-1, one, metric))
    return Hypothesis(words, terms, low=0.0, high=math.inf, ratio=True)


CLAIMS = (
    Claim(
        "augmentation helps against noise",
        6,
        "5",
        "Augmentation improves the robustness to noise.",
        (_more("accuracy under noise, both - none", BOTH, BASE, "robust_noise"),),
    ),
    Claim(
        "augmentation helps against deformation",
        6,
        "5",
        "Augmentation improves the robustness to deformation.",
        (
            _more(
                "accuracy under deformation, both - none",
                *(BOTH, BASE, "robust_deformation"),
            ),
        ),
    ),
    Claim(
        "batch normalization converges faster",
        7,
        "5",
        "Batch normalization speeds up convergence.",
        tuple(
            _faster(
                f"convergence epochs of the {model.upper()}, none / batch",
                *(normalized(model, "batch"), normalized(model, "none")),
            )
            for model in ("cnn", "mlp")
        ),
    ),
    Claim(
        "light networks compute less",
        8,
        "5",
        "Lighter structures, MobileNet and ShuffleNet, reduce computation at equal "
        "accuracy (here: with half of the multiply-adds they are no worse).",
        tuple(
            _no_worse(f"{words}, half - CNN", light(model, "half of them"), BASE)
            for model, words in LIGHT.items()
        ),
    ),
)
