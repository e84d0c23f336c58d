"""The benchmark: what it counts, whom it compares, and that nothing stops it."""

import json
import os
import time
from pathlib import Path

import pytest

from experiments.benchmark import exports, report, search_report
from experiments.benchmark.contest import OURS, PYTORCH
from experiments.benchmark.networks import NETWORKS, update_flops
from experiments.benchmark.workers import Failed, Workers
from mnistopt.models.networks import count_params, make_model, multiply_adds
from mnistopt.study.grid import grid

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "experiments" / "results" / "bench"


def sleeper(seconds):
    return lambda: time.sleep(seconds)


def unmakeable():
    raise ValueError("cannot be made\nfor many reasons")


def mortal():
    return lambda: os._exit(1)


def test_operations_of_an_update_are_counted_exactly():
    """By hand: the paper's CNN. The first layer has no input gradient."""
    first, second = 28 * 28 * 9 * 32, 14 * 14 * 9 * 32 * 64
    dense = 7 * 7 * 64 * 128 + 128 * 10
    (point,) = grid(**NETWORKS[1].axes)
    wanted = 2 * (2 * first + 3 * second + 3 * dense)
    assert update_flops(make_model(point)) == wanted


@pytest.mark.parametrize("network", [one for one in NETWORKS if one.light])
def test_light_networks_of_pytorch_do_the_same_work(network):
    """By PyTorch's own count of operations, two per multiplication."""
    torch = pytest.importorskip("torch", reason="needs the extra [bench]")
    from torch.utils.flop_counter import FlopCounterMode

    from experiments.benchmark import pytorch_light

    theirs = pytorch_light.make(network.axes["model"]).eval()
    (point,) = grid(**network.axes)
    ours = make_model(point)
    assert sum(one.numel() for one in theirs.parameters()) == count_params(ours)
    with FlopCounterMode(display=False) as counter:
        theirs(torch.zeros(1, 1, 28, 28))
    assert counter.get_total_flops() == 2 * multiply_adds(ours)


def test_workers_work_at_the_same_time():
    with Workers(2, 60, sleeper, 1.0) as workers:
        seconds = workers.run()
    assert 1 <= seconds < 2


@pytest.mark.parametrize(
    ("make", "arguments", "limit", "problem"),
    [
        (unmakeable, (), 120, "ValueError: cannot be made"),
        (mortal, (), 120, "the process died"),
        (sleeper, (60,), 5, "not done in 5 s"),
    ],
)
def test_who_gives_up_stops_nobody(make, arguments, limit, problem):
    with (
        pytest.raises(Failed) as caught,
        Workers(1, limit, make, *arguments) as workers,
    ):
        workers.run()
    assert str(caught.value) == problem


def row(who, replicas, speed, **more):
    return {
        **{"network": "N", "batch": 64, "who": who, "how": "h", "replicas": replicas},
        **{"images_per_second": speed, "low": speed, "high": speed, "flops": speed},
        **more,
    }


def test_one_replica_is_compared_with_one_model_and_many_with_many():
    rows = [
        row(OURS, 1, 30.0),
        row(OURS, 8, 90.0),
        row(PYTORCH, 1, 20.0),
        row(PYTORCH, 2, 30.0),
    ]
    found = {one["replicas"]: one["ratio"] for one in report.ratios(rows)}
    assert found == {1: 1.5, 8: 3.0}


def test_committed_tables_are_of_the_committed_run():
    found = json.loads((COMMITTED / "bench.json").read_text())
    assert (COMMITTED / "bench.md").read_text() == report.markdown(found)
    assert report.headline(found) in (ROOT / "README.md").read_text()
    assert all(one["n"] >= 5 for one in found["rows"] if "low" in one)


@pytest.mark.parametrize(
    ("name", "made"), [("search", search_report), ("export", exports)]
)
def test_pages_and_docs_say_what_was_measured(name, made):
    folder = COMMITTED.parent / name
    found = json.loads((folder / f"{name}.json").read_text())
    assert (folder / f"{name}.md").read_text() == made.markdown(found)
    assert made.headline(found) in (ROOT / "docs" / f"{name}.md").read_text()


@pytest.mark.parametrize("name", ["mobilenet", "shufflenet"])
def test_the_light_networks_figures_are_those_of_their_runs(name):
    found = json.loads((COMMITTED / name / "bench.json").read_text())
    assert (COMMITTED / name / "bench.md").read_text() == report.markdown(found)
    told = (ROOT / "docs" / "performance.md").read_text()
    ratios = {
        (r["network"], r["replicas"]): r["ratio"] for r in report.ratios(found["rows"])
    }
    for row in (one for one in found["rows"] if one["who"] == OURS):
        cell = f"{row['images_per_second']:,.0f}"
        ratio = ratios[row["network"], row["replicas"]]
        (line,) = (
            one for one in told.splitlines() if row["network"] in one and cell in one
        )
        assert f"| {cell} | {ratio:.2f} |" in line


def test_the_docs_say_of_a_cluster_what_was_measured():
    found = json.loads((COMMITTED.parent / "cluster" / "cluster.json").read_text())
    assert report.cluster_markdown(found) in (ROOT / "docs" / "cluster.md").read_text()
    assert found["overhead"]["ratio"] < 1.1 and found["overhead"]["replicas"] == 60
