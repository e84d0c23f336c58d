"""Fixtures that several test files share."""

import hypothesis
import jax
import numpy as np
import pytest

from mnistopt import ambient
from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import Split
from mnistopt.engine import predict
from mnistopt.engine.devices import local_devices
from mnistopt.engine.record import Record
from mnistopt.engine.replicas import compiled
from mnistopt.models import separable
from mnistopt.points import Point, replica_id

# Before the first JAX operation, as a study does it: then all cores compute.
local_devices()
# No test needs exact times.
predict.BUDGET = 0.0


def pytest_configure(config):
    """Draws the same examples each time; others only where all tests are asked for.

    A busy machine is no reason to fail.
    """
    same = config.option.markexpr == "not full"
    hypothesis.settings.register_profile("ours", deadline=None, derandomize=same)
    hypothesis.settings.load_profile("ours")


@pytest.fixture(scope="module")
def quick_compile():
    """Compiles in half the time, for tests of many programs that run once."""
    name = "jax_disable_most_optimizations"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ambient.HELD, name, True)
        jax.config.update(name, True)
        compiled.cache_clear()
        yield
        jax.config.update(name, False)
        compiled.cache_clear()


@pytest.fixture(scope="module")
def short_sums():
    """Light networks compile in half the time; `test_separable.py` has whole sums."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separable, "ROWS", 2)
        yield
    compiled.cache_clear()


def make_split(size: int, seed: int) -> Split:
    """Random pixels, a fifth of them lit as in digits, and labels of no meaning."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, 28, 28, 1), np.uint8)
    images[rng.random(images.shape) < 0.8] = 0
    return Split(images, rng.integers(0, 10, size, np.int32))


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """A dataset of 30 training, 20 validation and 25 test examples."""
    splits = [make_split(size, seed) for seed, size in enumerate((30, 20, 25))]
    return Dataset(
        "tiny", *splits, fingerprint="0123456789abcdef", class_names=tuple("0123456789")
    )


@pytest.fixture(scope="session")
def make_record():
    """A function that makes the record of a replica, as if it had been trained."""

    def make(
        point: Point,
        seed: int = 0,
        *,
        done: int | None = None,
        measured: tuple[int, ...] | None = None,
        data: str = "0123456789abcdef",
        **history,
    ) -> Record:
        """Makes a record of `done` epochs, whole at those `measured`.

        By default both are what the point asks for. `history` replaces columns of the
        history, which otherwise show an accuracy of 1/2 and a loss of 1.
        """
        done = point.epochs if done is None else done
        measured = (done,) if measured is None else measured
        columns = {}
        whole = [epoch in measured for epoch in range(1, done + 1)]
        for split, total, seen in (
            ("running", 90, [True] * done),
            ("validation", 50, [True] * done),
            ("train", 100, whole),
            ("test", 200, whole),
            ("best_test", 200, whole),
        ):
            columns[f"{split}_total"] = [total * w for w in seen]
            columns[f"{split}_correct"] = [total // 2 * w for w in seen]
            columns[f"{split}_loss_sum"] = [float(total) * w for w in seen]
        columns["diverged_at"] = [-1] * done
        columns["cause"], columns["machine"] = [""] * done, ["here"] * done
        columns["seconds"] = [1.0] * done
        unknown = set(history) - set(columns)
        assert not unknown, unknown
        name = replica_id(point, seed, data)
        return Record(name, point, seed, params=123, history=columns | history)

    return make
