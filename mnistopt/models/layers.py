"""The networks' layers, fast with a replica axis and equal to flax's own.

`flax.linen`'s layers are the oracle in the tests, and their parameters have the same
names and shapes.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mnistopt.models.conv import conv3x3

# The share of the running statistics that stays when a batch's are added: PyTorch's
# default `momentum` of 0.1 is the share that is new.
MOMENTUM = 0.9
# Added to the variance, the "epsilon" of the paper's Algorithm 1: PyTorch's default.
EPSILON = 1e-5


class BatchNorm(nn.Module):
    """Normalizes each channel by its mean and variance over everything else.

    Ioffe and Szegedy 2015 (arXiv:1502.03167), Algorithms 1 and 2. Equal to
    `nn.BatchNorm(momentum=0.9, epsilon=1e-5)`, with its variables: `scale` and `bias`
    [C] in `params`, the running `mean` and `var` [C] in `batch_stats`.
    """

    @nn.compact
    def __call__(self, x: jax.Array, training: bool) -> jax.Array:
        """Normalizes float [..., C].

        Args:
            x: Activations.
            training: Whether by the statistics of this batch, which then take their
                share of the running ones, if those are mutable; otherwise by these.
        """
        shape = x.shape[-1:]
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones_init(), shape)
        bias = self.param("bias", nn.initializers.zeros_init(), shape)
        if not training:
            return _affine(x, mean.value, var.value, scale, bias)
        y, *batch = normalize(x, scale, bias)
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            for running, new in zip((mean, var), batch):
                running.value = MOMENTUM * running.value + (1 - MOMENTUM) * new
        return y


@jax.custom_vjp
def normalize(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple:
    """Normalizes float [..., C] by its own statistics, then scales and shifts.

    Returns:
        Float [..., C]; and mean and variance [C], which pass no gradient on.
    """
    return _forward(x, scale, bias)[0]


def _forward(x, scale, bias):
    others = tuple(range(x.ndim - 1))
    # XLA's own reductions: here, sums by a product with ones were three times slower.
    mean = x.mean(others)
    # As in flax, x is read once; rounding could make the difference negative.
    var = jnp.maximum((x * x).mean(others) - mean * mean, 0)
    return (_affine(x, mean, var, scale, bias), mean, var), (x, scale, mean, var)


def _backward(saved, grads):
    """Returns the gradients: those at the end of the paper's section 3, put together.

    With n = (x - mean) / deviation, that of x is scale / deviation times what is left
    of y's without its mean and its part along n.
    """
    x, scale, mean, var = saved
    grad, *_ = grads
    others = tuple(range(x.ndim - 1))
    share, factor = x.shape[-1] / x.size, jax.lax.rsqrt(var + EPSILON)
    grad_bias = grad.sum(others)
    grad_scale = ((grad * x).sum(others) - grad_bias * mean) * factor
    along = grad_scale * factor * share
    rest = grad - x * along - (grad_bias * share - mean * along)
    return scale * factor * rest, grad_scale, grad_bias


normalize.defvjp(_forward, _backward)


def _affine(x, mean, var, scale, bias):
    # Never x - mean: XLA would keep it for the backward pass, a tenth slower. And the
    # variance has lost more to rounding already, where the mean is large beside it.
    factor = jax.lax.rsqrt(var + EPSILON) * scale
    return x * factor + (bias - mean * factor)


class Conv(nn.Module):
    """3x3 convolution ("same", stride 1), ReLU, and 2x2 max pool if asked.

    Equal to `nn.Conv`, `nn.relu` and `nn.max_pool` in that order, with the same
    parameters: `kernel` [3, 3, C, O] and `bias` [O]. Normalized, it is equal to
    `nn.Conv` without bias, `nn.max_pool`, `BatchNorm` and `nn.relu` in that order: the
    pool leaves a quarter to normalize, by statistics of the values that remain.

    Attributes:
        features: O, the number of kernels.
        pool: Whether a 2x2 max pool with stride 2 follows.
        norm: "batch" for batch normalization, or "none".
        slope: The ReLU's slope below 0.
    """

    features: int
    pool: bool
    norm: str = "none"
    slope: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, training: bool = False) -> jax.Array:
        """Maps float [B, H, W, C] to [B, H, W, O], or [B, H // 2, W // 2, O].

        Args:
            x: Activations.
            training: See `BatchNorm`.
        """
        kernel = self.param(
            "kernel",
            nn.initializers.lecun_normal(),
            (3, 3, x.shape[-1], self.features),
        )
        if self.norm == "batch":
            x = conv3x3(x, kernel, None, self.pool)
            return leaky(BatchNorm()(x, training), self.slope)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
        if self.slope:
            return leaky(conv3x3(x, kernel, None, self.pool) + bias, self.slope)
        return conv3x3(x, kernel, bias, self.pool)


def leaky(x: jax.Array, slope: float) -> jax.Array:
    """ReLU whose values below 0 are not 0, but `slope` times as large."""
    return nn.leaky_relu(x, slope) if slope else nn.relu(x)


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies [B, C] by [C, O]."""
    return x @ kernel


def _product_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _product_backward(saved, grad):
    x, kernel = saved
    # Of `x.T`, XLA would make a copy first, and draw the dropout's bits again for it:
    # the MLP 128x128 trained 5 to 9 % slower.
    return grad @ kernel.T, jnp.einsum("bc,bo->co", x, grad)


product.defvjp(_product_forward, _product_backward)


class Dense(nn.Module):
    """Dense layer, equal to `nn.Dense` and with its parameters.

    JAX's own gradient of the kernel is the transpose of what the optimizer then reads
    beside the kernel and its moments, element by element across the rows. In the
    kernel's own layout, the MLP 128x128 trained 20 to 25 % faster.

    Attributes:
        features: O, the number of units.
        use_bias: Whether there is a bias, which a normalization that follows undoes.
    """

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps float [B, C] to [B, O]."""
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features)
        )
        y = product(x, kernel)
        if not self.use_bias:
            return y
        return y + self.param("bias", nn.initializers.zeros_init(), (self.features,))


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws 32 random bits per element, for dropout: cheap, and the same everywhere.

    A hash of each element's position, with the key mixed in twice. Threefry, JAX's
    own generator, is made to be safe from adversaries and cost a sixth of the MLP's
    training time; `rbg` is cheap too, but its bits depend on the backend and, under
    `vmap`, on the neighbours.

    Args:
        key: A typed key of two words, as `jax.random.key` makes them.
        shape: The shape of the result; fewer than 2^32 elements.

    Returns:
        uint32 of that shape.
    """
    first, second = jax.random.key_data(key)
    position = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return _mixed(_mixed(position ^ first) + second)


def _mixed(x: jax.Array) -> jax.Array:
    """Hashes uint32 one to one; each bit in flips each bit out half of the time.

    "lowbias32" of C. Wellons, "Prospecting for Hash Functions" (2018), public domain.
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


class Dropout(nn.Module):
    """Dropout whose rate may be traced (`nn.Dropout` tests it in Python).

    An activation is kept where 24 random bits reach `rate`, so that the replicas of
    a seed can share one draw and each threshold it by its own rate. Those kept are
    divided by the chance of it, to the bit: means stay, at rates near 1 too.
    """

    @nn.compact
    def __call__(self, x: jax.Array, rate: ArrayLike | None) -> jax.Array:
        """Drops activations of `x` (any shape), scaling the others by 1 / (1 - rate).

        Args:
            x: Activations, float.
            rate: Chance of being dropped, in [0, 1), rounded up to 2^-24; None, as in
                evaluation, returns `x` and needs no key.
        """
        if rate is None:
            return x
        # 24 bits are what a float32 holds exactly.
        dropped = jnp.ceil(jnp.float32(rate) * 2**24)
        bits = random_bits(self.make_rng("dropout"), x.shape) >> 8
        kept = bits >= dropped.astype(jnp.uint32)
        return jnp.where(kept, x * (1 / (1 - dropped * 2**-24)), 0)
