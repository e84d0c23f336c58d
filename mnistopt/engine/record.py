"""What is known of a replica: its point, its seed and its history."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from mnistopt.points import Point
from mnistopt.training.metrics import Metrics, stop_epoch

# The fields of `EpochMetrics`; the latter, only of the epochs that were asked for.
_ALWAYS, _IN_FULL = ("running", "validation"), ("train", "test", "best_test")


@dataclasses.dataclass
class Record:
    """What is known of one replica.

    Attributes:
        replica: The replica's identity.
        point: The replica's point; `epochs` is the number it trains to.
        seed: The replica's seed.
        params: How many parameters its network has.
        history: Per name a list with one number per epoch done: `SPLIT_total`,
            `SPLIT_correct`, `SPLIT_loss_sum` for the fields of `EpochMetrics` (zeros
            where it was not measured), `diverged_at`, `seconds`, its share of the
            time that its cohort took, `cause`, as `engine.replicas.Result` has it, and
            `machine`, the name of what computed it.
        asked: The epoch counts that were asked for, ascending.
        rungs: Those at which a search wanted its validation accuracy only, ascending.
    """

    replica: str
    point: Point
    seed: int
    params: int
    history: dict[str, list] = dataclasses.field(default_factory=dict)
    asked: tuple[int, ...] = dataclasses.field(default=(), compare=False)
    rungs: tuple[int, ...] = dataclasses.field(default=(), compare=False)

    @property
    def epochs_done(self) -> int:
        """How many epochs the history has."""
        return len(self.history.get("seconds", []))

    @property
    def measured(self) -> list[int]:
        """The epoch counts with a full measurement: those that were asked for."""
        totals = self.history.get("train_total", [])
        return [epoch for epoch, total in enumerate(totals, 1) if total]

    @property
    def stopped(self) -> int | None:
        """The epoch at which its patience has run out; None if it has not."""
        correct = self.history.get("validation_correct", [])
        return stop_epoch(correct, int(self.point.hparams.patience))

    def machine(self, epochs: int) -> str:
        """The names of what has computed its first epochs, in order, joined by "+"."""
        return "+".join(dict.fromkeys(self.history.get("machine", [])[:epochs]))

    def measure(self, metrics: Any) -> None:
        """Adds to the last epoch what only some are measured in."""
        for split, field in itertools.product(_IN_FULL, Metrics._fields):
            value = getattr(getattr(metrics, split), field).item()
            self.history[f"{split}_{field}"][-1] = value

    def append(
        self,
        metrics: Any,
        diverged_at: int,
        seconds: float,
        cause: str,
        machine: str,
    ) -> None:
        """Adds an epoch; `metrics` is an `EpochMetrics` with numpy scalars."""
        numbers: dict[str, Any] = {"diverged_at": int(diverged_at), "seconds": seconds}
        numbers |= {"cause": cause, "machine": machine}
        for split in _ALWAYS + _IN_FULL:
            for field, value in zip(Metrics._fields, getattr(metrics, split)):
                numbers[f"{split}_{field}"] = value.item()
        for name, value in numbers.items():
            self.history.setdefault(name, []).append(value)

    def until(self, epochs: int) -> "Record":
        """Returns the record's state after some epochs."""
        history = {name: values[:epochs] for name, values in self.history.items()}
        return dataclasses.replace(self, history=history)

    def following(self, other: "Record") -> "Record":
        """Returns the record with another's history, as its own beginning.

        Which took no time here, and was not measured in full.
        """
        history = {name: list(values) for name, values in other.history.items()}
        history["seconds"] = [0.0] * other.epochs_done
        for split, field in itertools.product(_IN_FULL, Metrics._fields):
            name = f"{split}_{field}"
            history[name] = [type(value)(0) for value in history[name]]
        return dataclasses.replace(self, history=history)

    def training_to(self, epochs: int) -> "Record":
        """Returns the record with another number of epochs to train to."""
        point = dataclasses.replace(self.point, epochs=epochs)
        return dataclasses.replace(self, point=point)

    def asking(self, counts: Iterable[int] = (), rungs: Iterable[int] = ()) -> "Record":
        """Returns the record with more epoch counts that were asked for."""
        asked = tuple(sorted({*self.asked, *counts}))
        climbed = tuple(sorted({*self.rungs, *rungs}))
        return dataclasses.replace(self, asked=asked, rungs=climbed)

    def merged(self, other: "Record") -> "Record":
        """Returns one record of the same replica that knows what both know.

        Of two of the same length the other one counts.
        """
        short, long = sorted((self, other), key=lambda record: record.epochs_done)
        history = {name: list(values) for name, values in long.history.items()}
        # All of an epoch: what was measured in full is of the run whose checkpoint of
        # it is there, as the one that ends there, and another may differ in last bits.
        names = history.keys() & short.history.keys()
        for epoch, name in itertools.product(short.measured, names):
            ends = epoch == short.epochs_done < long.epochs_done
            if epoch not in long.measured or ends:
                history[name][epoch - 1] = short.history[name][epoch - 1]
        merged = dataclasses.replace(long, history=history)
        return merged.asking(short.asked, short.rungs)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON has it."""
        structure = self.point.structure
        own = {"program": structure.program, "path": structure.path}
        return {
            "replica": self.replica,
            "point": self.point.row(),
            **(own if structure.path else {}),
            "seed": self.seed,
            "params": self.params,
            # Training goes on while it is written.
            "history": {name: list(values) for name, values in self.history.items()},
            "asked": list(self.asked),
            **({"rungs": list(self.rungs)} if self.rungs else {}),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Record":
        """Reads what `to_json` wrote."""
        rest = dict(content)
        own = rest.pop("program", ""), rest.pop("path", "")
        point = Point.from_row(content["point"], *own)
        counts = {name: tuple(rest.get(name, ())) for name in ("asked", "rungs")}
        return cls(**{**rest, **counts, "point": point})
