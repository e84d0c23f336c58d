"""Points that differ from others, for the tests."""

from mnistopt.points import Point
from mnistopt.study.grid import make_point


def changed(point: Point, **values) -> Point:
    """Returns a point with some hyper-parameters at other values."""
    there = {name: value for name, value in point.row().items() if value is not None}
    return make_point(**{**there, **values})
