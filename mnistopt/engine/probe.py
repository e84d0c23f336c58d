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
def probe(model: nn.Module, shape: tuple[int, ...], shapes: Any) -> list[float]:
    """Returns what a network makes of fixed parameters and pixels, six digits each.

    Args:
        model: The network.
        shape: Of an image, (H, W, C).
        shapes: Of its variables.

    Returns:
        The logits in evaluation and in training, each [BATCH * K]. First variables are
        not in it: to compile their draws takes longer than all else, and a replica that
        has begun needs them no more.
    """
    variables = jax.tree.map(_wave, shapes)
    images = np.abs(_wave(jax.ShapeDtypeStruct((BATCH, *shape), jnp.float32)))

    def answers(variables, images, key):
        logits = apply(model, variables, images)
        return logits, apply_training(model, variables, images, RATE, key)[0]

    with jax.default_matmul_precision("highest"):
        compiled = jax.jit(answers).lower(
            variables, images, jax.random.key(0, impl=PRNG)
        )
        # It runs once: what compiles soonest is best.
        program = compiled.compile(dict[str, Any](xla_backend_optimization_level=0))
        found = program(variables, images, jax.random.key(0, impl=PRNG))
    return [float(f"{x:.6g}") for leaf in found for x in np.asarray(leaf, float).flat]


def _wave(leaf: Any) -> np.ndarray:
    """Returns fixed numbers for a leaf, scaled so that activations stay near 1.

    Variances among them come out positive: all are of one sign but kernels.
    """
    fan_in = math.prod(leaf.shape[:-1])
    wave = np.cos(1.7 * np.arange(math.prod(leaf.shape)) + 0.3).reshape(leaf.shape)
    if len(leaf.shape) > 1:
        return (wave / math.sqrt(max(fan_in, 1))).astype(leaf.dtype)
    return (1 + wave / 4).astype(leaf.dtype)


def agree(one: Sequence[float], other: Sequence[float]) -> bool:
    """Says whether two probes are the same to rounding."""
    if len(one) != len(other) or not len(one):
        return False
    most = max(map(abs, other))
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE * most))
