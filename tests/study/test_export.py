"""Files that trained networks are exported to, and what is refused."""

import dataclasses
import io
import json
import re
import tempfile
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy.special import softmax

import mnistopt
from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import Split
from mnistopt.errors import InputError
from mnistopt.results.config import DataDescription
from mnistopt.results.stats import lost_interval
from mnistopt.study.export.integers import quantize
from mnistopt.study.export.onnx_file import onnx_bytes
from mnistopt.study.export.run import FILES, export, make
from mnistopt.study.export.saved import read_export
from tests.exporting import CARD, SETTINGS, digits, graph, source
from tests.programs import assert_refused, run

COUNT = 200
NUMBERS = range(len(SETTINGS))


def few(found):
    """The same with fewer images: what is tested does not depend on them."""
    data = digits()
    parts = [
        Split(part.images[:COUNT], part.labels[:COUNT])
        for part in (data.train, data.validation, data.test)
    ]
    return found._replace(
        data=Dataset("few", *parts, data.fingerprint, data.class_names)
    )


def images():
    return digits().test.images[:COUNT]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return mnistopt.run(
        model="mlp", hidden=(8,), train_examples=200, lanes=(1, 2), lr=[1e-3, 1e-2],
        seeds=2, epochs=3, workdir=tmp_path_factory.mktemp("study"),
    )  # fmt: skip


@pytest.mark.parametrize("number", NUMBERS)
def test_onnx_says_what_the_network_says(number):
    runtime = pytest.importorskip("onnxruntime")
    content = onnx_bytes([graph(number)], [2.0], CARD, pixels=True)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    logits, probabilities = session.run(None, {"image": images()})
    wanted = graph(number)(images() / np.float32(255))
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(probabilities, softmax(wanted / 2, -1), atol=1e-4)
    # Any number of images.
    assert session.run(["logits"], {"image": images()[:1]})[0].shape == (1, 10)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["test"]) == CARD["test"]


def test_onnx_has_the_layers_that_its_users_know():
    onnx = pytest.importorskip("onnx")
    content = onnx_bytes([graph(2)], [1.0], CARD, pixels=True)
    model = onnx.load_from_string(content)
    kinds = [node.op_type for node in model.graph.node]
    assert [kind for kind in kinds if kind in ("Conv", "MaxPool", "Relu", "Gemm")] == [
        *("Conv", "Relu", "MaxPool", "Conv", "Relu", "MaxPool", "Conv", "Relu"),
        *("Gemm", "Relu", "Gemm"),
    ]
    assert model.opset_import[0].version == 17
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("number", NUMBERS)
def test_onnx_in_whole_numbers_agrees_with_ours(number):
    runtime = pytest.importorskip("onnxruntime")
    network = quantize(graph(number), digits().validation.images[:64])
    content = onnx_bytes([network], [1.0], CARD, pixels=True)
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    logits, _ = session.run(None, {"image": images()})
    # Its rescaling is in floats, and so some bytes differ by one.
    together = np.corrcoef(logits.ravel(), network(images()).ravel())[0, 1]
    assert together > 0.999


def unpacked(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.npz")
        path.write_bytes(content)
        return read_export(path)


def test_votes_in_every_format(tmp_path):
    voters = few(source(0, 3))
    wanted = None
    for format in ("npz", "stablehlo", "onnx"):
        content, card = make(voters, format, int8=False)
        if format == "npz":
            found = unpacked(content)(images())[1]
        elif format == "stablehlo":
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                program = jax.export.deserialize(bytearray(packed.read("program.bin")))
                assert json.loads(packed.read("card.json")) == json.loads(
                    json.dumps(card)
                )
            assert set(program.platforms) == {"cpu", "cuda", "tpu"}
            found = np.asarray(program.call(images()))
            assert program.call(images()[:1]).shape == (1, 10)
        else:
            runtime = pytest.importorskip("onnxruntime")
            session = runtime.InferenceSession(content)
            (found,) = session.run(None, {"image": images()})
        wanted = found if wanted is None else wanted
        np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert len(card["trials"]) == 3


def test_plain_numbers_are_read_again_as_they_were(tmp_path):
    made = export(few(source(6)), "npz", True, tmp_path / "a.npz")
    found = read_export(made["path"])
    classes, confidence = found(images())
    right = confidence.argmax(-1) == digits().test.labels[:COUNT]
    assert made["test"]["int8"]["accuracy"] == pytest.approx(right.mean(), abs=0.05)
    assert made["test"]["refused"] == (classes < 0).mean()
    assert confidence.dtype == np.uint8
    again = export(few(source(6)), "npz", True, tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert again["bytes"] == made["bytes"]


@pytest.mark.parametrize("place", [0.001, 0.3, 0.7, 0.999])
def test_a_damaged_file_is_refused(place, tmp_path):
    made = export(few(source(0)), "npz", False, tmp_path / "a.npz")
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[int(place * len(content))] ^= 0xFF
    (tmp_path / "a.npz").write_bytes(content)
    try:
        found = read_export(made["path"])
    except InputError as error:
        assert "cannot be read" in str(error) and "write it again" in str(error)
        return
    # A byte that no reader looks at.
    whole = unpacked(make(few(source(0)), "npz", int8=False)[0])
    np.testing.assert_array_equal(found(images())[1], whole(images())[1])


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", "npz", "other"])
def test_a_foreign_file_is_refused(content, tmp_path):
    path = tmp_path / "a.npz"
    if content == "npz":
        np.savez(path, images=np.zeros(3))
    elif content == "other":
        tree = np.frombuffer(json.dumps({"kind": "x", "value": 1}).encode(), np.uint8)
        np.savez(path, tree=tree)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_export(path)
    with pytest.raises(InputError, match="is not there"):
        read_export(tmp_path / "none.npz")


@pytest.mark.parametrize("format", FILES)
def test_a_study_exports_every_format(format, study):
    if format == "onnx":
        pytest.importorskip("onnx")
    made = study.export(format)
    content = (study.workdir / "export" / FILES[format]).read_bytes()
    assert len(content) == made["bytes"]
    row = study.trial()
    assert made["trials"] == [row["trial"]]
    assert made["test"]["float"]["accuracy"] == pytest.approx(row["test_accuracy"])
    low, high = made["test"]["float"]["ci95"]
    assert low < row["test_accuracy"] < high
    assert made["data"]["fingerprint"] == study.config.data.fingerprint
    assert f"--trial={row['trial']} --format={format}" in made["command"]
    if format in ("c", "html"):
        text = content.decode().replace("\n * ", " ")
        for words in (row["trial"], "ink is 255", made["command"], "test images"):
            assert words in text


def test_the_seeds_of_the_best_setting_vote(study):
    made = study.export("npz", trial="ensemble", int8=True)
    assert made["path"].endswith("classifier-int8.npz")
    assert made["trials"] == study.siblings()
    assert len(read_export(made["path"]).members) == 2


def test_what_cannot_be_exported_is_refused_before_anything_is_written(study, tmp_path):
    for arguments, words in (
        (("pdf",), "format=pdf is not known; choose one of onnx, html, c"),
        (("stablehlo", "best", True), "int8 has no effect"),
        (("c", "nothing"), "names 0 trials"),
    ):
        with pytest.raises(InputError, match=words):
            study.export(*arguments, path=tmp_path / "a")
    floats = few(source(0))
    data = floats.data
    parts = [
        Split(part.images / np.float32(255), part.labels)
        for part in (data.train, data.validation, data.test)
    ]
    floats = floats._replace(
        data=Dataset("floats", *parts, data.fingerprint, data.class_names)
    )
    for format, int8 in (("c", False), ("html", False), ("npz", True)):
        with pytest.raises(InputError, match="whole numbers need images of bytes"):
            export(floats, format, int8, tmp_path / "a")
    about = dataclasses.replace(floats.about, image_shape=(8, 8, 1))
    with pytest.raises(InputError, match="the page draws digits of"):
        export(few(source(0))._replace(about=about), "html", False, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_dark_ink_is_told(tmp_path):
    about = dataclasses.replace(DataDescription.of(digits(), None), dark_on_light=True)
    _, card = make(few(source(0))._replace(about=about), "npz", int8=False)
    assert "ink is 0, paper 255" in card["input"]


def test_what_is_lost_is_paired_by_image():
    first = np.repeat([True, True, False, False], [970, 10, 5, 15])
    second = np.repeat([True, False, True, False], [970, 10, 5, 15])
    found = lost_interval(first, second)
    assert found.mean == pytest.approx(0.005)
    # Agresti and Min 2005: half an image more in each cell.
    difference = (10.5 - 5.5) / 1002
    half = 1.959964 * np.sqrt((16 / 1002 - difference**2) / 1002)
    assert (found.low, found.high) == pytest.approx(
        (difference - half, difference + half)
    )
    assert lost_interval(first, first).mean == 0
    assert lost_interval(first, first).high > 0


def test_the_python_of_the_docs_runs(study, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("IPython")
    for format in ("onnx", "stablehlo", "npz"):
        study.export(format)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mnist_5k-cnn").symlink_to(study.workdir)
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "export.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    found = []
    for block in blocks:
        names = {"images": images()}
        exec(block, names)  # noqa: S102 - the documentation's own
        found.append(names.get("probabilities"))
    assert (tmp_path / "draw.html").exists()
    several = [one for one in found if one is not None]
    assert len(several) == 3
    for one in several:
        np.testing.assert_allclose(one, several[0], atol=1e-5)


def test_a_notebook_shows_the_page_itself(study):
    made = study.export("html")
    assert '<iframe srcdoc="&lt;!doctype html&gt;' in made._repr_html_()
    assert "Accuracy on 1,000 test images" in study.export("npz")._repr_html_()


def test_the_program_exports_and_refuses(study, tmp_path):
    workdir, out = f"--workdir={study.workdir}", tmp_path / "a.c"
    told = run("export", workdir, "--format=c", f"--path={out}")
    assert told.returncode == 0, told.stderr
    assert f"{out.stat().st_size:,} bytes" in told.stdout
    assert "points lost" in told.stdout
    assert_refused(run("export", workdir, "--format=pdf"), "format=pdf is not known")
    assert_refused(run("export"), "give the folder of a grid")
    for path in (tmp_path, out / "b.c"):
        refused = run("export", workdir, "--format=c", f"--path={path}")
        assert_refused(refused, "cannot be written", "--path")
    assert sorted(tmp_path.iterdir()) == [out]
