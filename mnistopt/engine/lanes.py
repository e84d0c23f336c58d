"""How many replicas a device computes side by side, where nobody says."""

from collections.abc import Sequence

from mnistopt.engine.devices import Device, Lanes

# Bytes that the replicas side by side on an accelerator have at hand: with more they
# are hardly faster, by XLA's estimates (docs/performance.md). Each byte of states,
# gradients and activations is moved some times a step; at a GPU's 5 TB/s, those of a
# gigabyte take ten times as long as the launches of a step. A TPU launches nothing, but
# has 128 MB (v5e) near its units: nine CNNs, which leave it, are slower than one.
AT_HAND = {"gpu": 1e9, "tpu": 4e7}


def choose_lanes(
    devices: Sequence[Device], points: int, seeds: int, each: float
) -> Lanes:
    """Returns the lanes for a grid of `points` x `seeds`.

    One at a time on each core of a CPU, where a replica's working set fills the
    cache; on an accelerator as many side by side as fit into `AT_HAND`, in rows of
    equal length, and a round at least for each device.

    Args:
        devices: The devices that compute, of one kind.
        points: The number of points of one program.
        seeds: The number of seeds of each point.
        each: Bytes that a replica has at hand, as `memory.at_hand` estimates them.
    """
    if devices[0].platform == "cpu":
        return Lanes(1, 1)
    room = AT_HAND.get(devices[0].platform, AT_HAND["gpu"])
    most = max(1, int(room / each))
    # Parts of a seed's points: as many as memory or the devices ask for.
    parts = min(points, max(-(-points // most), -(-len(devices) // seeds)))
    in_row = -(-points // parts)
    rows = -(-seeds // len(devices))
    return Lanes(max(1, min(rows, most // in_row)), in_row)
