"""The documents and pictures, of reproductions whose truth is known."""

import re

import numpy as np
import pytest
from synthetic import ABOUT, DATA, measured, structure, synthetic

from experiments.reproduction.charts import claims_frame, curves_frame, table_frame
from experiments.reproduction.evidence import Measured
from experiments.reproduction.findings import Asked, Findings
from experiments.reproduction.paper import Paper
from experiments.reproduction.tables import interval_of, longest
from experiments.reproduction.view import percent, points
from experiments.reproduction.write import document, write, write_page
from mnistopt.errors import InputError


def findings(tables=(1, 2, 3, 4, 5), name="paper", **truth):
    asked = Asked(name, tables, 1.0, DATA, "a command")
    paper = Paper.read(name, 1.0, tables)
    return Findings(asked, synthetic(paper, **truth))


def dropout_matters(setting):
    """0.4 is best, and each tenth from it costs 0.3 points; CNNs are ahead."""
    ahead = 0.01 * (setting.point.structure.model == "cnn")
    return 0.97 + ahead - 0.03 * abs(setting.point.hparams.dropout - 0.4)


def answer(found):
    text = document("paper.md", found)
    section = text.partition("## The answer\n")[2].strip()
    lines = section.partition("\n\n")[0].splitlines()
    return dict(re.match(r"- \*\*(.*?)\*\* (.*)", line).groups() for line in lines)


def test_five_questions_are_answered_by_what_is_true():
    found = answer(findings(accuracy=dropout_matters, noise=1e-5))
    assert len(found) == 5
    model, dropout, recipe, sure, right = found.values()
    # The best of all is the CNN of Table 4 with dropout 0.4.
    assert model.startswith("The CNN.")
    assert "(CNN 32x64x64/128, dropout 0.4, 50 epochs) classifies 98.00 [" in model
    assert "(MLP 128x128, dropout 0.4, 50 epochs) 97.00 [" in model
    assert "the paper's basic CNN beats its basic MLP by 1.00 points (" in model
    for name in ("The MLP", "the CNN"):
        assert f"{name} is best with dropout 0.4 by validation; on the test" in dropout
    assert dropout.count("that gains 1.20 points (") == 2
    assert recipe.startswith("Learning rate 0.001 and 0.01 differ by less than 0.2")
    assert "the mean of 5 runs" in sure and "networks took" in sure
    assert "Of its 18 claims 2 are supported, 5 contradicted" in right


def test_the_answer_is_the_contrary_where_the_contrary_is_true():
    def contrary(setting):
        mlp, point = setting.point.structure.model == "mlp", setting.point
        return 0.97 + 0.01 * mlp + 0.005 * (point.hparams.lr == 0.01)

    found = answer(findings(accuracy=contrary, noise=1e-5))
    assert found["Which model?"].startswith("The MLP.")
    assert "its basic MLP beats the paper's basic CNN by 1.00" in found["Which model?"]
    recipe = found["Which learning rate, batch size and length?"]
    assert recipe.startswith("0.01 beats learning rate 0.001 by 0.50 points (")


def test_nothing_beats_anything_without_a_verdict():
    loud = document("paper.md", findings(noise=1e-2))
    told = loud.partition("## The tables")[0] + loud.partition("## What the curves")[2]
    assert " beats " not in told and told.count("is undecided (") > 5


def test_one_seed_is_no_comparison():
    found = answer(findings(n=1, noise=1e-3))
    assert list(found) == ["Which model?", "How sure is that?", "Was the paper right?"]
    text = document("paper.md", findings(n=1, noise=1e-3))
    assert "nan" not in text and "Does longer training help" not in text


def test_without_any_finished_run_there_is_nothing_to_report():
    found = findings((2,), n=2)
    found.evidence.tables["trials"]["status"] = "diverged"
    with pytest.raises(InputError, match="no run on 100 digits of made up has finish"):
        document("paper.md", Findings(found.asked, found.evidence))


def test_what_was_not_trained_is_not_answered():
    found = answer(findings(tables=(2,)))
    assert list(found)[0] == "Which network?"
    assert "Which dropout?" not in found and len(found) == 3


def test_a_verdict_stands_with_its_claim():
    def more_layers(setting):
        return 0.9 + 0.01 * structure(setting).count("x")

    found = findings(accuracy=more_layers)
    text = document("paper.md", found)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    for claim in found.paper.claims:
        (verdict,) = set(
            found.claims[found.claims["claim"] == claim.id]["claim_verdict"]
        )
        (row,) = [line for line in lines if line.startswith(f"| **{claim.words}**")]
        assert verdict in row
        assert claim.words[1:].rstrip(".") in text.partition(
            f"- {verdict.capitalize()}: ")[2].splitlines()[0]  # fmt: skip


def numbers_in(text):
    return re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", text)


def renderings(value):
    """A number in all the ways that the documents write numbers."""
    ways = ("{:.0f}", "{:,.0f}", "{:.1f}", "{:.2f}", "{:.3f}")
    value = abs(value)
    return {way.format(factor * value) for way in ways for factor in (1, 100)}


def test_every_number_of_a_table_in_the_document_is_in_its_file(tmp_path):
    found = findings(noise=1e-3, accuracy=dropout_matters)
    write(found, tmp_path)
    known = {"0.001"}
    for frame in found.frames().values():
        for column in frame:
            for value in frame[column].dropna():
                if isinstance(value, str):
                    known |= set(numbers_in(value))
                else:
                    known |= renderings(float(value))
    words = {line.words for one in found.paper.claims for line in one.lines}
    words |= {line.words for one in found.paper.questions for line in one.lines}
    checked = 0
    for row in document("paper.md", found).splitlines():
        if not row.startswith("| ") or "**" in row.split("|")[1]:
            continue
        cells = [cell for cell in row.split("|") if cell.strip() not in words]
        if "min / 50" in row or "claim, and" in row or "question, and" in row:
            continue
        for number in (one for cell in cells for one in numbers_in(cell)):
            assert number in known, (number, row)
            checked += 1
    assert checked > 300


def test_tables_fit_a_page():
    """In characters of Markdown; a page has some 150 in small print."""
    for name, tables in (("paper", (1, 2, 3, 4, 5)), ("outlook", (6, 7, 8))):
        found = findings(tables, name)
        for row in document(f"{name}.md", found).splitlines():
            if row.startswith("| ") and "**" not in row:
                assert len(row) < 190, row


def test_intervals_stay_where_their_quantity_can_be():
    assert interval_of("convergence_epoch", [3, 4, 22]).low > 0
    assert interval_of("minutes", [0.01, 0.02, 0.5]).low > 0
    assert interval_of("robust", [0.9, 1.0, 1.0]).high <= 1
    assert interval_of("gap", [-0.01, 0.0, 0.01]).low < 0


def test_numbers_are_written_with_a_minus_and_without_a_plus():
    assert (percent(0.98765), percent(0.5, 0)) == ("98.77", "50")
    assert (points(0.0024), points(-0.0024)) == ("0.24", "−0.24")


def test_settings_that_differ_in_epochs_only_are_one_run():
    made = measured(n=2)
    found = longest(made)
    assert "best-100-epochs" in found
    assert not {"best", "best-50-epochs", "best-stopped"} & set(found)
    # The longest one that there is.
    trials = made.evidence.tables["trials"]
    made.evidence.tables["trials"] = trials[trials["epochs"] < 100]
    found = longest(Measured(made.paper, made.evidence, DATA))
    assert "best" in found and "best-100-epochs" not in found


def test_who_learns_nothing_or_diverges_is_counted_and_left_out_of_the_means():
    found = findings((2,), n=4)
    trials = found.evidence.tables["trials"]
    own = found.measured("mlp-64")["trial"]
    trials.loc[trials["trial"] == own.loc[2], "validation_accuracy"] = 0.1
    trials.loc[trials["trial"] == own.loc[3], "status"] = "diverged"
    again = Findings(found.asked, found.evidence)
    row = again.learning.set_index("setting").loc["mlp-64"]
    assert (row["n"], row["dead"], row["diverged"]) == (2, 1, 1)
    assert row["test_accuracy"] == pytest.approx(0.97, abs=1e-3)


def test_sizes_are_compared_where_several_were_trained_on():
    found = findings((2,), accuracy=lambda _: 0.97)
    assert found.sizes.empty
    small = synthetic(found.paper, accuracy=lambda _: 0.9, data="e" * 16)
    for name in ("trials", "curves"):
        there = found.evidence.tables[name]
        gone = there["replica"] == ""
        found.evidence.put(name, small.tables[name], gone)
    found.evidence.data["e" * 16] = ABOUT | {"train": 10}
    again = Findings(found.asked, found.evidence)
    by_size = again.sizes.groupby("digits")["test_accuracy"].mean()
    assert by_size.index.tolist() == [10, 100]
    np.testing.assert_allclose(by_size, [0.9, 0.97], atol=1e-3)
    assert "| network | 10 digits | 100 digits |" in document("paper.md", again)
    # The tables are of the asked digits only.
    assert (again.tables[2]["test_accuracy"] > 0.96).all()


# --- Pictures ---


def test_a_table_s_picture_has_every_seed_beside_the_paper_s_figure():
    found = findings(noise=1e-3)
    for table in found.paper.tables:
        frame = table_frame(table, found)
        by_what = dict(iter(frame.groupby("what")))
        assert len(by_what["seed"]) == 5 * len(table.rows)
        figures = [row.figures.get("test_accuracy") for row in table.rows]
        shown = [100 * one for one in figures if one is not None]
        assert by_what["paper"]["value"].tolist() == pytest.approx(shown)
        means = by_what["mean"]
        assert means["label"].is_unique and (means["low"] < means["value"]).all()
        expected = 100 * found.tables[table.number]["test_accuracy"]
        np.testing.assert_allclose(means["value"], expected)


def test_claims_are_shown_as_differences_in_points_and_per_cent():
    found = findings(noise=1e-3)
    frame = claims_frame(found)
    assert frame["label"].is_unique and len(frame) == len(found.claims)
    for (_, shown), (_, row) in zip(frame.iterrows(), found.claims.iterrows()):
        line = found.paper.line(row["line"])
        base = 1 if line.ratio else line.at_least or 0
        assert shown["difference"] == pytest.approx(100 * (row["estimate"] - base))
        assert not shown["low"] > shown["difference"]  # nan without any spread
        assert not shown["high"] < shown["difference"]


def test_curves_are_compared_by_what_differs_best_first():
    def slow(setting):
        return 0.97 - setting.point.hparams.lr

    found = findings(accuracy=slow)
    rates, *dropouts = found.paper.curves
    frame = curves_frame(rates, found)
    labels = frame["label"].unique().tolist()
    assert labels[0] == "rate 0.0001" and labels[-1] == "rate 0.01"
    assert (frame["n"] == 5).all() and frame["epoch"].max() == 80
    for one in dropouts:
        shown = curves_frame(one, found)
        assert shown["label"].nunique() == 5 and shown["epoch"].max() == 50


def test_markup_in_names_is_shown_and_not_obeyed(tmp_path):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    evidence = synthetic(Paper.read("paper", 1.0, (1,)))
    evidence.write(tmp_path)
    Asked("paper", (1,), 1.0, DATA, hostile).write(tmp_path)
    page = write_page(tmp_path).read_text()
    assert "<script>alert" not in page and "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page
