"""Replicas packed into rounds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mnistopt.engine.devices import Lanes
from mnistopt.engine.rounds import Member, make_rounds
from mnistopt.hparams import Hparams


@given(
    st.lists(st.integers(0, 4), min_size=1),
    st.builds(Lanes, st.integers(1, 3), st.integers(1, 4)),
)
def test_packing_keeps_every_replica_once_with_its_seed(seeds, lanes):
    members = [
        Member(f"r{i}", seed, Hparams(i, 0, 0, 0), {"w": np.full(3, i)})
        for i, seed in enumerate(seeds)
    ]
    rounds = make_rounds(lanes, members)
    found = {}
    for one in rounds:
        assert one.state["w"].shape == (*lanes, 3)
        assert one.hparams.lr.shape == lanes and one.hparams.lr.dtype == np.float32
        for name, (row, lane) in one.places.items():
            assert name not in found
            found[name] = one.seeds[row], one.hparams.lr[row, lane]
        for name, state in one.read(one.state).items():
            assert (state["w"] == int(name[1:])).all()
    assert found == {f"r{i}": (seed, i) for i, seed in enumerate(seeds)}
    # No more rows, and no more rounds, than needed: padding is waste.
    rows = sum(-(-seeds.count(seed) // lanes.points) for seed in set(seeds))
    assert len(rounds) == -(-rows // lanes.seeds)
