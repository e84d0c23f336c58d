"""How fast replicas train, apart from everything else that a study does."""

import time
from collections.abc import Callable

from mnistopt.engine.queue import Queue
from mnistopt.engine.replicas import Program
from mnistopt.engine.rounds import Member, make_rounds
from mnistopt.hparams import Hparams


def make_timer(
    program: Program, numbers: Hparams, replicas: int, in_full: bool = False
) -> Callable[[], float]:
    """Returns a function that trains replicas for one epoch, and returns its seconds.

    The validation split is evaluated, as after every epoch of a study.

    Args:
        program: Of their cohort; trains on all of its devices.
        numbers: Their hyper-parameters.
        replicas: How many: of as many seeds as its lanes ask for.
        in_full: Whether to evaluate the training and test splits too.
    """
    seeds = -(-replicas // program.lanes.points)
    members = [
        Member(f"{seed}.{point}", seed, numbers)
        for seed in range(seeds)
        for point in range(program.lanes.points)
    ]
    rounds = make_rounds(program.lanes, members[:replicas])
    queue = Queue(program, dict.fromkeys(rounds, 0))

    def time_epoch() -> float:
        start = time.perf_counter()
        for _ in queue.train(queue.epoch + 1, in_full):
            pass
        return time.perf_counter() - start

    return time_epoch
