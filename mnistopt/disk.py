"""A disk that is full, gone, or not to be written to: one message, and nothing lost."""

import contextlib
import errno
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from mnistopt.errors import InputError

# What the system answers to a write, where the disk is to blame and not the program.
_NAMES = (
    *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO", "ESTALE", "ENODEV", "ENXIO"),
    *("EACCES", "EPERM", "ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENOTCONN"),
)
_ERRORS = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}
# How TensorStore ends a message: "...: No space left on device [os_error_code='28']".
_REASON = re.compile(r": ([\w ]+) \[os_error_code")


class Unwritable(InputError):
    """A study cannot be written: what was written before is whole."""

    def __init__(self, folder: Path, reason: object):
        """Takes the folder of it, and an exception or words for why."""
        super().__init__(
            f"{folder} cannot be written to ({_words(reason)}): what was saved before "
            "is whole. When that is mended, the same command goes on from there"
        )


def _words(reason: object) -> str:
    if isinstance(reason, OSError) and reason.strerror:
        file = f": {reason.filename}" if reason.filename else ""
        return f"{reason.strerror}{file}"
    found = _REASON.findall(str(reason))
    return found[-1] if found else f"{str(reason).strip():.200}"


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Tells of a disk's failure in words.

    Args:
        folder: What is written to.

    Raises:
        Unwritable: For an OSError of the disk, about a file in the folder or about
            none.
    """
    try:
        yield
    except OSError as error:
        name = error.filename
        ours = name is None or folder.absolute() in Path(name).absolute().parents
        if error.errno in _ERRORS and ours:
            raise Unwritable(folder, error) from error
        raise


def check_room(folder: Path, needed: int) -> None:
    """Checks that a disk has room, before anything is half written.

    Args:
        folder: What is to be written to.
        needed: Bytes.

    Raises:
        Unwritable: If it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Unwritable(
            folder, f"{free / 1e6:.1f} MB are free of {needed / 1e6:.1f} MB needed"
        )
