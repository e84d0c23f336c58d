"""3x3 convolution, bias, ReLU and, if asked, 2x2 max pool, with one gradient.

`jax.vmap` over the kernels of `lax.conv` makes a grouped convolution, which XLA runs
more than ten times slower than a matrix product on a CPU, and whose backward pass is
slow on GPUs too (https://github.com/jax-ml/jax/issues/13800). Here a convolution is a
batched matrix product, and stays one under `vmap`.

The output is worked on in 2x2 **cells**, each of which sees a 4x4 **tile** of the
input. A cell's four outputs come as four arrays, so that pooling is their maximum and
its gradient a choice among them. The product is one of

- Winograd's F(2x2, 3x3) (Lavin and Gray 2016, arXiv:1509.09308): 16 products, with
  2.25 times fewer multiplications than the convolution has;
- for one input channel, where those products would be of depth 1, the tiles' 16 pixels
  times a 16 x 4O matrix that holds the kernels in their four positions.

"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Tiles = list[list[jax.Array]]

# Images worked on at a time, so that what is computed stays in a core's cache: with 16,
# training was a tenth slower.
GROUP = 8
# The transforms of F(2x2, 3x3), "G", "B" and "A" in the paper, over both axes at once:
# 9 kernel values, 16 tile pixels and 4 outputs against the 16 products.
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_A = np.array([[1, 0], [1, 1], [1, -1], [0, -1]], np.float32)
_G2, _A2 = np.kron(_G, _G), np.kron(_A, _A)
# The product to which each of the four outputs contributes with factor 1.
_SUM = 5


class Cells(NamedTuple):
    """The grid of cells over an image of some size."""

    rows: int
    columns: int

    @staticmethod
    def over(x: jax.Array, pool: bool) -> "Cells":
        """Covers x [B, H, W, C]; a pool cuts an odd last row or column."""
        return Cells(*((n if pool else n + 1) // 2 for n in x.shape[1:3]))


def _tiles(x: jax.Array, cells: Cells) -> Tiles:
    """Gathers [B, H, W, C] into pixel (i, j) of every tile, [B, rows, columns, C]."""
    h, w = 2 * cells.rows, 2 * cells.columns
    x = jnp.pad(x, ((0, 0), (1, h + 1 - x.shape[1]), (1, w + 1 - x.shape[2]), (0, 0)))
    return [[x[:, i : i + h : 2, j : j + w : 2] for j in range(4)] for i in range(4)]


def _interleave(planes: Tiles) -> jax.Array:
    """Joins output (p, q) of every cell, [B, rows, columns, C], to images."""
    joined = jnp.stack([jnp.stack(row, axis=3) for row in planes], axis=2)
    b, h, _, w, _, c = joined.shape
    return joined.reshape(b, 2 * h, 2 * w, c)


def _fold(tiles: Tiles) -> jax.Array:
    """Adds tiles up where they overlap: the transpose of `_tiles`, uncropped."""

    def overlap(near, far, axis):
        """Adds rows 0 and 1 of a tile to rows 2 and 3 of the one before it."""
        before, after = [(0, 0)] * 4, [(0, 0)] * 4
        before[axis], after[axis] = (1, 0), (0, 1)
        return jnp.pad(near, after) + jnp.pad(far, before)

    return _interleave(
        [
            [
                overlap(
                    overlap(tiles[p][q], tiles[p + 2][q], 1),
                    overlap(tiles[p][q + 2], tiles[p + 2][q + 2], 1),
                    2,
                )
                for q in (0, 1)
            ]
            for p in (0, 1)
        ]
    )


def _combine(matrix: np.ndarray, arrays: Sequence[jax.Array]) -> jax.Array:
    """Multiplies N arrays by an M x N matrix: [M, ...].

    XLA makes one pass of this, where sums written out and stacked take one each and a
    concatenation.
    """
    columns = matrix.T.reshape(*matrix.T.shape, *(1,) * arrays[0].ndim)
    return functools.reduce(jnp.add, [f * a for f, a in zip(columns, arrays)])


def _flat(tiles: Tiles) -> list[jax.Array]:
    return [array for row in tiles for array in row]


def _square(arrays: Sequence[jax.Array]) -> Tiles:
    side = int(len(arrays) ** 0.5)
    return [list(arrays[side * i : side * (i + 1)]) for i in range(side)]


def _both_ways(transform: Callable, tiles: Tiles) -> Tiles:
    """Applies a transform of lists to the rows, then to the columns of a tile."""
    rows = [transform(row) for row in tiles]
    columns = [transform(list(column)) for column in zip(*rows)]
    return [list(row) for row in zip(*columns)]


def _output_transform(m):
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _input_transform(d):
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def _input_transpose(v):
    return [v[0], v[1] - v[2] + v[3], v[1] + v[2] - v[0], -v[3]]


def _transformed_kernels(kernel: jax.Array) -> jax.Array:
    """Transforms [3, 3, C, O] to [16, C, O]."""
    return jnp.tensordot(_G2, kernel.reshape(9, *kernel.shape[2:]), 1)


def _transformed_inputs(x: jax.Array, cells: Cells) -> jax.Array:
    """Transforms the tiles of [B, H, W, C] to [16, T, C]."""
    tiles = _flat(_both_ways(_input_transform, _tiles(x, cells)))
    return jnp.stack([tile.reshape(-1, x.shape[3]) for tile in tiles])


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
    """Returns the pixels of each tile side by side, [T, 16 * C]."""
    columns = jnp.concatenate(_flat(_tiles(x, cells)), axis=-1)
    return columns.reshape(-1, columns.shape[-1])


def _winograd(x, cells, weights):
    """Returns the four outputs of the cells, [T, O] each; `weights` is [16, C, O]."""
    products = jnp.einsum("ptc,pco->pto", _transformed_inputs(x, cells), weights)
    return _flat(_both_ways(_output_transform, _square(list(products))))


def _winograd_gradients(x, cells, weights, grads):
    """Returns the gradients of x, weights and bias from those of the four outputs."""
    spread = _combine(_A2, grads)
    grad_weights = jnp.einsum("ptc,pto->pco", _transformed_inputs(x, cells), spread)
    products = jnp.einsum("pto,pco->ptc", spread, weights)
    tiles = products.reshape(16, x.shape[0], *cells, x.shape[3])
    folded = _fold(_both_ways(_input_transpose, _square(list(tiles))))
    return _cropped(folded, x), grad_weights, spread[_SUM].sum(axis=0)


def _direct(x, cells, weights):
    """As `_winograd`, by one product of the tiles' pixels with [16 * C, 4 * O]."""
    return jnp.split(_tile_columns(x, cells) @ weights, 4, axis=-1)


def _direct_gradients(x, cells, weights, grads):
    """As `_winograd_gradients`, by one product each."""
    together = jnp.concatenate(grads, axis=-1)
    columns = (together @ weights.T).reshape(x.shape[0], *cells, 16, x.shape[3])
    folded = _fold(_square([columns[..., i, :] for i in range(16)]))
    grad_weights = _tile_columns(x, cells).T @ together
    # A product sums such a tall array faster than XLA's reduction.
    sums = jnp.ones(len(together)) @ together
    return _cropped(folded, x), grad_weights, sums.reshape(4, -1).sum(axis=0)


def _cropped(folded, x):
    return folded[:, 1 : 1 + x.shape[1], 1 : 1 + x.shape[2]]


def _pooled(outputs, bias):
    """Returns the cells' pooled outputs, and where their gradient goes.

    0 to 3 is the output of that number, 4 is none: the ReLU lets nothing through. As
    float32, because XLA chooses by integers an element at a time: with them the CNN
    32x64/128 trained a tenth slower.
    """
    first, second, third, fourth = outputs
    highest = jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth))
    # The same numbers as bias and ReLU before the pool, with a quarter of the work.
    y = jax.nn.relu(highest + bias)
    chosen = jnp.where(third == highest, 2, 3)
    chosen = jnp.where(second == highest, 1, chosen)
    chosen = jnp.where(first == highest, 0, chosen)
    return y, jnp.where(y > 0, chosen, 4).astype(jnp.float32)


def _grouped(x):
    """Splits [B, ...] to [N, GROUP, ...], the last group filled up with zeros."""
    x = jnp.pad(x, ((0, -x.shape[0] % GROUP), *((0, 0),) * (x.ndim - 1)))
    return x.reshape(-1, GROUP, *x.shape[1:])


def _ungrouped(x, batch):
    return x.reshape(-1, *x.shape[2:])[:batch]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def conv3x3(x: jax.Array, kernel: jax.Array, bias: jax.Array, pool: bool) -> jax.Array:
    """Convolves (3x3, "same", stride 1), adds bias, applies ReLU, pools (max, 2x2).

    Args:
        x: Float32 [B, H, W, C].
        kernel: Float32 [3, 3, C, O].
        bias: Float32 [O].
        pool: Whether to pool.

    Returns:
        Float32 [B, H, W, O], or [B, H // 2, W // 2, O] pooled: equal to the four
        in turn, within rounding. Where a cell's maximum is reached more than once,
        the gradient goes to the first in row-major order, as in XLA.
    """
    return _forward(x, kernel, bias, pool)[0]


def _methods(x):
    if x.shape[-1] == 1:
        return _placed_kernels, _direct, _direct_gradients
    return _transformed_kernels, _winograd, _winograd_gradients


def _forward(x, kernel, bias, pool):
    transform, outputs_of, _ = _methods(x)
    weights, cells = transform(kernel), Cells.over(x, pool)

    def one(x):
        outputs = outputs_of(x, cells, weights)
        shape = x.shape[0], *cells, kernel.shape[3]
        if pool:
            y, chosen = _pooled(outputs, bias)
            return y.reshape(shape), chosen
        planes = [output.reshape(shape) for output in outputs]
        whole = _interleave(_square(planes))[:, : x.shape[1], : x.shape[2]]
        y = jax.nn.relu(whole + bias)
        return y, y > 0

    y, chosen = jax.lax.map(one, _grouped(x))
    y = _ungrouped(y, x.shape[0])
    return y, (x, kernel, chosen)


def _backward(pool, saved, grad):
    x, kernel, chosen = saved
    transform, _, gradients_of = _methods(x)
    weights, transpose = jax.vjp(transform, kernel)
    cells = Cells.over(x, pool)

    def add(sums, group):
        x, chosen, grad = group
        if pool:
            grads = [jnp.where(chosen == i, grad, 0) for i in range(4)]
        else:
            h, w = 2 * cells.rows - x.shape[1], 2 * cells.columns - x.shape[2]
            grad = jnp.pad(jnp.where(chosen, grad, 0), ((0, 0), (0, h), (0, w), (0, 0)))
            grads = [grad[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        grads = [one.reshape(-1, one.shape[-1]) for one in grads]
        grad_x, *more = gradients_of(x, cells, weights, grads)
        return jax.tree.map(jnp.add, sums, tuple(more)), grad_x

    zeros = jnp.zeros_like(weights), jnp.zeros(kernel.shape[3])
    # In the shape of `chosen` outside the loop: inside, XLA would fuse reshape and
    # slice into every reader, element by element.
    grad = _grouped(grad).reshape(chosen.shape)
    groups = _grouped(x), chosen, grad
    (grad_weights, grad_bias), grad_x = jax.lax.scan(add, zeros, groups)
    return _ungrouped(grad_x, x.shape[0]), transpose(grad_weights)[0], grad_bias


conv3x3.defvjp(_forward, _backward)
