"""Files of examples in MNIST's format."""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def write_idx(path: Path, array: np.ndarray, magic: int | None = None) -> None:
    """Writes an array of bytes; with another first number if there is one."""
    magic = magic or 0x800 + array.ndim
    header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_dataset(
    folder: Path, parts: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> None:
    """Writes images [N, 28, 28] and labels per part, "train" and "t10k"."""
    folder.mkdir()
    for part, (images, labels) in parts.items():
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
