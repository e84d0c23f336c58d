"""A timer trains what it says, and nothing else."""

import jax
import pytest

from mnistopt.data.load import load
from mnistopt.engine import queue
from mnistopt.engine.devices import Lanes, LocalDevice
from mnistopt.engine.replicas import Program, put_splits
from mnistopt.hparams import Hparams
from mnistopt.models.mlp_cnn import MLP
from mnistopt.training.cohort import Cohort


@pytest.mark.parametrize(
    ("lanes", "replicas", "rounds"), [((1, 1), 3, 3), ((2, 3), 6, 1), ((1, 2), 3, 2)]
)
def test_a_timer_trains_an_epoch_of_each_replica(lanes, replicas, rounds):
    data = load("mnist_5k", train_examples=160)
    splits = put_splits(
        data, [LocalDevice(jax.local_devices()[0], core) for core in (0, 1)]
    )
    program = Program(Cohort(MLP((16,)), "adam", 32), Lanes(*lanes), splits)
    calls = []
    train = program.train

    def count(one, device, epochs, in_full):
        calls.append((len(one.places), *epochs, in_full))
        return train(one, device, epochs, in_full)

    program.train = count
    time_epoch = queue.make_timer(program, Hparams(1e-3, 0.0, 0.0, 0.0), replicas)
    for epoch in (0, 1):
        calls.clear()
        assert time_epoch() > 0
        assert len(calls) == rounds
        assert sum(size for size, *_ in calls) == replicas
        assert {(done, in_full) for _, done, in_full in calls} == {(epoch, False)}
