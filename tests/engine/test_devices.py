import os
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistopt.engine import devices
from mnistopt.engine.lanes import AT_HAND, choose_lanes
from mnistopt.engine.memory import at_hand
from mnistopt.engine.pool import LocalPool
from mnistopt.errors import InputError
from mnistopt.models.networks import make_network
from mnistopt.study.grid import make_point
from mnistopt.training.cohort import Cohort
from tests.warm import start


@given(
    st.integers(1, 2000),
    st.integers(1, 50),
    st.sampled_from([1, 2, 8]),
    st.sampled_from(["gpu", "tpu", "rocm"]),
    st.floats(1e4, 1e10),
)
def test_lanes_of_an_accelerator_have_no_more_than_their_bytes(
    points, seeds, count, platform, each
):
    lanes = choose_lanes([of_kind(platform)] * count, points, seeds, each)
    room = AT_HAND.get(platform, AT_HAND["gpu"])
    assert lanes.seeds * lanes.points == 1 or lanes.seeds * lanes.points * each <= room
    assert 1 <= lanes.points <= points
    assert 1 <= lanes.seeds <= seeds
    # The last row is no emptier than need be, and no device is left without a round
    # where there are replicas enough.
    rows = -(-points // lanes.points)
    assert rows * lanes.points - points < rows
    rounds = -(-seeds // lanes.seeds) * rows
    assert rounds >= min(count, seeds * points) or lanes.points == 2 or seeds > 1


def of_kind(platform):
    return SimpleNamespace(platform=platform)


def test_small_networks_have_more_lanes_and_those_of_a_small_grid_are_all():
    def lanes(point, points, platform="gpu"):
        each = at_hand(Cohort(make_network(point), "adam", point.recipe.batch_size))
        return choose_lanes([of_kind(platform)], points, 3, each)

    assert choose_lanes([of_kind("gpu")] * 8, 9, 1, 1e6) == (1, 2)
    mlp, cnn = make_point(model="mlp"), make_point()
    assert lanes(mlp, 9) == (3, 9) and lanes(cnn, 9) == (3, 9)
    assert lanes(mlp, 4096).points > 4 * lanes(cnn, 4096).points > 8
    assert lanes(cnn, 9, "tpu").points < 9


def test_more_devices_than_there_are_is_an_input_error():
    there = len(devices.use_devices())
    for many in (there + 1, 100_000):
        with pytest.raises(InputError, match=f"devices={many}, .* are {there}"):
            devices.use_devices(many)


def test_a_cpu_computes_one_replica_at_a_time_on_each_core():
    assert choose_lanes(devices.use_devices(), 9, 5, 1e6) == (1, 1)


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


# --- Processes that were forked ---


def in_a_fork(check):
    """Returns whether `check` ends without an error in a fork of this process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX's own of forks.
        child = os.fork()
    if not child:
        code = 1
        try:
            check()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def check_refused():
    for use in (devices.local_devices, devices.use_devices, lambda: LocalPool(1, None)):
        with pytest.raises(InputError, match="forked .*get_context..spawn"):
            use()


def use_jax():
    assert len(devices.local_devices()) == devices.cores()
    assert float(devices.local_devices()[0].ask(lambda _: jnp.ones(3).sum()).result())


def test_a_fork_after_jax_was_in_use_is_refused_and_so_is_its_fork():
    use_jax()
    assert in_a_fork(check_refused)
    assert in_a_fork(lambda: check_refused() or in_a_fork(check_refused) or 1 / 0)
    use_jax()


def test_a_fork_is_known_where_this_project_is_imported_after_it():
    def check():
        devices._Fork.broken = False
        devices._Fork.look_back()
        check_refused()

    assert in_a_fork(check)
    devices._Fork.look_back()
    assert not devices._Fork.broken


def fork_before_and_after():
    assert in_a_fork(use_jax)
    assert in_a_fork(lambda: use_jax() or in_a_fork(check_refused) or 1 / 0)


def test_a_fork_before_anything_has_used_jax_works():
    process = start(fork_before_and_after)
    process.join(120)
    assert process.exitcode == 0
