"""Whatever comes in, only results or clear errors come out."""

import json
import shutil
import warnings

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

import mnistopt
from mnistopt.axes import Typed
from mnistopt.engine.checkpoint import Store, merge_records
from mnistopt.errors import InputError
from mnistopt.hparams import EPOCHS, NUMBERS, RECIPE
from mnistopt.manifest import MANIFEST
from mnistopt.models.registry import NETWORKS
from mnistopt.results import config
from mnistopt.results.table_files import TABLES, read_table
from mnistopt.results.tables import best_trial
from mnistopt.study import request
from mnistopt.study.grid import grid

ASKED = {"model": "mlp", "hidden": (8,), "train_examples": 200, "epochs": 1}
AXES = [*NETWORKS["mlp"].axes, *NETWORKS["cnn"].axes, *RECIPE, *NUMBERS, "epochs"]
# What people type, and what they do not.
WORDS = st.one_of(
    st.text(max_size=12),
    st.from_regex(
        r"[-+]?[0-9]{0,40}(\.[0-9]{0,4})?(e[-+]?[0-9]{1,4})?", fullmatch=True
    ),
    st.from_regex(r"[0-9]{1,12}(x[0-9]{0,12}){0,3}", fullmatch=True),
    st.sampled_from(
        ["nan", "inf", "-inf", "None", "True", "auto", "1_0", "٣", "²", "0x10"]
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
few = hypothesis.settings(
    max_examples=20,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workdir with two trials of two groups; not to be changed."""
    workdir = tmp_path_factory.mktemp("fuzz") / "w"
    mnistopt.run(**ASKED, seeds=1, workdir=workdir)
    return mnistopt.run(**ASKED, lr=0.1, seeds=1, workdir=workdir)


@pytest.fixture
def workdir(finished, tmp_path):
    """A function that returns a fresh copy of it."""

    def fresh():
        shutil.rmtree(tmp_path / "w", ignore_errors=True)
        return shutil.copytree(finished.workdir, tmp_path / "w")

    return fresh


@hypothesis.settings(max_examples=300)
@hypothesis.given(st.sampled_from(AXES), st.lists(WORDS, min_size=1, max_size=3))
def test_any_words_make_points_or_an_error(name, words):
    try:
        points = grid(model="cnn" if name in ("channels", "dense") else "mlp",
                      **{name: [Typed(word.strip()) for word in words]})  # fmt: skip
    except InputError as error:
        assert str(error)
        return
    for point in points:
        assert np.isfinite(point.hparams).all()
        assert 1 <= point.epochs <= np.iinfo(np.int32).max


@hypothesis.settings(max_examples=300)
@hypothesis.given(WORDS)
def test_any_lanes_devices_and_sizes_are_read_or_refused(word):
    for read in (
        request._lanes,
        request._devices,
        lambda w: request.check_bytes("b", w),
    ):
        try:
            found = read(word)
        except InputError as error:
            assert str(error)
        else:
            assert found is None or np.all(np.array(found) > 0)


def places(content, path=()):
    """Returns the paths to all that JSON holds."""
    yield path
    if isinstance(content, (dict, list)):
        inner = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in inner:
            yield from places(value, (*path, key))


def replaced(content, path, value):
    if not path:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


def use(folder):
    """Looks at a study as the programs do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = mnistopt.open_study(folder)
        assert repr(study) and len(study.summary.columns)
        trial = study.trial()
        assert study.params(trial["trial"])
        mnistopt.plan(**ASKED, seeds=1, workdir=folder)


@few
@hypothesis.given(st.data())
def test_any_config_is_used_or_refused(workdir, finished, data):
    path = data.draw(st.sampled_from(list(places(finished.config.to_json()))))
    changed = replaced(finished.config.to_json(), path, data.draw(JSON))
    folder = workdir()
    (folder / config.CONFIG).write_text(json.dumps(changed))
    (folder / MANIFEST).unlink()  # Which would know.
    try:
        use(folder)
    except InputError as error:
        assert str(error)


def read_or_refused(folder, name):
    """Reads a table, and the best of its trials, as the programs do."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That the checkpoints are taken.
            table = read_table(folder, name)
        if name == "trials" and len(table):
            best_trial(table)
    except InputError as error:
        assert str(error)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_lacks_a_column_or_a_value_is_read_or_refused(workdir, name):
    folder = workdir()
    # As a study that was published.
    (folder / MANIFEST).unlink()
    shutil.rmtree(folder / "checkpoints")
    path = folder / f"{name}.csv"
    whole = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column in whole.columns:
        for changed in (whole.drop(columns=column), whole.assign(**{column: ""})):
            changed.to_csv(path, index=False)
            read_or_refused(folder, name)


@hypothesis.settings(few, max_examples=60)
@hypothesis.given(st.data())
def test_any_table_is_read_or_refused(workdir, finished, data):
    folder = workdir()
    path = folder / f"{data.draw(st.sampled_from(TABLES))}.csv"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3)
        )
    path.write_bytes(bytes(content))
    for name in TABLES:
        read_or_refused(folder, name)
    # Weights are chosen by the checkpoints, whatever the tables say.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = mnistopt.open_study(folder).trial()["trial"]
    assert chosen == finished.trial()["trial"]


@few
@hypothesis.given(st.data())
def test_any_records_are_used_or_left_out(workdir, data):
    folder = workdir()
    path = data.draw(
        st.sampled_from(sorted(folder.glob("checkpoints/*/*/about/metadata")))
    )
    content = json.loads(path.read_text())
    where = data.draw(st.sampled_from([one for one in places(content) if one]))
    content = replaced(content, where, data.draw(JSON))
    content.pop("checksum", None)
    path.write_text(json.dumps(content))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = Store(folder / "checkpoints")
        records = merge_records(store.saved())
    assert 1 <= len(records) <= 3
    try:
        use(folder)
    except InputError as error:
        assert str(error)


@few
@hypothesis.given(st.data())
def test_any_damaged_file_of_a_workdir_is_used_or_refused(workdir, finished, data):
    folder = workdir()
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    if content and data.draw(st.booleans()):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(
            st.integers(1, 255)
        )
    else:
        content = content[: data.draw(st.integers(0, len(content)))]
    path.write_bytes(bytes(content))
    try:
        use(folder)
    except InputError as error:
        assert str(error)
    else:
        # No number has changed.
        found = mnistopt.open_study(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial = found.trial()["trial"]
            for one, other in zip(
                found.params(trial)["Dense_0"].values(),
                finished.params(trial)["Dense_0"].values(),
            ):
                np.testing.assert_array_equal(one, other)


def test_the_axes_are_those_of_the_programs():
    assert EPOCHS.default and set(AXES) >= {"lr", "hidden", "channels", "epochs"}
