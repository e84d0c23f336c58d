"""Hyper-parameters: those that every network has.

Everything that asks what hyper-parameters there are reads the declarations here and in
`models/registry.py`: flags and their help, checks and messages, columns of tables.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple, get_type_hints

from mnistopt.axes import (
    SMALLEST,
    Axis,
    choice,
    count,
    limit,
    number,
    share,
    show,
    single,
    strength,
)

# Pixels at each side by which a pen may be wider: of a thinner stroke of MNIST's, which
# has two or three, that makes nine.
WIDEST = 3
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "onecycle", "exponential")
# What a schedule does by default. A one-cycle's share of the horizon in which
# the rate rises is PyTorch's and optax's default for the policy of Smith and Topin 2018
# (arXiv:1708.07120); where an exponential decay ends is ours.
ONECYCLE_WARMUP = 0.3
EXPONENTIAL_FLOOR = 0.01


class Recipe(NamedTuple):
    """How a network is trained, as far as its program depends on it."""

    optimizer: Annotated[
        str,
        choice("adam", f"{', '.join(OPTIMIZERS)} (with momentum 0.9)", OPTIMIZERS),
    ]
    # The smaller of the paper's (section 4.4), which gives a few thousand digits
    # enough updates in few epochs.
    batch_size: Annotated[int, count(32, "examples per update")]
    schedule: Annotated[
        str,
        choice(
            "constant",
            "how the learning rate falls after its warm-up: " + ", ".join(SCHEDULES),
            SCHEDULES,
            neutral="constant",
        ),
    ] = "constant"


class Hparams(NamedTuple):
    """The hyper-parameters that are numbers: traced, so changing one compiles nothing.

    One replica's leaves are float32 scalars; `replicas.py` stacks them. The defaults
    are what the paper settles on (sections 4.3 and 4.4).
    """

    lr: Annotated[
        Any, number(1e-3, "learning rate", SMALLEST, "expected a number above 0")
    ]
    dropout: Annotated[Any, share(0.3, "probability of dropping a unit, in [0, 1)")]
    weight_decay: Annotated[
        Any,
        number(
            0.0, "weight decay, with adamw or sgd", 0, "expected a number of at least 0"
        ),
    ]
    label_smoothing: Annotated[Any, share(0.0, "label smoothing, in [0, 1)")]
    # How the rate changes: `training/optimizers.py`.
    warmup: Annotated[
        Any, strength("epochs over which the learning rate rises to lr", "warmup")
    ] = 0.0
    lr_floor: Annotated[Any, share(0.0, "share of lr at the schedule's end", 0.0)] = 0.0
    horizon: Annotated[
        Any, strength("epochs until the schedule ends, 0 for all that are trained")
    ] = 0.0
    clip: Annotated[
        Any, strength("largest norm of a step's gradients, 0 for no limit", "clip")
    ] = 0.0
    average: Annotated[
        Any,
        share(
            0.0,
            "decay of a moving average of the weights, such as 0.999; the average is "
            "evaluated and saved in their place",
            0.0,
            "average",
        ),
    ] = 0.0
    patience: Annotated[
        Any,
        limit("epochs without a better validation accuracy that end a replica"),
    ] = 0.0
    distill: Annotated[
        Any, share(0.0, "weight of the teacher's answers in the loss", 0.0, "distill")
    ] = 0.0
    # What is done to the training images: `training/augment.py`.
    shift: Annotated[Any, strength("shift by up to this many pixels", "affine")] = 0.0
    rotate: Annotated[Any, strength("rotate by up to this many degrees", "affine")] = (
        0.0
    )
    zoom: Annotated[
        Any, share(0.0, "enlarge or shrink by up to this share", 0.0, "affine")
    ] = 0.0
    shear: Annotated[Any, strength("shear by up to this many degrees", "affine")] = 0.0
    aspect: Annotated[
        Any,
        share(
            0.0, "widen and flatten, or the reverse, by up to this share", 0.0, "aspect"
        ),
    ] = 0.0
    elastic: Annotated[
        Any,
        strength(
            "deform by this many pixels along each axis, root mean square", "elastic"
        ),
    ] = 0.0
    stroke: Annotated[
        Any,
        strength(
            "widen light strokes by up to this many pixels at each side, or thin them",
            "stroke",
            WIDEST,
        ),
    ] = 0.0
    erase: Annotated[
        Any, share(0.0, "erase a square of up to this share of the side", 0.0, "erase")
    ] = 0.0
    blur: Annotated[Any, strength("blur by up to this many pixels (sigma)", "blur")] = (
        0.0
    )
    contrast: Annotated[
        Any, share(0.0, "lower the contrast by up to this share", 0.0, "contrast")
    ] = 0.0
    noise: Annotated[
        Any, strength("add noise of up to this standard deviation", "noise")
    ] = 0.0
    spare: Annotated[
        Any, share(0.0, "share of images that each such change spares", 0.0, "spare")
    ] = 0.0


# A moving average's decay after some steps is (A + step) / (B + step) until it comes to
# what was asked for, so that the random start is soon forgotten: rule and numbers of
# TensorFlow's `ExponentialMovingAverage` with `num_updates`.
AVERAGE_START = (1, 10)


def averaging_steps(decay: float) -> int:
    """Returns the steps until a moving average has its decay."""
    first, second = AVERAGE_START
    return max(0, math.ceil((second * decay - first) / (1 - decay) - 1e-6))


def declared(group: type) -> dict[str, Axis]:
    """Returns the axes that the fields of a class are annotated with, by name."""
    hints = get_type_hints(group, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


RECIPE = declared(Recipe)
NUMBERS = declared(Hparams)
_NAMES = [*NUMBERS]
# What is done to training images, and what an image may be spared.
STRENGTHS = tuple(_NAMES[_NAMES.index("shift") : _NAMES.index("spare")])
EPOCHS = count(6, "passes over the training examples")
# What a step keeps an account of from its first, or what ends a replica.
_FIXED = {"warmup", "lr_floor", "horizon", "average", "patience"}
CHANGING = {name: axis for name, axis in NUMBERS.items() if name not in _FIXED}


class Change(NamedTuple):
    """New values of some numbers, from some epoch on.

    Attributes:
        epoch: Epochs done before.
        numbers: The new values by name.
    """

    epoch: int
    numbers: Mapping[str, float]


@functools.cache
def read_changes(text: str) -> tuple[Change, ...]:
    """Reads numbers that change between epochs: "3:lr=0.0005+dropout=0.2;6:lr=0.0001".

    Raises:
        InputError: If a value is not allowed.
        ValueError: If it is not written so, or epochs do not ascend from 1.
    """
    changes: list[Change] = []
    for part in filter(None, text.replace(" ", "").split(";")):
        epoch, _, values = part.partition(":")
        numbers = {}
        for value in values.split("+"):
            name, _, number = value.partition("=")
            if name not in CHANGING or name in numbers:
                raise ValueError
            numbers[name] = single(CHANGING[name].check(name, float(number)))
        after = changes[-1].epoch if changes else 0
        if not epoch.isdecimal() or int(epoch) <= after:
            raise ValueError
        ordered = {name: numbers[name] for name in CHANGING if name in numbers}
        changes.append(Change(int(epoch), ordered))
    return tuple(changes)


def show_changes(changes: Iterable[Change]) -> str:
    """Writes changes as `read_changes` reads them."""
    return ";".join(
        f"{change.epoch}:"
        + "+".join(f"{name}={show(value)}" for name, value in change.numbers.items())
        for change in changes
    )


CHANGES = Axis(
    "",
    "numbers that change between epochs, as in 3:lr=0.0005+dropout=0.2;6:lr=0.0001: "
    "after three epochs, and after six",
    f"expected EPOCH:NAME=VALUE, joined by + and ;, of {', '.join(CHANGING)}",
    lambda text: show_changes(read_changes(text)),
    neutral="",
    kind="text",
)
# All of them, as they are given and shown.
TRAINING = {**RECIPE, **NUMBERS, "changes": CHANGES, "epochs": EPOCHS}
