"""What is read of programs for devices that are not there."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark import ahead
from experiments.benchmark.kernels import Kernel, Program, count, seconds
from experiments.benchmark.targets import TARGETS
from tests.programs import ROOT

# As XLA prints a program for a GPU (costs in microseconds) and for a TPU (in cycles,
# without a known number of trips).
TEXT = """HloModule jit_f, is_scheduled=true

%inner (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %copy.1 = f32[2]{0} copy(%p), backend_config={"estimated_cycles":"1500"}
}

%inner_condition (p: f32[2]) -> pred[] {
  %constant.1 = s32[] constant(4)
  ROOT %compare.1 = pred[] compare(%p, %constant.1), direction=LT
}

%body (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  %gemm.1 = f32[2]{0} custom-call(%p), custom_call_target="__cublas$lt$matmul", \
backend_config={"reification_cost":[{"exec_time_us":7,"name":""},\
{"end_to_end_cycles":0,"exec_time_us":2.5,"compute_time_us":0,"name":"sol"}]}
  %tanh.1 = f32[2]{0} fusion(%gemm.1), kind=kLoop, calls=%fused
  ROOT %while.1 = f32[2]{0} while(%tanh.1), condition=%inner_condition, body=%inner
}

%condition (p: f32[2]) -> pred[] {
  %constant.2 = s32[] constant(3)
  ROOT %compare.2 = pred[] compare(%p, %constant.2), direction=LT
}

ENTRY %main (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %while.2 = f32[2]{0} while(%p), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"100"}}
}
"""


def test_kernels_and_their_costs_are_read_inner_trips_and_all():
    kernels = Program(TEXT).loop(100)
    assert kernels == [
        Kernel("product", 1, 2.5e-6),
        Kernel("elementwise", 1, None),
        Kernel("copy", 4, 1500.0),
    ]
    assert count(kernels) == {"copy": 4, "elementwise": 1, "product": 1}
    # A launch at least each; the one without an estimate is its launch.
    told = seconds([*kernels[:2], Kernel("sum", 2, 9e-6)], 5e-6)
    assert told == {"seconds": pytest.approx(5e-6 + 5e-6 + 18e-6), "unknown": 1}
    cycles = seconds(kernels[2:], 0.0, clock=1.5e9)
    assert cycles["seconds"] == pytest.approx(4e-6)
    with pytest.raises(ValueError, match="no loop of 7 trips"):
        Program(TEXT).loop(7)


def test_the_loops_of_a_program_that_jax_has_compiled_are_found():
    def step(x, _):
        x = jax.lax.fori_loop(0, 5, lambda _, y: jnp.sort(y) + 1, x)
        return x @ x, None

    program = jax.jit(lambda x: jax.lax.scan(step, x, length=11)[0])
    compiled = program.lower(jnp.ones((64, 64))).compile()
    kernels = Program(compiled.as_text()).loop(11)
    assert {kernel.times for kernel in kernels} == {1, 5}
    assert all(kernel.cost is None for kernel in kernels)


def test_rows_that_are_there_are_not_compiled_again(monkeypatch):
    asked = []

    def compiled(target, compile_, lanes):
        asked.append((compile_.args[0].name, lanes))
        return {"failed": "too large"}

    monkeypatch.setattr(ahead, "_compiled", compiled)
    every = {network.name: network for network in ahead.networks()}
    chosen = [every["MLP 128x128"], every["MobileNet v2"]]
    found = list(ahead.rows(TARGETS["h200"], None, chosen, []))
    assert len(found) == len(asked) > 5
    assert list(ahead.rows(TARGETS["h200"], None, chosen, found)) == []
    again = list(ahead.rows(TARGETS["h200"], None, chosen, found[1:]))
    assert again == found[:1]
    page = ahead.markdown("h200", {"versions": {}, "rows": found})
    assert page.count("too large") == len(found)


def test_committed_estimates_hold_what_the_docs_say_of_them():
    """The goals of issue 39 on a GPU, but for light networks, and on a TPU."""
    most = {"CNN 32x64/128": 70, "CNN 32x64x64/128": 85}
    speeds = {}
    for name in ("h200", "v5e"):
        path = ROOT / f"experiments/results/compiled/{name}.json"
        for row in json.loads(path.read_text())["rows"]:
            key = name, row["network"], row["who"], row["lanes"]
            speeds[key] = row.get("slowest"), row.get("fastest")
            if name == "h200" and row["who"] == ahead.OURS:
                bound = 95 if "batch norm" in row["network"] else None
                assert row["kernels"] <= most.get(row["network"], bound or 400)
    for name, lanes, times in (("h200", 9, 4), ("v5e", 1, 5)):
        ours, before = (
            speeds[name, "CNN 32x64/128", who, lanes]
            for who in (ahead.OURS, ahead.BLOCKS)
        )
        assert ours[0] > times * before[0] and ours[1] > times * before[1]


def test_without_a_compiler_for_it_the_benchmark_says_what_to_do(tmp_path):
    command = [sys.executable, "-m", "experiments.bench", "--compile_for=v5e"]
    found = subprocess.run(
        [*command, f"--workdir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2 and not list(tmp_path.iterdir())
    assert "cannot compile for TPU v5e" in found.stderr and "[aot]" in found.stderr
