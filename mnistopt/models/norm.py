"""Batch normalization, equal to flax.linen's, with its gradient in closed form."""

import flax.linen as nn
import jax
import jax.numpy as jnp

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
