"""One workdir, one writer."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from mnistopt.errors import InputError

LOCK = ".lock"


@contextlib.contextmanager
def writing(workdir: Path) -> Iterator[None]:
    """Keeps other runs out of a workdir while this one writes there.

    By the operating system's lock, which ends with its process, however that ends, and
    which nobody who only reads asks for. Where files cannot be locked (Windows, some
    network file systems) there is none.

    Args:
        workdir: The folder.

    Raises:
        InputError: If another run writes there; says which.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(workdir / LOCK, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InputError(
                f"workdir {workdir} is being written to by {file.read() or 'a run'}: "
                "wait for it to end, or give another --workdir"
            ) from error
        except OSError:
            yield
            return
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {platform.node()}, since {since}")
        file.flush()
        yield
        # Who is told of it later is told of a run that writes.
        file.truncate(0)
