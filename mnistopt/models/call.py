"""How a network is called: what besides the images its `__call__` takes."""

import dataclasses
import functools
import inspect
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.typing import ArrayLike

from mnistopt.errors import InputError

# What flax's own examples call the switch between training and evaluation, and its
# value in training.
_SWITCHES = {"train": True, "training": True, "deterministic": False}


class Call(NamedTuple):
    """What a module's `__call__` takes besides the images.

    Attributes:
        dropout: Whether it takes the dropout rate, which is traced; None in evaluation.
        switch: The name of its switch between training and evaluation; "" for none.
    """

    dropout: bool
    switch: str


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """A module of one's own, told from others by its program, and so hashable.

    Fields may be lists, dicts and arrays, and what a module uses may change while its
    class and fields stay: neither is what compiled programs may be kept by.

    Attributes:
        module: The flax module.
        program: The name of what it computes; "" where that is not known.
    """

    module: nn.Module
    program: str

    def _key(self) -> Any:
        return self.program or id(self.module)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def bare(model: Any) -> nn.Module:
    """Returns the flax module of a network."""
    return model.module if isinstance(model, Known) else model


@functools.cache
def read_call(kind: type[nn.Module]) -> Call:
    """Reads the signature of a class of modules.

    Raises:
        InputError: If it needs something else.
    """
    parameters = list(inspect.signature(kind.__call__).parameters.values())[1:]
    further = parameters[1:]
    unknown = [
        one.name
        for one in further
        if one.name not in ("dropout", *_SWITCHES)
        and one.default is one.empty
        and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    if unknown or not parameters:
        raise InputError(
            f"{kind.__name__}.__call__ needs {', '.join(unknown) or 'images'}: a "
            "network takes images and returns logits; besides, it may take dropout "
            "(the rate, None in evaluation) and one of "
            f"{', '.join(_SWITCHES)} (True or False)"
        )
    names = [one.name for one in further]
    switch = next((name for name in _SWITCHES if name in names), "")
    return Call("dropout" in names, switch)


def _arguments(model: Any, dropout: ArrayLike | None, training: bool) -> dict[str, Any]:
    call: Call = read_call(type(model))  # type: ignore[arg-type]
    found: dict[str, Any] = {"dropout": dropout} if call.dropout else {}
    if call.switch:
        found[call.switch] = _SWITCHES[call.switch] is training
    return found


def init(model: Any, key: jax.Array, images: jax.Array) -> Any:
    """Returns a network's first variables: its `params`, and others if it has such.

    Args:
        model: The network, here and below a flax module or `Known`.
        key: That decides them.
        images: Float32 [B, H, W, C].
    """
    model = bare(model)
    return model.init(key, images, **_arguments(model, None, training=False))


def apply(model: Any, variables: Any, images: jax.Array) -> jax.Array:
    """Returns what a network says of images, as in evaluation.

    Args:
        model: The network.
        variables: Its parameters, and running statistics if it keeps such.
        images: Float32 [B, H, W, C].

    Returns:
        Logits, float [B, K].
    """
    model = bare(model)
    logits: Any = model.apply(
        variables, images, **_arguments(model, None, training=False)
    )
    return logits


def apply_training(
    model: Any,
    variables: Any,
    images: jax.Array,
    dropout: ArrayLike,
    key: jax.Array,
) -> tuple[jax.Array, Any]:
    """Returns what a network says in training, and its statistics after it.

    Args:
        model: The network.
        variables: As in `apply`.
        images: Float32 [B, H, W, C].
        dropout: Rate, may be traced.
        key: For random bits.

    Returns:
        Logits, float [B, K], and the collections besides `params`: {} for most.
    """
    model = bare(model)
    statistics = [name for name in variables if name != "params"]
    found: Any = model.apply(
        variables,
        images,
        rngs={"dropout": key},
        mutable=statistics or False,
        **_arguments(model, dropout, training=True),
    )
    return found if statistics else (found, {})
