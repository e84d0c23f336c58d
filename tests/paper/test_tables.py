"""The paper's tables: what is trained, and the figures it prints."""

import re
from pathlib import Path

import pytest

from mnistopt.paper.claims import CLAIMS
from mnistopt.paper.plan import Options, make_cells, make_parts, scaled
from mnistopt.paper.tables import TABLES, cnn, mlp, tuned

PAPER = Path(__file__).parents[3] / "shared" / "paper"


def rows():
    return [row for table in TABLES.values() for row in table.rows]


def test_every_row_of_the_issue_is_there():
    assert [len(table.rows) for table in TABLES.values()] == [2, 5, 6, 10, 6]
    structures = [str(row.point.structure) for row in TABLES[3].rows]
    assert structures == [
        *("cnn 16x32/128", "cnn 32x64/128", "cnn 64x128/128"),
        *("cnn 32x64x64/64", "cnn 32x64x64/128", "cnn 32x64x64/256"),
    ]
    points = [row.point for row in TABLES[5].rows]
    recipes = [(p.hparams.lr, p.recipe.batch_size, p.epochs) for p in points]
    assert recipes == [
        *((1e-4, 64, 80), (1e-3, 64, 80), (1e-2, 64, 80)),
        *((1e-3, 32, 80), (1e-3, 64, 50), (1e-3, 64, 100)),
    ]


def test_figures_are_fractions_and_agree_with_each_other():
    for row in rows():
        figures = row.figures
        for name in ("train_accuracy", "test_accuracy"):
            assert 0.9 < figures.get(name, 0.95) < 1
        if "overfitting" in figures:
            gap = figures["train_accuracy"] - figures["test_accuracy"]
            assert gap == pytest.approx(figures["overfitting"])
    # Rows that two tables share have one figure, but for Table 4's of 0.3: see
    # INCONSISTENCIES.
    shared = {}
    for row in rows():
        if row.figures and row.point != tuned(epochs=50):
            shared.setdefault(row.point, set()).add(row.figures["test_accuracy"])
    assert all(len(figures) == 1 for figures in shared.values())


@pytest.mark.skipif(not PAPER.exists(), reason="needs the paper's text")
def test_figures_are_those_of_the_text():
    text = next(PAPER.glob("*.txt")).read_text()
    numbers = set(re.findall(r"\d+\.?\d*", text))
    for row in rows():
        for name, value in row.figures.items():
            if name == "train_accuracy" and "dropout" in row.words:
                continue  # sums: see INCONSISTENCIES
            percent = name not in ("minutes", "convergence_epoch")
            shown = f"{100 * value:.1f}" if percent else f"{value:g}"
            assert shown in numbers, (row, name)


def test_a_cell_in_two_tables_is_one_point():
    cells = make_cells(Options())
    (part,) = make_parts(cells, Options())
    assert len(cells) == 29
    # Shared: both rows of Table 1, the two without dropout and 50 epochs of Table 4.
    assert len(part.points) == len(set(part.points)) == 24


def test_parts_have_their_own_sizes_and_what_is_compared_is_in_one():
    options = Options(
        seeds=5, cnn_seeds=3, cnn_train_examples=400, best_seeds=2, dataset="mnist"
    )
    cells = make_cells(options)
    parts = {part.name: part for part in make_parts(cells, options)}
    assert {name: part[2:] for name, part in parts.items()} == {
        "mlp": (5, None),
        "cnn": (3, 400),
        "best": (2, None),
    }
    assert {point.structure.model for point in parts["mlp"].points} == {"mlp"}
    assert parts["best"].points == (tuned(),)
    assert {mlp(128, 128), cnn(32, 64)} <= set(parts["cnn"].points)
    assert mlp(128, 128) in parts["mlp"].points
    # Every claim but the last compares points of one part.
    for claim in CLAIMS[:-1]:
        for hypothesis in claim.hypotheses:
            points = {term.point for term in hypothesis.terms}
            assert any(points <= set(part.points) for part in parts.values()), claim


def test_epochs_are_cut_in_proportion_and_never_to_none():
    assert [scaled(tuned(epochs=n), 0.2).epochs for n in (50, 80, 100)] == [10, 16, 20]
    assert scaled(tuned(), 1e-9).epochs == 1


@pytest.mark.parametrize("tables", [(1,), (2, 3), (1, 2, 3, 4, 5)])
def test_every_claim_finds_its_points(tables):
    cells = make_cells(Options(tables=tables))
    for claim in CLAIMS:
        if claim.table in tables:
            there = {cell.row.point for cell in cells if cell.table == claim.table}
            for hypothesis in claim.hypotheses:
                assert {term.point for term in hypothesis.terms} <= there
