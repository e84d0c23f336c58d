"""What a total says of its parts, against all that fields may hold, one by one."""

import itertools

import numpy as np
import pytest

from mnistopt.study.fields import sums
from mnistopt.study.fields.sums import agree


def fields(seed, count=3):
    rng = np.random.default_rng(seed)
    chances = [
        dict(zip(("", "1", "2.5", "4"), 0.9 * rng.dirichlet(np.full(4, 0.5))))
        for _ in range(count)
    ]
    total = dict(zip(("", "3.5", "5", "7.5", "8"), 0.95 * rng.dirichlet(np.ones(5))))
    return chances, total


@pytest.mark.parametrize("seed", range(5))
def test_probabilities_are_given_that_parts_add_up(seed, monkeypatch):
    monkeypatch.setattr(sums, "LEAST", 0.0)
    parts, total = fields(seed)
    everything = [[*part.items(), (None, 1 - sum(part.values()))] for part in parts]
    whole = [*total.items(), (None, 1 - sum(total.values()))]
    mass, by_part, by_total = 0.0, [{} for _ in parts], {}
    for ways in itertools.product(*everything, whole):
        *values, aim = (value for value, _ in ways)
        weight = np.prod([chance for _, chance in ways])
        adds = None not in values and aim
        adds = adds and sum(float(v or 0) for v in values) == float(aim)
        weight *= sums.WRONG + (1 - sums.WRONG) * 20 * bool(adds)
        mass += weight
        for value, known in zip(values, by_part):
            known[value] = known.get(value, 0) + weight
        by_total[aim] = by_total.get(aim, 0) + weight
    changed, changed_total = agree(parts, total, 20)
    for found, wanted in zip([*changed, changed_total], [*by_part, by_total]):
        wanted.pop(None)
        assert found == pytest.approx({k: v / mass for k, v in wanted.items()})


def test_a_doubtful_part_is_settled_by_a_sure_total():
    parts = [{"7": 0.55, "1": 0.45}, {"5": 1.0}]
    changed, _ = agree(parts, {"6": 0.999}, 40)
    assert changed[0]["1"] > 0.97 and changed[1]["5"] == pytest.approx(1)
