"""The IDX reader: what it reads, and that nothing else comes out than InputError."""

import gzip
import hashlib
import io
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistopt.data import idx
from mnistopt.data.find import find
from mnistopt.data.load import read
from mnistopt.data.official import expected_files
from mnistopt.errors import InputError

REAL_MNIST = Path(__file__).parents[3] / "shared" / "mnist"


def idx_bytes(array: np.ndarray) -> bytes:
    dims = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + dims + array.tobytes()


def read_folder(folder: Path | str, name: str) -> list[np.ndarray]:
    """Returns images and labels of the train and the test part, ready for use."""
    parts = read(find(name, folder, Path("nowhere")), name)
    return [array for part in parts for array in part]


def random_images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8)


def write_folder(folder: Path, name: str, train: int = 5, test: int = 3) -> list:
    """Writes four IDX files; returns their arrays in the order of expected_files."""
    arrays = []
    for count in (train, test):
        arrays += [random_images(count, count), np.arange(count, dtype=np.uint8) % 10]
    folder.mkdir(exist_ok=True)
    for file, array in zip(expected_files(name), arrays):
        (folder / f"{file}.gz").write_bytes(gzip.compress(idx_bytes(array)))
    return arrays


IMAGES = idx_bytes(random_images(2))
LABELS = idx_bytes(np.array([3, 1, 4], np.uint8))


def parse(content: bytes, ndim: int) -> np.ndarray:
    return idx.parse_idx(io.BytesIO(content), "some/file", ndim=ndim)


@given(
    count=st.integers(1, 4),
    seed=st.integers(0, 9),
    labels=st.booleans(),
    gzipped=st.booleans(),
)
def test_reads_what_was_written(tmp_path_factory, count, seed, labels, gzipped):
    array = random_images(count, seed)
    if labels:
        array = array[:, 0, 0]
    content = idx_bytes(array)
    # The name lies about the compression half of the time: content decides.
    path = tmp_path_factory.mktemp("idx") / ("file.gz" if seed % 2 else "file")
    path.write_bytes(gzip.compress(content) if gzipped else content)
    found = idx.read_idx(path, ndim=array.ndim)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@given(st.data())
def test_damaged_files_are_refused_or_still_valid(data):
    """Cut, flip or invent: only InputError or an array of the promised kind."""
    content = data.draw(st.sampled_from([IMAGES, LABELS]))
    ndim = content[3]
    if data.draw(st.booleans()):
        content = gzip.compress(content, mtime=0)
    how = data.draw(st.sampled_from(["cut", "flip", "append", "random"]))
    if how == "cut":
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    elif how == "flip":
        changed = bytearray(content)
        header = st.integers(0, 20) | st.integers(0, len(content) - 1)
        for position in data.draw(st.lists(header, min_size=1, max_size=3)):
            changed[min(position, len(content) - 1)] ^= 1 << data.draw(
                st.integers(0, 7)
            )
        content = bytes(changed)
    elif how == "append":
        content += data.draw(st.binary(min_size=1, max_size=30))
    else:
        start = data.draw(st.sampled_from([b"", b"\x1f\x8b\x08", content[:4]]))
        content = start + data.draw(st.binary(max_size=60))
    try:
        array = parse(content, ndim)
    except InputError as err:
        assert "some/file" in str(err)
    else:
        assert how != "cut"
        assert array.dtype == np.uint8 and array.ndim == ndim
        assert ndim == 1 or array.shape[1:] == (28, 28)


def flipped(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0x10
    return bytes(changed)


def packed(content: bytes) -> bytes:
    """Compressed, without the time: every collection makes the same tests."""
    return gzip.compress(content, mtime=0)


PACKED = packed(IMAGES)


@pytest.mark.parametrize(
    ("content", "ndim", "says"),
    [
        (b"", 3, "is empty.* N x 28 x 28"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 3, "a PNG picture.* N x 28 x 28"),
        (LABELS, 3, "an IDX file of 3 unsigned .*Are images and labels mixed up"),
        (IMAGES, 1, "2x28x28 unsigned .*Are images and labels mixed up"),
        (b"\0\0\x0d\x03" + IMAGES[4:], 3, "2x28x28 32-bit floats"),
        (IMAGES[:10], 3, "starts with the bytes 00000803"),
        (idx_bytes(np.zeros((2, 32, 32), np.uint8)), 3, "2x32x32 unsigned .*`data="),
        (idx_bytes(np.zeros((0, 28, 28), np.uint8)), 3, "0x28x28 unsigned"),
        (
            LABELS[:4] + b"\xff" * 4,
            1,
            "4294967295 unsigned .* at most 1000000",
        ),
        (IMAGES[:-1], 3, "promises 1568 bytes of data, it has only 1567"),
        (IMAGES + b"\0", 3, "promises 1568 bytes of data, it has more"),
        (packed(IMAGES[:-1]), 3, "promises 1568 .* only 1567"),
        (packed(IMAGES + b"\0"), 3, "promises 1568 .* more"),
        (PACKED[:-1], 3, "damaged .*end"),
        (PACKED[:5], 3, "damaged .*end"),
        (PACKED[:100], 3, "damaged"),
        (flipped(PACKED, -8), 3, "damaged .*CRC"),
        (flipped(PACKED, -4), 3, "damaged .*length"),
        (flipped(PACKED, 2), 3, "damaged"),
        (PACKED + b"rubbish", 3, "damaged"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
def test_says_what_is_wrong_with_a_file(content, ndim, says):
    with pytest.raises(InputError, match=f"(?s)^some/file .*{says}"):
        parse(content, ndim)


def test_every_flipped_bit_of_compressed_pixels_is_noticed():
    for position in range(20, len(PACKED), 97):
        with pytest.raises(InputError):
            parse(flipped(PACKED, position), 3)


def test_small_files_cannot_fill_the_memory():
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(IMAGES) + packer.compress(bytes(50_000_000))
    bomb += packer.flush()
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(InputError, match="it has more"):
        parse(bomb, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_unreadable_paths(tmp_path):
    with pytest.raises(InputError, match="Cannot read .*absent.*No such file"):
        idx.read_idx(tmp_path / "absent", ndim=1)
    with pytest.raises(InputError, match="Cannot read .*directory"):
        idx.read_idx(tmp_path, ndim=1)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_folder(tmp_path, name):
    arrays = write_folder(tmp_path, name)
    found = read_folder(tmp_path, name)
    for array, wanted in zip(found, arrays):
        if wanted.ndim == 3:
            assert array.dtype == np.uint8
            np.testing.assert_array_equal(array, wanted.reshape(-1, 28, 28, 1))
        else:
            assert array.dtype == np.int32
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("spelling", ["{}-idx{}", "{}.idx{}"])
@pytest.mark.parametrize("gzipped", [True, False])
def test_folder_finds_other_spellings(tmp_path, spelling, gzipped):
    arrays = write_folder(tmp_path, "mnist")
    for file in expected_files("mnist"):
        content = (tmp_path / f"{file}.gz").read_bytes()
        (tmp_path / f"{file}.gz").unlink()
        path = tmp_path / spelling.format(*file.split("-idx"))
        if gzipped:
            path.with_name(f"{path.name}.gz").write_bytes(content)
        else:
            path.write_bytes(gzip.decompress(content))
    found = read_folder(str(tmp_path), "mnist")
    np.testing.assert_array_equal(found[2][..., 0], arrays[2])


def test_emnist_is_turned_upright(tmp_path):
    # A 1 stands upright; EMNIST stores it lying: row 14 in place of column 14.
    write_folder(tmp_path, "emnist_digits", train=1)
    lying = np.zeros((1, 28, 28), np.uint8)
    lying[0, 14, 4:24] = 255
    (tmp_path / "emnist-digits-train-images-idx3-ubyte.gz").write_bytes(
        idx_bytes(lying)
    )
    images = read_folder(tmp_path, "emnist_digits")[0]
    assert (images[0, 4:24, 14, 0] == 255).all()
    assert np.count_nonzero(images) == 20


def test_emnist_zip(tmp_path):
    arrays = write_folder(tmp_path / "files", "emnist_digits")
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w") as archive:
        for path in (tmp_path / "files").iterdir():
            archive.write(path, f"gzip/{path.name}")
    parts = idx.read_idx_zip(tmp_path / "gzip.zip", "emnist_digits")
    found = [array for part in parts for array in part[:2]]
    for array, wanted in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(array, wanted)

    with pytest.raises(InputError, match="gzip.zip is not the zip file of mnist"):
        idx.read_idx_zip(tmp_path / "gzip.zip", "mnist")
    (tmp_path / "gzip.zip").write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match="gzip.zip is not the zip file"):
        idx.read_idx_zip(tmp_path / "gzip.zip", "emnist_digits")


def test_missing_files_are_listed(tmp_path):
    with pytest.raises(InputError, match="there is no such folder.*t10k-labels-idx1"):
        read_folder(tmp_path / "absent", "mnist")
    write_folder(tmp_path, "mnist")
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(
        InputError,
        match="not there: train-images-idx3-ubyte, t10k-labels-idx1-ubyte .*"
        "instead: t10k-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz\n",
    ):
        read_folder(tmp_path, "mnist")
    with pytest.raises(InputError, match="not there: emnist-digits-train-images"):
        read_folder(tmp_path, "emnist_digits")


def test_labels_and_counts_are_checked(tmp_path):
    write_folder(tmp_path, "mnist")
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(idx_bytes(np.array([9, 0, 1, 10, 255], np.uint8)))
    with pytest.raises(InputError, match="train-labels.* one 10 at position 3;"):
        read_folder(tmp_path, "mnist")
    path.write_bytes(idx_bytes(np.zeros(4, np.uint8)))
    with pytest.raises(InputError, match=r"train-labels.*\(4,\); expected is \(5,\)"):
        read_folder(tmp_path, "mnist")


def test_real_mnist():
    if not REAL_MNIST.is_dir():
        pytest.skip(f"MNIST is not in {REAL_MNIST}")
    published = [
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ]
    arrays = read_folder(REAL_MNIST, "mnist")
    assert [len(array) for array in arrays] == [60_000, 60_000, 10_000, 10_000]
    for array, wanted in zip(arrays, published):
        if array.dtype == np.int32:
            array = array.astype(np.uint8)
        content = idx_bytes(array.squeeze())
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == wanted
