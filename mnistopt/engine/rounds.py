"""Replicas packed into rounds: what one call computes on one device.

The points of a round's **row** share a seed, and with it batches and random bits.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mnistopt.ambient import fixed
from mnistopt.engine.devices import Lanes, LocalDevice
from mnistopt.hparams import Hparams
from mnistopt.training.cohort import TrainState


class Member(NamedTuple):
    """A replica to train.

    Attributes:
        name: The replica's identity.
        seed: The replica's seed.
        hparams: The replica's traced hyper-parameters.
        state: Where it is, numpy leaves; None at the start, which its seed decides.
    """

    name: str
    seed: int
    hparams: Hparams
    state: TrainState | None = None


class Round:
    """Up to `lanes.seeds` rows of up to `lanes.points` replicas.

    Attributes:
        places: Row and lane of each replica, by name.
        device: The device that computed them last; None before the first call.
        state: The states of all, leaves [rows, lanes, ...]; None before the first call
            of those that begin: the device makes it.
    """

    def __init__(self, lanes: Lanes, rows: Sequence[Sequence[Member]]):
        """Stacks replicas.

        Free lanes are filled with copies of a row's first replica, and free rows with
        copies of the first row: they are computed and thrown away.

        Args:
            lanes: The lanes of the program.
            rows: Replicas of one seed each; all of them, or none, have a state.
        """
        padded = [*rows, *[rows[0]] * (lanes.seeds - len(rows))]
        members = [
            member
            for row in padded
            for member in (*row, *[row[0]] * (lanes.points - len(row)))
        ]

        def stack(*leaves):
            # One alone is not copied: the device's copy is the only one.
            stacked = np.stack(leaves) if len(leaves) > 1 else np.asarray(leaves[0])
            return stacked.reshape(*lanes, *np.shape(leaves[0]))

        self.places = {
            member.name: (r, p)
            for r, row in enumerate(rows)
            for p, member in enumerate(row)
        }
        self.device: Any = None
        self.state: TrainState | None = jax.tree.map(
            stack, *[member.state for member in members]
        )
        self.hparams: Hparams = jax.tree.map(
            lambda *leaves: stack(*map(np.float32, leaves)),
            *[member.hparams for member in members],
        )
        self.seeds: Any = np.array([row[0].seed for row in padded], np.int32)

    def __getstate__(self) -> dict[str, Any]:
        """Drops the process-local device, and the state, when pickled."""
        return {**self.__dict__, "device": None, "state": None}

    def bring_to(self, device: LocalDevice) -> None:
        """Copies it to where a device computes, unless it is there."""
        if self.device is None or self.device.xla != device.xla:
            self.state, self.hparams, self.seeds = jax.device_put(
                (self.state, self.hparams, self.seeds), device.xla
            )
        self.device = device

    @fixed()
    def read(self, tree: Any) -> dict[str, Any]:
        """Brings `state` or a result to the host, one tree per replica by its name.

        Waits for the computation. On a CPU the arrays are the device's own memory,
        which the round's next call takes: let go of those of `state` before it.
        """
        leaves, structure = jax.tree.flatten(jax.device_get(tree))
        return {
            name: jax.tree.unflatten(structure, [leaf[place] for leaf in leaves])
            for name, place in self.places.items()
        }


def make_rounds(lanes: Lanes, members: Sequence[Member]) -> list[Round]:
    """Packs replicas into as few rounds as there can be.

    Args:
        lanes: The lanes of the program.
        members: The replicas in any order, which only affects which are computed side
            by side; all of them, or none, have a state.
    """
    by_seed: dict[int, list[Member]] = {}
    for member in members:
        by_seed.setdefault(member.seed, []).append(member)
    rows = [
        of_seed[i : i + lanes.points]
        for of_seed in by_seed.values()
        for i in range(0, len(of_seed), lanes.points)
    ]
    return [
        Round(lanes, rows[i : i + lanes.seeds])
        for i in range(0, len(rows), lanes.seeds)
    ]
