"""What both ways of convolving share: cells of 2x2 outputs, their pool, their groups.

A 3x3 convolution's output is worked on in 2x2 **cells**, each of which sees a 4x4
**tile** of the input. A cell's four outputs come as four arrays, so that pooling is
their maximum and its gradient a choice among them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Cells(NamedTuple):
    """The grid of cells over an image of some size."""

    rows: int
    columns: int

    @staticmethod
    def over(x: jax.Array, pool: bool) -> "Cells":
        """Covers x [B, H, W, C]; a pool cuts an odd last row or column."""
        return Cells(*((n if pool else n + 1) // 2 for n in x.shape[1:3]))

    @property
    def height(self) -> int:
        """Pixels covered."""
        return 2 * self.rows

    @property
    def width(self) -> int:
        """Pixels covered."""
        return 2 * self.columns


def activated(outputs: jax.Array, bias: jax.Array | None) -> tuple:
    """Returns outputs after bias and ReLU, and where their gradient goes, bool.

    Args:
        outputs: Float32 [..., O].
        bias: Float32 [O]; None for neither of the two.
    """
    if bias is None:
        return outputs, jnp.ones(outputs.shape, bool)
    y = jax.nn.relu(outputs + bias)
    return y, y > 0


def pooled(outputs: Sequence[jax.Array], bias: jax.Array | None) -> tuple:
    """Returns the cells' pooled outputs, and where their gradient goes.

    Args:
        outputs: The four of each cell, float32 [T, O].
        bias: Float32 [O]; None for neither bias nor ReLU.

    Returns:
        Float32 [T, O] after bias and ReLU; and the number of the output that was the
        highest, the first of equals, or 4 where the ReLU lets nothing through, as
        uint8: a quarter of the bytes that the backward pass reads.
    """
    first, second, third, fourth = outputs
    highest = jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth))
    # The same numbers as bias and ReLU before the pool, with a quarter of the work.
    y, passed = activated(highest, bias)
    # Chosen as float32: XLA chooses among integers an element at a time.
    chosen = jnp.where(third == highest, 2.0, 3.0)
    chosen = jnp.where(second == highest, 1.0, chosen)
    chosen = jnp.where(first == highest, 0.0, chosen)
    return y, jnp.where(passed, chosen, 4.0).astype(jnp.uint8)


def grouped(x: jax.Array, size: int) -> jax.Array:
    """Splits [B, ...] to [N, size, ...], the last group filled up with zeros."""
    x = jnp.pad(x, ((0, -x.shape[0] % size), *((0, 0),) * (x.ndim - 1)))
    return x.reshape(-1, size, *x.shape[1:])


def ungrouped(x: jax.Array, batch: int) -> jax.Array:
    """Joins [N, size, ...] to [batch, ...]."""
    return x.reshape(-1, *x.shape[2:])[:batch]
