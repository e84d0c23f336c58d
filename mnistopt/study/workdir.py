"""The folder of a study: read, checked, locked and written to."""

import contextlib
import dataclasses
import os
import platform
import shutil
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import IO, Any

from mnistopt.engine.checkpoint import ASIDE, Checkpoint, Damaged, Store
from mnistopt.engine.record import Record
from mnistopt.errors import InputError
from mnistopt.files import writing_to
from mnistopt.points import replica_id
from mnistopt.results import config
from mnistopt.results.config import CONFIG, Config, DataDescription
from mnistopt.results.tables import TABLES, UNFINISHED, read_table

# That a study makes in its workdir.
FOLDERS = ("checkpoints", "predictions", "figures", ASIDE)
LOCK = ".lock"
# Seconds between two signs of life, and after how many without one a writer is dead.
HEARTBEAT, DEAD = 10.0, 60.0


class Workdir:
    """The folder of a study, for a run of the same data.

    Attributes:
        folder: Its path, absolute.
        config: What its config.json says; None if it has none yet.
        store: Its checkpoints.
    """

    def __init__(self, folder: Path, data: DataDescription):
        """Reads config.json; writes nothing, and makes no folder.

        Args:
            folder: Need not exist.
            data: What the run is to train on.

        Raises:
            InputError: If config.json is unreadable, of another format or of other
                data, says what is different; or if something is in the way.
        """
        self.folder, self._data = folder, data
        self.store = Store(folder / "checkpoints")
        self.config = self._read()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Makes the folder, and keeps other runs out of it meanwhile.

        Raises:
            InputError: If it cannot be written to, or another run writes there.
            Unwritable: For a failure of the disk meanwhile.
        """
        new = not self.folder.exists()
        _make(self.folder)
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
        known = self.config
        self.config = (
            dataclasses.replace(known, **changes) if known else Config(**changes)
        )
        config.write_config(self.folder, self.config)
        return self.config

    def checkpoints(self) -> list[Checkpoint]:
        """Returns the checkpoints that can be used, arrays and all; warns of others."""
        usable = []
        for saved in self.store.saved():
            try:
                self.store.check(saved)
                usable.append(saved)
            except Damaged as error:
                warnings.warn(str(error), stacklevel=2)
        return usable

    def _read(self) -> Config | None:
        for name in FOLDERS:
            if (self.folder / name).exists() and not (self.folder / name).is_dir():
                raise _in_the_way(self.folder / name, "a folder")
        tables = [f"{name}.csv" for name in TABLES]
        for name in (CONFIG, *tables):
            if (self.folder / name).is_dir():
                raise _in_the_way(self.folder / name, "a file")
        if not (self.folder / CONFIG).exists():
            others = [name for name in tables if (self.folder / name).exists()]
            if others and not self.store.folder.exists():
                raise InputError(
                    f"{self.folder} has {others[0]} of somebody else's, as there is "
                    f"neither {CONFIG} nor checkpoints: give another `workdir`"
                )
            return None
        try:
            known = config.read_config(self.folder)
        except config.Undecodable as error:
            if not self.store.folder.is_dir():
                raise
            # By their names replicas tell what they were trained on.
            message = f"{error}; it is made anew from the checkpoints"
            warnings.warn(message, stacklevel=2)
            return None
        if differences := known.data.differences(self._data):
            raise InputError(
                f"workdir {self.folder} holds a study of other data:\n"
                + "\n".join(differences)
                + "\nGive another `workdir`, or the settings it was made with."
            )
        return known

    def check_data(self, records: Mapping[str, Record]) -> None:
        """Checks that replicas were trained on the data at hand.

        A replica's name is made of what it was trained on: this needs no config.json.
        """
        fingerprint = self._data.fingerprint
        others = [
            name
            for name, record in records.items()
            if replica_id(record.point, record.seed, fingerprint) != name
        ]
        if others:
            raise InputError(
                f"{len(others)} of the {len(records)} replicas whose checkpoints are "
                f"in {self.folder} were trained on other data: one study cannot hold "
                "both. Give another `workdir`, or the data it was made with"
            )

    def check_complete(
        self,
        records: Mapping[str, Record],
        saved: Sequence[Checkpoint],
        retrained: Set[str],
    ) -> None:
        """Checks that the checkpoints of all trained trials are there.

        Tables are made of checkpoints: a trial without one would vanish from them.

        Args:
            records: What the checkpoints know, by replica.
            saved: The checkpoints that can be used.
            retrained: Trials that are to be trained.
        """
        try:
            trials = read_table(self.folder, "trials")
            trained = trials[trials["status"] != UNFINISHED]
            lost = [
                trial
                for trial, replica, epochs in zip(
                    trained["trial"], trained["replica"], trained["epochs_done"]
                )
                if replica not in records or epochs not in records[replica].measured
            ]
        except (InputError, KeyError):
            return  # Not there or not readable: it is made anew.
        # What damage has taken is trained again, what somebody has removed is not.
        taken = (self.folder / ASIDE).exists() or self.store.damaged(saved)
        if lost := [trial for trial in lost if not (taken and trial in retrained)]:
            raise InputError(
                f"{self.folder}/trials.csv has {len(lost)} trained trials whose "
                f"checkpoints are gone, {lost[0]} among them. Tables are made of "
                "checkpoints, so these rows would be lost: bring the folder "
                "checkpoints back, give another `workdir`, or, to do without them, "
                "move trials.csv away"
            )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
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
    with open(workdir / LOCK, "a+", encoding="utf-8") as file:
        ours = _lock(file, workdir)
        owner = _read(file)
        # Who died on this host has lost the lock; of others only silence tells.
        if owner and not (ours and f" on {platform.node()}, " in owner):
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
            # Whoever reads it later is told of nobody.
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
    # One line; whatever else somebody has put there is not read.
    return file.read(200)


def _taken(workdir: Path, owner: str) -> InputError:
    return InputError(
        f"workdir {workdir} is being written to by {owner}: wait for it to end, or "
        "give another `workdir`"
    )


def _silence(workdir: Path) -> float:
    """Returns the seconds since the owner's last sign of life.

    By the clock of who keeps the files: those of two hosts may differ.
    """
    probe = workdir / f".clock-{os.getpid()}"
    probe.touch()
    now = probe.stat().st_mtime
    probe.unlink()
    return max(0.0, now - (workdir / LOCK).stat().st_mtime)


def _beat(workdir: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT):
        with contextlib.suppress(OSError):
            os.utime(workdir / LOCK)
