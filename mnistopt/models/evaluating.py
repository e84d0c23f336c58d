"""JAX's operations on known numbers: one by one in NumPy, without compiling each.

XLA compiles an operation for each shape, which would take seconds for a network.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

# By the names of JAX's operations: what is given are their parameters, and arrays.
_NUMPY: dict[str, Callable[..., Any]] = {
    "add": lambda params, a, b: a + b,
    "sub": lambda params, a, b: a - b,
    "mul": lambda params, a, b: a * b,
    "div": lambda params, a, b: a / b,
    "neg": lambda params, a: -a,
    "max": lambda params, a, b: np.maximum(a, b),
    "min": lambda params, a, b: np.minimum(a, b),
    "sqrt": lambda params, a: np.sqrt(a),
    "rsqrt": lambda params, a: 1 / np.sqrt(a),
    "stop_gradient": lambda params, a: a,
    "reshape": lambda params, a: a.reshape(params["new_sizes"]),
    "transpose": lambda params, a: a.transpose(params["permutation"]),
    "squeeze": lambda params, a: a.squeeze(params["dimensions"]),
    "concatenate": lambda params, *all: np.concatenate(all, params["dimension"]),
    "split": lambda params, a: np.split(
        a, np.cumsum(params["sizes"])[:-1], params["axis"]
    ),
    "slice": lambda params, a: a[_slices(params)],
    "broadcast_in_dim": lambda params, a: _broadcast(params, a),
}


def evaluate(equation: Any, operands: Sequence[Any]) -> list[np.ndarray]:
    """Returns what an equation of a traced program makes of arrays.

    Args:
        equation: An equation, which calls no program.
        operands: Arrays, as it takes them.
    """
    name, params = equation.primitive.name, equation.params
    if name in _NUMPY:
        made = _NUMPY[name](params, *map(np.asarray, operands))
    else:
        made = equation.primitive.bind(*map(jnp.asarray, operands), **params)
    return list(
        map(np.asarray, made if equation.primitive.multiple_results else [made])
    )


def _slices(params: Any) -> tuple[slice, ...]:
    ends = params["start_indices"], params["limit_indices"]
    steps = params["strides"] or (1,) * len(ends[0])
    return tuple(slice(*three) for three in zip(*ends, steps))


def _broadcast(params: Any, array: np.ndarray) -> np.ndarray:
    sides = [1] * len(params["shape"])
    for axis, side in zip(params["broadcast_dimensions"], array.shape):
        sides[axis] = side
    return np.broadcast_to(array.reshape(sides), params["shape"])
