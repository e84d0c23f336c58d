"""A point of a grid, its place in a table, and the identity of a replica."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from mnistopt.axes import show, single
from mnistopt.hparams import (
    CHANGES,
    NUMBERS,
    RECIPE,
    TRAINING,
    Change,
    Hparams,
    Recipe,
    read_changes,
    show_changes,
)

# The columns of the first studies. They are in every table and every identity, empty
# where a model lacks them: what has a name keeps it. Others are where they are used.
ALWAYS = (
    *("model", "hidden", "channels", "dense", "optimizer", "batch_size", "lr"),
    *("dropout", "weight_decay", "label_smoothing", "epochs"),
)
# The values at which hyper-parameters that came later are left out.
NEUTRAL = {
    name: axis.neutral for name, axis in TRAINING.items() if axis.neutral is not None
}


# What a program has for the numbers of a stage that its points go through.
_IN_USE = 0.5


def stages(hparams: Hparams) -> tuple[str, ...]:
    """Returns the stages of a training step that these numbers bring in."""
    used = (
        axis.stage
        for axis, value in zip(NUMBERS.values(), hparams)
        if axis.stage and value != axis.neutral
    )
    return tuple(dict.fromkeys(used))


@dataclasses.dataclass(frozen=True)
class Structure:
    """A network that was chosen, as files know it: by name and values.

    Attributes:
        model: The name in the registry, or of the user's class.
        values: The values of its axes by name; layers joined by x, as in "32x64".
        dropout: Whether it takes the traced dropout rate.
        program: The name of what a user's module computes; "" for others,
            and until that is known.
        path: The class of a user's module, "package.module:Class"; "" for others.
        module: The flax module itself, where it was given. It and `path` are not what
            distinguishes two structures.
    """

    model: str
    values: tuple[tuple[str, Any], ...]
    dropout: bool = True
    program: str = ""
    path: str = dataclasses.field(default="", compare=False)
    module: Any = dataclasses.field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        """The network in words: "mlp 128x128" or "cnn 32x64/128"."""
        values = "/".join(show(value) for _, value in self.values)
        return f"{self.model} {values}".strip()


@dataclasses.dataclass(frozen=True)
class Point:
    """One setting of the swept hyper-parameters; `study.grid` makes and checks them.

    Attributes:
        structure: The network.
        recipe: How it is trained, the static part.
        hparams: The traced part, as floats; each the shortest name of its float32.
        epochs: Passes over the training examples.
        changes: Of the traced part between epochs, as `hparams.show_changes` writes
            them; `hparams` is what it begins with.
        asked: The traced part as it was given, which tables show.
    """

    structure: Structure
    recipe: Recipe
    hparams: Hparams
    epochs: int
    changes: str = ""
    asked: Hparams | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def program(self) -> "Point":
        """The static part: points with equal programs share one compile.

        A point like this one with every traced number, and the epochs, at a fixed
        value.
        """
        used = [stage for numbers in self._numbers() for stage in stages(numbers)]
        fixed = {
            name: _IN_USE if axis.stage in used else axis.default
            for name, axis in NUMBERS.items()
        }
        if not self.structure.dropout:
            fixed["dropout"] = 0.0
        numbers = Hparams(**fixed)
        return dataclasses.replace(self, hparams=numbers, epochs=1, changes="")

    @property
    def learns(self) -> bool:
        """Whether it ever learns from a teacher."""
        return any(numbers.distill for numbers in self._numbers())

    def _numbers(self) -> list[Hparams]:
        """Returns its traced parts, in order."""
        numbers = [self.hparams]
        for change in read_changes(self.changes):
            numbers.append(numbers[-1]._replace(**change.numbers))
        return numbers

    def at(self, epoch: int) -> Hparams:
        """Returns its traced part after some epochs."""
        epochs = [0, *(change.epoch for change in read_changes(self.changes))]
        numbers = zip(epochs, self._numbers(), strict=True)
        return [of for since, of in numbers if since <= epoch][-1]

    @property
    def parts(self) -> list[int]:
        """The epochs before its last at which its traced part changes."""
        epochs = (change.epoch for change in read_changes(self.changes))
        return [epoch for epoch in epochs if epoch < self.epochs]

    def before_last_change(self) -> tuple["Point", int] | None:
        """Returns the point without its last change, and the epoch of that.

        Up to there, both are trained the same. None where nothing changes.
        """
        changes = read_changes(self.changes)
        if not changes:
            return None
        earlier = dataclasses.replace(self, changes=show_changes(changes[:-1]))
        return earlier, changes[-1].epoch

    def changing(self, epoch: int, **numbers: float) -> "Point":
        """Returns the point with other numbers from an epoch on, after all changes."""
        changes = (*read_changes(self.changes), Change(epoch, numbers))
        return dataclasses.replace(self, changes=CHANGES.clean(show_changes(changes)))

    def until(self, epochs: int) -> "Point":
        """Returns the point with another number of epochs to train."""
        return dataclasses.replace(self, epochs=epochs)

    def row(self) -> dict[str, Any]:
        """The point as columns of a table: layers joined by x, None where unused.

        What is at its neutral value is left out. Numbers are those that were asked for.
        """
        pairs = zip(self.hparams, self.asked or self.hparams)
        shown = (asked if single(asked) == value else value for value, asked in pairs)
        return self._row(Hparams(*shown))

    def _row(self, numbers: Hparams) -> dict[str, Any]:
        used = {
            name: value
            for name, value in {
                **self.recipe._asdict(),
                **numbers._asdict(),
                "changes": self.changes,
            }.items()
            if name not in NEUTRAL or value != NEUTRAL[name]
        }
        if not self.structure.dropout:
            used["dropout"] = None
        unused = dict.fromkeys(("hidden", "channels", "dense"))
        network = {
            "model": self.structure.model,
            **unused,
            **dict(self.structure.values),
        }
        return {**network, **used, "epochs": self.epochs}

    @classmethod
    def from_row(
        cls, row: Mapping[str, Any], program: str = "", path: str = ""
    ) -> "Point":
        """Returns the point that `row` described.

        Args:
            row: A row as `row()` returns it.
            program: The structure's program.
            path: The structure's import path.
        """
        known = {**NEUTRAL, **row}
        recipe = Recipe(**{name: known[name] for name in RECIPE})
        numbers = {name: known[name] for name in NUMBERS}
        takes_dropout = numbers["dropout"] is not None
        numbers["dropout"] = numbers["dropout"] or 0.0
        values = tuple(
            (name, value)
            for name, value in row.items()
            if name not in {"model", *TRAINING} and value is not None
        )
        structure = Structure(row["model"], values, takes_dropout, program, path)
        asked = Hparams(**numbers)
        hparams = Hparams(*map(single, asked))
        return cls(structure, recipe, hparams, row["epochs"], known["changes"], asked)

    def identity(self) -> str:
        """A short hash of the point: "p" and 8 hexadecimal digits.

        The letter keeps spreadsheets from reading a number, as in 33656715 or 8e79.
        """
        return "p" + _short_hash(self._content())

    def _content(self) -> dict[str, Any]:
        program = self.structure.program
        own = {"program": program} if program else {}
        return {**self._row(self.hparams), **own}


def replica_id(point: Point, seed: int, fingerprint: str) -> str:
    """Returns the identity of a replica: "r" and 10 hexadecimal digits.

    A hash of the point, the seed and the data, but not of `epochs`: a run to 20
    epochs passes through the run to 10, and both are the same replica.

    Args:
        point: The replica's point.
        seed: The replica's seed.
        fingerprint: `Dataset.identity`: with a teacher's digest after a +, which only
            counts for points that learn from it.
    """
    if not point.learns:
        fingerprint = fingerprint.partition("+")[0]
    content = {k: v for k, v in point._content().items() if k != "epochs"}
    return "r" + _short_hash({**content, "seed": seed, "data": fingerprint}, digits=10)


def _short_hash(content: Mapping[str, Any], digits: int = 8) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
