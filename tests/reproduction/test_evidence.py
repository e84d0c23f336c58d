"""Evidence: how it grows, what it is asked, and what it refuses."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from configs import make_config
from synthetic import DATA, SOURCE, measured, synthetic

from experiments.reproduction import evidence
from experiments.reproduction.evidence import Evidence
from experiments.reproduction.findings import Asked, Findings
from experiments.reproduction.measure import Options, steps
from experiments.reproduction.paper import Paper
from mnistopt.errors import InputError

PAPER = Paper.read("paper", tables=[5])
BEST = PAPER.settings["best"]


def test_what_is_written_is_read(tmp_path):
    made = synthetic(PAPER, noise=1e-3)
    made.write(tmp_path)
    found = Evidence.read(tmp_path)
    assert (found.data, found.sources) == (made.data, made.sources)
    for setting in PAPER.trained().values():
        one, other = (of.measured(setting, DATA) for of in (made, found))
        names = one.select_dtypes("number").columns
        pd.testing.assert_frame_equal(
            one[names], other[names], check_dtype=False, rtol=1e-7
        )
    text = (tmp_path / "evidence" / "trials.csv").read_text()
    found.write(tmp_path)
    assert (tmp_path / "evidence" / "trials.csv").read_text() == text
    assert len(Evidence.read(tmp_path / "nothing").tables["trials"]) == 0


@pytest.mark.parametrize("name", ["trials", "curves", "speeds"])
def test_no_row_can_be_there_twice(name, tmp_path):
    """Two sittings of timing cannot be mixed, nor two runs of a replica."""
    made = synthetic(PAPER)
    made.write(tmp_path)
    path = tmp_path / "evidence" / f"{name}.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1]]))
    with pytest.raises(InputError, match=f"{name}.csv has .* twice.*restore its files"):
        Evidence.read(tmp_path)
    table = made.tables[name]
    made.tables[name] = pd.concat([table, table.head(1)])
    with pytest.raises(ValueError, match="twice"):
        made.write(tmp_path)


def test_files_that_are_missing_or_broken_are_told(tmp_path):
    with pytest.raises(InputError, match="repeat the command that made it"):
        Findings.read(tmp_path)
    synthetic(PAPER).write(tmp_path)
    Asked("paper", (5,), 1.0, DATA, "a command").write(tmp_path)
    assert Findings.read(tmp_path).data["train"] == 100
    Asked("paper", (5,), 1.0, "other", "a command").write(tmp_path)
    with pytest.raises(InputError, match="nothing of the digits other"):
        print(Findings.read(tmp_path).data)
    (tmp_path / "evidence" / "trials.csv").write_text("trial\nx\n")
    with pytest.raises(InputError, match="cannot be read as evidence"):
        Findings.read(tmp_path)


def test_curves_are_summed_up_by_hand():
    """80 epochs: 0.90, then 0.98 with a fall to 0.95 at epoch 70, and 0.99 at 75."""
    curve = [0.90, *[0.98] * 68, 0.95, *[0.98] * 4, 0.99, *[0.98] * 25]

    def more(setting):
        return {"curve": curve, "train_accuracy": 1.0, "best_test_accuracy": 0.999}

    found = measured(PAPER, n=2, noise=0, accuracy=lambda _: 0.97, more=more)
    row = found("best").iloc[0]
    assert row["first_accuracy"] == 0.90
    assert (row["best_epoch"], row["best_validation_accuracy"]) == (75, 0.99)
    assert row["largest_fall"] == pytest.approx(0.03)
    assert row["oscillation"] == pytest.approx(np.std(curve[60:80], ddof=1))
    assert row["gap"] == pytest.approx(0.03)
    assert (row["lowest_epoch"], row["last_loss"]) == (1, 0.1)
    # The same run after 50 epochs knows nothing of the fall.
    assert found("best-50-epochs").iloc[0]["largest_fall"] == 0
    whole = measured(n=2, noise=0, accuracy=lambda _: 0.97, more=more)
    stopped = whole("best-stopped").iloc[0]
    assert (stopped["test_accuracy"], stopped["validation_accuracy"]) == (0.999, 0.99)


def test_a_kill_between_two_files_loses_nothing(tmp_path, monkeypatch):
    """Trials say what is there, so they are written last."""
    made, order = synthetic(PAPER), []
    monkeypatch.setattr(evidence, "write_text", lambda path, text: order.append(path))
    made.write(tmp_path)
    assert [path.stem for path in order][-2:] == ["curves", "trials"]


@pytest.mark.parametrize("lost", ["trials", "curves", "robustness"])
def test_a_study_s_rows_come_back_where_some_are_lost(lost):
    """Of two trials of one replica both, and of a trial its robustness with it."""
    paper = Paper.read("outlook", tables=[6])
    setting = paper.settings["plain"]
    there = synthetic(paper, n=1)
    robust = pd.DataFrame({"trial": there.tables["trials"]["trial"]})
    robust = robust.assign(corruption="noise", strength=1, correct=5, count=10)
    there.put("robustness", robust, pd.Series(dtype=bool))
    row = there.measured(setting, DATA).reset_index().iloc[0]
    trials = pd.DataFrame([row.to_dict()]).assign(point=setting.point.identity())
    trials["epochs_done"] = trials["epochs"]
    curves = there.tables["curves"]
    study = SimpleNamespace(
        trials=trials.assign(test_accuracy=0.5),
        curves=curves[curves["replica"] == row["replica"]],
        config=make_config(data={"fingerprint": DATA}),
    )
    there.add(study, paper)  # Nothing is lacking: nothing changes.
    assert there.measured(setting, DATA)["test_accuracy"].iloc[0] != 0.5
    table = there.tables[lost]
    key = "replica" if lost == "curves" else "trial"
    there.tables[lost] = table[table[key] != row[key]]
    there.add(study, paper)
    again = there.measured(setting, DATA).iloc[0]
    assert again["test_accuracy"] == 0.5 and len(curves) == len(there.tables["curves"])
    # What was measured of the other run is gone, and is measured again.
    assert not there.has(setting, 0, DATA, robust=True)


def test_a_longer_run_takes_over_when_it_has_as_many_epochs():
    """Halfway it would leave the 80 epochs of another run beside its own 50."""
    there = synthetic(PAPER, n=1)
    replica = there.measured(BEST, DATA)["replica"].loc[0]
    without(there, PAPER.settings["best-50-epochs"], 0)
    without(there, PAPER.settings["best-100-epochs"], 0)
    row = there.measured(BEST, DATA).reset_index().iloc[0].to_dict()
    curves = pd.DataFrame({"epoch": range(1, 101), "replica": replica})
    curves = curves.assign(validation_accuracy=0.5, validation_loss=0.1)

    def study(epochs_done):
        rows = [
            row | {"epochs": epochs, "trial": f"{replica}-{epochs}"}
            for epochs in (50, 80, 100)
        ]
        trials = pd.DataFrame(rows).assign(epochs_done=epochs_done, point="p")
        done = trials["epochs"] <= epochs_done
        trials["status"] = done.map({True: "finished", False: "unfinished"})
        trials["test_accuracy"] = done.map({True: 0.5, False: None}).astype(float)
        config = make_config(data={"fingerprint": DATA})
        known = curves[curves["epoch"] <= epochs_done]
        return SimpleNamespace(trials=trials, curves=known, config=config)

    def epochs_of(evidence):
        trials = evidence.tables["trials"]
        return sorted(trials[trials["replica"] == replica]["epochs"])

    there.add(study(60), PAPER)
    assert epochs_of(there) == [80]
    assert there.measured(BEST, DATA)["test_accuracy"].loc[0] != 0.5
    there.add(study(80), PAPER)
    assert epochs_of(there) == [50, 80]
    assert there.measured(BEST, DATA)["test_accuracy"].loc[0] == 0.5
    there.add(study(100), PAPER)
    assert epochs_of(there) == [50, 80, 100]


# --- What is lacking ---


def without(evidence, setting, seed):
    """Takes a trial out of the evidence."""
    trials = evidence.tables["trials"]
    gone = evidence.measured(setting, DATA)["trial"].loc[seed]
    evidence.tables["trials"] = trials[trials["trial"] != gone]


def test_seeds_come_one_after_another_with_all_their_settings():
    found = steps(PAPER, Evidence.empty(), Options(seeds=5), DATA, at_once=2)
    assert [step.seeds for step in found] == [(0, 1), (2, 3), (4,)]
    points = {one.point for one in PAPER.trained().values()}
    assert all(set(step.points) == points for step in found)


def test_only_what_is_lacking_is_trained_and_a_replica_s_rows_are_of_one_run():
    evidence = synthetic(PAPER, n=4)
    assert steps(PAPER, evidence, Options(seeds=4), DATA, 2) == []
    without(evidence, PAPER.settings["best-batch-32"], 2)
    (step,) = steps(PAPER, evidence, Options(seeds=4), DATA, 2)
    assert step.seeds == (2,)
    assert step.points == (PAPER.settings["best-batch-32"].point,)
    # 80 of 50, 80 and 100 epochs: the run is repeated to all of them.
    without(evidence, BEST, 2)
    (step,) = steps(PAPER, evidence, Options(seeds=4), DATA, 2)
    assert sorted(one.epochs for one in step.points) == [50, 80, 80, 100]
    # More seeds are more of the same; of other digits there is nothing.
    more = steps(PAPER, evidence, Options(seeds=5), DATA, 2)
    assert [one.seeds for one in more] == [(2,), (4,)]
    assert len(steps(PAPER, evidence, Options(seeds=4), "other", 2)) == 2


def test_mlps_may_have_more_seeds():
    both = Paper.read("paper", tables=[1])
    found = steps(both, Evidence.empty(), Options(seeds=3, cnn_seeds=1), DATA, 1)
    models = [[one.structure.model for one in step.points] for step in found]
    assert models == [["mlp", "cnn"], ["mlp"], ["mlp"]]


def test_a_source_is_known_once():
    evidence = synthetic(PAPER)
    assert evidence.source(SOURCE) == 0 and evidence.source(SOURCE) == 0
    assert evidence.source(SOURCE | {"cpu": "another"}) == 1
