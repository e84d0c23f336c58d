"""The store of a study's replicas, as it is read.

`checkpoints/GROUP/EPOCH/` is one Orbax checkpoint of the replicas that trained
together as GROUP, after EPOCH epochs. Its item `state` holds

- `weights`: `{"last": variables, "best": variables}`, stacked over the replicas, as
  flax has them: `params`, and `batch_stats` where a network keeps such;
- `stacked`: what only continuing needs (the optimizer's state and the like), likewise;

and its item `about` is JSON: which replicas these are, and their history. A thousand
replicas are as few arrays as one. They are kept in chunks of one replica, and read by
TensorStore, which Orbax writes them with, so that one is read without the others.
Orbax writes in the background and renames a finished checkpoint into place, so a
reader, or a run that was killed, only ever sees whole ones.
"""

import contextlib
import json
import shutil
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from flax.traverse_util import unflatten_dict

from mnistopt.engine.record import Record
from mnistopt.errors import InputError
from mnistopt.files import plain_path
from mnistopt.logs import quiet
from mnistopt.training.cohort import TrainState


def parted(state: TrainState) -> tuple[dict[str, Any], TrainState]:
    """Returns a state's weights, by the names they are kept under, and its rest."""
    last = "variables" if state.average is None else "average"
    gone: dict[str, Any] = {"best": None, last: None}
    return {"last": state.evaluated, "best": state.best}, state._replace(**gone)


def joined(weights: Mapping[str, Any], rest: TrainState) -> TrainState:
    """Returns the state that `parted` has parted."""
    last = "variables" if rest.variables is None else "average"
    return rest._replace(best=weights["best"], **{last: weights["last"]})


# Of a checkpoint's records, beside them.
CHECKSUM = "checksum"


class Damaged(InputError):
    """What is stored is not what was written."""


def checksum(array: Any) -> int:
    """Returns the CRC-32 of an array's bytes, which no single flipped bit leaves."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def text_checksum(content: Mapping[str, Any]) -> int:
    """Returns the CRC-32 of JSON, the same after it was written and read."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


# Of what is only half there, as Orbax names it; nobody reads such folders.
PARTIAL = ".orbax-checkpoint-tmp"
# Folder of a study with checkpoints that could not be used.
ASIDE = "damaged"
# Of a checkpoint: another version may read it otherwise.
FORMAT = 2
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

    @property
    def records(self) -> dict[str, Record]:
        """What was known of its replicas then, by name."""
        return {row["replica"]: Record.from_json(row) for row in self.about["records"]}

    def record(self, replica: str) -> Record:
        """What was known of one of them."""
        known = self.about["records"]
        return Record.from_json(next(row for row in known if row["replica"] == replica))


class Store:
    """All checkpoints of a study.

    Attributes:
        folder: Where they are.
    """

    def __init__(self, folder: Path):
        """Opens the store at `folder`, which need not exist yet."""
        quiet()
        self.folder, self._folder = folder.absolute(), plain_path(folder.absolute())
        self._open_anew()

    def _open_anew(self) -> None:
        """Lets go of arrays that have been opened."""
        self._arrays: dict[tuple[Path, str], tensorstore.TensorStore] = {}
        cache = {"total_bytes_limit": READ_CACHE}
        self._context = tensorstore.Context({"cache_pool": cache})

    def saved(self) -> list[Checkpoint]:
        """Reads what is there: one entry per whole checkpoint.

        One whose records cannot be read is left out, with a warning.
        """
        entries = []
        for folder in sorted(self._folder.glob("*/")):
            with ocp.CheckpointManager(folder) as manager:
                for epoch in manager.all_steps():
                    args = ocp.args.Composite(about=ocp.args.JsonRestore())
                    try:
                        about = manager.restore(epoch, args=args)["about"]
                        checkpoint = Checkpoint(folder.name, epoch, about)
                        _check(checkpoint)
                        entries.append(checkpoint)
                    except Exception as error:  # noqa: BLE001 - whatever is in it
                        place = self.folder / folder.name / str(epoch)
                        warnings.warn(
                            f"the checkpoint {place} is damaged "
                            f"({str(error).strip():.200}) and left out; what only it "
                            "has is trained again",
                            stacklevel=2,
                        )
        return entries

    def load(
        self, saved: Checkpoint, replicas: Sequence[str], like: TrainState
    ) -> dict[str, TrainState]:
        """Reads some of a checkpoint's replicas, to continue them.

        Args:
            saved: A checkpoint with these replicas.
            replicas: Their identities.
            like: A state of the same structure, with arrays or shapes as leaves.

        Returns:
            Per replica its state, numpy arrays.
        """
        structure = jax.tree.structure(parted(like)[1])
        last, best, rest = (
            self.load_part(saved, replicas, part)
            for part in ("weights/last", "weights/best", "stacked")
        )
        states = {}
        for name in replicas:
            with self._undamaged(saved):
                others = jax.tree.unflatten(structure, rest[name].values())
            state = joined({"last": last[name], "best": best[name]}, others)
            if _described(state) != _described(like):
                raise self._damaged(saved, "its arrays have other names or shapes")
            states[name] = state
        return states

    def check(self, saved: Checkpoint) -> None:
        """Reads all arrays of a checkpoint.

        Raises:
            Damaged: If one is not as it was written.
        """
        for name in saved.about["checksums"]:
            self._read_arrays(saved, [name], range(len(saved.about["replicas"])))

    def load_part(
        self, saved: Checkpoint, replicas: Sequence[str], part: str
    ) -> dict[str, Any]:
        """Reads one part of some replicas, and of no other.

        Args:
            saved: A checkpoint with these replicas.
            replicas: Their identities.
            part: "weights/last", "weights/best" by validation accuracy, or "stacked".

        Returns:
            Per replica nested dictionaries, of weights as flax has them; numpy arrays.
        """
        with self._undamaged(saved):
            place = {name: i for i, name in enumerate(saved.about["replicas"])}
            rows = [place[name] for name in replicas]
            known = saved.about["checksums"]
            paths = [path for path in known if path.startswith(f"{part}/")]
        arrays = self._read_arrays(saved, paths, rows)
        names = [path.removeprefix(f"{part}/") for path in paths]
        return {
            name: unflatten_dict(
                {path: np.array(a[i]) for path, a in zip(names, arrays)}, sep="/"
            )
            for i, name in enumerate(replicas)
        }

    def _read_arrays(
        self, saved: Checkpoint, names: Sequence[str], rows: Sequence[int]
    ) -> list[np.ndarray]:
        """Reads some rows of arrays, and compares them with their checksums."""
        with self._undamaged(saved):
            reading = [self._array(saved, name)[list(rows)].read() for name in names]
            arrays = [array.result() for array in reading]
            checksums = saved.about["checksums"]
            for name, array in zip(names, arrays):
                wanted = [checksums[name][row] for row in rows]
                if wanted != list(map(checksum, array)):
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
        folder = self.folder / saved.group / str(saved.epoch)
        return Damaged(
            f"the checkpoint {folder} is damaged ({str(error).strip():.200}): the "
            "grid's command again uses an older one, or trains again what only this "
            "one has"
        )

    def _array(self, saved: Checkpoint, name: str) -> tensorstore.TensorStore:
        """Opens one of a checkpoint's arrays by its path, once."""
        folder = self._folder / saved.group / str(saved.epoch) / "state"
        if (folder, name) not in self._arrays:
            # As Orbax calls it.
            path = f"{name.replace('/', '.')}/"
            base = {"driver": "ocdbt", "base": folder.as_uri(), "path": path}
            opened = tensorstore.open(
                {"driver": "zarr", "kvstore": base}, open=True, context=self._context
            )
            self._arrays[folder, name] = opened.result()
        return self._arrays[folder, name]

    def group(self, name: str) -> Path:
        """Returns where a `Writer` writes one group; makes the store's folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self._folder / name

    def tidy(self) -> None:
        """Removes partial checkpoints, superseded ones, and folders without any.

        A checkpoint is superseded if none of its replicas was measured in full there,
        and all of them have gone further in others. Nobody else may write meanwhile.
        """
        saved, newest = self.saved(), dict[str, int]()
        for checkpoint in saved:
            for name in checkpoint.about["replicas"]:
                newest[name] = max(checkpoint.epoch, newest.get(name, 0))
        for checkpoint in saved:
            epoch, names = checkpoint.epoch, checkpoint.about["replicas"]
            further = all(newest[name] > epoch for name in names)
            # Any: those that have stopped are measured before the others.
            records = checkpoint.records.values()
            measured = any(epoch in record.measured for record in records)
            if further and not measured:
                step = self.folder / checkpoint.group / str(epoch)
                # In one step, so that there is no half of it if this is killed.
                step.rename(step.with_name(step.name + PARTIAL))
        for partial in self.folder.glob(f"*/*{PARTIAL}*"):
            shutil.rmtree(partial, ignore_errors=True)
        for group in self.folder.glob("*/"):
            if not any(group.glob("*/")):
                shutil.rmtree(group, ignore_errors=True)

    def damaged(self, sound: Sequence[Checkpoint]) -> list[Path]:
        """Returns the folders of checkpoints that cannot be used.

        Args:
            sound: All checkpoints that can.
        """
        known = {(checkpoint.group, str(checkpoint.epoch)) for checkpoint in sound}
        steps = (step for step in self.folder.glob("*/*/") if step.name.isdecimal())
        return [step for step in steps if (step.parent.name, step.name) not in known]

    def set_aside(self, sound: Sequence[Checkpoint]) -> None:
        """Moves damaged checkpoints away from new ones, to the folder `damaged`.

        Args:
            sound: All checkpoints that can be used.
        """
        for step in self.damaged(sound):
            aside = self.folder.parent / ASIDE
            aside.mkdir(exist_ok=True)
            count = len(list(aside.iterdir()))
            step.rename(aside / f"{step.parent.name}-{step.name}-{count}")
        # Others may come in their places, which are not to be read through these.
        self._open_anew()


def _check(saved: Checkpoint) -> None:
    """Raises an exception if the records are of another version, or are damaged."""
    about = saved.about
    if about["format"] != FORMAT:
        raise ValueError(f"another version has written it, in format {about['format']}")
    rest = {name: value for name, value in about.items() if name != CHECKSUM}
    if about[CHECKSUM] != text_checksum(rest):
        raise ValueError("its records have another checksum")
    for name, record in saved.records.items():
        if set(map(len, record.history.values())) != {saved.epoch}:
            raise ValueError(f"{name} has no history of {saved.epoch} epochs")


def _described(state: TrainState) -> tuple[list[tuple[Any, Any]], Any]:
    """Returns names, shapes and types of what a checkpoint has of a replica."""
    leaves, structure = jax.tree.flatten(state)
    return [(leaf.shape, leaf.dtype) for leaf in leaves], structure
