import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistopt.engine import devices
from mnistopt.errors import InputError


@given(st.integers(1, 500), st.integers(1, 50), st.sampled_from([1, 2, 8]))
def test_lanes_of_an_accelerator_stay_within_their_bound(points, seeds, count):
    gpus = [SimpleNamespace(platform="gpu")] * count
    lanes = devices.choose_lanes(gpus, points, seeds)
    assert 1 <= lanes.seeds * lanes.points <= devices.ACCELERATOR_LANES
    assert lanes.points <= points
    assert lanes.seeds <= seeds


def test_more_devices_than_there_are_is_an_input_error():
    there = len(devices.use_devices())
    for many in (there + 1, 100_000):
        with pytest.raises(InputError, match=f"devices={many}, .* are {there}"):
            devices.use_devices(many)


def test_a_cpu_computes_one_replica_at_a_time_on_each_core():
    assert devices.choose_lanes(devices.use_devices(), 9, 5) == (1, 1)


def test_the_rate_of_products_is_a_plausible_number():
    """Of any machine that runs this: a million to a quadrillion a second."""
    assert 1e6 < devices.multiply_rate(devices.use_devices()) < 1e15


USED_BEFORE = """
import warnings
import jax
jax.config.update("jax_num_cpu_devices", 2)
jax.devices()
from mnistopt.engine import devices
devices.cores = lambda: {cores}
found = devices.local_devices()
with warnings.catch_warnings(record=True) as shown:
    warnings.simplefilter("always")
    assert len(devices.use_devices()) == len(found)
    devices.use_devices(1)
assert [str(one.message)[:22] for one in shown] == ["JAX was in use before,"] * (
    {cores} > 2
)
assert [device.xla for device in found] == jax.local_devices()[:{cores}], found
"""


@pytest.mark.parametrize("cores", [1, 8])
def test_devices_that_jax_has_already_are_used_up_to_the_cores(cores):
    subprocess.run([sys.executable, "-c", USED_BEFORE.format(cores=cores)], check=True)


def test_a_device_does_one_thing_after_the_other_beside_the_others():
    one = devices.local_devices()[0]
    other = devices.LocalDevice(one.xla, 1)
    meet = threading.Barrier(2)
    order = []
    first = one.start(meet.wait, 60)
    second = one.start(order.append, "second")
    other.start(meet.wait, 60).result()
    assert second.result() is None and first.done() and order == ["second"]
