"""Effects of axes: against statsmodels, and what the intervals promise."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mnistopt.results import effects
from mnistopt.results.effects import NOISE, OTHERS, SEEDS, find_effects

AXES = {"lr": [1e-4, 1e-3, 1e-2], "dropout": [0.0, 0.3], "hidden": ["16", "8"]}


def table(seeds=4, noise=0.003, effect=1.0, axes=AXES, rng=None):
    """Trials of a full grid with known effects, seeds that shift all, and noise."""
    rng = rng or np.random.default_rng(0)
    shifts, rows = rng.normal(0, 0.002, seeds), []
    for i, values in enumerate(itertools.product(*axes.values())):
        at = dict(zip(axes, values))
        mean = 0.9 + effect * 0.02 * (at.get("lr") == 1e-3)
        mean += effect * 0.03 * at.get("dropout", 0) * (at.get("lr") == 1e-2)
        for seed in range(seeds):
            accuracy = mean + shifts[seed] + rng.normal(0, noise)
            about = {"point": f"p{i}", "replica": f"p{i}-{seed}", "model": "mlp"}
            about |= {**at, "epochs": 2, "seed": seed}
            rows.append(
                {**about, "status": "finished", "validation_accuracy": accuracy}
            )
    return pd.DataFrame(rows)


def anova(trials, formula):
    """Statsmodels' square sums and p values of type II, by our names."""
    pytest.importorskip("statsmodels")
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    found = anova_lm(ols(formula, trials).fit(), typ=2)
    names = (name.replace("C(", "").replace(")", "") for name in found.index)
    return found.set_index(
        pd.Index([name.replace("seed", SEEDS).replace(":", " x ") for name in names])
    )


@pytest.mark.parametrize("lost", [(), (3, 17, 22, 23, 40)], ids=["full", "with holes"])
def test_square_sums_are_those_of_statsmodels(lost):
    trials = table().drop(index=list(lost))
    found = find_effects(trials).terms.set_index("term")
    wanted = anova(
        trials, "validation_accuracy ~ C(seed) + (C(lr) + C(dropout) + C(hidden))**2"
    )
    for name, row in wanted.drop("Residual").iterrows():
        name = name if name in found.index else " x ".join(reversed(name.split(" x ")))
        assert found.loc[name, "square_sum"] == pytest.approx(row["sum_sq"], rel=1e-9)
        assert found.loc[name, "df"] == row["df"]
    rest = found.loc[[OTHERS, NOISE], "square_sum"].sum()
    assert rest == pytest.approx(wanted.loc["Residual", "sum_sq"], rel=1e-9)
    if not lost:
        assert found["share"].sum() == pytest.approx(1)


def test_two_axes_have_the_p_values_of_statsmodels():
    trials = table(axes={name: AXES[name] for name in ("lr", "dropout")})
    found = find_effects(trials).terms.set_index("term")
    wanted = anova(trials, "validation_accuracy ~ C(seed) + C(dropout) * C(lr)")
    for name in ("lr", "dropout", "dropout x lr", SEEDS):
        ours = name if name in found.index else "lr x dropout"
        assert found.loc[ours, "p"] == pytest.approx(wanted.loc[name, "PR(>F)"])


def test_means_of_a_full_grid_are_averages_and_intervals_tukeys():
    trials = table()
    found = find_effects(trials)
    assert list(found.values["axis"].unique())[0] == "lr"
    for row in found.values.itertuples():
        values = trials[row.axis].map("{:g}".format if row.axis != "hidden" else str)
        mean = trials.loc[values == row.value, "validation_accuracy"].mean()
        assert row.mean == pytest.approx(mean)
    assert found.values[found.values["axis"] == "hidden"]["value"].tolist() == [
        "8",
        "16",
    ]
    lr = found.differences[found.differences["axis"] == "lr"]
    half = ((lr["high"] - lr["low"]) / 2).to_numpy()
    error = found.std * np.sqrt(2 / 16)  # 4 settings of the others x 4 seeds
    reach = stats.studentized_range.ppf(0.95, 3, found.df) / np.sqrt(2)
    assert half == pytest.approx(reach * error, rel=1e-4)
    assert (lr["difference"] >= 0).all()
    # The interval of a value reaches half as far, for a look at who overlaps.
    ends = found.values[found.values["axis"] == "lr"].eval("high - low").to_numpy()
    assert ends == pytest.approx(half[0])


@pytest.mark.parametrize("seeds", [2, 5])
def test_where_nothing_matters_a_difference_is_rarely_found(seeds):
    """All of an axis' intervals hold together in 95 % of studies."""
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(200):
        found = find_effects(table(seeds, effect=0, rng=rng))
        lr = found.differences[found.differences["axis"] == "lr"]
        wrong += (lr["low"] > 0).any()
    assert 0.01 < wrong / 200 < 0.1


def test_values_that_only_some_networks_have_are_compared_among_these():
    mlp = table(axes={"hidden": ["8", "16"], "lr": [1e-3, 1e-2]})
    cnn = table(axes={"lr": [1e-3, 1e-2]}).assign(model="cnn", hidden=None)
    cnn["point"], cnn["replica"] = "c" + cnn["point"], "c" + cnn["replica"]
    both = pd.concat([mlp, cnn], ignore_index=True)
    # Numbers of units, as tables have them: missing ones are NA.
    both["dense"] = both["model"].eq("cnn").map({True: 4, False: pd.NA}).astype("Int64")
    more = both[both["model"] == "cnn"].assign(dense=8, point="d" + both["point"])
    more["replica"] = "d" + more["replica"]
    both = pd.concat([both, more.astype({"dense": "Int64"})], ignore_index=True)
    found = find_effects(
        both[["point", "model", "dense", *both.columns[3:-1], "replica"]]
    )
    assert set(found.values["axis"]) == {"model", "hidden", "dense", "lr"}
    assert found.values[found.values["axis"] == "hidden"]["value"].tolist() == [
        "8",
        "16",
    ]
    assert found.differences["low"].notna().all()


def test_one_seed_has_means_and_no_intervals():
    found = find_effects(table(seeds=1))
    assert found.df == 0 and np.isnan(found.std)
    assert found.values["mean"].notna().all() and found.values["low"].isna().all()
    assert NOISE not in set(found.terms["term"])


def test_without_anything_to_compare_there_are_none(monkeypatch):
    trials = table(axes={"lr": [1e-3]})
    assert find_effects(trials) is None
    assert find_effects(table().assign(status="diverged")) is None
    monkeypatch.setattr(effects, "MOST_COLUMNS", 10)
    assert find_effects(table()) is None


def test_a_point_that_spreads_too_much_is_named():
    trials = table(effect=0)
    assert find_effects(trials).uneven == ""
    wild = trials["point"] == "p5"
    spread = np.random.default_rng(2).normal(0, 0.05, wild.sum())
    trials.loc[wild, "validation_accuracy"] += spread
    assert find_effects(trials).uneven == "p5"


def test_sentences_name_what_matters_first():
    (first, second) = effects.effects_in_words(find_effects(table()))
    assert first.startswith("lr matters most: 0.001 beats 0.0001 by ")
    assert "; dropout 0" in first or "; dropout makes no difference larger" in first
    assert "hidden makes no difference larger than 0." in first
    assert second.startswith("The effect of lr depends on dropout") or (
        second.startswith("The effect of dropout depends on lr")
    )


def test_sentences_claim_nothing_without_seeds_or_a_difference():
    assert effects.effects_in_words(find_effects(table(seeds=1))) == []
    assert effects.effects_in_words(None) == []
    (only,) = effects.effects_in_words(find_effects(table(effect=0)))
    assert "matters most" not in only and only.count("makes no difference") == 3
    alone = find_effects(table(axes={"lr": AXES["lr"]}))
    (only,) = effects.effects_in_words(alone)
    assert only.startswith("lr 0.001 beats ")


def arranged(cells, seeds=4, noise=0.002):
    """Trials of settings that are no full grid, with their true accuracies."""
    rng, rows = np.random.default_rng(3), []
    for i, (at, mean) in enumerate(cells):
        for seed in range(seeds):
            about = {"point": f"p{i}", "replica": f"p{i}-{seed}", "model": "mlp"} | at
            accuracy = mean + rng.normal(0, noise)
            about |= {"epochs": 2, "seed": seed, "status": "finished"}
            rows.append(about | {"validation_accuracy": accuracy})
    return pd.DataFrame(rows)


def test_what_was_not_varied_independently_gets_no_mean():
    """Each optimizer has rates of its own: no rate's mean over both is known."""
    found = find_effects(
        arranged(
            [
                ({"optimizer": "adam", "lr": 1e-3}, 0.95),
                ({"optimizer": "adam", "lr": 1e-2}, 0.94),
                ({"optimizer": "sgd", "lr": 0.1}, 0.85),
                ({"optimizer": "sgd", "lr": 1.0}, 0.85),
            ]
        )
    )
    assert set(found.confounded) == {"optimizer", "lr"} and found.values.empty
    (only,) = effects.effects_in_words(found)
    assert "cannot be separated" in only and "beats" not in only
    both = [
        ({"lr": 1e-3, "batch_size": 32}, 0.9),
        ({"lr": 1e-2, "batch_size": 64}, 0.8),
    ]
    assert (
        "cannot be separated"
        in effects.effects_in_words(find_effects(arranged(both)))[0]
    )


def test_interactions_of_networks_are_seen_beside_their_own_fields():
    cells = [
        ({"model": "mlp", "hidden": hidden, "lr": lr}, 0.9)
        for hidden in ("8", "16")
        for lr in (1e-3, 1e-2)
    ]
    cells += [
        ({"model": "cnn", "hidden": None, "lr": lr}, 0.8 + 10 * lr)
        for lr in (1e-3, 1e-2)
    ]
    terms = find_effects(arranged(cells)).terms.set_index("term")
    assert terms.loc["model x lr", "share"] > 0.2
    assert terms["share"].sum() == pytest.approx(1)


def test_a_replica_counts_once_however_many_epochs_were_asked_for():
    trials = table(effect=0)
    later = trials.assign(epochs=3, point="e" + trials["point"])
    later["validation_accuracy"] += 0.001
    found = find_effects(pd.concat([trials, later], ignore_index=True))
    alone = find_effects(later)
    pd.testing.assert_frame_equal(found.terms, alone.terms)
    assert "epochs" not in set(found.values["axis"])


def test_an_axis_called_noise_and_one_of_truth_values_are_axes_as_any():
    trials = table(axes={"noise": [0.0, 0.1], "residual": [False, True]})
    trials["residual"] = trials["residual"].astype("boolean")
    found = find_effects(trials)
    assert set(found.values["axis"]) == {"noise", "residual"}
    truth = found.values[found.values["axis"] == "residual"]
    assert truth["value"].tolist() == ["False", "True"] and truth["number"].isna().all()
    assert effects.effects_in_words(found)


def test_seeds_that_agree_exactly_leave_nothing_to_compare_with():
    trials = table(noise=0)
    trials["validation_accuracy"] = trials["validation_accuracy"].round(2)
    found = find_effects(trials)
    assert np.isnan(found.std) and found.uneven == ""
    assert found.differences["low"].isna().all()
    assert effects.effects_in_words(found) == []


def test_intervals_that_do_not_overlap_differ_whatever_their_seeds():
    trials = table(seeds=10, effect=0.05, axes={"lr": AXES["lr"]})
    trials = trials[(trials["lr"] < 0.01) | (trials["seed"] < 2)]
    found = find_effects(trials)
    ends = found.values.set_index("value")
    for row in found.differences.itertuples():
        apart = ends.loc[row.better, "low"] > ends.loc[row.worse, "high"]
        assert not apart or row.low > 0


def test_a_wide_interval_hides_no_narrow_one():
    """The largest difference is of one seed; another is shown by ten."""
    cells = [({"lr": 1e-4}, 0.95), ({"lr": 1e-3}, 0.94), ({"lr": 1e-2}, 0.938)]
    trials = arranged(cells, seeds=10, noise=0.006)
    trials = trials[(trials["lr"] < 0.01) | (trials["seed"] < 1)]
    trials.loc[trials["lr"] == 0.01, "validation_accuracy"] = 0.936
    (only,) = effects.effects_in_words(find_effects(trials))
    assert only.startswith("lr 0.0001 beats 0.001 by ")
