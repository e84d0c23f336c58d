"""Checksums of what is stored: storage libraries restore flipped bits as they are."""

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from mnistopt.errors import InputError

# Of a checkpoint's records, beside them.
CHECKSUM = "checksum"


class Damaged(InputError):
    """What is stored is not what was written."""


def checksum(array: Any) -> int:
    """Returns the CRC-32 of an array's bytes, which no single flipped bit leaves."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def row_checksums(tree: Any) -> dict[str, list[int]]:
    """Returns the checksums of each row of each array of nested dictionaries.

    Args:
        tree: Arrays [R, ...].

    Returns:
        By the name that the array has in the store, "weights.last.Dense_0.bias".
    """
    return {name: list(map(checksum, rows)) for name, rows in named(tree)}


def named(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yields the arrays of nested dictionaries, and their names in the store."""
    for path, leaf in flatten_dict(tree).items():
        yield ".".join(path), leaf


def text_checksum(content: Mapping[str, Any]) -> int:
    """Returns the CRC-32 of JSON, the same after it was written and read."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
