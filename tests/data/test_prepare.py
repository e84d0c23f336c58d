"""Downloads, and data prepared by tensorflow-datasets, without TensorFlow.

Nothing here leaves this machine: a server on 127.0.0.1 stands in for the hosts of the
datasets, and connections elsewhere fail the test.
"""

import functools
import gzip
import http.server
import io
import json
import socket
import subprocess
import sys
import textwrap
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mnistopt.data import load as data
from mnistopt.data import prepare
from mnistopt.data.find import Source, find, find_prepared
from mnistopt.data.official import DATASETS, expected_files
from mnistopt.data.prepare import read_prepared
from mnistopt.errors import InputError


def idx_bytes(array: np.ndarray) -> bytes:
    dims = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + dims + array.tobytes()


def write_folder(folder: Path, name: str, train: int = 36, test: int = 12) -> Path:
    rng = np.random.default_rng(7)
    folder.mkdir()
    arrays = []
    for count in (train, test):
        arrays.append(rng.integers(0, 256, (count, 28, 28), np.uint8))
        arrays.append(rng.integers(0, 10, count, np.uint8))
    for file, array in zip(expected_files(name), arrays):
        (folder / f"{file}.gz").write_bytes(gzip.compress(idx_bytes(array)))
    return folder


def arrays_of(source: Source, name: str = "mnist") -> list[np.ndarray]:
    """Returns images and labels of the train and the test part, ready for use."""
    return [array for part in data.read(source, name) for array in part]


def prepared_arrays(folder: Path, name: str = "mnist") -> list[np.ndarray]:
    return arrays_of(Source("prepared", (folder,)), name)


def assert_same_arrays(found, wanted):
    for array, expected in zip(found, wanted, strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)


@pytest.fixture(autouse=True)
def only_this_machine(monkeypatch):
    """Fails on a connection elsewhere, and on waiting before another attempt."""
    connect = socket.socket.connect

    def guarded(self, address):
        assert address[0] == "127.0.0.1", f"connection to {address}"
        return connect(self, address)

    def lookup(host, *args, **kwargs):
        assert host == "127.0.0.1", f"name {host} looked up"
        return getaddrinfo(host, *args, **kwargs)

    def sleep(seconds):
        raise AssertionError(f"slept {seconds} s")

    getaddrinfo = socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr("time.sleep", sleep)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)


class Server:
    """Serves a folder, and has `register` make TFDS believe that it is the source."""

    def __init__(self, folder: Path):
        self.folder, self.requests = folder, []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(handler, *args):
                self.requests.append(handler.path)

        handler = functools.partial(Handler, directory=folder)
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def sources(self) -> dict:
        from tensorflow_datasets.core.download import checksums

        base = f"http://127.0.0.1:{self.http.server_port}/"
        files = sorted(self.folder.iterdir())
        return {base + path.name: checksums.compute_url_info(path) for path in files}

    def stop(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def serve(monkeypatch):
    servers = []

    def start(folder: Path) -> Server:
        servers.append(Server(folder))
        sources = servers[-1].sources()
        monkeypatch.setattr(prepare, "registered_files", lambda name: sources)
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize("name", DATASETS[1:])
def test_download_gives_what_the_idx_files_hold(tmp_path, serve, capsys, name):
    files = write_folder(tmp_path / "files", name)
    served = files
    if name == "emnist_digits":
        served = tmp_path / "served"
        served.mkdir()
        with zipfile.ZipFile(served / "gzip.zip", "w") as archive:
            for path in files.iterdir():
                archive.write(path, f"gzip/{path.name}")
    server = serve(served)
    wanted = arrays_of(find(name, files, tmp_path), name)
    source = find(name, None, tmp_path)
    assert_same_arrays(arrays_of(source, name), wanted)
    assert capsys.readouterr().out == "", "stdout is for the results of a program"

    server.requests.clear()
    assert find(name, None, tmp_path) == source
    assert not server.requests, "what is there was downloaded again"


def test_load_downloads_once_and_agrees_with_the_idx_files(tmp_path, serve):
    server = serve(write_folder(tmp_path / "files", "mnist"))
    by_idx = data.load("mnist", data_dir=server.folder)
    cache = tmp_path / "cache"
    first = data.load("mnist", cache_dir=cache)
    assert len(server.requests) == 1 + 4
    second = data.load("mnist", cache_dir=cache)
    assert len(server.requests) == 1 + 4
    assert first.fingerprint == second.fingerprint == by_idx.fingerprint


def assert_advises(err, cache: Path):
    for file in expected_files("mnist"):
        assert file in str(err.value)
    assert "`data_dir=FOLDER`" in str(err.value)
    assert "`dataset=mnist_5k` needs no download" in str(err.value)
    assert not list(cache.glob("tfds/mnist/*/dataset_info.json"))


@pytest.fixture
def one_attempt(monkeypatch):
    """Keeps downloads that go on after another one failed from outliving the test."""
    monkeypatch.setattr("tensorflow_datasets.core.download.downloader.MAX_RETRIES", 0)


@pytest.mark.usefixtures("one_attempt")
def test_wrong_checksum_is_refused(tmp_path, serve):
    server = serve(write_folder(tmp_path / "files", "mnist"))
    path = server.folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(12, np.uint8))))
    with pytest.raises(InputError, match="(?s)not the one .*t10k-labels") as err:
        data.load("mnist", cache_dir=tmp_path / "cache")
    assert_advises(err, tmp_path / "cache")


@pytest.mark.usefixtures("one_attempt")
def test_missing_file_on_the_server(tmp_path, serve):
    server = serve(write_folder(tmp_path / "files", "mnist"))
    (server.folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match="train-labels.*404") as err:
        data.load("mnist", cache_dir=tmp_path / "cache")
    assert_advises(err, tmp_path / "cache")


def test_no_network(tmp_path, serve):
    server = serve(write_folder(tmp_path / "files", "mnist"))
    server.stop()
    with pytest.raises(InputError, match="refused") as err:
        data.load("mnist", cache_dir=tmp_path / "cache")
    assert_advises(err, tmp_path / "cache")


def test_download_folder_that_cannot_be_written(tmp_path, serve):
    serve(write_folder(tmp_path / "files", "mnist"))
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(InputError, match="could not be downloaded into .*cache"):
        data.load("mnist", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("name", DATASETS[1:])
def test_tfds_still_registers_the_files(name):
    """Holds for the installed version; a later one may keep them elsewhere."""
    sources = prepare.registered_files(name)
    files = {url.rsplit("/", 1)[1] for url in sources}
    if name == "emnist_digits":
        assert files == {"gzip.zip"}
    else:
        assert files == {f"{file}.gz" for file in expected_files(name)}
    assert all(len(info.checksum) == 64 for info in sources.values())


def test_unknown_tfds_layout(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.utils, "tfds_path", lambda: tmp_path)
    with pytest.raises(InputError, match="no checksums of mnist .*4.9.10"):
        prepare.registered_files("mnist")


# --- Data prepared by ordinary TFDS: PNG images, array_record or TFRecord ---


def tfds_folder(root: Path, name: str, config: str | None = None) -> Path:
    """Prepares 40 + 8 examples as TFDS's own builder would, in array_record format."""
    import tensorflow_datasets as tfds

    image = tfds.features.Image(shape=(28, 28, 1))
    label = tfds.features.ClassLabel(num_classes=10)
    dataset = name

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = dataset
        VERSION = tfds.core.Version("3.0.1")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []
        url_infos = None

        def _info(self):
            features = tfds.features.FeaturesDict({"image": image, "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            make = self._generate_examples
            return {"train": make(40), "test": make(8)}

        def _generate_examples(self, count):
            for index, pixels in enumerate(tfds_images(count)):
                png = io.BytesIO()
                Image.fromarray(pixels).save(png, "png")
                yield index, {"image": io.BytesIO(png.getvalue()), "label": index % 10}

    builder = Builder(data_dir=root)
    config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=2)
    builder.download_and_prepare(file_format="array_record", download_config=config)
    return Path(builder.data_dir)


def tfds_images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)


def bitwise_crc32c(content: bytes) -> int:
    """The oracle: CRC-32C bit by bit, as its polynomial defines it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def framed(record: bytes) -> bytes:
    def masked(content: bytes) -> bytes:
        crc = bitwise_crc32c(content)
        rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
        return ((rotated + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")

    length = len(record).to_bytes(8, "little")
    return length + masked(length) + record + masked(record)


def as_tfrecord(folder: Path) -> Path:
    """Turns array_record data into what TFDS wrote by default until 2021."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    splits = []
    for split in ("train", "test"):
        records = list(builder.as_data_source(split, deserialize_method=raw))
        cut = len(records) // 3
        for shard, part in enumerate((records[:cut], records[cut:])):
            name = f"{builder.name}-{split}.tfrecord-{shard:05}-of-00002"
            (folder / name).write_bytes(b"".join(map(framed, part)))
        lengths = [str(cut), str(len(records) - cut)]
        splits.append({"name": split, "numBytes": "1", "shardLengths": lengths})
    for path in folder.glob("*array_record*"):
        path.unlink()
    info = {"name": builder.name, "version": "3.0.1", "splits": splits}
    info["moduleName"] = "tensorflow_datasets.image_classification.mnist"
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="module")
def png_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    folders = {"array_record": tfds_folder(root / "new", "mnist")}
    folders["tfrecord"] = as_tfrecord(tfds_folder(root / "old", "mnist"))
    return folders


def assert_holds_tfds_images(arrays):
    """TFDS shuffles: compares after sorting both by content."""
    for images, labels, count in ((*arrays[:2], 40), (*arrays[2:], 8)):
        assert images.dtype == np.uint8 and labels.dtype == np.int32
        assert images.shape == (count, 28, 28, 1)
        found = sorted(zip((image.tobytes() for image in images), labels))
        wanted = (image.tobytes() for image in tfds_images(count))
        assert found == sorted(zip(wanted, np.arange(count) % 10))


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_reads_data_of_ordinary_tfds(png_folders, tmp_path, file_format):
    folder = png_folders[file_format]
    assert_holds_tfds_images(prepared_arrays(folder))
    for data_dir in (folder, folder.parent, folder.parent.parent):
        dataset = data.load("mnist", data_dir=data_dir, cache_dir=tmp_path)
        assert len(dataset.test.labels) == 8


def test_both_formats_keep_the_order(png_folders):
    wanted = prepared_arrays(png_folders["array_record"])
    assert_same_arrays(prepared_arrays(png_folders["tfrecord"]), wanted)


def test_emnist_of_ordinary_tfds_is_turned_upright(tmp_path):
    folder = tfds_folder(tmp_path, "emnist", config="digits")
    for data_dir in (folder, *folder.parents[:3]):
        assert find_prepared(data_dir, "emnist_digits") == folder
    images = prepared_arrays(folder, "emnist_digits")[0]
    upright = tfds_images(40).transpose(0, 2, 1)
    found = sorted(image.tobytes() for image in images)
    assert found == sorted(image.tobytes() for image in upright)


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


@pytest.mark.parametrize("position", [0, 3, 9, 20, 100, -5, -1])
def test_damaged_tfrecord_is_refused(png_folders, tmp_path, position):
    folder = copied(png_folders["tfrecord"], tmp_path / "copy")
    path = folder / "mnist-train.tfrecord-00001-of-00002"
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)
    with pytest.raises(InputError, match="mnist-train.tfrecord-00001-of-00002"):
        read_prepared(folder)


@pytest.mark.parametrize("length", [0, 5, 11, 200, -1])
def test_truncated_tfrecord_is_refused(png_folders, tmp_path, length):
    folder = copied(png_folders["tfrecord"], tmp_path / "copy")
    path = folder / "mnist-train.tfrecord-00000-of-00002"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match="damaged or cut off|40 were stated"):
        read_prepared(folder)


def break_shard(folder: Path):
    path = next(folder.glob("*-test*-00000-of-*"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_shard(folder: Path):
    next(folder.glob("*-train*-00001-of-*")).unlink()


def lose_features(folder: Path):
    (folder / "features.json").unlink()


def other_features(folder: Path):
    path = folder / "features.json"
    path.write_text(path.read_text().replace('"image"', '"picture"', 1))


def more_examples(folder: Path):
    path = folder / "dataset_info.json"
    info = json.loads(path.read_text())
    info["splits"][0]["shardLengths"] = ["99999999999", "1"]
    path.write_text(json.dumps(info))


@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_shard, "cannot be read"),
        (lose_shard, "cannot be read .*FileNotFound|cannot be read .*RuntimeError"),
        (lose_features, "cannot be read .*Delete the folder and prepare it again"),
        (other_features, "cannot be read"),
        (more_examples, "cannot be read|100000000000 were stated"),
    ],
)
def test_damaged_folder_is_refused(png_folders, tmp_path, file_format, damage, says):
    folder = copied(png_folders[file_format], tmp_path / "copy")
    damage(folder)
    with pytest.raises(InputError, match=f"(?s)copy .*{says}"):
        read_prepared(folder)


def test_never_imports_tensorflow(png_folders, serve, tmp_path):
    """Nor needs it, nor importlib_resources, which TFDS does not declare."""
    server = serve(write_folder(tmp_path / "files", "mnist"))
    sources = {
        url: (int(info.size), info.checksum, info.filename)
        for url, info in server.sources().items()
    }
    script = f"""
        import sys
        from importlib.machinery import PathFinder
        find = PathFinder.find_spec
        hidden = ("tensorflow", "importlib_resources")
        PathFinder.find_spec = lambda n, *at: None if n in hidden else find(n, *at)
        from mnistopt.data import load as data
        from mnistopt.data import prepare

        def registered(name):
            from tensorflow_datasets.core.download.checksums import UrlInfo
            return {{url: UrlInfo(*info) for url, info in {sources!r}.items()}}

        prepare.registered_files = registered
        for folder in {[None, *map(str, png_folders.values())]}:
            data.load("mnist", data_dir=folder, cache_dir={str(tmp_path)!r})
        assert "tensorflow_datasets" in sys.modules
        assert not set(hidden) & set(sys.modules)
    """
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Nor does it advise to install OpenCV.
    assert done.stdout == "" and "OpenCV" not in done.stderr
