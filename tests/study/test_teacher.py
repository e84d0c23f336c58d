"""Learning from a teacher and from validation images: what changes and what not."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mnistopt
from mnistopt.data.splits import Split
from mnistopt.errors import InputError
from mnistopt.hparams import Hparams
from mnistopt.models.networks import make_model
from mnistopt.study.ensemble import mean_probabilities
from mnistopt.study.examples import study_data
from mnistopt.study.grid import make_point
from mnistopt.study.teacher import Teacher
from mnistopt.training.cohort import Cohort, init_state
from mnistopt.training.train import TEMPERATURE, train_step

TINY = {"model": "mlp", "hidden": (8,), "train_examples": 200, "lanes": (1, 2)}
PUPIL = {**TINY, "lanes": 1, "lr": 0.01, "epochs": 2, "seeds": 2}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("teacher")
    return mnistopt.run(**TINY, lr=[1e-3, 1e-2], seeds=3, epochs=3, workdir=workdir)


@pytest.fixture(scope="module")
def pupils(teacher, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pupils")
    asked = {**PUPIL, "distill": [0, 0.9], "teacher": teacher.workdir}
    return mnistopt.run(**asked, workdir=workdir)


def by_weight(study, weight):
    trials = study.trials[study.trials["distill"] == weight]
    return trials.sort_values("seed")["trial"].tolist()


def test_a_teacher_of_weight_0_changes_no_bit(pupils, tmp_path):
    alone = mnistopt.run(**PUPIL, workdir=tmp_path)
    for taught, plain in zip(by_weight(pupils, 0), alone.siblings(), strict=True):
        pair = pupils.variables(taught), alone.variables(plain)
        same = jax.tree.map(np.array_equal, *pair)
        assert all(jax.tree.leaves(same))
    taught, plain = (
        study.curves[study.curves["seed"] == 1].drop_duplicates("epoch")
        for study in (pupils, alone)
    )
    names = ["validation_loss", "train_loss"]
    assert taught[names].values.tolist() == plain[names].values.tolist()


def test_a_pupil_agrees_with_its_teacher_more_than_without(teacher, pupils):
    members = dict.fromkeys(teacher.siblings(), 1)
    images = mnistopt.load().test.images
    said = mean_probabilities(teacher, members, images)

    def apart(trial):
        own = mean_probabilities(pupils, {trial: 1}, images)
        return float((said * (np.log(said) - np.log(own))).sum(-1).mean())

    for with_teacher, without in zip(by_weight(pupils, 0.9), by_weight(pupils, 0)):
        assert apart(with_teacher) < apart(without)


def test_a_step_is_hintons_by_plain_optax():
    """Weight w: (1 - w) of the labels' cross-entropy, and w of T^2 times that of
    the teacher's and the network's probabilities at temperature T."""
    point = make_point(model="mlp", hidden=(5,), optimizer="sgd", lr=0.1, dropout=0)
    weight = 0.6
    hparams = point.hparams._replace(distill=weight)
    cohort = Cohort(make_model(point), "sgd", 16, stages=("distill",))
    state = init_state(cohort, jnp.int32(0))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, 28, 28, 1), np.uint8)
    batch = Split(images, rng.integers(0, 10, 16).astype(np.int32))
    targets = rng.dirichlet(np.ones(10), 16).astype(np.float32)
    targets[0] = np.eye(10)[3]  # certain
    key = jax.random.key(0, impl="threefry2x32")
    step = jax.jit(train_step, static_argnums=(0, 6))
    found, _ = step(cohort, state, Hparams(*map(jnp.float32, hparams)), batch, key,
                    jnp.int32(0), 10, jnp.asarray(targets))  # fmt: skip

    def loss(params):
        logits = cohort.model.apply({"params": params}, images / np.float32(255))
        hard = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
        cooled = targets ** (1 / TEMPERATURE)
        cooled /= cooled.sum(-1, keepdims=True)
        soft = -(cooled * jax.nn.log_softmax(logits / TEMPERATURE)).sum(-1)
        return ((1 - weight) * hard + weight * TEMPERATURE**2 * soft).mean()

    params = state.variables["params"]
    wanted = jax.tree.map(lambda p, g: p - 0.1 * g, params, jax.grad(loss)(params))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        found.variables["params"], wanted,
    )  # fmt: skip


def test_who_teaches_is_part_of_those_who_learn_from_it(teacher, pupils, tmp_path):
    plain = mnistopt.run(**PUPIL, workdir=tmp_path)
    trials = pupils.trials.set_index("trial")
    names = set(plain.trials["replica"])
    assert names == set(trials.loc[by_weight(pupils, 0), "replica"])
    assert not names & set(trials.loc[by_weight(pupils, 0.9), "replica"])
    # So a study that was begun without may get one.
    taught = mnistopt.run(**{**PUPIL, "distill": 0.9}, teacher=teacher.workdir,
                          workdir=tmp_path)  # fmt: skip
    assert set(taught.trials["replica"]) == set(trials["replica"])
    data = mnistopt.load(train_examples=200)
    digest = Teacher.of(teacher.workdir, data, None).digest
    assert pupils.config.data.teacher == taught.config.data.teacher == digest
    assert pupils.config.data.fingerprint == data.fingerprint
    # And keeps it where its pupils are not asked for.
    mnistopt.run(**PUPIL, workdir=tmp_path)
    assert taught.config.data.identity == pupils.config.data.identity


def test_pupils_keep_their_teacher_whatever_becomes_of_it(teacher, tmp_path):
    folder = tmp_path / "teacher"
    shutil.copytree(teacher.workdir, folder)
    asked = {**PUPIL, "distill": 0.5, "teacher": folder, "workdir": tmp_path / "pupil"}
    wanted = mnistopt.run(**asked)
    before = wanted.config.teacher["members"]
    vote = mnistopt.open_study(folder).ensemble("all")
    dataclasses.replace(vote, members={teacher.siblings()[0]: 2}).write()
    data = mnistopt.load(train_examples=200)
    assert Teacher.of(folder, data, None).members != before
    again = mnistopt.run(**{**asked, "seeds": 3})
    assert again.config.teacher["members"] == before
    assert len(again.trials) == 3
    with pytest.raises(InputError, match="teacher: .* in the study"):
        other = shutil.copytree(folder, tmp_path / "other")
        mnistopt.run(**{**asked, "teacher": other})
    shutil.rmtree(folder)
    assert len(mnistopt.run(**asked).trials) == 3
    with pytest.raises(InputError, match="is not the workdir of a grid"):
        mnistopt.run(**{**asked, "seeds": 4})


def test_the_teacher_is_asked_once(teacher, tmp_path, monkeypatch):
    calls, ask = [], Teacher.targets

    def targets(self, data):
        calls.append(len(data.train.labels))
        return ask(self, data)

    monkeypatch.setattr(Teacher, "targets", targets)
    asked = {**PUPIL, "lr": [0.01, 0.003], "changes": "1:distill=0.5"}
    mnistopt.run(**asked, teacher=teacher.workdir, workdir=tmp_path)
    assert calls == [200]
    mnistopt.run(**asked, teacher=teacher.workdir, workdir=tmp_path)
    assert calls == [200]


def test_a_taught_study_is_evaluated_and_run_again(pupils, tmp_path):
    assert pupils.ensemble("all").about["test"]["count"] == 1000
    again = mnistopt.rerun(pupils.workdir / "config.json", tmp_path / "again")
    assert again.holds and again.exact


def test_targets_of_another_order_would_be_seen(teacher):
    data = mnistopt.load(train_examples=200)
    taught = Teacher.of(teacher.workdir, data, None)
    targets = taught.targets(data)
    assert targets.shape == (200, 10) and targets.dtype == np.float32
    some = mean_probabilities(teacher, taught.members, data.train.images[50:60])
    np.testing.assert_allclose(targets[50:60], some, atol=1e-6)
    labels = (data.train.labels + 1) % 10
    others = dataclasses.replace(data, train=data.train._replace(labels=labels))
    with pytest.warns(UserWarning, match="is right about .* other classes"):
        taught.targets(others)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"distill": 0.5}, "distill has no effect without a teacher"),
        ({"changes": "1:distill=0.5"}, "distill has no effect without a teacher"),
        ({"distill": 0.5, "teacher": "nowhere"}, "nowhere is not the workdir"),
        ({"distill": 1.5, "teacher": "nowhere"}, "distill=1.5 is not allowed"),
        ({"teacher": 3}, "teacher=3"),
        ({"train_on": "test"}, "train_on='test' is not known; choose train or all"),
    ],
)
def test_what_cannot_be_is_said(asked, words, tmp_path):
    with pytest.raises(InputError, match=words):
        mnistopt.plan(**{**PUPIL, **asked}, workdir=tmp_path)


def test_a_teacher_that_is_not_listened_to_is_warned_of(teacher, tmp_path):
    with pytest.warns(UserWarning, match="has no effect, as distill"):
        mnistopt.plan(**PUPIL, teacher=teacher.workdir, workdir=tmp_path)


def test_a_teacher_of_other_images_or_classes_is_refused(teacher, tmp_path):
    images = np.zeros((40, 5, 5, 1), np.uint8)
    images[:, 0, 0, 0] = 255 - np.arange(40)
    data = mnistopt.Dataset.from_arrays(images, np.arange(40) % 2)
    asked = {"model": "mlp", "batch_size": 8, "distill": 0.5, "data": data}
    with pytest.raises(InputError, match=r"shape \(28, 28, 1\), light ink .* 1, 2"):
        mnistopt.plan(**asked, teacher=teacher.workdir, workdir=tmp_path)


def test_a_teacher_that_has_seen_what_is_measured_is_refused(tmp_path):
    """Trained on all, it has seen the validation images of those who hold them out."""
    asked = {**TINY, "lanes": 1, "seeds": 1, "epochs": 1}
    seen = mnistopt.run(**asked, train_on="all", workdir=tmp_path / "seen")
    pupil = {**PUPIL, "distill": 0.5, "teacher": seen.workdir}
    with pytest.raises(InputError, match="trained on 500 of the validation images"):
        mnistopt.plan(**pupil, workdir=tmp_path / "pupil")
    mnistopt.plan(**pupil, train_on="all", workdir=tmp_path / "pupil")


def test_all_are_the_training_images_and_those_of_validation(tmp_path):
    asked = {**PUPIL, "train_examples": None, "seeds": 1, "epochs": 1}
    study = mnistopt.run(**asked, train_on="all", workdir=tmp_path)
    plain, whole = mnistopt.load(), study_data(study.config, None)
    assert len(whole.train.labels) == 4000 == study.config.data.train
    np.testing.assert_array_equal(whole.train.images[-500:], plain.validation.images)
    np.testing.assert_array_equal(whole.train.labels[:3500], plain.train.labels)
    assert whole.validation is not None and len(whole.validation.labels) == 500
    assert whole.fingerprint == study.config.data.fingerprint != plain.fingerprint
    page = study.report().read_text()
    assert "500 for validation, which were trained on, too" in page
    assert "--train_on=all" in page
    # As studies were described before there were either.
    path = tmp_path / "config.json"
    content = json.loads(path.read_text())
    del content["data"]["train_on"], content["data"]["teacher"], content["teacher"]
    old = type(study.config).from_json(content)
    assert (old.data.train_on, old.data.teacher, old.teacher) == ("train", None, None)


def test_training_on_validation_images_chooses_nothing(tmp_path):
    asked = {**PUPIL, "train_on": "all", "workdir": tmp_path}
    for more in ({"lr": [0.1, 0.01]}, {"patience": 1}):
        with pytest.warns(UserWarning, match="choose with train_on=train"):
            mnistopt.plan(**{**asked, **more})
    with pytest.raises(InputError, match="a search chooses by validation images"):
        mnistopt.search(**{**asked, "lr": mnistopt.log(1e-3, 1e-1)})
