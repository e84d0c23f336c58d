"""What the replicas say of each image: kept once, whole, and as recorded."""

import numpy as np
import pytest

import mnistopt
from mnistopt.data.load import load
from mnistopt.errors import InputError
from mnistopt.results import predictions

SETTINGS = {
    **{"model": "mlp", "hidden": (8,), "lr": [1e-2, 1e-3], "epochs": 2},
    **{"batch_size": 16, "train_examples": 640},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    return mnistopt.run(workdir=folder, seeds=2, **SETTINGS)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_accuracies_of_kept_classes_are_the_recorded_ones(study, split):
    labels = getattr(load("mnist_5k"), split).labels
    for _, trial in study.trials.iterrows():
        found = study.predictions(trial["trial"], split)
        np.testing.assert_array_equal(found.labels, labels)
        (mine,) = found.classes[found.seeds == trial["seed"]]
        assert np.mean(mine == labels) == trial[f"{split}_accuracy"]


def test_the_vote_is_that_of_the_mean_probabilities(study):
    found = study.predictions("best")
    assert found.classes.dtype == found.vote.dtype == np.uint8
    assert found.classes.shape == (2, 1000)
    assert found.probabilities.shape == (1000, 10)
    assert found.probabilities.dtype == np.float16
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=5e-3)
    voted = np.take_along_axis(found.probabilities, found.vote[:, None], axis=1)
    assert (voted[:, 0] == found.probabilities.max(axis=1)).all()
    agreed = found.classes[0] == found.classes[1]
    assert 0 < agreed.mean() < 1
    assert (found.vote == found.classes[0])[agreed].mean() > 0.99


def test_what_is_there_is_not_predicted_again(study, monkeypatch):
    folder = study.workdir / "predictions"
    names = {f"{point}.npz" for point in study.trials["point"]} | {
        "labels.npz",
        "weights.csv",
        "mistakes.csv",
    }
    assert {path.name for path in folder.iterdir()} == names
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(predictions, "Predictor", None)
    mnistopt.run(workdir=study.workdir, seeds=2, **SETTINGS)
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_new_seed_and_a_broken_file_are_mended(tmp_path):
    study = mnistopt.run(workdir=tmp_path, seeds=1, **SETTINGS)
    before = study.predictions()
    (best,) = (tmp_path / "predictions").glob(f"{study.trial()['point']}.npz")
    best.write_bytes(best.read_bytes()[:-100])
    with pytest.raises(InputError, match="run the grid"):
        study.predictions()
    with pytest.warns(
        UserWarning, match="npz was changed after it was written: it is kept"
    ):
        more = mnistopt.run(workdir=tmp_path, seeds=2, **SETTINGS)
    for trial in more.trials["trial"]:
        assert more.predictions(trial).seeds.tolist() == [0, 1]
    assert any(
        (more.predictions(trial).classes[0] == before.classes[0]).all()
        for trial in more.trials["trial"]
    )


def test_unknown_splits_are_refused(study):
    with pytest.raises(InputError, match="split='train' is not kept"):
        study.predictions("best", "train")
