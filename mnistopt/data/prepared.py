"""Reads data that tensorflow-datasets has prepared, without TensorFlow.

tensorflow-datasets (TFDS) needs TensorFlow to read TFRecord files: `tfrecord` does it
here. The metadata and the decoding are those of TFDS, which is imported where it is
used: importing this module stays quick.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.official import IMAGE_SIZE, MAX_EXAMPLES, Stored
from mnistopt.data.tfrecord import read_tfrecord
from mnistopt.errors import InputError
from mnistopt.logs import quiet

_BLOCK = 10_000  # examples read from array_record at a time


def read_prepared(folder: Path) -> list[Stored]:
    """Reads data that TFDS has prepared, ours or that of its own builders.

    Examples come in the order in which TFDS stored them: that of the IDX files where
    `prepare.download` prepared them, TFDS's own fixed shuffle elsewhere.

    Args:
        folder: The folder of one version, with `dataset_info.json`; its records in
            `array_record` or `tfrecord` format.

    Returns:
        The train part and the test part.

    Raises:
        InputError: If anything about the data is not as it should be.
    """
    quiet()
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(folder)
        return [_read_split(builder, split) for split in ("train", "test")]
    except InputError:
        raise
    except Exception as err:  # TFDS, protobuf, Pillow, array_record raise their own
        raise InputError(
            f"The data that tensorflow-datasets prepared in {folder} cannot be read "
            f"({type(err).__name__}: {err}). Delete the folder and prepare it again, "
            "or give the IDX files with --data_dir."
        ) from err


def _read_split(builder: Any, split: str) -> Stored:
    info = builder.info
    count = info.splits[split].num_examples
    if not 1 <= count <= MAX_EXAMPLES:
        raise InputError(f"{builder.data_dir} states {count} examples in {split}.")
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 1), np.uint8)
    labels = np.empty(count, np.int64)
    position = -1
    for position, record in enumerate(_records(builder, split)):
        example = info.features.deserialize_example_np(record)
        image = example["image"]
        if image.shape != images.shape[1:] or image.dtype != np.uint8:
            raise ValueError(f"image {position} is {image.dtype} {image.shape}")
        images[position], labels[position] = image, example["label"]
    if position + 1 != count:
        raise ValueError(f"{position + 1} examples in {split}, {count} were stated")
    place = f"{builder.data_dir} ({split})"
    return Stored(images[..., 0], labels, place, place)


def _records(builder: Any, split: str) -> Iterator[bytes]:
    """Yields the serialized examples of a split."""
    import tensorflow_datasets as tfds

    file_format = builder.info.file_format.value
    if file_format == "array_record":
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        source = builder.as_data_source(split, deserialize_method=raw)
        for start in range(0, len(source), _BLOCK):
            stop = min(start + _BLOCK, len(source))
            yield from source.__getitems__(range(start, stop))
    elif file_format == "tfrecord":
        for path in builder.info.splits[split].filepaths:
            yield from read_tfrecord(Path(path))
    else:
        raise ValueError(f"the format is {file_format}, not array_record or tfrecord")
