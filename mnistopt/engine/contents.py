"""What a checkpoint has of a replica."""

from typing import Any, NamedTuple


class Contents(NamedTuple):
    """What is kept of one replica.

    Attributes:
        last: Its variables, as flax has them: `params` and perhaps more.
        best: Its variables after its best epoch, of the same structure.
        rest: A pytree of whatever else continuing it needs.
    """

    last: Any
    best: Any
    rest: Any
