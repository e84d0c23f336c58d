"""Whether a module computes what it did, across versions: its answers, to rounding."""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnistopt.ambient import PRNG, fixed
from mnistopt.models.call import apply, apply_training
from mnistopt.models.program import BATCH

# The dropout rate that training is probed at.
RATE = 0.25
# Of the largest number of a probe: rounding by another version of XLA, or by another
# machine, stays below it; bfloat16's would not.
TOLERANCE = 1e-4


@fixed()
def probe(model: nn.Module, shape: tuple[int, ...], shapes: Any) -> list[list[float]]:
    """Returns what a network makes of fixed variables and pixels, six digits each.

    First variables are not in it: to compile their draws takes longer than all else,
    and a replica that has begun needs them no more.

    Args:
        model: The network.
        shape: Of an image, (H, W, C).
        shapes: Of its variables.

    Returns:
        The logits in evaluation; those in training; and the norms of each leaf of the
        running statistics after it, and of the gradients of weighted logits.
    """
    variables = jax.tree_util.tree_map_with_path(_numbers, shapes)
    images = _spread((BATCH, *shape)).astype(np.float32)
    key = jax.random.key(0, impl=PRNG)

    def answers(variables, images, key):
        def weighted(params):
            now = {**variables, "params": params}
            logits, statistics = apply_training(model, now, images, RATE, key)
            weights = _spread(logits.shape).astype(np.float32)
            return (weights * logits).sum(), (logits, statistics)

        gradient = jax.grad(weighted, has_aux=True)
        grads, (trained, statistics) = gradient(variables["params"])
        norms = [[jnp.linalg.norm(leaf.ravel()) for leaf in jax.tree.leaves(tree)]
                 for tree in (statistics, grads)]  # fmt: skip
        return apply(model, variables, images), trained, *map(jnp.array, norms)

    with jax.default_matmul_precision("highest"):
        lowered = jax.jit(answers).lower(variables, images, key)
        # It runs once: what compiles soonest is best.
        program = lowered.compile(dict[str, Any](xla_backend_optimization_level=0))
        found = program(variables, images, key)
    return [
        [float(f"{x:.6g}") for x in np.asarray(group, float).flat] for group in found
    ]


def _spread(shape: tuple[int, ...]) -> np.ndarray:
    """Returns fixed numbers spread evenly over [0, 1), without any order.

    Weyl's sequence of the golden ratio, in an order mixed by Knuth's multiplier.
    """
    mixed = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(2654435761)
    return (mixed % np.uint64(2**32) / 2**32).reshape(shape)


def _numbers(path: Any, leaf: Any) -> np.ndarray:
    """Returns fixed numbers for a leaf, of both signs unless it is a variance.

    Kernels are scaled so that activations stay near 1.
    """
    spread = _spread(leaf.shape)
    if "var" in jax.tree_util.keystr(path[-1:]):
        return (0.5 + spread).astype(leaf.dtype)
    fan_in = math.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 1
    return ((2 * spread - 1) * math.sqrt(3 / max(fan_in, 1))).astype(leaf.dtype)


def agree(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> bool:
    """Says whether two probes are the same to rounding."""
    if [len(group) for group in one] != [len(group) for group in other] or not one:
        return False
    for mine, theirs in zip(map(np.array, one), map(np.array, other)):
        finite = np.abs(theirs[np.isfinite(theirs)])
        slack = TOLERANCE * finite.max(initial=0)
        if not np.allclose(mine, theirs, TOLERANCE, slack, equal_nan=True):
            return False
    return True
