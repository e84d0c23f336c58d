"""Networks: made from their structures, called, and what is known beforehand."""

import dataclasses
import functools
import math
import pkgutil
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from mnistopt.ambient import PRNG, fixed
from mnistopt.data.official import IMAGE_SIZE, NUM_CLASSES
from mnistopt.models import own
from mnistopt.models.layers import Conv
from mnistopt.models.registry import NETWORKS
from mnistopt.points import Point

# Of MNIST and its relatives.
DIGIT_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class Known:
    """A user's module, identified by its program, and so hashable.

    Fields may be lists, dicts and arrays, and what a module uses may change while its
    class and fields stay: neither is what compiled programs may be kept by.

    Attributes:
        module: The flax module.
        program: The name of what it computes; "" where that is not known.
    """

    module: nn.Module
    program: str

    def _key(self) -> Any:
        return self.program or id(self.module)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def bare(model: Any) -> nn.Module:
    """Returns the flax module of a network."""
    return model.module if isinstance(model, Known) else model


def make_model(point: Point, classes: int = NUM_CLASSES) -> nn.Module:
    """Returns the flax module that a point describes; as `make_network`."""
    return bare(make_network(point, classes))


def make_network(point: Point, classes: int = NUM_CLASSES) -> Any:
    """Returns the network that a point of a grid describes.

    A flax module; for a user's module, `Known`, which says what it computes and has it.

    Args:
        point: A point; only its structure counts.
        classes: How many the data have; a user's module knows them by itself.

    Raises:
        InputError: If it is a user's and cannot be had (see `own.make`).
    """
    structure = point.structure
    if structure.path:
        return Known(own.make(structure), structure.program)
    network = NETWORKS[structure.model]
    kind = pkgutil.resolve_name(network.path)
    values = {key: network.axes[key].clean(value) for key, value in structure.values}
    return kind(**values, classes=classes)


def _arguments(model: Any, dropout: ArrayLike | None, training: bool) -> dict[str, Any]:
    call: own.Call = own.read_call(type(model))  # type: ignore[arg-type]
    arguments: dict[str, Any] = {"dropout": dropout} if call.dropout else {}
    if call.switch:
        arguments[call.switch] = own.SWITCHES[call.switch] is training
    return arguments


def init(model: Any, key: jax.Array, images: jax.Array) -> Any:
    """Returns a network's first variables: its `params`, and others if it has such.

    Args:
        model: The network, here and below a flax module or `Known`.
        key: The key that decides them.
        images: Float32 [B, H, W, C].
    """
    model = bare(model)
    return model.init(key, images, **_arguments(model, None, training=False))


def apply(model: Any, variables: Any, images: jax.Array) -> jax.Array:
    """Returns what a network says of images, as in evaluation.

    Args:
        model: The network.
        variables: The network's parameters, and running statistics if it has any.
        images: Float32 [B, H, W, C].

    Returns:
        Logits, float [B, K].
    """
    model = bare(model)
    logits: Any = model.apply(
        variables, images, **_arguments(model, None, training=False)
    )
    return logits


def apply_training(
    model: Any,
    variables: Any,
    images: jax.Array,
    dropout: ArrayLike,
    key: jax.Array,
) -> tuple[jax.Array, Any]:
    """Returns what a network says in training, and its statistics after it.

    Args:
        model: The network.
        variables: See `apply`.
        images: Float32 [B, H, W, C].
        dropout: Rate, may be traced.
        key: The key for random bits.

    Returns:
        Logits, float [B, K], and the collections other than `params`: {} for most.
    """
    model = bare(model)
    statistics = [name for name in variables if name != "params"]
    returned: Any = model.apply(
        variables,
        images,
        rngs={"dropout": key},
        mutable=statistics or False,
        **_arguments(model, dropout, training=True),
    )
    return returned if statistics else (returned, {})


@fixed()
def variable_shapes(model: nn.Module, shape: tuple[int, ...] = DIGIT_SHAPE) -> Any:
    """Returns the shapes of a network's variables, computing nothing.

    Args:
        model: The network.
        shape: The shape of an image, (H, W, C).

    Returns:
        `jax.ShapeDtypeStruct`s, float32: `params`, and `batch_stats` with BatchNorm.
    """
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return jax.eval_shape(
        lambda key, images: init(model, key, images),
        jax.random.key(0, impl=PRNG),
        images,
    )


def count_params(model: nn.Module, shape: tuple[int, ...] = DIGIT_SHAPE) -> int:
    """Returns the number of trained numbers of a network."""
    params = variable_shapes(model, shape)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def count_bytes(model: nn.Module, shape: tuple[int, ...] = DIGIT_SHAPE) -> int:
    """Returns the bytes of a network in evaluation: parameters, running statistics."""
    leaves = jax.tree.leaves(variable_shapes(model, shape))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def multiply_adds(model: nn.Module, shape: tuple[int, ...] = DIGIT_SHAPE) -> int:
    """Returns the multiplications of one image's forward pass, done directly.

    A measure of work: training takes about three times as much, and Winograd's
    convolution less than half.
    """
    return sum(layer_multiply_adds(model, shape))


def layer_multiply_adds(
    model: nn.Module, shape: tuple[int, ...] = DIGIT_SHAPE
) -> list[int]:
    """Returns the multiplications of each layer, for one image's forward pass.

    Counted are the layers with a kernel, as often as it is applied; biases, pools and
    activations are left out.
    """
    return [math.prod(kernel) * places for kernel, places in _applied(model, shape)]


def count_patches(model: nn.Module, shape: tuple[int, ...] = DIGIT_SHAPE) -> int:
    """Returns how many numbers an image's kernels see, those of several pixels.

    What a convolution of a whole batch, as one product, has in memory.
    """
    return sum(
        math.prod(kernel[:-1]) * places
        for kernel, places in _applied(model, shape)
        if math.prod(kernel[:-2]) > 1
    )


def count_outputs(model: nn.Module, shape: tuple[int, ...] = DIGIT_SHAPE) -> int:
    """Returns how many numbers the layers with a kernel compute of one image."""
    return sum(kernel[-1] * places for kernel, places in _applied(model, shape))


@functools.cache
def _applied(
    model: nn.Module, shape: tuple[int, ...]
) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Returns the shapes of kernels as they are applied, and at how many places."""
    applied: list[tuple[tuple[int, ...], int]] = []

    def note(call, args, kwargs, context):
        result = call(*args, **kwargs)
        module = context.module
        if context.method_name == "__call__" and module.has_variable(
            "params", "kernel"
        ):
            kernel = module.get_variable("params", "kernel")
            inputs = (*args, *kwargs.values())[0]
            # A pool after the convolution drops what has been computed.
            at = result if kernel.ndim > 2 and not isinstance(module, Conv) else inputs
            applied.append((kernel.shape, math.prod(at.shape[:-1])))
        return result

    with nn.intercept_methods(note):
        variable_shapes(model, shape)
    return tuple(applied)
