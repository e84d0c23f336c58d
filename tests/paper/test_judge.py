"""Verdicts on synthetic studies whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import CELLS, synthetic, timed

from mnistopt.paper.claims import CLAIMS
from mnistopt.paper.differences import make_differences
from mnistopt.paper.frames import make_table
from mnistopt.paper.hypotheses import VERDICTS
from mnistopt.paper.judge import ALTERNATIVES, judge
from mnistopt.paper.tables import MARGIN, mlp_dropout, tuned
from mnistopt.results.stats import holm

SPEEDS = timed()


def judged(table):
    return judge(table, SPEEDS, lambda point: point)


def verdicts(claims):
    return claims.drop_duplicates("claim").set_index("claim")["claim_verdict"].to_dict()


def test_every_hypothesis_has_a_row():
    claims = judged(synthetic())
    assert len(claims) == sum(len(claim.hypotheses) for claim in CLAIMS)
    assert set(claims["claim"]) == {claim.name for claim in CLAIMS}
    of_time = claims["hypothesis"].str.startswith("time")
    for _, family in claims.groupby(["table", of_time]):
        np.testing.assert_allclose(family["p_holm"], holm(family["p"].tolist()))


def layers(point):
    """The sizes of the hidden layers, or the kernels, as in "32x64"."""
    row = point.row()
    return row["hidden"] or row["channels"]


def test_planted_differences_are_found_and_their_contraries_too():
    """More layers are better without end: so two are better than one, and not three."""
    deep = lambda point: 0.9 + 0.01 * layers(point).count("x")  # noqa: E731
    found = verdicts(judged(synthetic(accuracy=deep)))
    assert found["cnn beats mlp"] == "negligible"  # two layers each: equal
    assert found["two layers are best"] == "contradicted"
    lines = judged(synthetic(accuracy=deep)).set_index("hypothesis")["verdict"]
    assert lines["MLP 128x128 - 128"] == "supported"
    assert lines["MLP 128x128 - 128x128x128"] == "contradicted"
    assert lines["CNN 32x64x64 - 32x64"] == "supported"


def test_a_difference_is_negligible_where_that_is_shown():
    """Next to nothing with little noise; anything with much; seen, and small."""
    name, line = "three convolutions beat two", "CNN 32x64x64 - 32x64"
    assert verdicts(judged(synthetic()))[name] == "negligible"
    assert verdicts(judged(synthetic(noise=3e-3)))[name] == "undecided"

    def a_little(point):
        return 0.97 + MARGIN / 2 * (layers(point) == "32x64x64")

    found = judged(synthetic(accuracy=a_little)).set_index("hypothesis").loc[line]
    assert found["verdict"] == "supported" and found["small"]
    # Where one line is negligible, all that is claimed cannot be so any more.
    lines = judged(synthetic(accuracy=a_little)).set_index("hypothesis")
    both = ["dense 128 - 64", "dense 128 - 256"]
    assert lines.loc[both, "claim_verdict"].tolist() == ["negligible"] * 2


def test_a_figure_is_too_large_where_the_difference_is_shown_to_be_below_it():
    """Equal networks: each difference that the paper has is too large, or too small."""
    claims = judged(synthetic(noise=1e-5)).set_index("hypothesis")
    known = claims[claims["paper"].notna() & ~claims["ratio"]]
    level = known.index.str.startswith("accuracy of")
    assert known.loc[level, "paper_is"].tolist() == ["too large"]  # 97 % here
    for _, row in known[~level].iterrows():
        assert row["paper_is"] == ("too large" if row["paper"] > 0 else "too small")
    assert claims.loc["time, 64 / 32", "paper_is"] == "too small"  # 1 here
    loud = judged(synthetic(noise=3e-2)).set_index("hypothesis")["paper_is"]
    assert (loud[~loud.index.str.startswith("time")] == "").all()


@pytest.mark.parametrize("noise", [3e-4, 1e-3])
def test_other_tests_decide_as_they_would_alone(noise):
    """Each alternative is the same judgement with one thing changed."""
    accuracy = lambda point: 0.97 + 0.001 * layers(point).count("x")  # noqa: E731
    table = synthetic(accuracy=accuracy, noise=noise)
    # On the validation digits all is contrary.
    table["validation_accuracy"] = 1.9 - table["test_accuracy"]
    claims = judged(table)
    assert set(ALTERNATIVES) <= set(claims)
    for name in ALTERNATIVES:
        assert set(claims[name]) <= set(VERDICTS)
    decided = claims["uncorrected"].isin(["supported", "contradicted"])
    assert decided.tolist() == (claims["p"] < 0.05).tolist()
    contrary = judged(table.assign(test_accuracy=table["validation_accuracy"]))
    several = ~claims["hypothesis"].str.startswith("accuracy of")
    assert (claims["validation"] == contrary["verdict"])[several].all()
    # Negligible by a narrow margin is negligible by a wider one.
    narrow = claims["narrow"] == "negligible"
    assert (claims.loc[narrow, "wide"] == "negligible").all()


@pytest.mark.full
def test_few_seeds_need_as_many_as_a_plan_of_the_study_says():
    """Repeated with as many seeds as asked for, a true difference is mostly shown."""
    noise, name = 1.5e-3, "CNN 32x64x64 - 32x64"
    first = judged(synthetic(noise=noise, n=200)).set_index("hypothesis").loc[name]
    needed = int(first["seeds_needed"])
    assert 10 < needed < 40

    def ahead(point):
        return 0.97 + MARGIN * (layers(point) == "32x64x64" and "/64" not in str(point))

    shown = 0
    for seed in range(40):
        found = judged(synthetic(n=needed, noise=noise, accuracy=ahead, seed=seed))
        shown += found.set_index("hypothesis").loc[name, "verdict"] == "supported"
    # Four of five, and more: Holm's correction is at its strictest for one line only.
    assert shown >= 26, shown


def test_an_equivalence_is_shown_and_not_assumed():
    """With little noise "no better" is supported, with much it is undecided."""
    name = "more kernels help, to a point"

    def kernels(point):
        return 0.96 if layers(point) == "16x32" else 0.97

    assert verdicts(judged(synthetic(accuracy=kernels)))[name] == "supported"
    loud = judged(synthetic(accuracy=kernels, noise=3e-3))
    line = loud.set_index("hypothesis").loc["CNN 64x128 - 32x64"]
    assert line["verdict"] == "undecided"

    def grows(point):
        return 0.97 + 2 * MARGIN * (layers(point) == "64x128") - kernels(point) + 0.97

    line = judged(synthetic(accuracy=grows)).set_index("hypothesis")
    assert line.loc["CNN 64x128 - 32x64", "verdict"] == "contradicted"


def test_no_better_is_one_sided():
    """100 epochs far worse than 80 are no better, too."""

    def worse(point):
        return {50: 0.95, 80: 0.97, 100: 0.95}[point.epochs]

    assert verdicts(judged(synthetic(accuracy=worse)))["80 epochs suffice"] == (
        "supported"
    )


def test_ratios_of_times_are_shown_as_ratios():
    claims = judge(synthetic(), timed(1 / 0.7), lambda point: point).set_index(
        "hypothesis"
    )
    line = claims.loc["time, 64 / 32"]
    assert line["estimate"] == pytest.approx(0.7, abs=3e-3)
    assert line["low"] < line["estimate"] < line["high"] and line["n"] == 5
    assert line["verdict"] == "supported"
    assert claims.loc["time, CNN 32x64x64 / 32x64", "verdict"] == "contradicted"


@pytest.mark.full
def test_where_nothing_differs_few_claims_are_decided():
    """Each table's family is wrong in at most 5 % of studies."""
    superior = [
        hypothesis.words
        for claim in CLAIMS
        for hypothesis in claim.hypotheses
        if hypothesis.low == 0 and math.isinf(hypothesis.high)
    ]
    wrong = {number: 0 for number in range(1, 6)}
    for seed in range(60):
        claims = judged(synthetic(noise=1e-2, seed=seed))
        decided = claims[claims["hypothesis"].isin(superior)]
        decided = decided[decided["verdict"] != "undecided"]
        for number in set(decided["table"]):
            wrong[number] += 1
    # 60 studies at 5 %: more than 9 of them in one case of a thousand.
    assert max(wrong.values()) <= 9, wrong


def test_seeds_that_one_point_lacks_are_left_out_of_its_comparisons():
    table = synthetic(n=4)
    lacking = (table["point"] == tuned(lr=1e-2).identity()) & (table["seed"] == 3)
    claims = judged(table[~lacking]).set_index("hypothesis")
    assert claims.loc["0.001 - 0.01", "n"] == 3
    assert claims.loc["0.001 - 0.0001", "n"] == 4


def test_the_best_cnn_is_judged_where_it_has_most_digits():
    table = synthetic(accuracy=lambda point: 0.97)
    best = table[(table["table"] == 5) & (table["point"] == tuned().identity())].copy()
    best["part"], best["test_accuracy"] = "best", best["test_accuracy"] + 0.02
    claims = judged(pd.concat([table, best])).set_index("hypothesis")
    last = claims.loc["accuracy of the best CNN"]
    assert last["estimate"] == pytest.approx(0.99, abs=1e-3)
    assert last["verdict"] == "supported"
    assert abs(claims.loc["80 - 50", "estimate"]) < 1e-3  # not mixed with it


def test_test_accuracies_choose_no_row():
    table = synthetic(noise=1e-3)
    permuted = table.copy()
    permuted["test_accuracy"] = np.random.default_rng(1).permutation(
        table["test_accuracy"]
    )
    for number in range(1, 6):
        one, two = (
            make_table(number, CELLS, frame, SPEEDS) for frame in (table, permuted)
        )
        assert one["choice"].tolist() == two["choice"].tolist()
        assert not one["test_accuracy"].equals(two["test_accuracy"])


def test_every_row_is_compared_with_the_best_of_its_rivals():
    better = mlp_dropout(0.3)
    table = synthetic(
        n=6,
        accuracy=lambda point: 0.97 + 0.01 * (point == better),
        noise=1e-3,
    )
    tables = {4: make_table(4, CELLS, table, SPEEDS)}

    def right(cell):
        return np.arange(100) < (99 if cell.row.point == better else 90)

    found = make_differences(tables, CELLS, table, right)
    # Ten rows: the best of five MLPs, and the best of five CNNs.
    assert len(found) == 8 and found["best"].nunique() == 2
    mlps = found[found["best"] == "model MLP, dropout 0.3"]
    assert len(mlps) == 4 and mlps["row"].str.startswith("model MLP").all()
    assert (mlps["high"] < 0).all() and (mlps["p_holm"] < 0.05).all()
    assert (mlps["p_permutation"] == 2 / 2**6).all()
    assert (mlps["vote_alone_right"] == 0).all()
    assert (mlps["best_vote_alone_right"] == 9).all()
    np.testing.assert_allclose(mlps["p_mcnemar"], 2 / 2**9)
    values = table[table["table"] == 4].pivot(
        index="seed", columns="row", values="test_accuracy"
    )
    for _, row in found.iterrows():
        theirs = stats.ttest_rel(values[row["row"]], values[row["best"]])
        assert row["p"] == pytest.approx(theirs.pvalue)
