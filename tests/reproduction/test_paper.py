"""The paper and its outlook as data: what is trained, and the figures it prints."""

import re
from pathlib import Path

import pytest

from experiments.reproduction.paper import Paper
from mnistopt.errors import InputError
from mnistopt.models.networks import count_params, make_model, multiply_adds

TEXT = Path(__file__).parents[3] / "shared" / "paper"
PAPER, OUTLOOK = Paper.read("paper"), Paper.read("outlook")


def point(setting, paper=PAPER):
    return paper.settings[setting].point


def test_every_row_of_the_paper_is_there():
    assert [len(table.rows) for table in PAPER.tables] == [2, 5, 6, 10, 6]
    structures = [str(point(row.setting).structure) for row in PAPER.tables[2].rows]
    assert structures == [
        *("cnn 16x32/128", "cnn 32x64/128", "cnn 64x128/128"),
        *("cnn 32x64x64/64", "cnn 32x64x64/128", "cnn 32x64x64/256"),
    ]
    points = [point(row.setting) for row in PAPER.tables[4].rows]
    recipes = [(p.hparams.lr, p.recipe.batch_size, p.epochs) for p in points]
    assert recipes == [
        *((1e-4, 64, 80), (1e-3, 64, 80), (1e-2, 64, 80)),
        *((1e-3, 32, 80), (1e-3, 64, 50), (1e-3, 64, 100)),
    ]
    # What a row's words say is what is trained.
    for row in PAPER.tables[3].rows:
        model, dropout = row.words
        assert point(row.setting).structure.model == model.lower()
        assert point(row.setting).hparams.dropout == float(dropout)


def test_figures_are_fractions_and_agree_with_each_other():
    shared = {}
    for row in (row for table in PAPER.tables for row in table.rows):
        figures = row.figures
        for name in ("train_accuracy", "test_accuracy"):
            assert 0.9 < figures.get(name, 0.95) < 1
        if "gap" in figures:
            gap = figures["train_accuracy"] - figures["test_accuracy"]
            assert gap == pytest.approx(figures["gap"])
        # Rows that two tables share have one figure, but for that of dropout 0.3.
        if figures and point(row.setting) != point("best-50-epochs"):
            own = shared.setdefault(point(row.setting), set())
            own.add(figures["test_accuracy"])
    assert all(len(figures) == 1 for figures in shared.values())


@pytest.mark.skipif(not TEXT.exists(), reason="needs the paper's text")
def test_figures_are_those_of_the_text():
    text = next(TEXT.glob("*.txt")).read_text()
    numbers = set(re.findall(r"\d+\.?\d*", text))
    for row in (row for table in PAPER.tables for row in table.rows):
        for name, value in row.figures.items():
            if name == "train_accuracy" and "gap" in row.figures:
                continue  # sums: the paper's column repeats the test accuracies
            percent = name not in ("minutes", "convergence_epoch")
            shown = f"{100 * value:.1f}" if percent else f"{value:g}"
            assert shown in numbers, (row, name)


@pytest.mark.parametrize("paper", [PAPER, OUTLOOK], ids=["paper", "outlook"])
def test_claims_are_about_rows_of_their_tables_and_ids_are_unique(paper):
    rows = {table.number: [r.setting for r in table.rows] for table in paper.tables}
    for claim in paper.claims:
        for line in claim.lines:
            there = {point(setting, paper) for setting in rows[claim.table]}
            assert {point(setting, paper) for setting in line.of} <= there, line.id
    lines = [line for one in (*paper.claims, *paper.questions) for line in one.lines]
    ids = [line.id for line in lines]
    assert len(set(ids)) == len(ids)
    assert all(paper.line(id).id == id for id in ids)
    for comparison in paper.curves:
        assert set(comparison.of.values()) <= set(paper.trained())


def test_a_line_s_figure_is_what_the_paper_s_own_figures_give():
    """But for the levels, and what its text says of times."""
    of_rows = {row.setting: row.figures for t in PAPER.tables for row in t.rows}
    known = 0
    for line in (line for claim in PAPER.claims for line in claim.lines):
        rows = [of_rows[setting] for setting in line.of]
        if line.figure is None or not all(line.metric in row for row in rows):
            continue
        values = [w * row[line.metric] for w, row in zip(line.of.values(), rows)]
        if line.ratio:
            assert line.figure == pytest.approx(values[0] / -values[1], abs=1e-3)
        elif line.id != "cnn-30-0":  # 98.6 of Table 5's row against 97.8
            assert line.figure == pytest.approx(sum(values)), line.id
        known += 1
    assert known > 20


def test_a_chosen_table_brings_its_claims_and_no_questions():
    two = Paper.read("paper", tables=[2])
    assert [table.number for table in two.tables] == [2] and not two.questions
    assert {claim.table for claim in two.claims} == {2}
    assert {row.setting for row in two.tables[0].rows} == set(two.trained())
    with pytest.raises(InputError, match="tables=6 is not allowed: expected some of 1"):
        Paper.read("paper", tables=[2, 6])


def test_epochs_are_cut_in_proportion_and_never_to_none():
    def epochs(scale):
        settings = Paper.read("paper", scale).settings
        names = ("best-50-epochs", "best", "best-100-epochs")
        return [settings[name].point.epochs for name in names]

    assert epochs(0.2) == [10, 16, 20] and epochs(1e-9) == [1, 1, 1]
    # A schedule that falls to zero does so after as many.
    half = Paper.read("outlook", 0.5).settings["plain"].point
    assert half.epochs == half.hparams.horizon == 10


@pytest.mark.parametrize("model", ["v1", "v2"])
@pytest.mark.parametrize("family", ["mobilenet", "shufflenet"])
def test_light_networks_are_about_as_large_as_they_say(family, model):
    def sizes(setting):
        network = make_model(point(setting, OUTLOOK))
        return count_params(network), multiply_adds(network)

    params, work = sizes("plain")
    name = f"{family}-{model}"
    assert sizes(f"{name}-params")[0] == pytest.approx(params, rel=0.06)
    assert sizes(f"{name}-adds")[1] == pytest.approx(work, rel=0.06)
    assert sizes(f"{name}-half")[1] == pytest.approx(work / 2, rel=0.13)


def test_rows_differ_in_what_their_table_is_about_only():
    strengths = {"shift", "rotate", "zoom", "shear", "elastic", "noise", "blur"}
    strengths |= {"contrast", "erase"}
    for table, ignored in zip(OUTLOOK.tables[:2], (strengths, {"norm"})):
        for group in table.groups().values():
            base, *others = (point(table.rows[i].setting, OUTLOOK).row() for i in group)
            for row in others:
                differ = {k for k in {*base, *row} if base.get(k) != row.get(k)}
                assert differ <= ignored
    for row in OUTLOOK.tables[2].rows:
        own, base = point(row.setting, OUTLOOK), point("plain", OUTLOOK)
        assert (own.recipe, own.hparams) == (base.recipe, base.hparams)


def test_settings_in_words_are_told_apart():
    for paper in (PAPER, OUTLOOK):
        words = {}
        for setting in paper.trained().values():
            text = paper.describe(setting), setting.point.epochs
            words.setdefault(text, set()).add(setting.point)
        assert all(len(points) == 1 for points in words.values())
    assert PAPER.describe(PAPER.settings["best-rate-1e-2"]) == (
        "CNN 32x64x64/128, learning rate 0.01, dropout 0.3"
    )
