"""Says what a file is, by its first bytes, where it is not what it should be."""

import re
import string
import struct
from collections.abc import Iterable
from pathlib import Path

# What begins a file of each kind: the formats' own specifications.
_BEGINNINGS = {
    b"\x1f\x8b": "gzipped once more",
    b"PK\x03\x04": "a zip file",
    b"PK\x05\x06": "an empty zip file",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ\0": "packed by xz",
    b"7z\xbc\xaf\x27\x1c": "packed by 7-Zip",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"Rar!": "packed by RAR",
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x89HDF": "an HDF5 file",
    b"\x80": "a pickle",
    b"version https://git-lfs": "a pointer of Git LFS, in place of the file: "
    "git lfs pull gets it",
}
# The codes of IDX for what its elements are.
_ELEMENTS = {
    0x08: "unsigned bytes",
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|head|body|!--)", re.IGNORECASE)
_TEXT = set(string.printable.encode())
HEAD = 100  # bytes that are enough to recognize a format
_TOLD = 60  # characters of a text, enough for what a server answers


def what_is(head: bytes) -> str:
    """Returns in words what a file is.

    Args:
        head: The file's first `HEAD` bytes.
    """
    if not head:
        return "empty"
    for beginning, words in _BEGINNINGS.items():
        if head.startswith(beginning):
            return words
    if not any(head):
        return "nothing but zeros"
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _WEB_PAGE.match(text):
        return "a web page (HTML), as a server sends in place of a file"
    if set(text) <= _TEXT:
        first = text.decode("ascii").strip().partition("\n")[0].strip()
        return f"text: {first[:_TOLD]!r}"
    idx = len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _ELEMENTS
    if idx and 0 < head[3] <= 4 and len(head) >= 4 + 4 * head[3]:
        sizes = struct.unpack(f">{head[3]}I", head[4 : 4 + 4 * head[3]])
        return f"an IDX file of {'x'.join(map(str, sizes))} {_ELEMENTS[head[2]]}"
    return f"none known here; it starts with the bytes {head[:4].hex()}"


def why_unreadable(path: Path, error: Exception, kind: str) -> str:
    """Returns in words why a file could not be read.

    Args:
        path: The file.
        error: The exception that reading it raised.
        kind: How `what_is` calls what was expected; others are named in place of it.
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    with open(path, "rb") as file:
        actual = what_is(file.read(HEAD))
    if not actual.startswith(kind):
        return f"it is {actual}"
    return str(error) or type(error).__name__


def listed(names: Iterable[str], most: int = 8) -> str:
    """Returns names in words: a few of them, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
