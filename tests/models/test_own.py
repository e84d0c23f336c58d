"""A user's own flax modules, from Python and from the command line."""

import importlib
import os
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mnistopt
from mnistopt.data.dataset import Dataset
from mnistopt.engine.identity import identify
from mnistopt.errors import InputError
from mnistopt.models.networks import apply, apply_training
from mnistopt.models.own import declare
from mnistopt.results.config import write_config
from mnistopt.study.grid import grid
from tests.programs import assert_refused
from tests.programs import run as program

FILE = """
import flax.linen as nn
import jax.numpy as jnp
import mnistopt

FACTOR = 2


def widened(width):
    return FACTOR * width


class Strided(nn.Module):
    width: int = 2
    act: object = nn.relu

    @nn.compact
    def __call__(self, images, dropout=None):
        x = self.act(nn.Conv(widened(self.width), (3, 3), strides=4)(images))
        x = mnistopt.Dropout()(x.reshape(len(x), -1), dropout)
        return nn.Dense(4)(x)
"""


def write(folder, text=FILE, name="own_nets"):
    (folder / f"{name}.py").write_text(text)
    importlib.invalidate_caches()
    sys.modules.pop(name, None)
    return importlib.import_module(name)


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """The user's file as a module."""
    monkeypatch.syspath_prepend(tmp_path)
    yield write(tmp_path)
    sys.modules.pop("own_nets", None)


@pytest.fixture(scope="module")
def arrays():
    """Images of 20x20x3 in four classes, each with one bright row."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    images = rng.integers(0, 60, (80, 20, 20, 3), np.uint8)
    images[np.arange(80), 4 * labels] += 150
    return images, labels


def settings(arrays, workdir):
    return {
        **{"data": Dataset.from_arrays(*arrays, name="toys"), "workdir": workdir},
        **{"batch_size": 16, "seeds": 2, "lr": (1e-3, 1e-2), "lanes": 1},
    }


def test_modules_are_an_axis_and_go_on_and_are_restored(nets, arrays, tmp_path):
    asked = settings(arrays, tmp_path / "toys")
    models = [nets.Strided(width=1), nets.Strided(width=2)]
    study = mnistopt.run(model=models, epochs=1, **asked)
    study = mnistopt.run(model=models, epochs=2, **asked)
    assert sorted(set(study.trials["width"])) == [1, 2]
    assert study.curves["test_accuracy"].notna().sum() == 16
    straight = mnistopt.run(
        model=models, epochs=2, **asked | {"workdir": tmp_path / "straight"}
    )
    for trial in straight.trials["trial"]:
        jax.tree.map(
            np.testing.assert_array_equal, study.params(trial), straight.params(trial)
        )
    assert "the Python call that made it" in study.report().read_text()

    code = (
        "import mnistopt, numpy, sys; s = mnistopt.open_study(sys.argv[1]);"
        "x = numpy.ones((2, 20, 20, 3), numpy.float32);"
        "print(s.model().apply({'params': s.params()}, x).tolist())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, study.workdir],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    logits = study.model().apply(
        {"params": study.params()}, np.ones((2, 20, 20, 3), np.float32)
    )
    np.testing.assert_allclose(eval(found.stdout), logits, rtol=1e-5)


def test_a_changed_module_is_never_continued_shown_or_evaluated(nets, arrays, tmp_path):
    asked = settings(arrays, tmp_path / "toys") | {"epochs": 1}
    study = mnistopt.run(model=nets.Strided(), **asked)
    assert study.model()
    changed = write(tmp_path, FILE.replace("FACTOR = 2", "FACTOR = 3"))
    for other in (
        {"model": changed.Strided()},
        {"model": "own_nets:Strided", "epochs": 2},
        # Another of its class would stand beside it under one name.
        {"model": changed.Strided(width=3)},
    ):
        with pytest.raises(InputError, match="Strided 2 no longer computes what"):
            mnistopt.run(**asked | other)
    with pytest.raises(InputError, match="has changed since Strided .* was trained"):
        study.model()
    assert study.params()["Dense_0"]["bias"].shape == (4,)
    # Nor where config.json is gone: the replicas know what they are of.
    (tmp_path / "toys" / "config.json").unlink()
    with pytest.raises(InputError, match="Strided 2 no longer computes what"):
        mnistopt.run(model=changed.Strided(), **asked)
    unused = write(tmp_path, FILE + "\nOTHER = 5\n")
    assert mnistopt.plan(model=unused.Strided(), **asked).there == 4


def test_another_version_of_jax_is_the_same_by_its_answers(nets, arrays, tmp_path):
    asked = settings(arrays, tmp_path / "toys") | {"epochs": 1}
    study = mnistopt.run(model=nets.Strided(), **asked)
    known = study.config
    (entry,) = known.modules["Strided"]["programs"].values()
    entry["traces"] = {"jax 0.0.1": "of another version"}
    write_config(study.workdir, known)
    found = mnistopt.plan(model=nets.Strided(), **asked)
    assert found.there == 4 and not found.jobs
    assert study.model().width == 2
    changed = write(tmp_path, FILE.replace("FACTOR = 2", "FACTOR = 3"))
    with pytest.raises(InputError, match="Strided 2 no longer computes what"):
        mnistopt.plan(model=changed.Strided(), **asked)


def test_an_identity_is_class_fields_and_program(nets, arrays):
    data = Dataset.from_arrays(*arrays)

    def name(*models):
        points, _ = identify(grid(model=list(models)), data, {}, measured=False)
        return [point.identity() for point in points]

    one = nets.Strided(width=3)
    assert name(one, one) == name(nets.Strided(width=np.int64(3)))
    assert len(set(name(one, nets.Strided(), nets.Strided(act=nn.gelu)))) == 3
    assert name(nets.Strided) == name(nets.Strided()) == name("own_nets:Strided")
    # Functions of one name are told apart by what they compute, or refused.
    with pytest.raises(InputError, match="no field sets them apart"):
        name(nets.Strided(act=lambda x: x), nets.Strided(act=lambda x: 2 * x))


def test_the_fields_of_a_class_are_axes(nets):
    points = grid(model=nets.Strided, width=[1, 2])
    assert [str(point.structure) for point in points] == ["Strided 1", "Strided 2"]
    with pytest.raises(InputError, match="width=1.5 is not allowed"):
        grid(model=nets.Strided, width=1.5)


class Switched(nn.Module):
    @nn.compact
    def __call__(self, images, deterministic):
        x = nn.Dropout(0.5)(images.reshape(len(images), -1), deterministic)
        return nn.Dense(4)(x)


def test_a_switch_between_training_and_evaluation_is_set():
    model, images = Switched(), np.ones((3, 4, 4, 1), np.float32)
    variables = model.init(jax.random.key(0), images, True)
    still = apply(model, variables, images)
    np.testing.assert_array_equal(still, model.apply(variables, images, True))
    moving, _ = apply_training(model, variables, images, 0.3, jax.random.key(1))
    assert (moving != still).any()
    assert not declare(model).dropout
    with pytest.raises(InputError, match="dropout=0.5 has no effect with model=Sw"):
        grid(model=Switched(), dropout=0.5)


class Branches(nn.Module):
    @nn.compact
    def __call__(self, images, dropout=None):
        x = nn.Dense(4)(images.reshape(len(images), -1))
        return x if dropout is None or dropout > 0 else 2 * x


class Normed(nn.Module):
    @nn.compact
    def __call__(self, images, train):
        x = nn.BatchNorm(use_running_average=not train)(images)
        return nn.Dense(4)(x.reshape(len(x), -1))


class Counting(nn.Module):
    @nn.compact
    def __call__(self, images):
        calls = self.variable("counts", "calls", lambda: jnp.zeros(()))
        return nn.Dense(4)(images.reshape(len(images), -1)) + 0 * calls.value


class Wide(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(7)(images.reshape(len(images), -1))


class Broken(nn.Module):
    @nn.compact
    def __call__(self, images):
        return nn.Dense(4)(images @ images)


class Asking(nn.Module):
    def __call__(self, images, mask):
        return images


class Clashing(nn.Module):
    dropout: float = 0.5

    def __call__(self, images):
        return images


class Quiet(nn.Module):
    quiet: bool = True

    def __call__(self, images):
        return images


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (
            Branches(),
            "Branches branches in Python on a traced value in line .*where",
        ),
        (Counting(), "Counting keeps variables besides its parameters: counts"),
        (Wide(), r"Wide returns \(3, 7\) .* \(3, 4\)"),
        (Broken(), "Broken does not work on images of shape .* in line .*TypeError"),
        (Asking(), "Asking.__call__ needs mask"),
        (Clashing(), "field dropout.*take dropout in __call__"),
        (nn.relu, "model=.* is not allowed"),
        (3, "model=3 is not allowed"),
        (Quiet(), "field quiet"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_trained_is_refused_by_name(arrays, tmp_path, model, words):
    with pytest.raises(InputError, match=words):
        mnistopt.run(model=model, **settings(arrays, tmp_path / "w"))


def test_running_statistics_are_carried_continued_and_restored(arrays, tmp_path):
    common = settings(arrays, tmp_path / "w")
    study = mnistopt.run(model=Normed(), epochs=1, **common)
    study = mnistopt.run(model=Normed(), epochs=2, **common)
    straight = mnistopt.run(
        model=Normed(), epochs=2, **settings(arrays, tmp_path / "straight")
    )
    assert set(study.variables()) == {"params", "batch_stats"}
    assert set(study.params()) == {"BatchNorm_0", "Dense_0"}
    for trial in study.trials["trial"]:
        if trial.endswith("-2"):
            jax.tree.map(
                np.testing.assert_array_equal,
                study.variables(trial),
                straight.variables(trial),
            )
    # They are the ones that were evaluated.
    row = study.trial()
    variables = study.variables(row["trial"])
    assert (variables["batch_stats"]["BatchNorm_0"]["mean"] != 0).any()
    data = common["data"].test
    logits = Normed().apply(variables, data.images / np.float32(255), False)
    right = (np.argmax(logits, axis=1) == data.labels).mean()
    assert right == pytest.approx(row["test_accuracy"], abs=1e-9)


def test_a_class_and_a_file_from_the_command_line(arrays, tmp_path):
    (tmp_path / "own_nets.py").write_text(FILE)
    np.savez(tmp_path / "toys.npz", images=arrays[0], labels=arrays[1])
    common = {"path": tmp_path}
    model, data = "--model=own_nets:Strided", f"--data={tmp_path / 'toys.npz'}"
    asked = [model, data, "--batch_size=16", "--seeds=1", "--epochs=1"]
    workdir = f"--workdir={tmp_path / 'w'}"
    found = program("grid", *asked, "--width=1,2", workdir, **common)
    assert found.returncode == 0, found.stderr
    assert "\n width  n" in found.stdout
    found = program("evaluate", workdir, **common)
    assert "split of toys" in found.stdout, found.stderr
    page = (tmp_path / "w" / "report.html").read_text()
    assert "--model=own_nets:Strided --width=1,2" in " ".join(page.split())
    assert "own_nets" not in sys.modules
    help_text = program("grid", model, "--help", **common).stdout
    assert "--width" in help_text
    assert_refused(program("grid", *asked, "--hidden=8", **common), "hidden=8 has no")
    assert_refused(program("grid", "--model=own_nets:Missing", **common), "Missing")
    assert_refused(program("grid", "--model=nowhere:Net"), "cannot be imported")


KILLED = """
import os, signal, sys
import mnistopt
from mnistopt.engine import writer
from own_nets import Strided

writer.FIRST_SAVE = 0  # seconds: this study is over before

def die(frame):
    if frame["epoch"].iloc[0] == 3:
        os.kill(os.getpid(), signal.SIGKILL)


mnistopt.run(model=Strided(width=1), data=sys.argv[1], workdir=sys.argv[2],
             batch_size=16, seeds=2, lanes=1, epochs=4, on_epoch=die)
"""


def test_a_killed_run_goes_on_to_the_same_bits(nets, arrays, tmp_path):
    np.savez(tmp_path / "toys.npz", images=arrays[0], labels=arrays[1])
    data, workdir = str(tmp_path / "toys.npz"), str(tmp_path / "killed")
    found = subprocess.run(
        [sys.executable, "-c", KILLED, data, workdir],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert found.returncode == -9
    asked = {"batch_size": 16, "seeds": 2, "lanes": 1, "epochs": 4, "data": data}
    model = nets.Strided(width=1)
    study = mnistopt.run(model=model, workdir=workdir, **asked)
    straight = mnistopt.run(model=model, workdir=tmp_path / "straight", **asked)
    assert list(study.trials["status"]) == ["finished"] * 2
    for trial in straight.trials["trial"]:
        jax.tree.map(
            np.testing.assert_array_equal, study.params(trial), straight.params(trial)
        )
