"""The folder of a study: read, checked, locked and written to."""

import contextlib
import dataclasses
import os
import platform
import re
import shutil
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import IO, Any

from mnistopt.engine.checkpoint import Checkpoint, Store, merge_records, steps
from mnistopt.engine.record import Record
from mnistopt.errors import InputError, see
from mnistopt.files import ASIDE, set_aside, writing_to
from mnistopt.manifest import MANIFEST, Manifest
from mnistopt.points import replica_id
from mnistopt.results import config
from mnistopt.results.config import CONFIG, Config, DataDescription
from mnistopt.results.table_files import TABLES, read_as_is
from mnistopt.results.tables import UNFINISHED, trial_id

# Of the documentation.
PAGE = "faults#the-files-of-a-workdir"
# That a study makes in its workdir.
FOLDERS = ("checkpoints", "predictions", "figures", ASIDE)
LOCK = ".lock"
# Seconds between two signs of life, and after how many without one a writer is dead.
HEARTBEAT, DEAD = 10.0, 60.0
# What a lock says of its owner.
_OWNER = re.compile(r"process \d+ on .*, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


class Workdir:
    """The folder of a study, for a run of the same data.

    Attributes:
        folder: The absolute path.
        data: The description of the data, with the teacher that there has been.
        config: The content of config.json; None if there is none yet.
        store: The store of checkpoints.
    """

    def __init__(self, folder: Path, data: DataDescription):
        """Reads config.json; writes nothing, and makes no folder.

        Args:
            folder: Need not exist.
            data: Description of the data to train on.

        Raises:
            InputError: If config.json is unreadable, of another format or of other
                data, says what is different; or if something is in the way.
        """
        self.folder, self.data = folder, data
        self.store = Store(folder / "checkpoints")
        self.config = self._read()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Makes the folder, and keeps other runs out of it meanwhile.

        Raises:
            InputError: If it cannot be written to, or another run writes there.
            Unwritable: If the disk fails meanwhile.
        """
        new = not self.folder.exists()
        make_writable(self.folder)
        with writing_to(self.folder), locked(self.folder):
            try:
                # Another run may have written since it was read.
                self.config = self._read()
                yield
            finally:
                # A run that was refused leaves nothing.
                if new and [path.name for path in self.folder.iterdir()] == [LOCK]:
                    shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, **changes: Any) -> Config:
        """Writes config.json, of a known study with some parts changed; returns it."""
        known, path = self.config, self.folder / CONFIG
        if known is None and path.exists():
            kept = set_aside(path, self.folder, CONFIG)
            warnings.warn(
                f"{path} is written again; the old one is kept as {kept}", stacklevel=2
            )
        self.config = (
            dataclasses.replace(known, **changes) if known else Config(**changes)
        )
        config.write_config(self.folder, self.config)
        return self.config

    def checkpoints(self) -> list[Checkpoint]:
        """Returns the checkpoints, with what of their arrays is lost; warns of it."""
        saved = list(map(self.store.check, self.store.saved()))
        whole = {
            (name, checkpoint.epoch)
            for checkpoint in saved
            for name in checkpoint.replicas
        }
        for checkpoint in saved:
            # Of what is damaged, the rest may have been trained again.
            lost = [
                name
                for name in checkpoint.lost
                if (name, checkpoint.epoch) not in whole
            ]
            if lost:
                place = self.store.folder / checkpoint.group / str(checkpoint.epoch)
                warnings.warn(
                    f"the checkpoint {place} is damaged: {len(lost)} of its "
                    f"{len(checkpoint.about['replicas'])} replicas resume from an "
                    "older one, or are trained again, when they are requested",
                    stacklevel=2,
                )
        return saved

    def _read(self) -> Config | None:
        for name in FOLDERS:
            if (self.folder / name).exists() and not (self.folder / name).is_dir():
                raise _in_the_way(self.folder / name, "a folder")
        tables = [f"{name}.csv" for name in TABLES]
        for name in (CONFIG, MANIFEST, *tables):
            if (self.folder / name).is_dir():
                raise _in_the_way(self.folder / name, "a file")
        if not (self.folder / CONFIG).exists():
            others = [name for name in tables if (self.folder / name).exists()]
            if others and not self.store.folder.exists():
                raise InputError(
                    f"{self.folder} has {others[0]} of another program: there is "
                    f"neither {CONFIG} nor checkpoints: give another `workdir`"
                )
            return None
        try:
            known = config.read_config(self.folder)
        except config.Altered as error:
            if not self.store.folder.is_dir():
                raise InputError(
                    f"{self.folder / CONFIG} is damaged or was changed, and there are "
                    "no checkpoints to restore it from: restore it, or give another "
                    f"`workdir`; if the change is intended, remove {MANIFEST}"
                    + see(PAGE)
                ) from error
            # The names of replicas show what they were trained on.
            warnings.warn(str(error), stacklevel=2)
            return None
        if differences := known.data.differences(self.data):
            raise InputError(
                f"workdir {self.folder} holds a study of other data:\n"
                + "\n".join(differences)
                + "\nGive another `workdir`, or the settings it was made with"
                + see(PAGE)
            )
        if self.data.teacher is None:
            self.data = dataclasses.replace(self.data, teacher=known.data.teacher)
        return known

    def check_data(self, records: Mapping[str, Record]) -> None:
        """Checks that replicas were trained on the data at hand.

        A replica's name is made of what it was trained on: this needs no config.json.
        """
        fingerprint = self.data.identity
        others = [
            name
            for name, record in records.items()
            if replica_id(record.point, record.seed, fingerprint) != name
        ]
        if others:
            raise InputError(
                f"{len(others)} of the {len(records)} replicas whose checkpoints are "
                f"in {self.folder} were trained on other data: one study cannot hold "
                f"both. Give another `workdir`, or the data it was made with{see(PAGE)}"
            )

    def lost(self, saved: Sequence[Checkpoint]) -> dict[str, set[int]]:
        """Returns what trials.csv has and no checkpoint knows of.

        Of a table that was changed, or cut, a row counts if its names agree and nothing
        at all is known of its replica.

        Args:
            saved: All checkpoints.

        Returns:
            Per replica the epochs of its trained trials.

        Raises:
            InputError: If the table is damaged, and there are no checkpoints.
        """
        altered = Manifest(self.folder).is_altered("trials.csv")
        records, lost = merge_records(saved), dict[str, set[int]]()
        try:
            trials = read_as_is(self.folder, "trials")
        except InputError as error:
            if altered and not saved:
                raise InputError(
                    f"{self.folder}/trials.csv is damaged or was changed, and there "
                    "are no checkpoints to restore it from: restore it, move it away, "
                    f"or give another `workdir`{see(PAGE)}"
                ) from error
            return lost  # Missing, or rebuilt.
        trained = trials[trials["status"] != UNFINISHED]
        names = ("trial", "replica", "epochs_done")
        for trial, replica, done in zip(*(trained[name] for name in names)):
            name, _, asked = str(trial).rpartition("-")
            record = records.get(name)
            if not asked.isdecimal() or (altered and (record or name != replica)):
                continue
            climbed = record and int(asked) in record.rungs
            known = record is not None and (
                done in record.measured or (climbed and done <= record.epochs_done)
            )
            if not known:
                lost.setdefault(name, set()).add(int(asked))
        return lost

    def check_complete(
        self,
        lost: Mapping[str, Set[int]],
        saved: Sequence[Checkpoint],
        retrained: Set[str],
    ) -> None:
        """Checks that no trained trial vanishes: tables are made of checkpoints.

        Args:
            lost: The epochs from `lost`.
            saved: All checkpoints that can be read.
            retrained: Trials that are to be trained.
        """
        trials = [trial_id(name, epoch) for name in lost for epoch in lost[name]]
        # What damage has taken is trained again, what somebody has removed is not.
        damaged = len(steps(self.store.folder)) - len(saved)
        vanishing = [trial for trial in trials if not (damaged and trial in retrained)]
        if not vanishing:
            return
        state, advice = "gone", "bring the folder checkpoints back"
        if damaged:
            state, advice = "damaged", "ask for them too, as when they were trained"
        raise InputError(
            f"{self.folder}/trials.csv has {len(vanishing)} trained trials whose "
            f"checkpoints are {state}, {vanishing[0]} among them. Tables are made of "
            f"checkpoints, so these rows would be lost: {advice}, give another "
            "`workdir`, or, to do without them, move trials.csv away" + see(PAGE)
        )


def make_writable(folder: Path) -> None:
    """Makes a workdir, or sees that it can be written to.

    Raises:
        InputError: If it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        # Two threads may share it.
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"workdir {folder} cannot be written to ({error.strerror}); "
            "give another `workdir`"
        ) from error


def _in_the_way(path: Path, wanted: str) -> InputError:
    return InputError(
        f"{path} is in the way of {wanted} of that name: move it, or give another "
        "`workdir`"
    )


# --- One workdir, one writer ---


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keeps other runs out of a workdir while this one writes there.

    By the operating system's lock, which ends with its process, however that ends, and
    which nobody who only reads asks for. Where it does not reach, from host to host on
    some network file systems, by the file itself: it names its owner, and is touched
    every ten seconds.

    Args:
        workdir: The folder.

    Raises:
        InputError: If another run writes there; says which.
    """
    with open(workdir / LOCK, "a+", encoding="utf-8", errors="replace") as file:
        locked_here = _lock(file, workdir)
        owner = _read(file)
        # A dead process on this host lost the lock; on others only silence shows it.
        if owner and not (locked_here and f" on {platform.node()}, " in owner):
            silent = _silence(workdir)
            if silent < DEAD:
                raise _taken(workdir, f"{owner}, seen {silent:.0f} s ago")
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}, since {since}")
        file.flush()
        stop = threading.Event()
        beating = threading.Thread(target=_beat, args=(workdir, stop), daemon=True)
        beating.start()
        try:
            yield
        finally:
            stop.set()
            beating.join()
            # A later reader sees no owner.
            with contextlib.suppress(OSError):
                file.truncate(0)


def _lock(file: IO[str], workdir: Path) -> bool:
    """Takes the operating system's lock; False where it has none for this file."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _taken(workdir, _read(file) or "a run") from error
    except (ImportError, OSError):
        return False
    return True


def _read(file: IO[str]) -> str:
    file.seek(0)
    # One line; whatever else somebody has put there says nothing.
    match = _OWNER.match(file.read(400))
    return match[0] if match else ""


def _taken(workdir: Path, owner: str) -> InputError:
    return InputError(
        f"workdir {workdir} is being written to by {owner}: wait for it to end, or "
        f"give another `workdir`{see(PAGE)}"
    )


def _silence(workdir: Path) -> float:
    """Returns the seconds since the owner's last sign of life.

    By the file server's clock: those of two hosts may differ. A sign that is dated
    later than that clock is not from a running process.
    """
    probe = workdir / f".clock-{os.getpid()}"
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink()
    return abs(now - (workdir / LOCK).stat().st_mtime)


def _beat(workdir: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with contextlib.suppress(OSError):
            os.utime(workdir / LOCK)
