"""What a run is given together: lanes, devices and a workdir."""

import math

import jax
import pytest

import mnistopt
from mnistopt.engine import devices, memory
from mnistopt.engine.devices import Lanes, LocalDevice
from mnistopt.errors import InputError

ASKED = {"model": "mlp", "hidden": (8,), "train_examples": 200, "epochs": 1}


@pytest.mark.parametrize("lanes", [3, (2, 1), (1, 257), (3, 3)])
def test_more_lanes_than_replicas_are_refused_and_nothing_is_made(tmp_path, lanes):
    workdir = tmp_path / "w"
    with pytest.raises(InputError, match="at most 1x2, seeds x points.*auto"):
        mnistopt.run(**ASKED, lr=[0.1, 0.2], seeds=1, lanes=lanes, workdir=workdir)
    assert not workdir.exists()


def test_the_largest_cohort_says_what_lanes_there_can_be(tmp_path):
    asked = {**ASKED, "batch_size": [8, 9], "workdir": tmp_path}
    plan = mnistopt.plan(**asked, lr=[0.1, 0.2], seeds=2, lanes=(2, 2))
    assert {job.lanes for job in plan.jobs} == {(2, 2)}


def test_lanes_that_a_workdir_has_had_are_its_own(tmp_path):
    asked = {**ASKED, "workdir": tmp_path, "seeds": 1, "lanes": 2}
    mnistopt.run(**asked, lr=[0.1, 0.2])
    plan = mnistopt.plan(**asked, lr=0.3)
    assert [job.lanes for job in plan.jobs] == [(1, 2)]


def test_calls_beyond_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "host_memory", lambda: 409_600)
    cpu = [LocalDevice(jax.local_devices()[0], core) for core in (0, 1)]
    memory.check_call(204_000, Lanes(1, 1), cpu, math.inf)
    with pytest.raises(InputError, match=r"lanes=1x2 need .* there are 0.0 GB"):
        memory.check_call(205_000, Lanes(1, 2), cpu, math.inf)
    with pytest.raises(InputError):
        memory.check_call(204_000, Lanes(1, 1), cpu, 300_000)


def test_each_core_of_a_cpu_is_a_device_and_they_share_its_memory(monkeypatch):
    monkeypatch.setattr(devices, "cores", lambda: 3)
    assert list(map(str, devices.use_devices())) == ["cpu 0", "cpu 1", "cpu 2"]
    assert {device.xla for device in devices.use_devices()} == {*jax.local_devices()}
    assert len(devices.use_devices()) == 3
    with pytest.raises(InputError, match="devices=4, but there are 3"):
        devices.use_devices(4)


@pytest.mark.parametrize("count", [999, 100_000])
def test_more_devices_than_cores_are_refused_at_once(tmp_path, count):
    workdir = tmp_path / "w"
    with pytest.raises(InputError, match=f"devices={count}, but there are"):
        mnistopt.run(**ASKED, devices=count, workdir=workdir)
    assert not workdir.exists()
