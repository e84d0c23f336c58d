"""Recipes: settings that are worth repeating, and what they come to.

Each is the settings of `mnistopt.run`, or names the study that it votes with or learns
from. All figures are means of seeds after the last epoch on MNIST's 10,000 test digits,
which chose nothing; experiments/results/recipes has every seed.

    mnistopt.run(**mnistopt.recipes.small().settings, dataset="mnist", seeds=5)

    ./launch.sh recipe small
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to come to an accuracy.

    Attributes:
        settings: What `mnistopt.run` takes: axes, and `train_on`.
        seeds: How many.
        shifts: Pixels by which a test image is also moved, all ways: the mean counts.
        votes: Whether the networks of the study vote, chosen greedily on validation.
        teacher: The recipe whose networks these learn from; "" for none.
        corrupted: Whether corrupted digits are measured, too.
    """

    settings: Mapping[str, Any]
    seeds: int = 5
    shifts: int = 0
    votes: bool = False
    teacher: str = ""
    corrupted: bool = False


# Batch normalization, decoupled weight decay, one cycle of the learning rate, and the
# moving average of the weights.
_COMMON = {
    **{"norm": "batch", "batch_size": 64, "optimizer": "adamw", "weight_decay": 0.01},
    **{"schedule": "onecycle", "average": 0.999},
}


def tiny() -> Recipe:
    """At most 2,000 parameters.

    The structure of ruslangrimov's "mnist-minimal-model" (1,936 parameters, 99.10 % by
    one of 75 epochs' weights), its layers untied and narrower, with batch
    normalization.
    """
    return Recipe(
        {
            **_COMMON,
            **{"model": "separable", "channels": (8, 14, 16, 18, 20), "dropout": 0},
            **{"lr": 0.01, "epochs": 60, "train_on": "all"},
        },
        shifts=1,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe for recipe in (tiny,)
}
