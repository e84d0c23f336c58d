"""How a network is called: what besides the images its `__call__` takes."""

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


def _arguments(
    model: nn.Module, dropout: ArrayLike | None, training: bool
) -> dict[str, Any]:
    call: Call = read_call(type(model))  # type: ignore[arg-type]
    found: dict[str, Any] = {"dropout": dropout} if call.dropout else {}
    if call.switch:
        found[call.switch] = _SWITCHES[call.switch] is training
    return found


def init(model: nn.Module, key: jax.Array, images: jax.Array) -> Any:
    """Returns a network's first variables: its `params`, and others if it has such.

    Args:
        model: The network.
        key: That decides them.
        images: Float32 [B, H, W, C].
    """
    return model.init(key, images, **_arguments(model, None, training=False))


def apply(
    model: nn.Module,
    params: Any,
    images: jax.Array,
    dropout: ArrayLike | None = None,
    key: jax.Array | None = None,
) -> jax.Array:
    """Returns the logits of a network, float [B, K].

    Args:
        model: The network.
        params: Its parameters.
        images: Float32 [B, H, W, C].
        dropout: Rate, may be traced; None when not training.
        key: For random bits when training.
    """
    arguments = _arguments(model, dropout, training=key is not None)
    rngs = None if key is None else {"dropout": key}
    logits: Any = model.apply({"params": params}, images, rngs=rngs, **arguments)
    return logits
