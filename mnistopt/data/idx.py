"""Reads the IDX files of MNIST and of the datasets that copy its format.

Format: http://yann.lecun.com/exdb/mnist/, "FILE FORMATS FOR THE MNIST DATABASE".
"""

import contextlib
import gzip
import math
import os
import struct
import zipfile
import zlib
from typing import IO, Any

import numpy as np

from mnistopt.data.content import HEAD, listed, what_is
from mnistopt.data.official import IMAGE_SIZE, MAX_EXAMPLES, Stored, expected_files
from mnistopt.errors import InputError

_GZIP_MAGIC = b"\x1f\x8b"
# By the number of axes: the type that a header states, and how numpy calls it.
_TYPES: dict[int, tuple[int, Any]] = {
    1: (8, np.dtype("u1")),
    2: (12, np.dtype(">i4")),
    3: (8, np.dtype("u1")),
}
# What QMNIST says of a digit: its class, and where NIST has it.
COLUMNS = 8
_EXPECTED = {
    1: "labels, an unsigned byte each. One-hot labels, or those in a column, have to "
    "become one number each",
    2: f"labels of QMNIST, {COLUMNS} integers of 32 bits each",
    3: f"images, unsigned bytes with the axes N x {IMAGE_SIZE} x {IMAGE_SIZE}. Flat "
    "images have to be written as rows and columns, and an axis of channels has to go; "
    "images of another size are read by `data=FILE.npz`",
}


def read_idx(path: str | os.PathLike, *, ndim: int) -> np.ndarray:
    """Reads one IDX file, gzipped or not.

    Args:
        path: The file. Whether it is gzipped is decided by its content, not its name.
        ndim: 3 for images, 1 for labels, 2 for QMNIST's.

    Returns:
        uint8 `[N, 28, 28]` for images, uint8 `[N]` for labels, int32 `[N, 8]` for
        QMNIST's; read-only.

    Raises:
        InputError: If the file cannot be read, is no IDX file of that kind, or is
            truncated, too long or otherwise damaged; names the file.
    """
    try:
        with open(path, "rb") as stream:
            return parse_idx(stream, str(path), ndim=ndim)
    except OSError as err:
        raise InputError(f"Cannot read {path}: {err.strerror or err}.") from err


def parse_idx(stream: IO[bytes], name: str, *, ndim: int) -> np.ndarray:
    """Reads IDX data from an open, seekable binary stream.

    Never takes more from the stream, nor unpacks more, than the header promises and
    one byte, so a small file cannot fill the memory.

    Args:
        stream: Positioned at its start.
        name: The name of the stream, for error messages.
        ndim: See `read_idx`.

    Returns:
        As `read_idx`.

    Raises:
        InputError: See `read_idx`.
    """
    try:
        gzipped = stream.read(2) == _GZIP_MAGIC
        stream.seek(0)
        opened = gzip.GzipFile(fileobj=stream) if gzipped else None
        with opened or contextlib.nullcontext(stream) as plain:
            shape = _read_header(plain, name, ndim)
            dtype = _TYPES[ndim][1]
            size = math.prod(shape) * dtype.itemsize
            # The byte too many finds trailing data, and takes gzip to its checksum.
            content = plain.read(size + 1)
    except (OSError, EOFError, zlib.error) as err:
        raise InputError(f"{name} is damaged ({err}). Get the file again.") from err
    if len(content) != size:
        length = "more" if len(content) > size else f"only {len(content)}"
        raise InputError(
            f"{name} is damaged: its header promises {size} bytes of data, it has "
            f"{length}. Get the file again."
        )
    return np.frombuffer(content, dtype).reshape(shape)


def _read_header(
    stream: IO[bytes] | gzip.GzipFile, name: str, ndim: int
) -> tuple[int, ...]:
    """Returns the shape that a valid header states; raises InputError otherwise."""
    head = stream.read(4 + 4 * ndim)
    valid = head[:4] == bytes((0, 0, _TYPES[ndim][0], ndim))
    if valid and len(head) == 4 + 4 * ndim:
        count, *sides = struct.unpack(f">{ndim}I", head[4:])
        side = COLUMNS if ndim == 2 else IMAGE_SIZE
        if 0 < count <= MAX_EXAMPLES and set(sides) <= {side}:
            return count, *sides
    content = what_is(head + stream.read(HEAD))
    raise InputError(
        f"{name} is {content}. Expected is an IDX file of at most "
        f"{MAX_EXAMPLES} {_EXPECTED[ndim]}. Get the file again. Are images and labels "
        "mixed up?"
    )


def read_idx_files(*paths: str | os.PathLike) -> list[Stored]:
    """Reads the four files of a dataset.

    Args:
        paths: The files, in the order of `expected_files`.

    Returns:
        The train part and the test part.

    Raises:
        InputError: See `read_idx`.
    """
    arrays = [read_idx(path, ndim=ndim) for path, ndim in zip(paths, (3, 1, 3, 1))]
    return _parts(arrays, [str(path) for path in paths])


def _parts(arrays: list[np.ndarray], names: list[str]) -> list[Stored]:
    return [
        Stored(arrays[at], arrays[at + 1], names[at], names[at + 1]) for at in (0, 2)
    ]


def read_idx_zip(path: str | os.PathLike, name: str) -> list[Stored]:
    """Reads the four files of a dataset from a zip file such as EMNIST's.

    Args:
        path: The zip file, with the files in whatever folder, gzipped or not.
        name: The dataset.

    Returns:
        The train part and the test part.

    Raises:
        InputError: If a file is missing from the zip file or damaged.
    """
    arrays, names = [], []
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {_plain_name(entry): entry for entry in archive.namelist()}
            for file, ndim in zip(expected_files(name), (3, 1, 3, 1)):
                if file not in entries:
                    raise InputError(
                        f"{path} is not the zip file of {name}: it has no {file}, but "
                        f"{listed(archive.namelist())}"
                    )
                names.append(f"{entries[file]} in {path}")
                with archive.open(entries[file]) as stream:
                    arrays.append(parse_idx(stream, names[-1], ndim=ndim))
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as err:
        raise InputError(
            f"{path} is not the zip file of {name} ({err}). Get it again."
        ) from err
    return _parts(arrays, names)


def _plain_name(path: str) -> str:
    """Returns the name in `expected_files` that a file in an archive stands for."""
    return path.rpartition("/")[2].removesuffix(".gz").replace(".idx", "-idx")
