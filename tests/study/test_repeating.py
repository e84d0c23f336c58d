"""What has computed a study is written down, and another machine is told of."""

import warnings

import pytest

import mnistopt
from mnistopt.engine import machine

ASKED = {"model": "mlp", "hidden": (8,), "train_examples": 200, "lr": [0.1, 0.01]}


def test_each_run_that_trains_has_an_entry(tmp_path):
    asked = {**ASKED, "workdir": tmp_path, "seeds": 1}
    mnistopt.run(**asked, epochs=1)
    mnistopt.run(**asked, epochs=1)  # Nothing to train.
    study = mnistopt.run(**asked, epochs=2)
    first, second = study.config["runs"]
    assert (first["trials"], second["trials"]) == (2, 2)
    assert (first["asked"]["epochs"], second["asked"]["epochs"]) == ([1], [2])
    assert first["versions"]["jax"] and first["cpu"] and first["devices"]
    assert first["started"] <= second["started"]
    (name,) = study.config["machines"]
    assert first["machines"] == second["machines"] == [name]
    assert study.config["machines"][name]["lanes"] == [1, 1]
    assert set(study.trials["machine"]) == {name}


@pytest.mark.parametrize("what", ["lanes", "cores", "jaxlib"])
def test_going_on_elsewhere_is_told_once_and_marked(tmp_path, monkeypatch, what):
    asked = {**ASKED, "workdir": tmp_path, "seeds": 1}
    mnistopt.run(**asked, epochs=1)
    more = {"lanes": 2} if what == "lanes" else {}
    if what == "cores":
        monkeypatch.setattr(machine, "cores", lambda: 64)
    if what == "jaxlib":
        monkeypatch.setattr(machine.importlib.metadata, "version", lambda _: "9.9")
    with pytest.warns(
        UserWarning, match="2 replicas .* numbers agree to round"
    ) as told:
        study = mnistopt.run(**asked, **more, epochs=2)
    assert len(told) == 1
    marks = study.trials.groupby("epochs")["machine"].unique()
    (before,), (after,) = marks[1], marks[2]
    assert after.split("+")[0] == before and len(after.split("+")) == 2
    assert set(after.split("+")) == set(study.config["machines"])


def test_more_devices_of_the_same_machine_are_no_other_machine(tmp_path):
    asked = {**ASKED, "workdir": tmp_path, "seeds": 1}
    mnistopt.run(**asked, epochs=1, devices=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = mnistopt.run(**asked, epochs=2)
    assert study.trials["machine"].nunique() == 1
