"""QMNIST's test digits, in files of its format made of MNIST's digits.

The real ones are not at hand: the format is that of its README.
"""

import gzip
import struct

import numpy as np
import pytest

import mnistopt
from mnistopt.data import qmnist
from mnistopt.data.idx import read_idx
from mnistopt.errors import InputError
from tests.idx import write_idx

IMAGES, LABELS = "qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int"


def write(folder, count=60, labels=None, columns=8, kind=0x0C):
    """Writes digits as QMNIST has them: labels are the first of eight integers."""
    test = mnistopt.load().test
    labels = test.labels[:count] if labels is None else labels
    table = np.arange(len(labels) * columns).reshape(-1, columns) * 1000
    table[:, 0] = labels
    folder.mkdir(parents=True, exist_ok=True)
    write_idx(folder / IMAGES, test.images[:count, ..., 0])
    header = struct.pack(">BBBBII", 0, 0, kind, 2, *table.shape)
    (folder / LABELS).write_bytes(header + table.astype(">i4").tobytes())
    return test.images[:count], labels


@pytest.mark.parametrize("place", ["", "QMNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_images_labels_and_parts_are_read_in_their_order(
    place, packed, tmp_path, monkeypatch
):
    images, labels = write(tmp_path / place)
    if packed:
        for file in (tmp_path / place).iterdir():
            file.with_name(f"{file.name}.gz").write_bytes(
                gzip.compress(file.read_bytes())
            )
            file.unlink()
    monkeypatch.setattr(qmnist, "KNOWN", 10)
    split, parts = qmnist.read_qmnist(tmp_path)
    np.testing.assert_array_equal(split.images, images)
    np.testing.assert_array_equal(split.labels, labels)
    assert [len(labels[part]) for part in parts.values()] == [10, 50]


def test_all_eight_columns_are_read_as_written(tmp_path):
    write(tmp_path, 3)
    table = read_idx(tmp_path / LABELS, ndim=2)
    assert table.tolist()[1][1:] == [1000 * n for n in range(9, 16)]


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"labels": np.arange(59) % 10}, "60 images of QMNIST and 59 labels"),
        ({"labels": np.full(60, 10)}, "labels from 10 to 10"),
        ({"columns": 7}, "labels of QMNIST, 8 integers of 32 bits each"),
        ({"kind": 8}, "labels of QMNIST, 8 integers of 32 bits each"),
    ],
)
def test_what_is_wrong_with_files_is_said(broken, words, tmp_path):
    write(tmp_path, **broken)
    with pytest.raises(InputError, match=words):
        qmnist.read_qmnist(tmp_path)


def test_a_file_that_is_cut_off_or_missing_is_named(tmp_path):
    write(tmp_path)
    content = (tmp_path / LABELS).read_bytes()
    (tmp_path / LABELS).write_bytes(content[:-4])
    with pytest.raises(InputError, match="promises 1920 bytes of data, it has only"):
        qmnist.read_qmnist(tmp_path)
    (tmp_path / LABELS).unlink()
    with pytest.raises(InputError, match=f"not there: {LABELS}"):
        qmnist.read_qmnist(tmp_path)
    with pytest.raises(InputError, match="give the folder of its files"):
        qmnist.read_qmnist(None)
