"""The store of a study's replicas: with first_params.py all that imports orbax.

`checkpoints/GROUP/EPOCH/` is one Orbax checkpoint of the replicas that trained
together as GROUP, after EPOCH epochs. Its item `state` holds

- `weights`: `{"last": params, "best": params}`, stacked over the replicas; where a
  network keeps statistics, `{"params": params, "batch_stats": ...}` in their places;
- `stacked`: what only continuing needs (the optimizer's state and the like), likewise;

and its item `about` is JSON: which replicas these are, and their history. A thousand
replicas are as few arrays as one. They are kept in chunks of one replica, and read by
TensorStore, which Orbax writes them with, so that one is read without the others.
Orbax writes in the background and renames a finished checkpoint into place, so a
reader, or a run that was killed, only ever sees whole ones.
"""

import time
import warnings
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from flax.traverse_util import flatten_dict, unflatten_dict
from orbax.checkpoint import checkpoint_managers as policies

from mnistopt.engine.first_params import load_first_params
from mnistopt.files import plain_path

# Share of the time that writing checkpoints may take: after one that took t seconds,
# the next (but for those that are kept) waits for t / SAVE_SHARE.
SAVE_SHARE = 0.05
# Seconds of training before the first: what a kill may cost is not worth saving more
# often, and a study that is done by then saves its end only.
FIRST_SAVE = 10.0
# Bytes of what has been read that are kept: mostly where the chunks are.
READ_CACHE = 64_000_000


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
        last: Its variables, as flax has them: `params` and perhaps more.
        best: Its variables after its best epoch, of the same structure.
        rest: A pytree of whatever else continuing it needs.
    """

    last: Any
    best: Any
    rest: Any


class Store:
    """All checkpoints of a study."""

    def __init__(self, folder: Path):
        """Opens the store at `folder`, which need not exist yet."""
        self._own, self._folder = folder.absolute(), plain_path(folder.absolute())
        self._arrays: dict[tuple[Path, str], tensorstore.TensorStore] = {}
        cache = {"total_bytes_limit": READ_CACHE}
        self._context = tensorstore.Context({"cache_pool": cache})

    def saved(self) -> list[Checkpoint]:
        """Reads what is there: one entry per whole checkpoint.

        One that cannot be read is left out, with a warning.
        """
        entries = []
        for folder in sorted(self._folder.glob("*/")):
            with ocp.CheckpointManager(folder) as manager:
                for epoch in manager.all_steps():
                    args = ocp.args.Composite(about=ocp.args.JsonRestore())
                    try:
                        about = manager.restore(epoch, args=args)["about"]
                        entries.append(Checkpoint(folder.name, epoch, about))
                    except Exception as error:  # noqa: BLE001
                        warn_of(self._own / folder.name / str(epoch), error)
        return entries

    def load_variables(
        self, saved: Checkpoint, replicas: Sequence[str], which: str, like: Any = None
    ) -> dict[str, Any]:
        """Reads the variables of some replicas' networks, and no other's.

        Args:
            saved: A checkpoint with these replicas.
            replicas: Their identities.
            which: "last", or "best" by validation accuracy.
            like: The parameters' shapes, which the first studies do not tell.

        Returns:
            Per replica `params` and perhaps more, as flax has them; numpy arrays.
        """
        about = saved.about
        shapes = _read_shapes(about["shapes"]) if "shapes" in about else like
        if about.get("stacked"):
            rows = self._read_rows(saved, replicas, {"weights": {which: shapes}})
            found = {name: row["weights"][which] for name, row in rows.items()}
        else:
            found = load_first_params(
                self._folder / saved.group, saved.epoch, replicas, which, shapes
            )
        whole = about.get("statistics", False)
        return {name: one if whole else {"params": one} for name, one in found.items()}

    def load(
        self, saved: Checkpoint, replicas: Sequence[str], like: Contents
    ) -> dict[str, Contents]:
        """Reads some of a checkpoint's replicas, to continue them.

        Args:
            saved: A checkpoint with these replicas.
            replicas: Their identities.
            like: Contents of the same structure, with arrays or shapes as leaves.

        Returns:
            Per replica its contents, numpy arrays.
        """
        leaves, structure = jax.tree.flatten(like.rest)
        rest = self._read_rows(saved, replicas, {"stacked": _numbered(leaves)})
        last = self.load_variables(saved, replicas, "last", like.last["params"])
        best = self.load_variables(saved, replicas, "best", like.best["params"])

        def of(name):
            parts = rest[name]["stacked"].values()
            return Contents(
                last[name], best[name], jax.tree.unflatten(structure, parts)
            )

        return {name: of(name) for name in replicas}

    def _read_rows(
        self, saved: Checkpoint, replicas: Sequence[str], tree: Any
    ) -> dict[str, Any]:
        """Reads some replicas' rows of the arrays of a checkpoint that `tree` names."""
        place = {name: i for i, name in enumerate(saved.about["replicas"])}
        rows = [place[name] for name in replicas]
        names = [".".join(path) for path in flatten_dict(tree)]
        reading = [self._array(saved, name)[rows].read() for name in names]
        arrays = [one.result() for one in reading]
        return {
            name: unflatten_dict(
                {path: np.array(a[i]) for path, a in zip(flatten_dict(tree), arrays)}
            )
            for i, name in enumerate(replicas)
        }

    def _array(self, saved: Checkpoint, name: str) -> tensorstore.TensorStore:
        """Opens one of a checkpoint's arrays, once."""
        folder = self._folder / saved.group / str(saved.epoch) / "state"
        if (folder, name) not in self._arrays:
            base = {"driver": "ocdbt", "base": folder.as_uri(), "path": f"{name}/"}
            opened = tensorstore.open(
                {"driver": "zarr", "kvstore": base}, open=True, context=self._context
            )
            self._arrays[folder, name] = opened.result()
        return self._arrays[folder, name]

    def writer(self, group: str) -> "Writer":
        """Opens a writer for one group."""
        self._own.mkdir(parents=True, exist_ok=True)
        return Writer(self._folder / group)


def warn_of(folder: Path, error: object) -> None:
    """Warns of a checkpoint that is left out as it is damaged, whatever that did."""
    message = (
        f"the checkpoint {folder} is damaged ({str(error).strip():.200}) and left out"
    )
    warnings.warn(f"{message}; what only it has is trained again", stacklevel=3)


def _write_shapes(weights: Any) -> dict[str, Any]:
    """Returns shape and type of each array of a dictionary, as JSON."""
    flat = flatten_dict(weights, sep="/")
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


class _Kept(policies.PreservationPolicy):
    """Preserves the epochs of a set that may grow."""

    def __init__(self, epochs: Set[int]):
        self._epochs = epochs

    def should_preserve(self, checkpoints, *, context) -> Sequence[bool]:
        return [one.step in self._epochs for one in checkpoints]


class _Ours(np.ndarray):
    """An array that nobody else has, which Orbax need not copy before it writes."""

    def __deepcopy__(self, memo: Any) -> "_Ours":
        return self


class Writer:
    """Writes the checkpoints of one group, in the background; a context manager."""

    def __init__(self, folder: Path):
        """Opens `folder`, making it; what is in it stays."""
        self._keep: set[int] = set()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(
                [policies.LatestN(1), _Kept(self._keep)]
            ),
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(folder, options=options)
        self._keep.update(self._manager.all_steps())
        self._wait_until = time.monotonic() + FIRST_SAVE
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
            about: For the item `about`, which also tells shapes and the like.
            keep: Whether it stays; of the others only the newest does.
        """
        if keep:
            self._keep.add(epoch)
        start = time.monotonic()
        last, best, rest = (
            jax.tree.map(lambda *leaves: np.stack(leaves).view(_Ours), *parts)
            for parts in zip(*replicas.values())
        )
        if not (statistics := set(last) != {"params"}):
            last, best = last["params"], best["params"]
        weights = {"last": last, "best": best}
        tree = {"weights": weights, "stacked": _numbered(jax.tree.leaves(rest))}
        # A chunk for each replica.
        chunks = jax.tree.map(lambda _: ocp.SaveArgs(shard_axes=(0,)), tree)
        shapes = _write_shapes(jax.tree.map(lambda leaf: leaf[0], last))
        told = {**about, "replicas": list(replicas), "stacked": True, "shapes": shapes}
        told |= {"statistics": True} if statistics else {}
        args = ocp.args.Composite(
            state=ocp.args.PyTreeSave(tree, chunks), about=ocp.args.JsonSave(told)
        )
        self._manager.save(epoch, args=args)
        if not self._seconds:
            self._manager.wait_until_finished()
            self._seconds = time.monotonic() - start
        self._wait_until = time.monotonic() + self._seconds / SAVE_SHARE
