"""One workdir, one writer."""

import contextlib
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mnistopt.errors import InputError

LOCK = ".lock"
# Seconds between two signs of life, and after how many without one a writer is dead.
HEARTBEAT, DEAD = 10.0, 60.0


@contextlib.contextmanager
def writing(workdir: Path) -> Iterator[None]:
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
        locked = _lock(file, workdir)
        owner = _read(file)
        # Who died on this host has lost the lock; of others only silence tells.
        if owner and not (locked and f" on {platform.node()}, " in owner):
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
        "give another --workdir"
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
