"""Downloads datasets and prepares them with tensorflow-datasets, not TensorFlow.

tensorflow-datasets (TFDS) needs TensorFlow to unpack gzip and to encode images. Here
a builder of our own does without; URLs, checksums, downloads, metadata and the
prepared format are those of TFDS.

TFDS is imported where it is used: importing this module stays quick.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.idx import read_idx_files, read_idx_zip
from mnistopt.data.official import (
    IMAGE_SIZE,
    MAX_EXAMPLES,
    NUM_CLASSES,
    Stored,
    expected_files,
)
from mnistopt.errors import InputError
from mnistopt.logs import quiet

_MAX_RECORD = 65_536  # bytes; a digit takes about 1,000


def read_tfrecord(path: Path) -> Iterator[bytes]:
    """Yields the records of a file, after checking all of its checksums.

    Raises:
        ValueError: If it is damaged.
    """
    data = path.read_bytes()
    chunks, stored, start = [], [], 0
    while start < len(data):
        length = int.from_bytes(data[start : start + 8], "little")
        end = start + 12 + length
        if length > _MAX_RECORD or end + 4 > len(data):
            raise ValueError(f"{path.name} is damaged or cut off at byte {start}")
        chunks += [data[start : start + 8], data[start + 12 : end]]
        stored += [data[start + 8 : start + 12], data[end : end + 4]]
        start = end + 4
    crc = crc32c(chunks)
    masked = ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)
    wrong = np.flatnonzero(masked != np.frombuffer(b"".join(stored), "<u4"))
    if wrong.size:
        raise ValueError(f"{path.name}: wrong checksum at record {wrong[0] // 2}")
    yield from chunks[1::2]


def crc32c(chunks: Sequence[bytes]) -> np.ndarray:
    """Returns the CRC-32C (RFC 3720, B.4) of each of N byte strings, uint32 `[N]`.

    Goes along all of them at once, a byte of each per step, in NumPy: one by one in
    Python would take ten seconds for MNIST.
    """
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    lengths = np.array([len(chunk) for chunk in chunks], np.int64)
    starts = np.cumsum(lengths) - lengths
    longest_first = np.argsort(-lengths, kind="stable")
    starts, rising = starts[longest_first], np.sort(lengths)
    content = np.frombuffer(b"".join(chunks), np.uint8)
    crc = np.full(len(chunks), 0xFFFFFFFF, np.uint32)
    for step in range(lengths.max(initial=0)):
        active = len(chunks) - np.searchsorted(rising, step, side="right")
        now = crc[:active]
        crc[:active] = table[(now ^ content[starts[:active] + step]) & 255] ^ (now >> 8)
    result = np.empty_like(crc)
    result[longest_first] = ~crc
    return result


_INFO_FILE = "dataset_info.json"
_VERSION = "1.0.0"  # of what our own builder writes


def download(name: str, root: Path) -> Path:
    """Downloads a dataset and prepares it with TFDS, where that is not done yet.

    Args:
        name: `mnist`, `fashion_mnist`, `kmnist` or `emnist_digits`.
        root: Where prepared data and, in `downloads/`, the downloaded files are kept.

    Returns:
        The folder of the prepared data.

    Raises:
        InputError: If it cannot be downloaded, is not what TFDS has registered, or
            `root` cannot be written; says which files to get by other means.
    """
    folder = Path(root) / name / _VERSION
    if os.path.isfile(folder / _INFO_FILE):
        return folder
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import (
        NonMatchingChecksumError,
    )

    sources = registered_files(name)
    config = tfds.download.DownloadConfig(
        try_download_gcs=False, force_checksums_validation=True
    )
    try:
        # TFDS tries again for three minutes before it believes that there is no
        # network; one short request asks first.
        with requests.head(next(iter(sources)), timeout=20):
            pass
        # TFDS tells its progress on both streams; stdout is for a program's results.
        with contextlib.redirect_stdout(sys.stderr):
            _builder(name, sources, root).download_and_prepare(
                file_format="array_record", download_config=config
            )
    except NonMatchingChecksumError as err:
        reason = f"a file is not the one that TFDS has registered: {err}"
        raise InputError(_advice(name, root, reason, sources)) from err
    except (OSError, tfds.download.DownloadError) as err:
        if not os.path.isfile(folder / _INFO_FILE):  # else another process was quicker
            raise InputError(_advice(name, root, str(err), sources)) from err
    return folder


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
        "with `data_dir=FOLDER`. `dataset=mnist_5k` needs no download."
    )


def _builder(dataset: str, sources: dict[str, Any], root: Path):
    """Returns a TFDS builder that writes the IDX files of `sources` as they are."""
    import tensorflow_datasets as tfds

    class IdxBuilder(  # type: ignore[call-arg]
        tfds.core.GeneratorBasedBuilder, skip_registration=True
    ):
        """A dataset from IDX files, in their order, prepared without TensorFlow."""

        name = dataset
        VERSION = tfds.core.Version(_VERSION)
        url_infos = sources

        def _info(self):
            shape = (IMAGE_SIZE, IMAGE_SIZE, 1)
            # Stored as plain bytes: a third of the time that lists of int64 take.
            image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
            label = tfds.features.ClassLabel(num_classes=NUM_CLASSES)
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{dataset}, from its IDX files.",
                features=tfds.features.FeaturesDict({"image": image, "label": label}),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            paths = dl_manager.download({_file_name(url): url for url in sources})
            if dataset == "emnist_digits":
                train, test = read_idx_zip(next(iter(paths.values())), dataset)
            else:
                files = [paths[f"{file}.gz"] for file in expected_files(dataset)]
                train, test = read_idx_files(*files)
            return {
                "train": self._generate_examples(train.images, train.labels),
                "test": self._generate_examples(test.images, test.labels),
            }

        def _generate_examples(self, images, labels):
            for index, (image, label) in enumerate(zip(images, labels)):
                yield index, {"image": image[..., np.newaxis], "label": int(label)}

    return IdxBuilder(data_dir=root)


def _file_name(url: str) -> str:
    return url.rsplit("/", 1)[-1]


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
            "or give the IDX files with `data_dir`."
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
