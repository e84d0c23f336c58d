"""TensorBoard's files, read back record by record, without the code that wrote them."""

import contextlib
import struct
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from tensorboardX.proto import api_pb2
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
from tensorboardX.record_writer import RecordWriter

import mnistopt
from mnistopt.errors import InputError
from mnistopt.points import ALWAYS as AXES
from mnistopt.results.tensorboard import TensorBoard, _record
from tests.programs import run as run_program

pytestmark = pytest.mark.usefixtures("quick_compile")
TINY = {"model": "mlp", "hidden": (8,), "train_examples": 200, "lanes": (1, 2)}
RATES = [1e-3, 1e-2]
SCALARS = [
    f"{name}/{split}"
    for split in ("train", "validation", "test")
    for name in ("accuracy", "loss")
]


def run(workdir, on_epoch, **settings):
    settings = TINY | {"lr": RATES, "seeds": 2, "epochs": 3} | settings
    return mnistopt.run(**settings, workdir=workdir, on_epoch=on_epoch)


def shown(workdir, **settings):
    with TensorBoard(workdir) as board:
        return run(workdir, board, **settings)


def records(content):
    """The records of a TFRecord file: length, check sum, data, check sum."""
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield content[12 : 12 + length]
        content = content[16 + length :]


def read(workdir):
    """By folder its scalars, by tag and step, and its HParams messages, by kind."""
    found = {}
    folder = workdir / "tensorboard"
    for path in folder.rglob("*tfevents*"):
        events = [Event.FromString(record) for record in records(path.read_bytes())]
        assert events[0].file_version == "brain.Event:2"
        scalars, plugin = defaultdict(list), {}
        for event in events[1:]:
            for value in event.summary.value:
                if value.HasField("metadata"):
                    assert value.metadata.plugin_data.plugin_name == "hparams"
                    content = value.metadata.plugin_data.content
                    data = HParamsPluginData.FromString(content)
                    kind = data.WhichOneof("data")
                    assert value.tag == f"_hparams_/{kind}" and kind not in plugin
                    plugin[kind] = getattr(data, kind)
                else:
                    scalars[value.tag].append((event.step, value.simple_value))
        name = str(path.parent.relative_to(folder))
        assert name not in found, "two files of one replica"
        found[name] = scalars, plugin
    return found


def assert_shows(study):
    """Asserts that the files have the numbers of curves.csv, each once, in order."""
    found = read(study.workdir)
    curves = study.curves
    assert len(found) == curves["replica"].nunique()
    last = study.trials.sort_values("epochs").groupby("replica").last()
    left = set(curves["replica"])
    for name, (scalars, plugin) in found.items():
        start = plugin["session_start_info"]
        assert name.startswith(f"{start.group_name}/seed ")
        wanted = {
            axis: value.string_value or value.number_value
            for axis, value in start.hparams.items()
        }
        seed = int(name.rpartition(" ")[2])
        (replica,) = (
            replica
            for replica, row in last.iterrows()
            if row["seed"] == seed
            and {axis: row[axis] for axis in AXES if pd.notna(row[axis])} == wanted
        )
        left.remove(replica)
        one = curves[curves["replica"] == replica].set_index("epoch")
        for tag in SCALARS:
            measure, split = tag.split("/")
            column = one[f"{split}_{measure}"]
            if split == "test":
                column = column[one["test_accuracy"].notna()]
            steps, values = zip(*scalars[tag])
            assert list(steps) == list(column.index)
            np.testing.assert_array_equal(values, column.to_numpy(np.float32))
        assert set(scalars) == set(SCALARS)
    assert not left
    return found


def groups(found):
    """By group its folders."""
    by_group = defaultdict(set)
    for name, (_, plugin) in found.items():
        by_group[plugin["session_start_info"].group_name].add(name)
    return dict(by_group)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return shown(tmp_path_factory.mktemp("finished"))


def test_every_replica_is_a_session_and_every_point_a_group(finished):
    found = assert_shows(finished)
    assert groups(found) == {
        f"lr {lr}": {f"lr {lr}/seed {seed}" for seed in (0, 1)} for lr in RATES
    }
    for _, plugin in found.values():
        assert plugin["session_end_info"].status == api_pb2.STATUS_SUCCESS
        infos = plugin["experiment"].hparam_infos
        hparams = plugin["session_start_info"].hparams
        assert {info.name for info in infos} == {"lr"}  # what tells points apart
        assert set(AXES) - set(hparams) == {"channels", "dense"}
        for info in infos:
            text = hparams[info.name].HasField("string_value")
            assert (info.type == api_pb2.DATA_TYPE_STRING) == text
        metrics = [info.name.tag for info in plugin["experiment"].metric_infos]
        assert metrics == ["accuracy/validation", "loss/validation"]


def test_records_are_those_that_tensorboardx_writes(tmp_path):
    ours = _record(step=7, file_version="anything")
    (data,) = records(ours)
    writer = RecordWriter(str(tmp_path / "record"))
    writer.write(data)
    writer.close()
    assert (tmp_path / "record").read_bytes() == ours


def test_a_running_grid_is_shown_after_each_epoch(tmp_path):
    steps = []
    with TensorBoard(tmp_path) as board:

        def on_epoch(frame):
            board(frame)
            found = read(tmp_path)
            assert len(found) == 4
            assert not any("session_end_info" in plugin for _, plugin in found.values())
            steps.append(sum(len(one["loss/train"]) for one, _ in found.values()))

        run(tmp_path, on_epoch)
    assert steps[-1] == 12 and steps == sorted(set(steps))


@pytest.mark.parametrize("epoch", [1, 3])
def test_an_interrupted_run_that_is_repeated_shows_no_epoch_twice(tmp_path, epoch):
    with contextlib.suppress(KeyboardInterrupt), TensorBoard(tmp_path) as board:

        def on_epoch(frame):
            board(frame)
            if frame["epoch"].iloc[0] == epoch:
                raise KeyboardInterrupt

        run(tmp_path, on_epoch)
    part = read(tmp_path)
    assert max(one["loss/train"][-1][0] for one, _ in part.values() if one) == epoch
    assert not any("session_end_info" in plugin for _, plugin in part.values())
    assert_shows(shown(tmp_path))


def test_what_was_trained_before_is_shown_too(tmp_path):
    run(tmp_path, None, epochs=2)
    assert not (tmp_path / "tensorboard").exists()
    before = assert_shows(shown(tmp_path, epochs=2))
    assert set(groups(before)) == {"lr 0.001", "lr 0.01"}
    # One more epoch for one point: two points now differ in more than the rate.
    grown = assert_shows(shown(tmp_path, lr=1e-3))
    assert set(groups(grown)) == {"lr 0.001, epochs 3", "lr 0.01, epochs 2"}
    # An epoch that was not kept is trained again, now with its test accuracy.
    again = assert_shows(shown(tmp_path, epochs=[1, 3]))
    for scalars, _ in again.values():
        assert [step for step, _ in scalars["loss/test"]] == [1, 2, 3]
    assert_shows(shown(tmp_path, seeds=3))


def test_models_of_all_kinds_have_their_own_hyper_parameters(tmp_path):
    study = shown(tmp_path, model=["mlp", "cnn"], channels=(2,), dense=4, lr=1e-3,
                  epochs=1, lanes=None)  # fmt: skip
    by_model = {}
    for _, plugin in assert_shows(study).values():
        hparams = plugin["session_start_info"].hparams
        by_model.setdefault(hparams["model"].string_value, set(hparams))
        infos = {info.name for info in plugin["experiment"].hparam_infos}
        assert infos == {"model"}
    assert by_model["mlp"] == set(AXES) - {"channels", "dense"}
    assert by_model["cnn"] == set(AXES) - {"hidden"}


def test_rates_that_print_alike_stay_apart(tmp_path):
    study = shown(tmp_path, lr=[1e-3, 1.000001e-3], seeds=1, epochs=1)
    assert len(groups(assert_shows(study))) == 2


def test_a_diverged_replica_ends_as_a_failure(tmp_path):
    found = assert_shows(shown(tmp_path, lr=[1e6, 1e-3]))
    status = {
        plugin["session_start_info"].hparams["lr"].number_value: plugin[
            "session_end_info"
        ].status
        for _, plugin in found.values()
    }
    assert status == {1e6: api_pb2.STATUS_FAILURE, 1e-3: api_pb2.STATUS_SUCCESS}


def test_a_refused_run_shows_nothing_and_harms_nothing(finished, tmp_path):
    before = read(finished.workdir)
    with pytest.raises(InputError, match="train_examples"):
        shown(finished.workdir, train_examples=300)
    assert read(finished.workdir) == before
    with pytest.raises(InputError, match="lr=0"):
        shown(tmp_path / "new", lr=0)
    assert not (tmp_path / "new").exists()


def test_a_board_of_another_workdir_is_refused(finished, tmp_path):
    board = TensorBoard(finished.workdir)
    with pytest.raises(InputError, match="the workdir of the run"):
        run(tmp_path, board, lr=[0.1, 0.2])
    with pytest.raises(InputError, match="cannot be read"):
        run(tmp_path / "new", TensorBoard(tmp_path / "none"))


def test_the_program_writes_them_and_says_how_to_look(tmp_path):
    flags = ("--model=mlp", "--hidden=8", "--train_examples=200", "--epochs=1")
    found = run_program("grid", *flags, "--tensorboard", f"--workdir={tmp_path}")
    assert found.returncode == 0, found.stderr
    assert f"tensorboard --logdir {tmp_path / 'tensorboard'}" in found.stdout
    assert_shows(mnistopt.open_study(tmp_path))
