"""What the networks of a study cost to use: counted and measured, once for each."""

from collections.abc import Callable, Iterable
from typing import Any

from mnistopt.data.dataset import Dataset
from mnistopt.engine.devices import Device
from mnistopt.engine.latency import measure_latency
from mnistopt.errors import InputError
from mnistopt.models.networks import count_bytes, multiply_adds
from mnistopt.points import Point
from mnistopt.results.costs import COSTS, Costs, network_name


def find_costs(
    points: Iterable[Point],
    there: Costs,
    dataset: Dataset,
    device: Device,
    make: Callable[[Point], Any],
) -> dict[str, dict[str, float]]:
    """Returns the costs of the networks of points, of those that are not there yet.

    A module of the user's own that cannot be had any more has none.

    Args:
        points: Of which the structures count.
        there: What is known.
        dataset: Of which the first training images are classified.
        device: Which does so.
        make: Returns the network of a point.

    Returns:
        Per network, by its name, the numbers of `COSTS`.
    """
    wanted = {network_name(point.structure): point for point in points}
    found = {}
    for name, point in wanted.items():
        if name in there:
            continue
        try:
            model = make(point)
        except InputError:
            continue
        found[name] = _costs(model, dataset, device)
    return found


def _costs(model: Any, dataset: Dataset, device: Device) -> dict[str, Any]:
    shape, images = dataset.image_shape, dataset.train.images
    counted = multiply_adds(model, shape), count_bytes(model, shape)
    seconds = measure_latency(model, images, device).values()
    # Four digits: the fifth changes from call to call.
    measured = (float(f"{1e3 * one:.4g}") for one in seconds)
    return dict(zip(COSTS, (*counted, *measured), strict=True))
