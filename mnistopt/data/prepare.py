"""Downloads datasets and prepares them with tensorflow-datasets, not TensorFlow.

tensorflow-datasets (TFDS) needs TensorFlow to unpack gzip and to encode images. Here
a builder of our own does without; URLs, checksums, downloads, metadata and the
prepared format are those of TFDS.

TFDS is imported where it is used: importing this module stays quick.
"""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.data.idx import read_idx_files, read_idx_zip
from mnistopt.data.official import IMAGE_SIZE, NUM_CLASSES, expected_files
from mnistopt.errors import InputError

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
            "--data_dir."
        )
    return checksums.load_url_infos(path)


def _advice(name: str, root: Path, reason: str, sources: dict[str, Any]) -> str:
    return (
        f"{name} could not be downloaded into {root}: {reason}\n"
        f"Without a network, put the four files {', '.join(expected_files(name))} "
        f"(with or without .gz; from {', '.join(sources)}) into one folder and give it "
        "with --data_dir=FOLDER. --dataset=mnist_5k needs no download."
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
