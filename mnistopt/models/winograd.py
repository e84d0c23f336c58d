"""Convolution of many channels, by Winograd's F(2x2, 3x3).

16 products, with 2.25 times fewer multiplications than the convolution has (Lavin and
Gray 2016, arXiv:1509.09308). Their transforms take as long as the products, so they
are arranged for a core's vectors and caches: a few images at a time, and these as
[H, W, B, C], so that a step to the next pixel is a step over all channels of all of
them. With [B, H, W, C] and eight images, training was a tenth slower.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mnistopt.models.cells import Cells, activated, grouped, pooled, ungrouped

# Images worked on at a time: with 1 or 4, training was 2 % slower, with 8, 5 %.
GROUP = 2
# The paper's "G" along one axis: 3 kernel values against the 4 products.
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
# Its "A", 4 products against 2 outputs: [1, 1, 1, 0] and [0, 1, -1, -1]. By an output's
# sign, 1 for the first and -1 for the second, these are _EVEN + sign * _ODD.
_EVEN = np.array([0.5, 1, 0, -0.5], np.float32)
_ODD = np.array([0.5, 0, 1, 0.5], np.float32)
# The product to which each of the four outputs contributes with factor 1.
_SUM = 5


def forward(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, pool: bool
) -> tuple:
    """Returns the layer's output, and what `backward` needs; as `conv.conv3x3`."""
    cells, weights = Cells.over(x, pool), _transformed_kernels(kernel)

    def one(x):
        v = _transformed_inputs(x, cells)
        outputs = _outputs(jnp.einsum("ptc,pco->pto", v, weights))
        shape = *cells, GROUP, kernel.shape[3]
        if pool:
            y, chosen = pooled(outputs, bias)
            return y.reshape(shape).transpose(2, 0, 1, 3), chosen
        whole = _interleaved([output.reshape(shape) for output in outputs])
        return activated(whole[:, : x.shape[1], : x.shape[2]], bias)

    y, chosen = jax.lax.map(one, grouped(x, GROUP))
    return ungrouped(y, len(x)), (x, kernel, chosen)


def backward(pool: bool, saved: tuple, grad: jax.Array) -> tuple:
    """Returns the gradients of input, kernel and bias from that of the output."""
    x, kernel, chosen = saved
    cells = Cells.over(x, pool)
    weights, transpose = jax.vjp(_transformed_kernels, kernel)

    def add(sums, group):
        x, chosen, grad = group
        spread = _spread_chosen(grad, chosen) if pool else _spread(grad, chosen, cells)
        v = _transformed_inputs(x, cells)
        products = jnp.einsum("pto,pco->ptc", spread, weights)
        more = (
            jnp.einsum("ptc,pto->pco", v, spread),
            # A product sums a tall array faster than XLA's reduction.
            jnp.ones(spread.shape[1]) @ spread[_SUM],
        )
        return jax.tree.map(jnp.add, sums, more), _folded(products, cells, x)

    zeros = jnp.zeros_like(weights), jnp.zeros(kernel.shape[3])
    groups = grouped(x, GROUP), chosen, grouped(grad, GROUP)
    sums, grad_x = jax.lax.scan(add, zeros, groups)
    return ungrouped(grad_x, len(x)), *transpose(sums[0]), sums[1]


def _transformed_kernels(kernel: jax.Array) -> jax.Array:
    """Transforms [3, 3, C, O] to [16, C, O]."""
    return jnp.tensordot(np.kron(_G, _G), kernel.reshape(9, *kernel.shape[2:]), 1)


def _transformed_inputs(x: jax.Array, cells: Cells) -> jax.Array:
    """Transforms the tiles of [B, H, W, C] to [16, rows * columns * B, C]."""
    h, w = cells.height, cells.width
    x = x.transpose(1, 2, 0, 3)
    x = jnp.pad(x, ((1, h + 1 - x.shape[0]), (1, w + 1 - x.shape[1]), (0, 0), (0, 0)))
    tiles = [[x[i : i + h : 2, j : j + w : 2] for j in range(4)] for i in range(4)]
    rows = [_input_transform(row) for row in tiles]
    columns = [_input_transform(column) for column in zip(*rows)]
    return jnp.stack(
        [one.reshape(-1, x.shape[3]) for row in zip(*columns) for one in row]
    )


def _input_transform(d):
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _folded(products: jax.Array, cells: Cells, x: jax.Array) -> jax.Array:
    """Transforms back and adds up what overlaps: `_transformed_inputs`, transposed.

    Args:
        products: [16, rows * columns * B, C].
        cells: The grid.
        x: [B, H, W, C], the shape of the result.
    """
    b, h, w, c = x.shape
    tiles = products.reshape(4, 4, *cells, b * c)
    # The last tiles reach over an odd last row or column that a pool leaves out.
    over = (0, max(h - cells.height, 0)), (0, max(w - cells.width, 0))
    tiles = jnp.pad(tiles, ((0, 0), (0, 0), *over, (0, 0)))
    columns = [_folded_axis(row, axis=1) for row in tiles]
    rows = [_folded_axis([column[q] for column in columns], axis=0) for q in (0, 1)]
    planes = [rows[q][p].reshape(*tiles.shape[2:4], b, c) for p, q in _PLACES]
    return _interleaved(planes)[:, :h, :w]


def _folded_axis(v: Sequence[jax.Array], axis: int) -> tuple[jax.Array, jax.Array]:
    """Folds the 4 products of each cell along one axis to its first and second pixel.

    Its neighbours' products reach over its edges.
    """
    first, second, third, fourth = v
    return (
        second - third + fourth - _shifted(fourth, axis, 1),
        second + third - first + _shifted(first, axis, -1),
    )


def _shifted(x: jax.Array, axis: int, by: int) -> jax.Array:
    """Moves an array by one along an axis; a zero comes in, and the last falls out."""
    config = [(by, -by, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    return jax.lax.pad(x, np.float32(0), config)


def _outputs(m: jax.Array) -> list[jax.Array]:
    """Returns the four outputs of the cells, [T, O] each, from the products."""
    m = m.reshape(4, 4, *m.shape[1:])
    rows = m[0] + m[1] + m[2], m[1] - m[2] - m[3]
    return [
        one
        for row in rows
        for one in (row[0] + row[1] + row[2], row[1] - row[2] - row[3])
    ]


def _spread_chosen(grad: jax.Array, chosen: jax.Array) -> jax.Array:
    """Returns the products' gradients, [16, T, O], from those of pooled outputs.

    Args:
        grad: [B, rows, columns, O].
        chosen: The outputs that were the highest, [T, O].
    """
    grad = grad.transpose(1, 2, 0, 3).reshape(chosen.shape)
    chosen = chosen.astype(jnp.float32)
    grad = jnp.where(chosen < 4, grad, 0)
    row = jnp.where(chosen < 2, 1.0, -1.0)
    column = jnp.where((chosen == 0) | (chosen == 2), 1.0, -1.0)
    i = _down(_EVEN) + row * _down(_ODD)
    j = _across(_EVEN) + column * _across(_ODD)
    return (grad * i * j).reshape(16, *grad.shape)


def _spread(grad: jax.Array, passed: jax.Array, cells: Cells) -> jax.Array:
    """As `_spread_chosen`, without a pool.

    Args:
        grad: [B, H, W, O].
        passed: What the ReLU let through, bool [B, H, W, O].
        cells: The grid.
    """
    h, w = cells.height - grad.shape[1], cells.width - grad.shape[2]
    grad = jnp.pad(jnp.where(passed, grad, 0), ((0, 0), (0, h), (0, w), (0, 0)))
    grad = grad.transpose(1, 2, 0, 3)
    first, second = _EVEN + _ODD, _EVEN - _ODD
    planes = [grad[p::2, q::2].reshape(-1, grad.shape[-1]) for p, q in _PLACES]
    left, right = (
        _down(first) * planes[q] + _down(second) * planes[2 + q] for q in (0, 1)
    )
    both = _across(first) * left + _across(second) * right
    return both.reshape(16, *planes[0].shape)


# Of the four outputs of a cell, row and column.
_PLACES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def _interleaved(planes: Sequence[jax.Array]) -> jax.Array:
    """Joins output (p, q) of every cell, [rows, columns, B, C], to [B, H, W, C]."""
    rows = [jnp.stack(planes[i : i + 2], axis=2) for i in (0, 2)]
    joined = jnp.stack(rows, axis=1)  # [rows, 2, columns, 2, B, C]
    h, _, w, _, b, c = joined.shape
    return joined.reshape(2 * h, 2 * w, b, c).transpose(2, 0, 1, 3)


def _down(values: np.ndarray) -> np.ndarray:
    return values.reshape(4, 1, 1, 1)


def _across(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, 4, 1, 1)
