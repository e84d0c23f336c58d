"""The paper's claims, each as the contrasts that its sentence makes."""

import math

from mnistopt.paper.hypotheses import Claim, Hypothesis, Term
from mnistopt.paper.tables import (
    MARGIN,
    cnn,
    cnn_dropout,
    mlp,
    mlp_dropout,
    tuned,
)
from mnistopt.points import Point


def _more(words: str, one: Point, other: Point, figure=None, metric="test_accuracy"):
    """`one` is above `other`."""
    terms = (Term(1, one, metric), Term(-1, other, metric))
    return Hypothesis(words, terms, figure=figure)


def _no_better(words: str, one: Point, other: Point, figure: float, both_ways: bool):
    """`one` is above `other` by less than the margin, and below too if `both_ways`."""
    terms = (Term(1, one, "test_accuracy"), Term(-1, other, "test_accuracy"))
    low = -MARGIN if both_ways else -math.inf
    return Hypothesis(words, terms, low, MARGIN, figure=figure)


def _ratio(words: str, one: Point, other: Point, figure: float, metric: str):
    """`one` is a multiple of `other`, above 1."""
    terms = (Term(1, one, f"log {metric}"), Term(-1, other, f"log {metric}"))
    return Hypothesis(words, terms, ratio=True, figure=figure)


def _time(words: str, one: Point, other: Point, low: float, high: float, figure: float):
    """`one` takes between `low` and `high` times the training time of `other`."""
    terms = (Term(1, one, "log seconds"), Term(-1, other, "log seconds"))
    return Hypothesis(words, terms, math.log(low), math.log(high), True, figure)


_GROWTH = (
    Term(2, mlp(128), "test_accuracy"),
    Term(-1, mlp(64), "test_accuracy"),
    Term(-1, mlp(256), "test_accuracy"),
)

# Only the contrasts that the paper's sentences make; "about 20 %" is taken as 10 to 30.
CLAIMS = (
    Claim(
        "cnn beats mlp",
        1,
        "4.1, abstract",
        "The CNN recognizes more digits than the MLP.",
        (_more("CNN 32x64/128 - MLP 128x128", cnn(32, 64), mlp(128, 128), 0.014),),
    ),
    Claim(
        "width helps",
        2,
        "4.2",
        "One hidden layer gains from 64 to 256 neurons, less beyond 128.",
        (
            _more("MLP 256 - 64", mlp(256), mlp(64), 0.012),
            Hypothesis("(128 - 64) - (256 - 128)", _GROWTH, figure=0.004),
        ),
    ),
    Claim(
        "two layers are best",
        2,
        "4.2",
        "Two hidden layers of 128 are the best MLP.",
        (
            _more("MLP 128x128 - 256", mlp(128, 128), mlp(256), 0.003),
            _more("MLP 128x128 - 128", mlp(128, 128), mlp(128), 0.007),
            _more(
                "MLP 128x128 - 128x128x128", mlp(128, 128), mlp(128, 128, 128), 0.006
            ),
        ),
    ),
    Claim(
        "more kernels help, to a point",
        3,
        "4.2",
        "More kernels help, but little beyond 32 and 64.",
        (
            _more("CNN 32x64 - 16x32", cnn(32, 64), cnn(16, 32), 0.011),
            _no_better("CNN 64x128 - 32x64", cnn(64, 128), cnn(32, 64), 0.001, True),
        ),
    ),
    Claim(
        "three convolutions beat two",
        3,
        "4.2",
        "A third convolution helps.",
        (_more("CNN 32x64x64 - 32x64", cnn(32, 64, 64), cnn(32, 64), 0.006),),
    ),
    Claim(
        "a third convolution takes time",
        3,
        "4.2",
        "A third convolution takes about 20 % longer (here, on this machine).",
        (
            _time(
                "time, CNN 32x64x64 / 32x64",
                *(cnn(32, 64, 64), cnn(32, 64), 1.1, 1.3, 1.2),
            ),
        ),
    ),
    Claim(
        "128 dense units are best",
        3,
        "4.2",
        "128 neurons in the dense layer beat 64 and 256.",
        (
            _more("dense 128 - 64", cnn(32, 64, 64), cnn(32, 64, 64, dense=64)),
            _more(
                "dense 128 - 256", cnn(32, 64, 64), cnn(32, 64, 64, dense=256), 0.002
            ),
        ),
    ),
    *(
        Claim(
            f"dropout 0.3 is best for the {name}",
            4,
            "4.3",
            f"The {name} recognizes most digits with dropout 0.3.",
            tuple(
                _more(f"{name} 0.3 - {rate:g}", make(0.3), make(rate), figure)
                for rate, figure in figures.items()
            ),
        )
        for name, make, figures in (
            ("MLP", mlp_dropout, {0.0: 0.007, 0.2: 0.003, 0.4: None, 0.5: 0.004}),
            ("CNN", cnn_dropout, {0.0: 0.008, 0.2: 0.004, 0.4: None, 0.5: 0.006}),
        )
    ),
    Claim(
        "dropout narrows the gap",
        4,
        "4.3",
        "Dropout 0.3 narrows the gap between training and test accuracy.",
        tuple(
            _more(
                f"gap of the {name}, 0 - 0.3", make(0.0), make(0.3), gap, "overfitting"
            )
            for name, make, gap in (
                ("MLP", mlp_dropout, 0.014),
                ("CNN", cnn_dropout, 0.012),
            )
        ),
    ),
    Claim(
        "learning rate 0.001 is best",
        5,
        "4.4",
        "Learning rate 0.001 beats 0.01 and 0.0001.",
        (
            _more("0.001 - 0.01", tuned(), tuned(lr=1e-2), 0.007),
            _more("0.001 - 0.0001", tuned(), tuned(lr=1e-4), 0.006),
        ),
    ),
    Claim(
        "learning rate matters most",
        5,
        "5, abstract",
        "The learning rate matters more than batch size and epochs.",
        # (0.001 - 0.01) - (64 - 32) and (0.001 - 0.01) - (80 - 50): 0.001, 64 and 80
        # are one point, and drop out.
        (
            _more(
                "cost of rate 0.01 - of batch 32",
                *(tuned(batch_size=32), tuned(lr=1e-2), 0.005),
            ),
            _more(
                "cost of rate 0.01 - of 50 epochs",
                *(tuned(epochs=50), tuned(lr=1e-2), 0.003),
            ),
        ),
    ),
    Claim(
        "0.0001 is slow",
        5,
        "4.4",
        "Learning rate 0.0001 converges more slowly than 0.001.",
        (
            _ratio(
                "convergence epoch, 0.0001 / 0.001",
                *(tuned(lr=1e-4), tuned(), 75 / 45, "convergence_epoch"),
            ),
        ),
    ),
    Claim(
        "0.01 starts fast and oscillates",
        5,
        "4.4",
        "Learning rate 0.01 is ahead at first and oscillates later.",
        (
            _more(
                "validation accuracy after epoch 1, 0.01 - 0.001",
                *(tuned(lr=1e-2), tuned(), None, "first_accuracy"),
            ),
            _more(
                "spread of the last quarter's epochs, 0.01 - 0.001",
                *(tuned(lr=1e-2), tuned(), None, "oscillation"),
            ),
        ),
    ),
    Claim(
        "batch 64 beats 32",
        5,
        "4.4",
        "Batches of 64 are slightly better than of 32.",
        (_more("64 - 32", tuned(), tuned(batch_size=32), 0.002),),
    ),
    Claim(
        "batch 64 saves time",
        5,
        "4.4",
        "Batches of 64 take about 30 % less time than of 32 (here, on this machine).",
        (_time("time, 64 / 32", tuned(), tuned(batch_size=32), 0.6, 0.8, 0.7),),
    ),
    Claim(
        "80 epochs suffice",
        5,
        "4.4",
        "80 epochs are better than 50, and 100 no better than 80.",
        (
            _more("80 - 50", tuned(), tuned(epochs=50), 0.004),
            _no_better("100 - 80", tuned(epochs=100), tuned(), -0.001, False),
        ),
    ),
    Claim(
        "the best reaches 98.6 %",
        5,
        "4.4, abstract",
        "The best CNN recognizes 98.6 % of the test digits, or more.",
        (
            Hypothesis(
                "accuracy of the best CNN",
                (Term(1, tuned(), "test_accuracy"),),
                low=0.986,
                figure=0.986,
            ),
        ),
    ),
)
