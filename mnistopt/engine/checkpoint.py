"""The store of a study's replicas: the only file that imports orbax.

`checkpoints/GROUP/EPOCH/` is one Orbax checkpoint of the replicas that trained
together as GROUP, after EPOCH epochs. Its item `state` holds

- `weights`: `{replica: {"last": params, "best": params}}`, arrays of their own, so
  that one replica is read without the others;
- `stacked`: what only continuing needs (the optimizer's state and the like), stacked
  over the replicas: far fewer arrays to write;

and its item `about` is JSON: which replicas these are, and their history. Orbax writes
in the background and renames a finished checkpoint into place, so a reader, or a run
that was killed, only ever sees whole ones.
"""

import time
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict, unflatten_dict
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    LatestN,
    PreservationPolicy,
)

# Share of the time that writing checkpoints may take: after one that took t seconds,
# the next (but for those that are kept) waits for t / SAVE_SHARE.
SAVE_SHARE = 0.05


class Checkpoint(NamedTuple):
    """Where a checkpoint is, and what it is about.

    Attributes:
        group: Name of its folder under the store.
        epoch: Epochs done.
        about: The JSON given to `Writer.save`.
    """

    group: str
    epoch: int
    about: dict[str, Any]


class Contents(NamedTuple):
    """What is kept of one replica.

    Attributes:
        last: Its parameters.
        best: Its parameters after its best epoch, of the same structure.
        rest: A pytree of whatever else continuing it needs.
    """

    last: Any
    best: Any
    rest: Any


class Store:
    """All checkpoints of a study."""

    def __init__(self, folder: Path):
        """Opens the store at `folder`, which need not exist yet."""
        self._folder = folder.absolute()

    def saved(self) -> list[Checkpoint]:
        """Reads what is there: one entry per whole checkpoint."""
        entries = []
        for folder in sorted(self._folder.glob("*/")):
            with ocp.CheckpointManager(folder) as manager:
                for epoch in manager.all_steps():
                    args = ocp.args.Composite(about=ocp.args.JsonRestore())
                    about = manager.restore(epoch, args=args)["about"]
                    entries.append(Checkpoint(folder.name, epoch, about))
        return entries

    def _restore(self, saved: Checkpoint, target: Any) -> Any:
        """Restores the part of an item `state` that `target` (arrays) names."""
        numpy = ocp.RestoreArgs(restore_type=np.ndarray)
        args = ocp.args.PyTreeRestore(
            target,
            restore_args=jax.tree.map(lambda _: numpy, target),
            partial_restore=True,
        )
        with ocp.CheckpointManager(self._folder / saved.group) as manager:
            restored = manager.restore(saved.epoch, args=ocp.args.Composite(state=args))
        return restored["state"]

    def load_params(
        self, saved: Checkpoint, replica: str, which: str, like: Any = None
    ) -> Any:
        """Reads one replica's parameters, and no other's.

        Args:
            saved: A checkpoint with this replica.
            replica: Its identity.
            which: "last", or "best" by validation accuracy.
            like: Parameters of the same structure, arrays or shapes: for checkpoints
                of the first studies, which do not tell it.

        Returns:
            Parameters, numpy arrays.
        """
        shapes = (
            _read_shapes(saved.about["shapes"]) if "shapes" in saved.about else like
        )
        target = {"weights": {replica: {which: shapes}}}
        return self._restore(saved, target)["weights"][replica][which]

    def load(
        self, saved: Checkpoint, replicas: Sequence[str], like: Contents
    ) -> dict[str, Contents]:
        """Reads some of a checkpoint's replicas, to continue them.

        Args:
            saved: A checkpoint with these replicas.
            replicas: Their identities.
            like: Contents of the same structure, with arrays as leaves.

        Returns:
            Per replica its contents, numpy arrays.
        """
        leaves, structure = jax.tree.flatten(like.rest)
        target = {
            "weights": {
                replica: {"last": like.last, "best": like.best} for replica in replicas
            },
            "stacked": _numbered(leaves),
        }
        restored = self._restore(saved, target)
        stacked = [restored["stacked"][name] for name in target["stacked"]]
        place = {name: i for i, name in enumerate(saved.about["replicas"])}
        return {
            replica: Contents(
                **restored["weights"][replica],
                rest=jax.tree.unflatten(
                    structure, [np.array(leaf[place[replica]]) for leaf in stacked]
                ),
            )
            for replica in replicas
        }

    def writer(self, group: str) -> "Writer":
        """Opens a writer for one group, a folder."""
        return Writer(self._folder / group)


def _write_shapes(params: Any) -> dict[str, Any]:
    """Returns shape and type of each array of a dictionary of parameters, as JSON."""
    flat = flatten_dict(params, sep="/")
    return {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in flat.items()}


def _read_shapes(content: Mapping[str, Any]) -> Any:
    """Reads what `_write_shapes` wrote."""
    flat = {
        name: jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(kind))
        for name, (shape, kind) in content.items()
    }
    return unflatten_dict(flat, sep="/")


def _numbered(leaves: Sequence[Any]) -> dict[str, Any]:
    return {f"{i:03d}": leaf for i, leaf in enumerate(leaves)}


class _Kept(PreservationPolicy):
    """Preserves the epochs of a set that may grow."""

    def __init__(self, epochs: Set[int]):
        self._epochs = epochs

    def should_preserve(self, checkpoints, *, context) -> Sequence[bool]:
        return [one.step in self._epochs for one in checkpoints]


class Writer:
    """Writes the checkpoints of one group, in the background; a context manager."""

    def __init__(self, folder: Path):
        """Opens `folder`, making it; what is in it stays."""
        self._keep: set[int] = set()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(1), _Kept(self._keep)]),
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(folder, options=options)
        self._keep.update(self._manager.all_steps())
        self._wait_until = 0.0
        self._seconds = 0.0

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_) -> None:
        """Waits until everything is written."""
        self._manager.close()

    def finish(self) -> None:
        """Waits until everything that was saved is written."""
        self._manager.wait_until_finished()

    def due(self) -> bool:
        """Says whether time allows to save, besides what is to be kept."""
        return time.monotonic() >= self._wait_until

    def save(
        self,
        epoch: int,
        replicas: Mapping[str, Contents],
        about: Mapping[str, Any],
        keep: bool,
    ) -> None:
        """Starts writing a checkpoint; returns when the contents have been copied.

        The first one is waited for, to learn what one costs.

        Args:
            epoch: Epochs done.
            replicas: Per identity its contents, numpy leaves that nobody changes.
            about: For the item `about`; `replicas`, the identities, and `shapes`, of
                one's parameters, are added.
            keep: Whether it stays; of the others only the newest does.
        """
        if keep:
            self._keep.add(epoch)
        start = time.monotonic()
        params = next(iter(replicas.values())).last
        rests = [jax.tree.leaves(contents.rest) for contents in replicas.values()]
        tree = {
            "weights": {
                replica: {"last": contents.last, "best": contents.best}
                for replica, contents in replicas.items()
            },
            "stacked": _numbered([np.stack(leaves) for leaves in zip(*rests)]),
        }
        self._manager.save(
            epoch,
            args=ocp.args.Composite(
                state=ocp.args.PyTreeSave(tree),
                about=ocp.args.JsonSave(
                    {
                        **about,
                        "replicas": list(replicas),
                        "shapes": _write_shapes(params),
                    }
                ),
            ),
        )
        if not self._seconds:
            self._manager.wait_until_finished()
            self._seconds = time.monotonic() - start
        self._wait_until = time.monotonic() + self._seconds / SAVE_SHARE
