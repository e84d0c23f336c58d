"""The store of a study's replicas, as it is read.

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

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from flax.traverse_util import flatten_dict, unflatten_dict

from mnistopt.engine.checksums import (
    CHECKSUM,
    Damaged,
    checksum,
    named,
    text_checksum,
)
from mnistopt.engine.contents import Contents
from mnistopt.engine.first_params import load_first_params
from mnistopt.engine.writer import FORMAT, Writer, numbered
from mnistopt.files import plain_path
from mnistopt.logs import quiet

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


class Store:
    """All checkpoints of a study."""

    def __init__(self, folder: Path):
        """Opens the store at `folder`, which need not exist yet."""
        quiet()
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
                        _check(about)
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
        with self._undamaged(saved):
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
        rest = self._read_rows(saved, replicas, {"stacked": numbered(leaves)})
        last = self.load_variables(saved, replicas, "last", like.last["params"])
        best = self.load_variables(saved, replicas, "best", like.best["params"])
        found = {}
        for name in replicas:
            parts = rest[name]["stacked"].values()
            one = Contents(last[name], best[name], jax.tree.unflatten(structure, parts))
            if _described(one) != _described(like):
                raise self._damaged(saved, "its arrays have other names or shapes")
            found[name] = one
        return found

    def check(self, saved: Checkpoint) -> None:
        """Reads all arrays of a checkpoint.

        Raises:
            Damaged: If one is not as it was written.
        """
        # The first studies have no checksums.
        with self._undamaged(saved):
            names = list(saved.about.get("checksums", {}))
        for name in names:
            self._read_arrays(saved, [name], range(len(saved.about["replicas"])))

    def _read_rows(
        self, saved: Checkpoint, replicas: Sequence[str], tree: Any
    ) -> dict[str, Any]:
        """Reads some replicas' rows of the arrays of a checkpoint that `tree` names."""
        with self._undamaged(saved):
            place = {name: i for i, name in enumerate(saved.about["replicas"])}
            rows = [place[name] for name in replicas]
        names = [name for name, _ in named(tree)]
        arrays = self._read_arrays(saved, names, rows)
        return {
            name: unflatten_dict(
                {path: np.array(a[i]) for path, a in zip(flatten_dict(tree), arrays)}
            )
            for i, name in enumerate(replicas)
        }

    def _read_arrays(
        self, saved: Checkpoint, names: Sequence[str], rows: Sequence[int]
    ) -> list[np.ndarray]:
        """Reads some rows of arrays, and compares them with their checksums."""
        with self._undamaged(saved):
            reading = [self._array(saved, name)[list(rows)].read() for name in names]
            arrays = [one.result() for one in reading]
            checksums = saved.about.get("checksums", {})
            for name, array in zip(names, arrays):
                wanted = [checksums[name][row] for row in rows] if checksums else []
                if wanted and wanted != list(map(checksum, array)):
                    raise ValueError(f"{name} has another checksum")
        return arrays

    @contextlib.contextmanager
    def _undamaged(self, saved: Checkpoint) -> Iterator[None]:
        """Tells of whatever cannot be read of a checkpoint as `Damaged`."""
        try:
            yield
        except Exception as error:
            raise self._damaged(saved, error) from error

    def _damaged(self, saved: Checkpoint, error: object) -> Damaged:
        folder = self._own / saved.group / str(saved.epoch)
        return Damaged(
            f"the checkpoint {folder} is damaged ({str(error).strip():.200}): the "
            "grid's command again uses an older one, or trains again what only this "
            "one has"
        )

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


def _check(about: dict[str, Any]) -> None:
    """Raises ValueError if a later version has written it, or its checksum is wrong."""
    if (format := about.get("format", FORMAT)) != FORMAT:
        raise ValueError(f"a later version has written it, in format {format}")
    rest = {name: value for name, value in about.items() if name != CHECKSUM}
    if about.get(CHECKSUM) not in (None, text_checksum(rest)):
        raise ValueError("its records have another checksum")


def _described(contents: Contents) -> tuple[list[tuple[Any, Any]], Any]:
    """Returns names, shapes and types of what a checkpoint has of a replica."""
    leaves, structure = jax.tree.flatten(contents)
    return [(leaf.shape, leaf.dtype) for leaf in leaves], structure


def warn_of(folder: Path, error: object) -> None:
    """Warns of a checkpoint that is left out as it is damaged, whatever that did."""
    message = (
        f"the checkpoint {folder} is damaged ({str(error).strip():.200}) and left out"
    )
    warnings.warn(f"{message}; what only it has is trained again", stacklevel=3)


def _read_shapes(content: Mapping[str, Any]) -> Any:
    """Reads what `_write_shapes` wrote."""
    flat = {
        name: jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(kind))
        for name, (shape, kind) in content.items()
    }
    return unflatten_dict(flat, sep="/")
