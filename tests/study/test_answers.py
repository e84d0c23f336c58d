"""What a study answers: predictions, comparisons, its best setting, each class."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

import mnistopt
from mnistopt.data.place import place
from mnistopt.data.strangers import make_strangers
from mnistopt.errors import InputError

TINY = {"model": "mlp", "hidden": (8,), "train_examples": 200, "lanes": (1, 2)}
RATES = [1e-3, 1e-2]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("answers")
    return mnistopt.run(**TINY, lr=RATES, seeds=3, epochs=3, workdir=workdir)


@pytest.fixture(scope="module")
def digits():
    test = mnistopt.load().test
    return test.images[:40, ..., 0]


def probabilities(table):
    return table[list(map(str, range(10)))].to_numpy(float)


def test_images_are_placed_before_the_network_sees_them(study, digits):
    table = study.predict(digits)
    placed = np.stack([place(digit) for digit in digits])[..., None] / 255
    logits = study.model().apply(study.variables(), placed)
    assert table["class"].tolist() == [str(k) for k in np.argmax(logits, axis=1)]
    np.testing.assert_allclose(probabilities(table).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        table["probability"], probabilities(table).max(axis=1), rtol=1e-6
    )
    # Larger, and dark on light, it is the same digit.
    large = [np.kron(255 - digit, np.ones((5, 5), np.uint8)) for digit in digits]
    agree = study.predict(large)["class"] == table["class"]
    assert agree.mean() > 0.9


def test_files_arrays_and_pictures_are_the_same_images(study, digits, tmp_path):
    for number, digit in enumerate(digits[:3]):
        Image.fromarray(digit).save(tmp_path / f"{number}.png")
    np.savez(tmp_path / "images.npz", images=digits[:3])
    wanted = probabilities(study.predict(digits[:3]))
    pictures = list(map(Image.fromarray, digits[:3]))
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    rest = [
        tmp_path / "images.npz",
        pictures,
        paths,
        digits[:3] / 255,
        list(digits[:3]),
    ]
    for path in paths:
        assert path.exists()
    for given in rest:
        np.testing.assert_allclose(probabilities(study.predict(given)), wanted, 1e-5)
    alone = study.predict(paths[1])
    assert alone["image"].tolist() == ["1.png"]
    np.testing.assert_allclose(probabilities(alone), wanted[1:2], 1e-5)
    palette = pictures[1].convert("P", palette=Image.Palette.ADAPTIVE)
    others = jnp.asarray(digits[1]), np.stack([digits[1]] * 3, axis=-1)
    for one in (digits[1], pictures[1], palette, *others):
        np.testing.assert_allclose(probabilities(study.predict(one)), wanted[1:2], 1e-5)


def test_an_ensemble_is_the_mean_of_its_seeds(study, digits):
    best = study.trial()["point"]
    seeds = study.trials[study.trials["point"] == best]["trial"]
    each = [probabilities(study.predict(digits, name)) for name in seeds]
    together = study.predict(digits, ensemble=True)
    np.testing.assert_allclose(probabilities(together), np.mean(each, axis=0), 1e-5)


def test_what_has_no_ink_is_no_digit(study, digits):
    table = study.predict([digits[0], np.full((9, 30), 0.7)])
    assert table["class"].isna().tolist() == [False, True]
    assert table.iloc[1][["probability", "0", "9"]].isna().all()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([], "has no images"),
        (np.zeros((2, 3, 4, 5)), r"images\[0\] has the shape \(3, 4, 5\)"),
        ([np.zeros((5, 5)), "no.png"], r"images\[1\]=no.png is no file"),
        ([np.full((5, 5), np.nan)], "no finite pixels"),
        ([np.full((5, 5), "x")], r"images\[0\] is of <U1"),
        (5, "images=5 is not allowed"),
        (np.array(5), "is not allowed"),
        ([[[1, 2], [3]]], r"images\[0\] is no array"),
    ],
)
def test_other_images_are_refused_in_words(images, words):
    with pytest.raises(InputError, match=words):
        make_strangers(images)


def test_each_class_is_counted_over_the_seeds(study):
    table, predicted = study.per_class(), study.predictions()
    assert table["count"].sum() == len(predicted.labels)
    right = (predicted.classes == predicted.labels).mean(axis=0)
    by_class = pd.Series(right).groupby(predicted.labels).mean()
    np.testing.assert_allclose(table["accuracy"], by_class)
    whole = np.average(table["accuracy"], weights=table["count"])
    assert whole == pytest.approx(study.summary["test_accuracy_mean"].iloc[0])
    assert table["f1"].between(0, 1).all() and table["precision"].between(0, 1).all()


@pytest.mark.parametrize("metric", ["validation_accuracy", "test_loss"])
def test_a_comparison_is_scipys_paired_test(study, metric):
    table = study.trials.pivot(index="seed", columns="lr", values=metric)
    found = study.compare({"lr": 0.01}, {"lr": 1e-3}, metric)
    theirs = stats.ttest_rel(table[0.01], table[0.001])
    low, high = theirs.confidence_interval(0.95)
    assert found == pytest.approx(
        (table[0.01].mean() - table[0.001].mean(), low, high, theirs.pvalue, 3)
    )
    first = study.trials[study.trials["lr"] == 0.01]["trial"].iloc[0]
    assert study.compare(first, {"lr": 0.001}, metric) == found


def test_settings_that_are_not_one_are_refused(study):
    for setting, words in (
        ({"momentum": 1}, "unknown hyper-parameter momentum"),
        ({"dropout": 0.3}, "fits 2 settings"),
        ({"lr": 0.5}, "fits 0 settings"),
    ):
        with pytest.raises(InputError, match=words):
            study.compare("best", setting)
    for name in (0.1, None):
        with pytest.raises(InputError, match="names 0 trials"):
            study.compare(name, "best")
    neutral = study.compare({"lr": 0.01, "weight_decay": 0}, {"lr": 1e-3})
    assert neutral == study.compare({"lr": 0.01}, {"lr": 1e-3})
    with pytest.raises(InputError, match="metric=speed is not known"):
        study.compare("best", {"lr": 0.01}, "speed")


def test_own_channels_are_not_taken_for_colours():
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 2)).astype(np.uint8)
    np.testing.assert_array_equal(make_strangers(images, (9, 9, 2)).images, images)


def test_the_best_setting_can_be_asked_for_again(study):
    asked = {name: TINY[name] for name in ("train_examples", "lanes")}
    plan = mnistopt.plan(
        points=[study.best_params], **asked, seeds=3, workdir=study.workdir
    )
    assert (plan.asked, plan.there) == (3, 3)
    assert study.best_params["hidden"] == "8" and "dense" not in study.best_params
