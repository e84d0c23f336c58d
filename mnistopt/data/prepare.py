"""Downloads datasets, and reads what tensorflow-datasets has prepared.

tensorflow-datasets (TFDS) needs TensorFlow to unpack gzip and to encode images, and
does without it for what is used here: URLs, checksums, downloads and its own format.

TFDS is imported where it is used: importing this module stays quick.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.official import Stored, expected_files
from mnistopt.errors import InputError, see
from mnistopt.logs import quiet


def download(name: str, root: Path) -> tuple[Path, ...]:
    """Downloads the files of a dataset, where they are not there yet.

    Args:
        name: `mnist`, `fashion_mnist`, `kmnist` or `emnist_digits`.
        root: Where they are kept, in `name/`.

    Returns:
        The four IDX files; of EMNIST, the zip file that has them.

    Raises:
        InputError: If they cannot be downloaded, are not what TFDS has registered, or
            `root` cannot be written; says which files to get by other means.
    """
    folder = Path(root) / name
    zipped = name == "emnist_digits"
    files = ["gzip.zip"] if zipped else [f"{file}.gz" for file in expected_files(name)]
    paths = tuple(folder / file for file in files)
    if all(map(os.path.isfile, paths)):
        return paths
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import (
        NonMatchingChecksumError,
    )

    sources = registered_files(name)
    try:
        # TFDS tries again for three minutes before it believes that there is no
        # network; one short request asks first.
        with requests.head(next(iter(sources)), timeout=20):
            pass
        # TFDS prints its progress on both streams; stdout is for a program's results.
        with contextlib.redirect_stdout(sys.stderr):
            manager = tfds.download.DownloadManager(
                download_dir=folder,
                url_infos=sources,
                force_checksums_validation=True,
            )
            downloaded = manager.download(
                {url.rsplit("/", 1)[-1]: url for url in sources}
            )
        for path in paths:
            os.replace(downloaded[path.name], path)
    except NonMatchingChecksumError as err:
        reason = f"a file is not the one that TFDS has registered: {err}"
        raise InputError(_advice(name, root, reason, sources)) from err
    except (OSError, tfds.download.DownloadError) as err:
        if not all(map(os.path.isfile, paths)):  # else another process was quicker
            raise InputError(_advice(name, root, str(err), sources)) from err
    return paths


def registered_files(name: str) -> dict[str, Any]:
    """Returns the `UrlInfo` (size, SHA-256) per URL that TFDS has registered."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import utils
    from tensorflow_datasets.core.download import checksums

    registered = "emnist" if name == "emnist_digits" else name
    path = utils.tfds_path() / "url_checksums" / f"{registered}.txt"
    if not path.exists():
        raise InputError(
            f"tensorflow-datasets {tfds.__version__} has no checksums of {registered} "
            "where 4.9.10 has them. Install that version, or give the IDX files with "
            "`data_dir`."
        )
    return checksums.load_url_infos(path)


def _advice(name: str, root: Path, reason: str, sources: dict[str, Any]) -> str:
    return (
        f"{name} could not be downloaded into {root}: {reason}\n"
        f"Without a network, put the four files {', '.join(expected_files(name))} "
        f"(with or without .gz; from {', '.join(sources)}) into one folder and give it "
        f"with `data_dir=FOLDER`. `dataset=mnist_5k` needs no download.{see('data')}"
    )


_BLOCK = 10_000  # examples read from array_record at a time


def read_prepared(folder: Path) -> list[Stored]:
    """Reads data that TFDS has prepared.

    Examples come in the order in which TFDS stored them.

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
            "or give the IDX files with `data_dir`."
        ) from err


def _read_split(builder: Any, split: str) -> Stored:
    info = builder.info
    decode = info.features.deserialize_example_np
    examples = [decode(record) for record in _records(builder, split)]
    stated = info.splits[split].num_examples
    if len(examples) != stated:
        raise ValueError(f"{len(examples)} examples in {split}, {stated} were stated")
    images = np.stack([example["image"] for example in examples])
    labels = np.array([example["label"] for example in examples])
    place = f"{builder.data_dir} ({split})"
    return Stored(images, labels, place, place)


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


def read_tfrecord(path: Path) -> Iterator[bytes]:
    """Yields the records of a file, after checking their checksums.

    Raises:
        ValueError: If it is damaged.
    """
    from tensorboardX.record_writer import masked_crc32c

    data, start = path.read_bytes(), 0
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 8], "little")
        if end + 4 > len(data):
            raise ValueError(f"{path.name} is damaged or cut off at byte {start}")
        # A record's length and its content, each before a checksum of four bytes.
        for begin, stop in ((start, start + 8), (start + 12, end)):
            stored = int.from_bytes(data[stop : stop + 4], "little")
            if masked_crc32c(data[begin:stop]) != stored:
                raise ValueError(f"{path.name}: wrong checksum at byte {stop}")
        yield data[start + 12 : end]
        start = end + 4
