"""The outlook's rows, and its tables and verdicts from made-up measurements."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mnistopt.errors import InputError
from mnistopt.models.networks import count_params, make_model, multiply_adds
from mnistopt.paper.evidence import collect_seeds
from mnistopt.paper.frames import row_name
from mnistopt.paper.outlook import rows
from mnistopt.paper.outlook.charts import (
    robust_chart,
    robust_frame,
    table_chart,
    table_frame,
)
from mnistopt.paper.outlook.claims import CLAIMS
from mnistopt.paper.outlook.conclude import conclude, make_table
from mnistopt.paper.outlook.measure import COSTS, Measured, _means
from mnistopt.paper.outlook.page import is_outlook, write_page
from mnistopt.paper.outlook.rows import BASE, LIGHT, TABLES, Options, light, trained

SEEDS = 4


@pytest.mark.parametrize("model", LIGHT)
def test_light_networks_are_about_as_large_as_they_say(model):
    def sizes(point):
        network = make_model(point)
        return count_params(network), multiply_adds(network)

    params, work = sizes(BASE)
    assert sizes(light(model, "parameters"))[0] == pytest.approx(params, rel=0.06)
    assert sizes(light(model, "multiply-adds"))[1] == pytest.approx(work, rel=0.06)
    assert sizes(light(model, "half of them"))[1] == pytest.approx(work / 2, rel=0.13)


def test_rows_differ_in_what_their_table_is_about_only():
    strengths = {*rows.DEFORMED, *rows.CORRUPTED}
    for number, ignored in ((6, strengths), (7, {"norm"})):
        for row in TABLES[number].rows:
            base, own = rows.base_of(row).row(), row.point.row()
            differ = {k for k in {*base, *own} if base.get(k) != own.get(k)}
            assert differ <= ignored, row
    for row in TABLES[8].rows:
        assert row.point.recipe == BASE.recipe and row.point.hparams == BASE.hparams


def test_fewer_epochs_are_a_shorter_schedule_too():
    half = trained(BASE, Options(epochs_scale=0.5))
    assert half.epochs == half.hparams.horizon == BASE.epochs / 2
    constant = rows.normalized("cnn", "batch")
    assert trained(constant, Options(epochs_scale=0.5)).hparams == constant.hparams
    with pytest.raises(InputError, match="epochs_scale=0"):
        Options(epochs_scale=0)


def test_claims_are_about_rows_of_their_tables():
    for claim in CLAIMS:
        points = {row.point for row in TABLES[claim.table].rows}
        for hypothesis in claim.hypotheses:
            assert {term.point for term in hypothesis.terms} <= points


def measured(effects, seeds=SEEDS):
    """Measurements in which rows differ from others by `effects`, per (row, column)."""
    rng = np.random.default_rng(0)
    options = Options(seeds=seeds, epochs_scale=0.1)
    cells = rows.make_cells(options)
    luck = rng.normal(0, 1e-3, seeds)
    trials, curves, found = [], [], {}
    for cell in cells:
        point = cell.row.point
        for seed in range(seeds):
            trial = f"{point.identity()}-{seed}"
            if trial in found:
                continue
            value = {
                "test_accuracy": 0.98,
                "robust": 0.7,
                "robust_noise": 0.6,
                "robust_deformation": 0.5,
                "convergence_epoch": 10.0,
            }
            for (name, column), effect in effects.items():
                if name == row_name(cell):
                    value[column] += effect
            value = {k: v + luck[seed] + rng.normal(0, 1e-4) for k, v in value.items()}
            found[trial] = value
            costs = dict.fromkeys(COSTS, 1.0)
            trials.append(
                {"point": point.identity(), "trial": trial, "replica": trial,
                 "seed": seed, "status": "finished", "params": 7, "seconds": 2.0,
                 "train_accuracy": 1.0, "validation_accuracy": 0.98, "best_epoch": 1,
                 "overfitting": 0.0, "best_test_accuracy": 0.98, **costs, **value}
            )  # fmt: skip
            curves += [
                {"replica": trial, "validation_accuracy": 0.9 + epoch / 100}
                for epoch in range(point.epochs)
            ]
    trials = pd.DataFrame(trials)
    about = {
        "data": {"train": 100, "test": 50, "dataset": "made up", "fingerprint": "f"},
        "asked": {"seeds": seeds}, "commit": "c", "cpu": "a cpu", "python": "3",
        "versions": {"jax": "0"},
    }  # fmt: skip
    by_part = [{rows.PART: one} for one in (trials, pd.DataFrame(curves), about)]
    table = collect_seeds(cells, *by_part)
    more = ["trial", "robust", "robust_noise", "robust_deformation", *COSTS]
    table = table.merge(trials[more], on="trial")
    conditions = [("clean", 0), *((n, s) for n in ("noise", "blur") for s in (1, 2))]
    robust = pd.DataFrame(
        [
            (trial, condition, strength, 0.9 - 0.1 * strength)
            for trial in trials["trial"]
            for condition, strength in conditions
        ],
        columns=["trial", "corruption", "strength", "accuracy"],
    )
    programs = dict.fromkeys(cell.row.point.program.identity() for cell in cells)
    timed = [(rows.PART, one, False, turn, 2.0) for one in programs for turn in (1, 2)]
    columns = ["part", "program", "alone", "repeat", "seconds"]
    speeds = pd.DataFrame(timed, columns=columns)
    return Measured(options, "a command", about, table, robust, speeds)


PLANTED = {
    ("augmentation both", "robust_noise"): 0.2,
    ("augmentation both", "robust_deformation"): -0.1,
    ("model CNN, norm batch", "convergence_epoch"): -6.0,
    **{
        (f"model {words}, as many half of them", "test_accuracy"): effect
        for words, effect in zip(LIGHT.values(), (0.0, 0.001, -0.01, 0.01))
    },
}


def test_planted_effects_are_found(tmp_path):
    measured(PLANTED).write(tmp_path)
    claims = conclude(tmp_path).set_index("hypothesis")
    verdicts = claims.groupby("claim")["claim_verdict"].first()
    assert verdicts["augmentation helps against noise"] == "supported"
    assert verdicts["augmentation helps against deformation"] == "contradicted"
    assert verdicts["light networks compute less"] == "contradicted"
    lines = claims["verdict"]
    assert lines["convergence epochs of the CNN, none / batch"] == "supported"
    assert lines["convergence epochs of the MLP, none / batch"] == "undecided"
    words = ["MobileNet v1", "MobileNet v2", "ShuffleNet v1", "ShuffleNet v2"]
    found = [lines[f"{one}, half - CNN"] for one in words]
    assert found == ["supported", "supported", "contradicted", "supported"]
    text = (tmp_path / "outlook.md").read_text()
    assert "Contradicted: " in text and "made up" in text and "a command" in text
    again = text
    conclude(tmp_path)
    assert (tmp_path / "outlook.md").read_text() == again


def test_a_table_has_means_and_paired_differences():
    table = make_table(6, measured(PLANTED)).set_index("augmentation")
    assert table["robust_noise"]["both"] == pytest.approx(0.8, abs=2e-3)
    difference = table["robust_difference"]
    assert np.isnan(difference["none"]) and abs(difference["both"]) < 5e-4
    assert (table["n"] == SEEDS).all()
    # Paired: the luck of a seed is in both, and in no difference.
    wide = table["test_accuracy_high"] - table["test_accuracy_low"]
    narrow = (
        table["test_accuracy_difference_high"] - table["test_accuracy_difference_low"]
    )
    assert narrow["both"] < wide["both"]
    # Two seconds for each of two epochs, a tenth of the twenty.
    assert (table["seconds"] == 4.0).all()
    table = make_table(7, measured(PLANTED))
    assert table["test_accuracy_difference"].isna().tolist() == [True, False] * 2


def test_robustness_is_a_mean_over_conditions_of_its_kind():
    rows_ = [("t", "clean", 0, 1.0), ("t", "noise", 1, 0.8), ("t", "noise", 2, 0.6),
             ("t", "shift", 1, 0.4), ("t", "rotation", 1, 0.2)]  # fmt: skip
    frame = pd.DataFrame(rows_, columns=["trial", "corruption", "strength", "accuracy"])
    found = _means(frame).iloc[0]
    assert found["robust"] == pytest.approx(0.5)
    assert found["robust_noise"] == pytest.approx(0.7)
    assert found["robust_deformation"] == pytest.approx(0.3)


def test_the_page_has_every_table_s_picture(tmp_path):
    measured(PLANTED).write(tmp_path)
    conclude(tmp_path)
    assert is_outlook(tmp_path)
    page = write_page(tmp_path).read_text()
    for name in ("claims", "table6", "table7", "table8", "robustness"):
        assert (tmp_path / "figures" / f"{name}.png").exists()
    assert "What augmentation makes a network bear" in page


def test_pictures_show_what_was_measured():
    made = measured(PLANTED)
    frame = table_frame(7, made)
    assert set(frame["what"]) == {"seed", "mean"}
    assert len(frame) == 4 * 3 * (SEEDS + 1)
    assert table_chart(frame, 7).to_dict()["hconcat"]
    robust = robust_frame(made)
    assert robust["high"].max() <= 100
    assert set(robust["label"]) == {"none", "deformed", "corrupted", "both"}
    assert robust_chart(robust).to_dict()["spec"]


def test_files_that_are_missing_or_broken_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read as an outlook"):
        Measured.read(tmp_path)
    made = measured({})
    made.write(tmp_path)
    found = Measured.read(tmp_path)
    assert found.options == made.options and found.command == made.command
    pd.testing.assert_frame_equal(found.seeds, made.seeds, check_dtype=False)
    assert dataclasses.asdict(found.options)["seeds"] == SEEDS
