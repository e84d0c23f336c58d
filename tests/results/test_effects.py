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
            about = {"point": f"p{i}", "model": "mlp", **at, "epochs": 2, "seed": seed}
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
    assert half == pytest.approx(reach * error)
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
    cnn["point"] = "c" + cnn["point"]
    both = pd.concat([mlp, cnn], ignore_index=True)
    # Numbers of units, as tables have them: missing ones are NA.
    both["dense"] = both["model"].eq("cnn").map({True: 4, False: pd.NA}).astype("Int64")
    more = both[both["model"] == "cnn"].assign(dense=8, point="d" + both["point"])
    both = pd.concat([both, more.astype({"dense": "Int64"})], ignore_index=True)
    found = find_effects(both[["point", "model", "dense", *both.columns[2:-1]]])
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
