"""The store of a study's replicas, as it is read.

`checkpoints/GROUP/EPOCH/` is one Orbax checkpoint of the replicas that trained
together as GROUP, after EPOCH epochs. Its item `state` holds

- `weights`: `{"last": variables, "best": variables}`, stacked over the replicas, as
  flax has them: `params`, and `batch_stats` where a network keeps such;
- `stacked`: what only continuing needs, such as the optimizer's state;

and its item `about` is JSON: which replicas these are, and their history. A thousand
replicas are as few arrays as one. They are kept in chunks of one replica, and read by
TensorStore, which Orbax writes them with, so that one is read without the others.
Orbax writes to a folder of another name and renames it into place when it is whole, so
a reader, or a run that was killed, sees whole ones only.

Results of training can only be restored by training. So a damaged checkpoint gives
those of its replicas that are whole, stays where it is until others have all of them,
and is moved away then; and folders of other names than ours are never touched.
"""

import contextlib
import itertools
import json
import re
import shutil
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tensorstore
from flax.traverse_util import unflatten_dict

from mnistopt.engine.record import Record
from mnistopt.errors import InputError, see
from mnistopt.files import plain_path, set_aside, text_checksum
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


# Of the documentation.
PAGE = "faults#the-files-of-a-workdir"
# Of a checkpoint's records, beside them.
CHECKSUM = "checksum"


class Damaged(InputError):
    """What is stored is not what was written."""


def checksum(array: Any) -> int:
    """Returns the CRC-32 of an array's bytes, which no single flipped bit leaves."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


# Of what is only half there, as Orbax names it; nobody reads such folders.
PARTIAL = ".orbax-checkpoint-tmp"
# Names of groups: of a job, and of another one in its place.
_GROUP = re.compile("[0-9a-f]{10}(-[0-9]+)?")
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
        lost: Names of replicas whose arrays are known to be damaged.
    """

    group: str
    epoch: int
    about: dict[str, Any]
    lost: frozenset[str] = frozenset()

    @property
    def replicas(self) -> list[str]:
        """The names of those that can be restored from it."""
        return [name for name in self.about["replicas"] if name not in self.lost]

    @property
    def records(self) -> dict[str, Record]:
        """What was known of its replicas then, by name."""
        return {row["replica"]: Record.from_json(row) for row in self.about["records"]}

    def record(self, replica: str) -> Record:
        """What was known of one of them."""
        recorded = self.about["records"]
        return Record.from_json(
            next(row for row in recorded if row["replica"] == replica)
        )


def steps(folder: Path) -> list[Path]:
    """Returns the folders of a store's checkpoints, whole or damaged."""
    return [
        step
        for step in sorted(folder.glob("*/*/"))
        if step.name.isdecimal() and _GROUP.fullmatch(step.parent.name)
    ]


def remove(step: Path) -> None:
    """Removes a checkpoint; a kill meanwhile leaves nothing that could be read."""
    partial = step.with_name(step.name + PARTIAL)
    step.rename(partial)
    shutil.rmtree(partial, ignore_errors=True)


def remove_partial(group: Path) -> None:
    """Removes what killed runs have left in the folder of a group."""
    for partial in group.glob(f"*{PARTIAL}*"):
        shutil.rmtree(partial, ignore_errors=True)


def merge_records(saved: Iterable[Checkpoint]) -> dict[str, Record]:
    """Returns what all checkpoints together know of each replica, by its name.

    A damaged one knows it too, but where the replica has been trained again.
    """
    records, saved = dict[str, Record](), list(saved)
    whole = {
        (name, checkpoint.epoch) for checkpoint in saved for name in checkpoint.replicas
    }
    for checkpoint in saved:
        for name, record in checkpoint.records.items():
            if name in checkpoint.lost and (name, checkpoint.epoch) in whole:
                continue
            newest = records.get(name)
            records[name] = newest.merged(record) if newest else record
    return records


class Store:
    """All checkpoints of a study.

    Attributes:
        folder: Where they are.
    """

    def __init__(self, folder: Path):
        """Opens the store at `folder`, which need not exist yet."""
        quiet()
        self.folder, self._folder = folder.absolute(), plain_path(folder.absolute())
        # What `check` has found.
        self._lost: dict[tuple[str, int], frozenset[str]] = {}
        self._arrays: dict[tuple[Path, str], tensorstore.TensorStore] = {}
        cache = {"total_bytes_limit": READ_CACHE}
        self._context = tensorstore.Context({"cache_pool": cache})

    def saved(self) -> list[Checkpoint]:
        """Reads what is there: one entry per whole checkpoint.

        One whose records cannot be read is left out, with a warning.
        """
        entries = []
        for step in steps(self.folder):
            group, epoch = step.parent.name, int(step.name)
            try:
                text = (step / "about" / "metadata").read_text(encoding="utf-8")
                lost = self._lost.get((group, epoch), frozenset())
                checkpoint = Checkpoint(group, epoch, json.loads(text), lost)
                _check(checkpoint)
                entries.append(checkpoint)
            except Exception as error:  # noqa: BLE001 - whatever is in it
                warnings.warn(
                    f"the checkpoint {step} is damaged ({str(error).strip():.200}) "
                    "and skipped; what only it has is trained again when it is "
                    f"requested{see(PAGE)}",
                    stacklevel=2,
                )
        return entries

    def load(
        self, saved: Checkpoint, replicas: Sequence[str], like: TrainState
    ) -> dict[str, TrainState]:
        """Reads some of a checkpoint's replicas, to continue them.

        Args:
            saved: A checkpoint with these replicas.
            replicas: Identities of the replicas.
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

    def check(self, saved: Checkpoint) -> Checkpoint:
        """Reads all arrays of a checkpoint; returns it with what is `lost` of it."""
        replicas, lost = saved.about["replicas"], set[str]()
        for name in saved.about["checksums"]:
            try:
                self._read_arrays(saved, [name], range(len(replicas)))
            except Damaged:
                # A chunk for each replica: others may be whole.
                for row, replica in enumerate(replicas):
                    try:
                        if replica not in lost:
                            self._read_arrays(saved, [name], [row])
                    except Damaged:
                        lost.add(replica)
        self._lost[saved.group, saved.epoch] = frozenset(lost)
        return saved._replace(lost=frozenset(lost))

    def load_part(
        self, saved: Checkpoint, replicas: Sequence[str], part: str
    ) -> dict[str, Any]:
        """Reads one part of some replicas, and of no other.

        Args:
            saved: A checkpoint with these replicas.
            replicas: Identities of the replicas.
            part: "weights/last", "weights/best" by validation accuracy, or "stacked".

        Returns:
            Per replica nested dictionaries, of weights as flax has them; numpy arrays.
        """
        with self._undamaged(saved):
            place = {name: i for i, name in enumerate(saved.about["replicas"])}
            rows = [place[name] for name in replicas]
            checksums = saved.about["checksums"]
            paths = [path for path in checksums if path.startswith(f"{part}/")]
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
            f"grid's command trains again what only this checkpoint has{see(PAGE)}"
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
        """Returns where a `Writer` writes a new group; makes the store's folder.

        What is there by that name already is damaged, or else nothing would be trained
        again: it stays as it is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(1)))
        taken = {step.parent.name for step in steps(self.folder)}
        return self._folder / next(name for name in names if name not in taken)

    def tidy(self) -> None:
        """Removes partial checkpoints and superseded ones; sets damaged ones aside.

        A checkpoint is superseded if none of its replicas was measured in full there,
        and all of them have gone further in others. A damaged one is set aside, to the
        folder `damaged`, when it is superseded, or others have all of its replicas
        after as many epochs.
        Nobody else may write meanwhile, and all that was asked for has been trained.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It has been reported.
            saved = self.saved()
        newest, holders = dict[str, int](), dict[tuple[str, int], set[str]]()
        for checkpoint in saved:
            for name in checkpoint.replicas:
                newest[name] = max(checkpoint.epoch, newest.get(name, 0))
                groups = holders.setdefault((name, checkpoint.epoch), set())
                groups.add(checkpoint.group)
        readable = {
            (checkpoint.group, str(checkpoint.epoch)): checkpoint
            for checkpoint in saved
        }
        for step in steps(self.folder):
            intact = readable.get((step.parent.name, step.name))
            group, epoch = step.parent.name, int(step.name)
            names = intact.about["replicas"] if intact else []
            records = intact.records if intact else {}
            # Any: those that have stopped are measured before the others.
            measured = any(epoch in record.measured for record in records.values())
            passed = not measured and all(newest.get(name, 0) > epoch for name in names)
            elsewhere = all(
                holders.get((name, epoch), set()) - {group} for name in names
            )
            if (intact is None or intact.lost) and (passed or elsewhere):
                set_aside(step, self.folder.parent, f"{group}-{epoch}")
            elif intact and not intact.lost and passed:
                remove(step)
        for folder in self.folder.glob("*/"):
            if _GROUP.fullmatch(folder.name):
                remove_partial(folder)
                with contextlib.suppress(OSError):
                    folder.rmdir()  # If it is empty.


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
