"""What a checkpoint has of a replica."""

from typing import Any, NamedTuple

from mnistopt.training.replica import TrainState


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

    @classmethod
    def of(cls, state: TrainState) -> "Contents":
        """Returns what is kept of a state."""
        last = "variables" if state.average is None else "average"
        gone: dict[str, Any] = {last: None}
        rest = state._replace(best=None, **gone)
        return cls(last=state.evaluated, best=state.best, rest=rest)

    def state(self) -> TrainState:
        """Returns the state that this was kept of."""
        last = "variables" if self.rest.variables is None else "average"
        return self.rest._replace(best=self.best, **{last: self.last})
