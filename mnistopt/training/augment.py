"""Changes to training images, each of a traced strength that does nothing at 0.

What is random depends on the key alone and is scaled by the strengths, so that the
points of a seed see the same draws. `Hparams` says what each strength means.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mnistopt.hparams import STRENGTHS, WIDEST, Hparams
from mnistopt.models import forms
from mnistopt.models.cells import grouped, ungrouped
from mnistopt.models.layers import random_bits

# Smoothness of an elastic deformation, the standard deviation of a Gaussian in pixels:
# Simard, Steinkraus and Platt 2003, "Best practices for convolutional neural networks",
# section 2.
SMOOTHNESS = 4.0
# Images that share a draw, and on a CPU are changed at a time.
GROUP = 8
# How far strokes are taken to what is left of them a pixel thinner at each side. Of
# MNIST's, two to three pixels wide, that is nothing.
THINNEST = 0.5
# In the order in which they came: each has its own key. A program is known by its
# stages, so what is added gets a stage of its own.
STAGES = (
    *("affine", "elastic", "erase", "blur", "contrast", "noise", "stroke", "aspect"),
    "spare",
)


def augment(
    stages: tuple[str, ...],
    images: jax.Array,
    hparams: Hparams,
    key: jax.Array,
    within: tuple[float, float] = (0.0, 1.0),
) -> jax.Array:
    """Returns images as a network is to see them in training.

    They are deformed (one bilinear sampling for all of it, what comes in is 0), drawn
    with another pen, a square is set to 0, and they are blurred, paled, and made noisy,
    in this order.

    Args:
        stages: The members of `STAGES` to apply; others cost nothing.
        images: Float32, [B, H, W, C].
        hparams: Strengths, and the share of images that each spares, float32 scalars.
        key: The key for all draws.
        within: The least and largest that pixels may be.

    Returns:
        Float32 of the same shape and range.
    """
    groups = grouped(images, GROUP)
    keys = jax.random.split(key, len(groups))

    def change(images, key):
        return _augment(stages, images, hparams, key, within)

    if forms.in_loops(forms.form()):
        # What a loop has written is not computed again: XLA for CPUs would do so for
        # each of the four tiles of a convolution that read a pixel.
        changed = jax.lax.map(lambda group: change(*group), (groups, keys))
    else:
        # Of fewer bits, a blur of strength 0 would change pixels.
        with jax.default_matmul_precision("float32"):
            changed = jax.vmap(change)(groups, keys)
    return ungrouped(changed, len(images))


def _augment(
    stages: tuple[str, ...],
    images: jax.Array,
    hparams: Hparams,
    key: jax.Array,
    within: tuple[float, float],
) -> jax.Array:
    """Does what `augment` says to a few images."""
    keys = dict(zip(STAGES, jax.random.split(key, len(STAGES))))
    if "spare" in stages:
        hparams = _spare(hparams, len(images), keys["spare"])
    if {"affine", "aspect", "elastic"} & set(stages):
        points = _centred(images)
        if {"affine", "aspect"} & set(stages):
            points = _affine(points, len(images), hparams, keys["affine"])
        if "elastic" in stages:
            moves = elastic_moves(images.shape, keys["elastic"])
            strength = _by_image(hparams.elastic, 3)
            points = [p + strength * m for p, m in zip(points, moves)]
        images = _sample(images, *points)
    if "stroke" in stages:
        images = _redraw(images, hparams.stroke, keys["stroke"])
    if "erase" in stages:
        images = _erase(images, hparams.erase, keys["erase"])
    if "blur" in stages:
        images = _blur(images, hparams.blur, keys["blur"])
    if "contrast" in stages:
        images = _pale(images, hparams.contrast, keys["contrast"], within)
    if "noise" in stages:
        images = _add_noise(images, hparams.noise, keys["noise"], within)
    return images


def _spare(hparams: Hparams, batch: int, key: jax.Array) -> Hparams:
    """Returns strengths by image, [B]: of some images, drawn for each strength, 0."""
    draws = uniform(key, (len(STRENGTHS), batch))
    # As likely as `spare`: a draw is uniform in [-1, 1).
    changed = draws >= 2 * hparams.spare - 1
    return hparams._replace(
        **{
            name: jnp.where(one, getattr(hparams, name), 0.0)
            for name, one in zip(STRENGTHS, changed)
        }
    )


def _by_image(strength: jax.Array, axes: int) -> jax.Array:
    """Returns a strength, a scalar or [B], as an array of so many axes."""
    return jnp.reshape(strength, (-1,) + (1,) * (axes - 1))


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws float32 in [-1, 1), multiples of 2^-23."""
    bits = random_bits(key, shape) >> 8
    return bits.astype(jnp.float32) * 2**-23 - 1


def _centred(images: jax.Array) -> list[jax.Array]:
    """Returns row and column of each pixel, from the middle: [1, H, 1], [1, 1, W]."""
    height, width = images.shape[1:3]
    rows, columns = (jnp.arange(n) - (n - 1) / 2 for n in (height, width))
    return [rows.reshape(1, -1, 1), columns.reshape(1, 1, -1)]


def affine_draws(batch: int, hparams: Hparams, key: jax.Array) -> dict[str, jax.Array]:
    """Draws how each image is moved, turned, enlarged, sheared and widened.

    Returns:
        Float32 [B] each, uniform in plus or minus the strength: `down` and `right`, in
        pixels; `turn` and `shear`, in radians; and `zoom` and `aspect`, factors around
        1.
    """
    down, right, turn, zoom, shear, aspect = uniform(key, (6, batch))
    return {
        "down": hparams.shift * down,
        "right": hparams.shift * right,
        "turn": jnp.deg2rad(hparams.rotate) * turn,
        "zoom": 1 + hparams.zoom * zoom,
        "shear": jnp.deg2rad(hparams.shear) * shear,
        "aspect": 1 + hparams.aspect * aspect,
    }


def _affine(
    points: list[jax.Array], batch: int, hparams: Hparams, key: jax.Array
) -> list[jax.Array]:
    """Returns where in its image each pixel comes from, [B, H, W] each."""
    draws = affine_draws(batch, hparams, key)
    numbers = {
        "down": draws["down"],
        "right": draws["right"],
        "sine": jnp.sin(draws["turn"]),
        "cosine": jnp.cos(draws["turn"]),
        "shear": jnp.tan(draws["shear"]),
        "zoom": 1 / draws["zoom"],
        "aspect": draws["aspect"],
    }
    by = {name: number.reshape(-1, 1, 1) for name, number in numbers.items()}
    row, column = points[0] - by["down"], points[1] - by["right"]
    row, column = (
        by["cosine"] * row - by["sine"] * column,
        by["sine"] * row + by["cosine"] * column,
    )
    column = column + by["shear"] * row
    return [row * by["zoom"] * by["aspect"], column * by["zoom"] / by["aspect"]]


def elastic_moves(shape: tuple[int, ...], key: jax.Array) -> jax.Array:
    """Draws a smooth field of displacements, each of mean 0 and variance 1.

    Uniform numbers on a coarse grid, smoothed by Gaussians: as products, a hundredth
    of the work of smoothing numbers at each pixel.

    Args:
        shape: The shape of the images, [B, H, W, C].
        key: The key for the draws.

    Returns:
        Down and right, float32 [2, B, H, W].
    """
    rows, columns = _bumps(shape[1]), _bumps(shape[2])
    grid = 2, shape[0], rows.shape[1], columns.shape[1]
    # A uniform number in [-1, 1) has the variance 1/3.
    coarse = 3**0.5 * uniform(key, grid)
    return jnp.einsum("hi,dbij,wj->dbhw", rows, coarse, columns)


@functools.cache
def _bumps(size: int) -> np.ndarray:
    """Returns Gaussians around points as far apart as they are wide, [size, G].

    Rows have unit length, so that variances stay.
    """
    reach = 2.5 * SMOOTHNESS
    places = np.arange(-reach, size + reach, SMOOTHNESS)
    distance = np.arange(size)[:, None] - places
    bumps = np.exp(-(distance**2) / (2 * SMOOTHNESS**2))
    return (bumps / np.linalg.norm(bumps, axis=1, keepdims=True)).astype(np.float32)


def _sample(images: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """Reads images between their pixels, bilinearly; outside of them is 0.

    Args:
        images: [B, H, W, C].
        row: Where to read, from the middle, [B, H, W] or what broadcasts to it.
        column: The column of each sample, in the same form.
    """
    batch, height, width, channels = images.shape
    # From one pixel outside on, all is 0.
    row = jnp.clip(row + (height - 1) / 2, -1, height) + 1
    column = jnp.clip(column + (width - 1) / 2, -1, width) + 1
    padded = jnp.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)))
    padded = padded.reshape(batch, -1, channels)
    top, left = jnp.floor(row), jnp.floor(column)
    below, beside = (row - top)[..., None], (column - left)[..., None]
    first = (top * (width + 3) + left).astype(jnp.int32)
    first = jnp.broadcast_to(first, (batch, height, width)).reshape(batch, -1, 1)

    def at(offset):
        moved = jnp.take_along_axis(padded, first + offset, axis=1, mode="clip")
        return moved.reshape(images.shape)

    above = (1 - beside) * at(0) + beside * at(1)
    under = (1 - beside) * at(width + 3) + beside * at(width + 4)
    return (1 - below) * above + below * under


def _redraw(images: jax.Array, strength: jax.Array, key: jax.Array) -> jax.Array:
    """Widens light strokes, or thins them, as another pen would have drawn them.

    By pixels at each side that are uniform up to `strength`: steps of a maximum over
    neighbours, alternately the four and the eight, which together make an octagon; of
    the last step a share. Half of the images are thinned instead: mixed, by up to
    `THINNEST`, and no more than `strength`, with the minimum over four neighbours.
    """
    draw, strength = uniform(key, (len(images), 1, 1, 1)), _by_image(strength, 4)
    wider, drawn = strength * draw, images
    for step in range(WIDEST):
        share = jnp.clip(wider - step, 0, 1)
        drawn += share * (_extreme(jnp.maximum, drawn, corners=step % 2 == 1) - drawn)
    share = jnp.minimum(strength, THINNEST) * jnp.maximum(-draw, 0)
    return drawn + share * (_extreme(jnp.minimum, images, corners=False) - images)


def _extreme(of, images: jax.Array, corners: bool) -> jax.Array:
    """Returns the highest or lowest of each pixel and its four or eight neighbours."""
    height, width = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows, columns = range(3), range(3)
    views = [
        padded[:, i : i + height, j : j + width]
        for i in rows
        for j in columns
        if corners or 1 in (i, j)
    ]
    return functools.reduce(of, views)


def _erase(images: jax.Array, strength: jax.Array, key: jax.Array) -> jax.Array:
    """Sets a square to 0 (cutout, DeVries and Taylor 2017, arXiv:1708.04552).

    Its side is uniform up to `strength` of the shorter one of the image, its middle
    anywhere.
    """
    batch, height, width, _ = images.shape
    side, down, right = uniform(key, (3, batch)).reshape(3, -1, 1, 1) / 2
    reach = _by_image(strength, 3) * (side + 0.5) * min(height, width) / 2
    row, column = _centred(images)
    away = jnp.maximum(abs(row - down * height), abs(column - right * width))
    return jnp.where((away < reach)[..., None], 0.0, images)


def _blur(images: jax.Array, strength: jax.Array, key: jax.Array) -> jax.Array:
    """Blurs by a Gaussian of a width uniform up to `strength` pixels.

    Along each axis a product, which XLA does not fuse with what follows and repeat.
    """
    sigma = _by_image(strength, 3) * (uniform(key, (len(images), 1, 1)) + 1) / 2

    def weights(size):
        away = np.arange(size) - np.arange(size)[:, None]
        # Of width 0, a pixel alone counts.
        weights = jnp.exp(-(away**2) / (2 * sigma**2 + 1e-12))
        return weights / weights[:, size // 2].sum(axis=1)[:, None, None]

    rows, columns = weights(images.shape[1]), weights(images.shape[2])
    return jnp.einsum("bhi,bijc,bwj->bhwc", rows, images, columns)


def _pale(
    images: jax.Array,
    strength: jax.Array,
    key: jax.Array,
    within: tuple[float, float],
) -> jax.Array:
    """Mixes in a grey: a share uniform up to `strength`, of any brightness."""
    share, grey = (uniform(key, (2, len(images), 1, 1, 1)) + 1) / 2
    share, (low, high) = _by_image(strength, 4) * share, within
    grey = low + (high - low) * grey if within != (0, 1) else grey
    return (1 - share) * images + share * grey


def _add_noise(
    images: jax.Array,
    strength: jax.Array,
    key: jax.Array,
    within: tuple[float, float],
) -> jax.Array:
    """Adds noise of a standard deviation uniform up to `strength`, within a range.

    Of each pixel it is the sum of four uniform bytes, nearly normal: one draw of bits
    where a normal number would take a logarithm or two.
    """
    sizes, pixels = jax.random.split(key)
    size = _by_image(strength, 4) * (uniform(sizes, (len(images), 1, 1, 1)) + 1) / 2
    bits = random_bits(pixels, images.shape)
    total = sum(((bits >> shift) & 255).astype(jnp.float32) for shift in (0, 8, 16, 24))
    # A byte's mean is 255/2, and its variance (256^2 - 1) / 12.
    normal = (total - 510) / ((256**2 - 1) / 3) ** 0.5
    return jnp.clip(images + size * normal, *within)
