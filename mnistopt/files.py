"""Files seen whole, numbers read to the last bit, and paths that all can read."""

import atexit
import contextlib
import errno
import functools
import itertools
import json
import os
import re
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnistopt.errors import InputError

# What Orbax takes for a pattern ([2026], *, ?), for a scheme (gs:), or what TensorStore
# takes for a separator: it then writes to nowhere, or finds nothing.
_ODD = re.compile(r"[][*?\\:]")
# Bytes that systems take of each name in a path and of a whole one, of which some are
# for what is made below a workdir.
_LONGEST_NAME, _LONGEST_PATH = 255, 4096 - 512


def check_path(name: str, value: Any) -> Path | None:
    """Returns a path, ~ being the home folder; None for None and "".

    Args:
        name: The name of the argument, for errors.
        value: A path as text, as bytes, or an object that stands for one.

    Raises:
        InputError: If it is none of these, or longer than systems take.
    """
    if value is None:
        return None
    if not isinstance(value, (str, bytes, os.PathLike)):
        raise InputError(f"{name}={value!r} is not allowed: expected a path")
    text = os.fsdecode(value)
    if "\0" in text:
        raise InputError(f"{name}={text!r} is not allowed: no path has a zero byte")
    if not text:
        return None
    # A user that nobody knows stays a folder's name, as in bash.
    path = Path(os.path.expanduser(text))
    name_bytes = max(len(os.fsencode(part)) for part in ("", *path.parts))
    path_bytes = len(os.fsencode(path.absolute()))
    if name_bytes > _LONGEST_NAME or path_bytes > _LONGEST_PATH:
        raise InputError(
            f"{name}={text:.40}... is not allowed: its longest name has {name_bytes:,} "
            f"bytes, and all of it {path_bytes:,}; expected are at most "
            f"{_LONGEST_NAME} and {_LONGEST_PATH:,}: give a shorter `{name}`"
        )
    return path


@functools.cache
def plain_path(folder: Path) -> Path:
    """Returns a path to a folder that storage libraries read letter by letter.

    It is the folder's own, or a link to it that is there until the process ends.

    Args:
        folder: Absolute; need not exist.
    """
    if not _ODD.search(folder.relative_to(folder.anchor).as_posix()):
        return folder
    links = Path(tempfile.mkdtemp(prefix="mnistopt-"))
    atexit.register(shutil.rmtree, links, ignore_errors=True)
    link = links / folder.name.translate(dict.fromkeys(map(ord, "[]*?\\:"), "-"))
    link.symlink_to(folder, target_is_directory=True)
    return link


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path to write to; what is written there replaces `path` in one step.

    Args:
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes, or threads of one, may write the same file of a cache.
    partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a text in one step, unless the file has it already.

    One that has not changed keeps its time, and what is drawn from it stays.

    Args:
        path: The file.
        text: The file's content.
    """
    content = text.encode()
    if not path.exists() or path.read_bytes() != content:
        with replacing(path) as partial:
            partial.write_bytes(content)


def read_csv(path: Path, **options: Any) -> Any:
    """Reads a table as it was written, numbers to the last bit.

    Args:
        path: The file.
        **options: Options of `pandas.read_csv`.

    Returns:
        A data frame.
    """
    import pandas as pd

    # What pandas takes for a gap, as NA or null, is a word: only nothing is none.
    options = {"keep_default_na": False, "na_values": [""], **options}
    # Before 3.1 pandas read numbers to the last bit only on request; since, it always
    # does, and warns of the request.
    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):
        options["float_precision"] = "round_trip"
    return pd.read_csv(path, **options)


def text_checksum(content: Mapping[str, Any]) -> int:
    """Returns the CRC-32 of JSON, the same after it was written and read."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


# Folder of a study with what was damaged, and others have now.
ASIDE = "damaged"


def set_aside(path: Path, workdir: Path, name: str) -> Path:
    """Moves a file or folder to the folder `damaged` of a workdir, which keeps it.

    Args:
        path: The file or folder to move.
        workdir: The study's folder.
        name: The beginning of its new name; a number follows.

    Returns:
        Where it is now.
    """
    (workdir / ASIDE).mkdir(exist_ok=True)
    places = (workdir / ASIDE / f"{name}-{i}" for i in itertools.count())
    place = next(place for place in places if not place.exists())
    path.rename(place)
    return place


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
            "is whole. Fix this, then run the same command to resume"
        )


def _words(reason: object) -> str:
    if isinstance(reason, OSError) and reason.strerror:
        # Of two names, what is written to.
        name = reason.filename2 or reason.filename
        return f"{reason.strerror}: {name}" if name else reason.strerror
    reasons = _REASON.findall(str(reason))
    return reasons[-1] if reasons else f"{str(reason).strip():.200}"


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Tells of a disk's failure in words.

    Args:
        folder: The folder that is written to.

    Raises:
        Unwritable: For an OSError of the disk, about a file in the folder or about
            none.
    """
    try:
        yield
    except OSError as error:
        name = error.filename
        within = name is None or folder.absolute() in Path(name).absolute().parents
        if error.errno in _ERRORS and within:
            raise Unwritable(folder, error) from error
        raise


def check_room(folder: Path, needed: int) -> None:
    """Checks that a disk has room, before anything is half written.

    Args:
        folder: The folder to be written to.
        needed: Bytes.

    Raises:
        Unwritable: If it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Unwritable(
            folder, f"{free / 1e6:.1f} MB are free of {needed / 1e6:.1f} MB needed"
        )
