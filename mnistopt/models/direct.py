"""Convolution of few channels, and pool: each tile times kernels in four positions.

A tile's 16 pixels times a 16 x 4O matrix, which holds the 3x3 kernels at the tile's
four corners, are a cell's four outputs: 1.8 times the multiplications that there must
be, but one product where Winograd's, of depth C, would hardly be products.
"""

import jax
import jax.numpy as jnp

from mnistopt.models.cells import Cells, grouped, pooled, ungrouped

# Images worked on at a time, so that what is computed stays in a core's cache.
GROUP = 8


def forward(x: jax.Array, kernel: jax.Array, bias: jax.Array | None) -> tuple:
    """Returns the pooled output, and what `backward` needs; as `conv.conv3x3`."""
    cells, features = Cells.over(x, pool=True), kernel.shape[3]
    weights = _placed_kernels(kernel)
    columns = _tile_columns(x, cells)

    def one(columns):
        outputs = columns.reshape(-1, columns.shape[-1]) @ weights
        y, chosen = pooled(jnp.split(outputs, 4, axis=-1), bias)
        return y.reshape(*columns.shape[:3], features), chosen

    y, chosen = jax.lax.map(one, grouped(columns, GROUP))
    return ungrouped(y, len(x)), (x, columns, kernel, chosen)


def backward(saved: tuple, grad: jax.Array) -> tuple:
    """Returns the gradients of input, kernel and bias from that of the output."""
    x, columns, kernel, chosen = saved
    cells = Cells.over(x, pool=True)
    weights, transpose = jax.vjp(_placed_kernels, kernel)

    def of_outputs(chosen, grad):
        """Returns the gradients of the four outputs of each cell, [T, O] each."""
        chosen, grad = chosen.astype(jnp.float32), grad.reshape(chosen.shape)
        return [jnp.where(chosen == i, grad, 0) for i in range(4)]

    def add(sums, group):
        columns, *rest = group
        grads, columns = of_outputs(*rest), columns.reshape(-1, columns.shape[-1])
        ones = jnp.ones(len(columns))
        # Four products, as joining the gradients would take longer than one saves. And
        # a product sums a tall array faster than XLA's reduction.
        more = [columns.T @ grad for grad in grads], [ones @ grad for grad in grads]
        return jax.tree.map(jnp.add, sums, more), None

    quarters = jnp.split(weights, 4, axis=-1)
    zeros = (
        [jnp.zeros_like(part) for part in quarters],
        [jnp.zeros_like(kernel[0, 0, 0])] * 4,
    )
    groups = chosen, grouped(grad, GROUP)
    (grads, sums), _ = jax.lax.scan(add, zeros, (grouped(columns, GROUP), *groups))

    def of_columns(group):
        return sum(g @ part.T for g, part in zip(of_outputs(*group), quarters))

    # Of images nobody asks for it, and then it is not computed.
    grad_columns = jax.lax.map(of_columns, groups).reshape(-1, *columns.shape[1:])
    _, spread = jax.vjp(lambda x: _tile_columns(x, cells), x)
    return (
        *spread(grad_columns[: len(x)]),
        *transpose(jnp.concatenate(grads, axis=-1)),
        sum(sums),
    )


def _placed_kernels(kernel: jax.Array) -> jax.Array:
    """Places [3, 3, C, O] at the four corners of a tile, [16 * C, 4 * O]."""
    placed = [
        jnp.pad(kernel, ((p, 1 - p), (q, 1 - q), (0, 0), (0, 0)))
        for p in (0, 1)
        for q in (0, 1)
    ]
    channels, features = kernel.shape[2:]
    return jnp.stack(placed, axis=3).reshape(16 * channels, 4 * features)


def _tile_columns(x: jax.Array, cells: Cells) -> jax.Array:
    """Returns the pixels of each tile side by side, [B, rows, columns, 16 * C]."""
    h, w = cells.height, cells.width
    x = jnp.pad(x, ((0, 0), (1, h + 1 - x.shape[1]), (1, w + 1 - x.shape[2]), (0, 0)))
    pixels = [x[:, i : i + h : 2, j : j + w : 2] for i in range(4) for j in range(4)]
    return jnp.concatenate(pixels, axis=-1)
