"""Networks made from their structures, and what is known of them beforehand."""

import contextlib
import functools
import inspect
import math
import pkgutil
import traceback
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mnistopt.ambient import PRNG, fixed
from mnistopt.data.official import IMAGE_SIZE, NUM_CLASSES
from mnistopt.errors import InputError
from mnistopt.models import own
from mnistopt.models.call import Known, apply, apply_training, bare, init
from mnistopt.models.layers import Conv
from mnistopt.models.program import BATCH, Unknowable, hash_traces
from mnistopt.models.registry import NETWORKS
from mnistopt.points import Point

# Flax's name for what BatchNorm keeps.
STATISTICS = "batch_stats"
# Of MNIST and its relatives.
DIGIT_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 1)


def make_model(point: Point, classes: int = NUM_CLASSES) -> nn.Module:
    """Returns the flax module that a point describes; as `make_network`."""
    return bare(make_network(point, classes))


def make_network(point: Point, classes: int = NUM_CLASSES) -> Any:
    """Returns the network that a point of a grid describes.

    A flax module; of one's own `Known`, which says what it computes and has it.

    Args:
        point: Of which the structure counts.
        classes: How many the data have; a module of one's own knows them by itself.

    Raises:
        InputError: If it is one's own and cannot be had (see `own.make`).
    """
    structure = point.structure
    if structure.path:
        return Known(own.make(structure), structure.program)
    network = NETWORKS[structure.model]
    kind = pkgutil.resolve_name(network.path)
    values = {key: network.axes[key].clean(value) for key, value in structure.values}
    return kind(**values, classes=classes)


@fixed()
def variable_shapes(model: nn.Module, shape: tuple[int, ...] = DIGIT_SHAPE) -> Any:
    """Returns the shapes of a network's variables, computing nothing.

    Args:
        model: The network.
        shape: Of an image, (H, W, C).

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


def count_outputs(model: nn.Module, shape: tuple[int, ...] = DIGIT_SHAPE) -> int:
    """Returns how many numbers the layers with a kernel compute of one image."""
    return sum(kernel[-1] * places for kernel, places in _applied(model, shape))


@functools.cache
def _applied(
    model: nn.Module, shape: tuple[int, ...]
) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Returns the shapes of kernels as they are applied, and at how many places."""
    found: list[tuple[tuple[int, ...], int]] = []

    def note(call, args, kwargs, context):
        result = call(*args, **kwargs)
        module = context.module
        if context.method_name == "__call__" and module.has_variable(
            "params", "kernel"
        ):
            kernel = module.get_variable("params", "kernel")
            given = (*args, *kwargs.values())[0]
            # A pool after the convolution drops what has been computed.
            at = result if kernel.ndim > 2 and not isinstance(module, Conv) else given
            found.append((kernel.shape, math.prod(at.shape[:-1])))
        return result

    with nn.intercept_methods(note):
        variable_shapes(model, shape)
    return tuple(found)


@fixed()
def trace(model: nn.Module, shape: tuple[int, ...], classes: int) -> tuple[str, Any]:
    """Traces a module of one's own, and checks that it can be trained as replicas are.

    Computes nothing.

    Args:
        model: The network.
        shape: Of an image, (H, W, C).
        classes: K, of the data.

    Returns:
        The hash of its first variables, its evaluation, and its gradient in training;
        and the shapes of its variables.

    Raises:
        InputError: If it cannot; says why, and in which line of its source.
    """
    name = type(model).__name__
    images = jax.ShapeDtypeStruct((BATCH, *shape), jnp.float32)
    rate = jax.ShapeDtypeStruct((), jnp.float32)

    def train(variables, images, rate, key):
        def total(params):
            now = {**variables, "params": params}
            logits, statistics = apply_training(model, now, images, rate, key)
            return logits.sum(), ({**now, **statistics}, logits)

        return jax.grad(total, has_aux=True)(variables["params"])

    with _explaining(model, shape):
        key = jax.random.key(0, impl=PRNG)
        first, variables = _traced(lambda k, x: init(model, k, x), key, images)
        _check_collections(name, variables)
        said, logits = _traced(lambda v, x: apply(model, v, x), variables, images)
        if getattr(logits, "shape", None) != (BATCH, classes):
            found = getattr(logits, "shape", type(logits).__name__)
            raise InputError(
                f"{name} returns {found} for {BATCH} images; expected are logits of "
                f"shape ({BATCH}, {classes}), one for each of the {classes} classes of "
                "the data"
            )
        # Whatever is made of the number of images shows with another number.
        fewer = jax.ShapeDtypeStruct((BATCH - 1, *shape), jnp.float32)
        other = _traced(lambda v, x: apply(model, v, x), variables, fewer)
        learnt, (grads, (after, _)) = _traced(train, variables, images, rate, key)
        if after != variables:
            raise InputError(f"{name} changes the shapes of its running statistics")
        programs = (first, variables), (said, logits), other, (learnt, grads)
        return hash_traces(programs), variables


@contextlib.contextmanager
def _explaining(model: nn.Module, shape: tuple[int, ...]) -> Iterator[None]:
    """Raises InputError for whatever the code of a module raises when it is traced."""
    name = type(model).__name__
    try:
        yield
    except InputError:
        raise
    except Unknowable as error:
        raise InputError(f"{name}: {error}") from error
    except jax.errors.ConcretizationTypeError as error:
        raise InputError(
            f"{name} decides in Python by a traced value{_place(error, model)}. The "
            "dropout rate is traced, as it differs between the replicas of a program, "
            "and so is what is computed from images and parameters: use jnp.where or "
            "jax.lax.cond. mnistopt.Dropout takes a traced rate, nn.Dropout does not"
        ) from error
    except Exception as error:  # whatever the code of a stranger raises
        text = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{name} does not work on images of shape {shape}{_place(error, model)}: "
            f"{type(error).__name__}: {text}"
        ) from error


def _traced(function: Any, *arguments: Any) -> tuple[Any, Any]:
    """Returns the program of a function, and the shapes that it returns."""
    return jax.make_jaxpr(function, return_shape=True)(*arguments)


def _check_collections(name: str, variables: Any) -> None:
    if others := sorted(set(variables) - {"params", STATISTICS}):
        raise InputError(
            f"{name} keeps variables besides its parameters: {', '.join(others)}. A "
            f"replica carries params and {STATISTICS}, nn.BatchNorm's running "
            "statistics, and nothing else"
        )
    if not jax.tree.leaves(variables.get("params", {})):
        raise InputError(f"{name} has no parameters to train")


def _place(error: Exception, model: nn.Module) -> str:
    """Returns the last line of the module's own file that led to an error, in words."""
    file = inspect.unwrap(type(model).__call__).__code__.co_filename
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == file:
            return f" in line {frame.lineno}: {frame.line}"
    return ""
