"""Whatever people bring works, or is answered in one message: tables of what and how.

A new case is a line. Of each table the last words are those of the answer: patterns
that its message must match, "" where it is simply taken.
"""

import contextlib
import gzip
import os
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import mnistopt
from mnistopt.data.official import expected_files
from mnistopt.errors import InputError
from tests.programs import ROOT, run

# --- Files ---

DIGITS = mnistopt.load("mnist_5k", train_examples=300)
# Train images and labels, test images and labels, as IDX files hold them.
ARRAYS = (
    DIGITS.train.images[..., 0],
    DIGITS.train.labels.astype(np.uint8),
    DIGITS.test.images[:100, ..., 0],
    DIGITS.test.labels[:100].astype(np.uint8),
)
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = ARRAYS
FILES = expected_files("mnist")
KERAS = dict(zip(("x_train", "y_train", "x_test", "y_test"), ARRAYS))
OURS = dict(zip(("images", "labels", "test_images", "test_labels"), ARRAYS))
NAMES = ["label", *(f"pixel{i}" for i in range(784))]
PAGE = b"<!DOCTYPE html>\n<html><body>Sign in</body></html>"


def idx_bytes(array, code=8):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, code, array.ndim)) + sizes + array.tobytes()


def idx(folder, arrays=ARRAYS, name="mnist", ending="", **replaced):
    """Writes four IDX files; `replaced` gives contents of others, by array's name."""
    folder.mkdir(parents=True, exist_ok=True)
    short = ("images", "labels", "test_images", "test_labels")
    for key, file, array in zip(short, expected_files(name), arrays):
        content = replaced.get(key, idx_bytes(array))
        content = gzip.compress(content, 1) if ending == ".gz" else content
        (folder / f"{file}{ending}").write_bytes(content)
    return {"dataset": name, "data_dir": folder}


def emnist(folder, ending=""):
    """Writes the digits as EMNIST has them, lying."""
    lying = [one.swapaxes(1, 2) if one.ndim == 3 else one for one in ARRAYS]
    lying = [np.ascontiguousarray(one) for one in lying]
    return idx(folder, lying, "emnist_digits", ending)


def zipped(path, source, inside="{}"):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(source.iterdir()):
            archive.write(file, inside.format(file.name))
    return path


def csv(path, images, labels, names=NAMES, last=False):
    parts = [images.reshape(len(images), -1)]
    if labels is not None:
        parts.insert(len(parts) if last else 0, labels[:, np.newaxis])
    rows = np.concatenate(parts, axis=1).tolist()
    lines = [",".join(map(str, row)) for row in ([names] if names else []) + rows]
    content = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def tables(folder, stem="mnist_", ending="csv", **options):
    csv(folder / f"{stem}train.{ending}", IMAGES, LABELS, **options)
    csv(folder / f"{stem}test.{ending}", TEST_IMAGES, TEST_LABELS, **options)
    return {"dataset": "mnist", "data_dir": folder}


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def mnist(place):
    return {"dataset": "mnist", "data_dir": place}


def own(place):
    return {"data": place}


def below(folder, data_dir):
    """Writes IDX files into a folder; returns that as a person gives it."""
    return idx(folder) | {"data_dir": data_dir}


def renamed(folder, change):
    found = idx(folder)
    for file in sorted(folder.iterdir()):
        file.rename(folder / change(file.name))
    return found


def without(folder, *files):
    found = idx(folder)
    for file in files:
        (folder / file).unlink()
    return found


def instead(folder, make):
    """Makes something that is no file in place of the first file."""
    found = without(folder, FILES[0])
    make(folder / FILES[0])
    return found


def beside(folder, content, ending=""):
    """Writes gzipped files, and another content beside the first of them."""
    found = idx(folder, ending=".gz")
    (folder / f"{FILES[0]}{ending}").write_bytes(content)
    return found


TAKEN = {
    "IDX files": lambda f: idx(f / "x"),
    "IDX files, gzipped": lambda f: idx(f / "x", ending=".gz"),
    "gzipped, without .gz in their names": lambda f: renamed_gz(f / "x"),
    "as train-images.idx3-ubyte": lambda f: renamed(
        f / "x", lambda name: name.replace("-idx", ".idx")
    ),
    "torchvision's root": lambda f: below(f / "MNIST" / "raw", f),
    "torchvision's MNIST": lambda f: below(f / "MNIST" / "raw", f / "MNIST"),
    "torchvision's raw": lambda f: below(f / "MNIST" / "raw", f / "MNIST" / "raw"),
    "a folder of folders by name": lambda f: below(f / "mnist", f),
    "an empty file beside a good one": lambda f: beside(f / "x", b""),
    "a path of bytes": lambda f: mnist(os.fsencode(idx(f / "x")["data_dir"])),
    "a path as text": lambda f: mnist(str(idx(f / "x")["data_dir"])),
    "a folder called [1]: a*?": lambda f: idx(f / "[1]: a*?"),
    "a zip file, as Kaggle's archive.zip": lambda f: mnist(
        zipped(f / "a.zip", idx(f / "x")["data_dir"], "{0}/{0}")
    ),
    "Keras' mnist.npz": lambda f: mnist(npz(f / "mnist.npz", **KERAS)),
    "a folder with mnist.npz": lambda f: mnist(npz(f / "mnist.npz", **KERAS).parent),
    "an .npz of ours": lambda f: mnist(npz(f / "any.npz", **OURS)),
    "Keras' names as own data": lambda f: own(npz(f / "any.npz", **KERAS)),
    "whole numbers of 64 bits": lambda f: own(
        npz(f / "any.npz", **{name: one.astype(int) for name, one in KERAS.items()})
    ),
    "channels, and labels in a column": lambda f: mnist(
        npz(
            f / "any.npz",
            **{k: one[..., None] for k, one in KERAS.items()},
        )
    ),
    "tables mnist_train.csv": tables,
    "tables train.csv and test.csv": lambda f: tables(f, ""),
    "gzipped tables": lambda f: tables(f, "mnist-", "csv.gz"),
    "tables without names": lambda f: tables(f, names=None),
    "tables without names, labels last": lambda f: tables(f, names=None, last=True),
    "OpenML's tables": lambda f: tables(f, names=[*NAMES[1:], "class"], last=True),
    "a table's path": lambda f: mnist(tables(f)["data_dir"] / "mnist_train.csv"),
    "arrays": lambda f: own(mnistopt.Dataset.from_arrays(**OURS)),
    "arrays of other types": lambda f: own(
        mnistopt.Dataset.from_arrays(
            IMAGES.astype(np.int64),
            LABELS.astype(float)[:, None],
            test_images=TEST_IMAGES[..., None],
            test_labels=TEST_LABELS.tolist(),
        )
    ),
    "EMNIST's gzip": lambda f: emnist(f / "gzip", ".gz") | {"data_dir": f},
    "EMNIST's gzip.zip": lambda f: (
        emnist(f / "x", ".gz") | {"data_dir": zipped(f / "g.zip", f / "x", "gzip/{}")}
    ),
    "EMNIST by torchvision": lambda f: emnist(f / "EMNIST" / "raw") | {"data_dir": f},
}


def renamed_gz(folder):
    found = idx(folder, ending=".gz")
    for file in sorted(folder.iterdir()):
        file.rename(file.with_suffix(""))
    return found


def data_of(settings, cache):
    """Loads what a run would; returns it and the warnings that it shows."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        plan = mnistopt.plan(
            model="mlp", workdir=cache / "w", cache_dir=cache, **settings
        )
    return plan.dataset, [str(one.message) for one in shown]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """The fingerprint of the digits, which decides all numbers."""
    folder = tmp_path_factory.mktemp("wanted")
    return mnistopt.Dataset.from_arrays(**OURS).fingerprint, folder


@pytest.mark.parametrize("what", TAKEN)
def test_the_same_digits_are_the_same_data_whatever_they_come_in(
    what, tmp_path, wanted
):
    settings = TAKEN[what](tmp_path)
    data, shown = data_of(settings, wanted[1])
    assert data.fingerprint == wanted[0]
    assert not shown


def unfinished(folder):
    (folder / "mnist" / "3.0.1.incompleteABC_3.0.1").mkdir(parents=True)
    return mnist(folder)


def pairs(folder):
    (folder / "x").mkdir()
    csv(folder / "train.csv", IMAGES, LABELS)
    csv(folder / "test.csv", TEST_IMAGES, None, NAMES[1:])
    return mnist(folder)


def both(folder):
    idx(folder / "x")
    return idx(folder / "x", ending=".gz")


# What is used, with a warning.
WARNED = {
    "pixels of 0 and 1": (
        lambda f: idx(f / "x", (IMAGES // 128, LABELS, TEST_IMAGES, TEST_LABELS)),
        "pixels are 0 and 1.*multiply",
    ),
    "dark ink on light paper": (
        lambda f: idx(f / "x", (255 - IMAGES, LABELS, 255 - TEST_IMAGES, TEST_LABELS)),
        "dark on light.*255 minus",
    ),
    "noise": (
        lambda f: idx(f / "x", (noise(300), LABELS, noise(100), TEST_LABELS)),
        "mostly empty: are these",
    ),
    "half of the pictures blank": (
        lambda f: idx(f / "x", (blank(IMAGES), LABELS, TEST_IMAGES, TEST_LABELS)),
        r"1\d\d of 275 training images are blank",
    ),
    "a class that is missing": (
        lambda f: idx(f / "x", (IMAGES, LABELS % 9, TEST_IMAGES, TEST_LABELS)),
        "show 9 of 10 classes",
    ),
    "gzipped files beside plain ones": (
        lambda f: both(f),
        "more than once: train-images-idx3-ubyte is read, train-images-.*gz is not",
    ),
    "IDX files and tables": (
        lambda f: idx(f) | tables(f),
        "more than once: train-images-idx3-ubyte is read, mnist_train.csv is not",
    ),
    "Kaggle's tables, whose test part has no labels": (
        pairs,
        "no test part with labels in .*a fifth",
    ),
    "one table, of whatever name": (
        lambda f: mnist(csv(f / "digits.csv", IMAGES, LABELS)),
        "no test part with labels",
    ),
    "one table as own data": (
        lambda f: own(csv(f / "t.csv", IMAGES // 128, LABELS)),
        "pixels are 0 and 1",
    ),
    "floats of 0 to 255": (
        lambda f: own(npz(f / "x.npz", images=IMAGES / 1.0, labels=LABELS)),
        "floats of 0 to 255.*divide",
    ),
    "arrays that nothing is done with": (
        lambda f: own(npz(f / "x.npz", **OURS, val_images=IMAGES)),
        "also holds val_images",
    ),
    "as many as MNIST has, of something else": (
        lambda f: idx(f / "x", many()),
        "as many as mnist has, but not the same",
    ),
}


def noise(count):
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)


def blank(images):
    return np.where(np.arange(len(images))[:, None, None] % 2, images, 0)


def many():
    """As many examples as MNIST has; a number in the pixels of each digit's corner."""
    arrays = []
    for count in (60_000, 10_000):
        at = np.arange(count) % 100
        images = TEST_IMAGES[at].copy()
        images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(count), 256)
        arrays += [images, TEST_LABELS[at]]
    return arrays


@pytest.mark.parametrize("what", WARNED)
def test_what_is_doubtful_is_used_with_one_warning(what, tmp_path):
    bring, words = WARNED[what]
    _, shown = data_of(bring(tmp_path), tmp_path)
    assert len(shown) == 1 and re.search(words, shown[0]), shown


FLAT = idx_bytes(IMAGES.reshape(300, 784))
ONE_HOT = idx_bytes(np.eye(10, dtype=np.uint8)[LABELS])
LARGER = idx_bytes(np.zeros((3, 32, 32), np.uint8))
REFUSED = {
    "a web page": (lambda f: idx(f, images=PAGE), r"a web page \(HTML\).*Get the file"),
    "a gzipped web page": (lambda f: idx(f, ending=".gz", labels=PAGE), "a web page"),
    "a web page beside .gz": (lambda f: beside(f, PAGE), "a web page"),
    "404": (lambda f: idx(f, images=b"404: Not Found"), "text: '404: Not Found'"),
    "an answer in XML": (lambda f: idx(f, images=b"<?xml v='1'?>\n<Error>"), "<.xml"),
    "a pointer of Git LFS": (
        lambda f: idx(f, images=b"version https://git-lfs.github.com/spec/v1\n"),
        "git lfs pull",
    ),
    "gzipped twice": (
        lambda f: idx(f, images=gzip.compress(gzip.compress(idx_bytes(IMAGES)))),
        "gzipped once more",
    ),
    "a zip file as .gz": (lambda f: idx(f, images=b"PK\3\4" + bytes(99)), "a zip file"),
    "packed by xz": (lambda f: idx(f, images=b"\xfd7zXZ\0" + bytes(9)), "by xz"),
    "a picture": (lambda f: idx(f, images=b"\x89PNG\r\n" + bytes(99)), "a PNG picture"),
    "an array": (lambda f: idx(f, images=b"\x93NUMPY" + bytes(99)), "a NumPy array"),
    "zeros": (lambda f: idx(f, images=bytes(99)), "nothing but zeros"),
    "an empty file": (lambda f: idx(f, images=b""), "is empty.*Get the file"),
    "one byte": (lambda f: idx(f, images=b"\xff"), "starts with the bytes ff"),
    "three bytes": (lambda f: idx(f, images=b"\0\0\x08"), "the bytes 000008"),
    "half a header": (
        lambda f: idx(f, labels=idx_bytes(LABELS)[:6]),
        "starts with the bytes 0000.*Get the file",
    ),
    "half a download": (
        lambda f: idx(f, images=idx_bytes(IMAGES)[:9999]),
        "promises 235200 bytes of data, it has only",
    ),
    "one-hot labels": (lambda f: idx(f, labels=ONE_HOT), "300x10 unsigned.*One-hot"),
    "labels in a column": (
        lambda f: idx(f, labels=idx_bytes(LABELS[:, None])),
        "300x1 unsigned bytes.*in a column",
    ),
    "flat images": (lambda f: idx(f, images=FLAT), "300x784 .*Flat images"),
    "images with channels": (
        lambda f: idx(f, images=idx_bytes(IMAGES[..., None])),
        "300x28x28x1.*axis of channels",
    ),
    "images and labels mixed up": (
        lambda f: idx(f, (LABELS, IMAGES, TEST_IMAGES, TEST_LABELS)),
        "mixed up",
    ),
    "labels of 32 bits": (
        lambda f: idx(f, labels=idx_bytes(LABELS.astype(">i4"), 12)),
        "300 32-bit integers",
    ),
    "images of floats": (
        lambda f: idx(f, images=idx_bytes(IMAGES.astype(">f4"), 13)),
        "32-bit floats",
    ),
    "larger images": (lambda f: idx(f, images=LARGER), "x32x32 unsigned.*`data="),
    "a million images": (
        lambda f: idx(f, images=idx_bytes(IMAGES)[:4] + b"\0\x20\0\0" + bytes(8)),
        "2097152",
    ),
    "more than a million labels": (
        lambda f: idx(f, labels=idx_bytes(LABELS)[:4] + b"\0\x20\0\0"),
        "2097152 unsigned bytes.* at most 1000000 labels",
    ),
    "no folder": (lambda f: mnist(f / "none"), "there is no such folder"),
    "an empty folder": (lambda f: mnist(f), "Found instead: nothing"),
    "other things": (
        lambda f: mnist(npz(f / "digits.npz", x=IMAGES).parent),
        "Found instead: digits.npz",
    ),
    "two files of four": (
        lambda f: without(f, FILES[1], FILES[2]),
        f"not there: {FILES[1]}, {FILES[2]}",
    ),
    "a folder in place of a file": (
        lambda f: instead(f, Path.mkdir),
        f"not there: {FILES[0]} .* instead: .*, {FILES[0]}/, ",
    ),
    "a link to nothing in place of a file": (
        lambda f: instead(f, lambda path: path.symlink_to("gone")),
        rf"not there: {FILES[0]} .* instead: .*, {FILES[0]} \(no file\), ",
    ),
    "a pipe in place of a file": (
        lambda f: instead(f, os.mkfifo),
        rf"not there: {FILES[0]} .* instead: .*, {FILES[0]} \(no file\), ",
    ),
    "a browser's second copies": (
        lambda f: renamed(f, "{} (1).gz".format),
        r"not there: .* instead: .*train-labels-idx1-ubyte \(1\).gz",
    ),
    "one of the files as a folder": (
        lambda f: mnist(idx(f)["data_dir"] / FILES[0]),
        "is a file: give the folder of the four",
    ),
    "a text as a folder": (
        lambda f: mnist(Path(shutil.copy(ROOT / "README.md", f))),
        "is a file, text: '# mnistopt'; expected",
    ),
    "a zip file of other things": (
        lambda f: mnist(zipped(f / "a.zip", emnist(f / "x")["data_dir"])),
        "it has no train-images-idx3-ubyte, but emnist",
    ),
    "a preparation that was cut off": (unfinished, "not there: .* instead: "),
    "another dataset's preparation": (
        lambda f: mnist(prepared(f, "kmnist")),
        "holds kmnist as prepared",
    ),
    "EMNIST as .npz": (
        lambda f: {
            "dataset": "emnist_digits",
            "data_dir": npz(f / "emnist_digits.npz", **KERAS),
        },
        "is not the zip file of emnist_digits",
    ),
    "named data of another size": (
        lambda f: mnist(npz(f / "x.npz", images=IMAGES[:, ::2], labels=LABELS)),
        r"uint8 of shape \(300, 14, 28\); expected are images of 28x28",
    ),
    "named data of floats": (
        lambda f: mnist(npz(f / "x.npz", images=IMAGES / 255, labels=LABELS)),
        "float64 of shape.*whole numbers",
    ),
    "a label of 10": (
        lambda f: mnist(npz(f / "x.npz", images=IMAGES, labels=LABELS + 1)),
        "are 1 to 10, the first wrong one 10 at",
    ),
    "a table without labels": (
        lambda f: own(csv(f / "t.csv", IMAGES[:, :, 1:], LABELS, None)),
        "757 columns; expected are a label and",
    ),
    "a table of pixels only": (
        lambda f: own(csv(f / "t.csv", IMAGES, None, None)),
        "784 columns, a pixel each, and none of labels",
    ),
    "a table with words": (
        lambda f: own(text(f / "t.csv", "label,pixel0\n3,four\n")),
        "cannot be read as a table of pixels",
    ),
    "a table with gaps": (
        lambda f: own(text(f / "t.csv", "label,pixel0\n3,\n")),
        "no number in row 0, column 1",
    ),
    "a table that is a web page": (
        lambda f: own(text(f / "t.csv", PAGE.decode())),
        "cannot be read as a table|columns",
    ),
    "an empty table": (lambda f: own(text(f / "t.csv", "")), "cannot be read.*empty"),
    "a picture as a table": (
        lambda f: own(text(f / "t.csv", "\x89PNG\r\n\x1a\n" + "\0" * 99)),
        "cannot be read as a table",
    ),
    "text as .npz": (lambda f: own(text(f / "x.npz", "Not Found")), "'Not Found'"),
    "an .npz of other names": (
        lambda f: own(npz(f / "x.npz", arr_0=IMAGES)),
        r"holds arr_0 \(300, 28, 28\); expected is .*x_train",
    ),
    "an .npz of objects": (
        lambda f: own(npz(f / "x.npz", images=np.array([{}]), labels=LABELS)),
        "cannot be read",
    ),
    "no file": (lambda f: own(f / "none.npz"), "No such file"),
    "IDX files as own data": (lambda f: own(idx(f)["data_dir"]), "`dataset=mnist`"),
}


def prepared(folder, name):
    place = folder / "3.0.1"
    place.mkdir()
    text(place / "dataset_info.json", f'{{"name": "{name}"}}')
    return place


def text(path, content):
    path.write_text(content, encoding="latin-1")
    return path


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_read_is_named(what, tmp_path):
    bring, words = REFUSED[what]
    settings = bring(tmp_path)
    with pytest.raises(InputError, match=f"(?s){words}"):
        data_of(settings, tmp_path)
    assert not (tmp_path / "w").exists()


# --- Python ---

VALUES = [
    ({"data_dir": 5}, "data_dir=5 is not allowed: expected a path"),
    ({"cache_dir": 5}, "cache_dir=5 is not allowed"),
    ({"workdir": 5}, "workdir=5 is not allowed"),
    ({"workdir": "a\0b"}, "zero byte"),
    ({"data": 5}, "data=5 is not allowed"),
    ({"data": [1, 2]}, "expected a path"),
    ({"seeds": "three"}, "seeds=three is not allowed: expected a whole number"),
    ({"seeds": 0}, "seeds=0"),
    ({"seeds": None}, "seeds=None"),
    ({"seeds": []}, "seeds has no values"),
    ({"seeds": [1, -2]}, "seeds=-2 is not allowed: expected whole numbers from"),
    ({"seeds": [2**31]}, "seeds=2147483648 is not allowed"),
    ({"seeds": [0.5]}, "seeds=0.5 is not allowed"),
    ({"seeds": np.int64(2)}, ""),
    ({"epochs": 2.0}, ""),
    ({"epochs": 2.5}, "epochs=2.5 is not allowed"),
    ({"epochs": "2"}, "epochs=2 is not allowed"),
    ({"lr": "0.1"}, "lr=0.1 is not allowed: expected a number"),
    ({"lr": []}, "lr has no values"),
    ({"lr": None}, "lr=None is not allowed"),
    ({"lr": {"a": 1}}, "lr=.*is not allowed"),
    ({"lr": np.ones((2, 2))}, "lr=.*is not allowed"),
    ({"lr": np.nan}, "lr=nan is not allowed"),
    ({"lr": 1j}, "lr=1j is not allowed"),
    ({"lr": np.geomspace(1e-3, 1e-1, 3)}, ""),
    ({"lr": (x for x in (0.1, 0.2))}, ""),
    ({"dropout": np.float32(0.3)}, ""),
    ({"dropout": True}, "dropout=True is not allowed"),
    ({"hidden": "8x"}, "hidden=8x is not allowed"),
    ({"hidden": [[8, 8], (4,)]}, ""),
    ({"model": 5}, "model=5 is not allowed"),
    ({"model": []}, "model has no values"),
    ({"model": b"mlp"}, "model=.*is not allowed"),
    ({"dataset": "MNIST"}, "Unknown dataset 'MNIST'. Known are: mnist_5k"),
    ({"dataset": 5}, "Unknown dataset 5"),
    ({"train_examples": "many"}, "train_examples=many is not allowed"),
    ({"train_examples": 10**9}, "from 1 to 3500"),
    ({"devices": 10**6}, "but there are"),
    ({"devices": "all"}, "devices=all is not allowed"),
    ({"lanes": 0}, "lanes=0 is not allowed"),
    ({"memory_budget": "a lot"}, "memory_budget=a lot is not allowed"),
    ({"learning_rate": 0.1}, r"learning_rate \(did you mean lr\?\); there are"),
    ({"optimizer": "adamw"}, "warned: adamw with weight_decay=0 is plain adam"),
    ({"optimizer": "adamw", "weight_decay": [0, 0.1]}, ""),
    ({"patience": 9, "epochs": 3}, "warned: patience=9 ends nothing within 3 epochs"),
    ({"spare": 0.5}, "warned: spare=0.5 spares images nothing"),
    ({"average": 0.999}, "warned: average=0.999 takes 8,990 steps.* the same for all"),
    ({"average": (0.3, 0.99)}, "warned: average=0.99 takes 890 steps"),
    ({"warmup": 9, "epochs": 3}, "warned: warmup=9 is longer than the 3 epochs"),
    ({"lr": 0.1, "points": []}, "either points or axes"),
    ({"points": 5}, "points=5 is not allowed"),
]


@pytest.mark.parametrize(
    ("value", "words"),
    VALUES,
    ids=[re.sub(" at 0x.*", ">", str(value)) for value, _ in VALUES],
)
def test_any_value_from_python_is_taken_or_refused_in_words(value, words, tmp_path):
    settings = {"workdir": tmp_path / "w", **value}
    if "points" not in value:
        settings.setdefault("model", "mlp")
    warns = words.startswith("warned: ")
    answer = contextlib.nullcontext()
    if words:
        pattern = words.removeprefix("warned: ")
        kind = pytest.warns if warns else pytest.raises
        answer = kind(UserWarning if warns else InputError, match=pattern)
    with answer:
        mnistopt.plan(**settings)


# --- Flags and terminals ---

FLAGS = [
    ("grid --seeds=abc", "--seeds=abc is not allowed: expected a whole number of at"),
    ("grid --seeds=2.5", "--seeds=2.5 is not allowed"),
    ("grid --seeds", "Missing value for flag --seeds"),
    ("grid --quiet=3", "--quiet=3 is not allowed: expected true or false"),
    ("grid --lr=0.1 --lr=0.2", "--lr is given twice, as --lr=0.1 and --lr=0.2"),
    ("grid --lr 0.1 --lr=0.2", "--lr is given twice"),
    ("grid --quiet --noquiet", "--quiet is given twice"),
    ("grid --workdir=a --workdir=b", "--workdir is given twice"),
    ("grid 0.1", "'0.1' is not a flag; flags look like --lr=1e-3"),
    ("evaluate best", "'best' is not a flag; flags look like --workdir="),
    ("evaluate --lr=1", "there is no flag --lr"),
    ("grid --learning_rate=1", "no flag --learning_rate; did you mean --lr?"),
    ("grid --batch-size=32", "no flag --batch-size; did you mean --batch_size?"),
    ("grid --dropout_rate=0", "did you mean --dropout?"),
    ("grid --epoch=3", "did you mean --epochs?"),
    ("grid --hiden=8", "did you mean --hidden?"),
    ("grid --zzz=8", "there is no flag --zzz (see --help)"),
    ("grid --model=mlp --hidden=8,8", "x joins the layers of a network, as in 8x8"),
    ("evaluate --split=dev", "--split=dev is not allowed: choose one of train, valid"),
    ("evaluate --weights=9", "choose one of last, best"),
    ("paper --cnn_seeds=x", "--cnn_seeds=x is not allowed: expected a whole number"),
    ("paper --epochs_scale=x", "--epochs_scale=x is not allowed"),
    ("paper --tables=9", "tables=9 is not allowed: expected some of 1, 2"),
    ("paper --tables=2 --cnn_seeds=3", "cnn_seeds=3 has no effect, as tables=2 has no"),
    ("report extra", "'extra' is not a flag; flags look like --workdir="),
]


@pytest.mark.parametrize(("command", "words"), FLAGS)
def test_a_wrong_flag_is_answered_without_python_s_words(command, words):
    program, *flags = command.split(" ")
    found = run(program, *flags)
    assert found.returncode == 2
    assert words in found.stderr
    for foreign in ("Traceback", "literal", "Error(", "('"):
        assert foreign not in found.stderr


PYTHON = f"{sys.executable} -m experiments.grid --model=mlp"
# What surrounds a program: a line for the shell, its exit code, and the words.
SHELLS = [
    (f"{PYTHON} --help | head -1", (0, 141), "Trains a grid"),
    (f"{PYTHON} --dry_run >&-", 0, ""),
    (f"{PYTHON} --help >/dev/full", 2, "cannot be written: No space left"),
    (f"{PYTHON} --dry_run >/dev/full", 2, "cannot be written: No space left"),
    (f"{PYTHON} --dry_run --optimizer=adamw 2>/dev/full", 0, "3 trials"),
    (f"{PYTHON} --dry_run >/dev/full 2>&1", 2, ""),
    ("./launch.sh nothing 2>/dev/full", 2, ""),
    (f"{PYTHON} --dry_run | head -1", (0, 141), "3 trials"),
    (f"{PYTHON} --seeds=0 >&- 2>&-", 2, ""),
    (f"JAX_PLATFORMS=cuda {PYTHON} --dry_run", 2, "JAX_PLATFORMS=cuda.*set it to cpu"),
    (f"JAX_PLATFORMS=abc {PYTHON} --dry_run", 2, "JAX_PLATFORMS=abc.*'abc'"),
    (f"JAX_ENABLE_X64=perhaps {PYTHON} --dry_run", 2, "'perhaps'.*JAX_ENABLE_X64"),
    (f"JAX_DEFAULT_PRNG_IMPL=x {PYTHON} --dry_run", 2, "jax_default_prng_impl"),
]


@pytest.mark.parametrize(("line", "code", "words"), SHELLS)
def test_surroundings_end_in_no_traceback(line, code, words):
    if "=cuda" in line and shutil.which("nvidia-smi"):
        pytest.skip("there may be one")
    found = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode in (code if isinstance(code, tuple) else (code,)), found
    assert re.search(words, found.stdout + found.stderr)
    assert "Traceback" not in found.stderr and "Exception ignored" not in found.stderr


PRINTING = """
import pathlib, sys
from experiments import program

def main():
    print("out" * 9999)
    print("err" * 9999, file=sys.stderr)
    pathlib.Path("saved").touch()
    if {code}:
        sys.exit({code})

program.run(main, "")
"""
FULL = "error: the output cannot be written: No space left on device"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
@pytest.mark.parametrize(("streams", "code", "ends", "words"), [
    (">/dev/full", 0, 2, FULL),
    (">/dev/full", 1, 1, FULL),
    ("2>/dev/full", 0, 0, "out"),
    (">/dev/full 2>&1", 0, 2, ""),
    ("2> >(exit)", 0, 0, "out"),
    ("2>&-", 0, 0, "out"),
    ("</dev/null >&0", 0, 2, "error: the output cannot be written: Bad file"),
])  # fmt: skip
def test_what_cannot_be_printed_stops_nothing(tmp_path, streams, code, ends, words):
    (tmp_path / "print.py").write_text(PRINTING.format(code=code))
    line = f"{sys.executable} print.py {streams}"
    found = subprocess.run(
        ["bash", "-c", line],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (tmp_path / "saved").exists()
    assert found.returncode == ends and "Traceback" not in found.stderr
    assert words in found.stdout + found.stderr
