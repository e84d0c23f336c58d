"""What a user's module computes: a hash of its traced program.

It sees whatever changes the program, wherever it stands in the user's code, and nothing
that does not: comments, names of variables and helpers, the order of what does not
depend on each other. Traces differ between versions of JAX: see `engine.identity`.
"""

import contextlib
import hashlib
import inspect
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from mnistopt.ambient import PRNG, fixed
from mnistopt.errors import InputError
from mnistopt.models import forms
from mnistopt.models.networks import apply, apply_training, init

# Flax's name for what BatchNorm keeps.
STATISTICS = "batch_stats"
# Images that programs are traced on.
BATCH = 3
# Calls of a function, which say nothing of what is computed.
CALLS = {
    *("pjit", "jit", "closed_call", "core_call", "core_closed_call", "checkpoint"),
    *("remat", "remat2", "custom_jvp_call", "custom_vjp_call"),
    "custom_vjp_call_jaxpr",
}
_COMMUTE = {"add", "add_any", "mul", "max", "min", "and", "or", "xor", "eq", "ne"}
_HIDDEN = {
    "pure_callback": "it calls Python while it runs: what that computes",
    "io_callback": "it calls Python while it runs: what that computes",
    "custom_vmap_call": "it has its own batching rule: what that computes",
}
_BRANCHING = {"cond", "scan", "while"}
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


class Unknowable(ValueError):
    """A program of which it cannot be known what it computes; says why."""


@fixed()
def trace(model: nn.Module, shape: tuple[int, ...], classes: int) -> tuple[str, Any]:
    """Traces a user's module, and checks that it can be trained as replicas are.

    Computes nothing.

    Args:
        model: The network.
        shape: The shape of an image, (H, W, C).
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

    # What a module is called by must not depend on where it is traced.
    with _explaining(model, shape), forms.laid_out(forms.NATIVE):
        key = jax.random.key(0, impl=PRNG)
        first, variables = _traced(lambda k, x: init(model, k, x), key, images)
        _check_collections(name, variables)
        evaluation, logits = _traced(lambda v, x: apply(model, v, x), variables, images)
        if getattr(logits, "shape", None) != (BATCH, classes):
            returned = getattr(logits, "shape", type(logits).__name__)
            raise InputError(
                f"{name} returns {returned} for {BATCH} images; expected are logits of "
                f"shape ({BATCH}, {classes}), one for each of the {classes} classes of "
                "the data"
            )
        # Whatever is made of the number of images shows with another number.
        fewer = jax.ShapeDtypeStruct((BATCH - 1, *shape), jnp.float32)
        other = _traced(lambda v, x: apply(model, v, x), variables, fewer)
        learnt, (grads, (after, _)) = _traced(train, variables, images, rate, key)
        if after != variables:
            raise InputError(f"{name} changes the shapes of its running statistics")
        programs = (first, variables), (evaluation, logits), other, (learnt, grads)
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
            f"{name} branches in Python on a traced value{_place(error, model)}. The "
            "dropout rate is traced, as it differs between the replicas of a program, "
            "and so is what is computed from images and parameters: use jnp.where or "
            "jax.lax.cond. mnistopt.Dropout takes a traced rate, nn.Dropout does not"
        ) from error
    except Exception as error:  # whatever the user's code raises
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


def hash_traces(traces: Iterable[tuple[jex.ClosedJaxpr, Any]]) -> str:
    """Returns 8 hexadecimal digits that identify traced programs.

    Args:
        traces: Programs, each with the tree of shapes that it returns.
    """
    parts = []
    for closed, shapes in traces:
        leaves = jax.tree_util.tree_leaves_with_path(shapes)
        paths = [f"{jax.tree_util.keystr(path)} {leaf}" for path, leaf in leaves]
        inputs = [
            _digest("input", i, v.aval) for i, v in enumerate(closed.jaxpr.invars)
        ]
        parts += [*map(_bytes, paths), *_outputs(closed, inputs)]
    return _digest(*parts).hex()[:8]


def _outputs(program: Any, inputs: Sequence[bytes]) -> list[bytes]:
    """Returns digests of what a program returns, of those of what it is given.

    A value's digest is made of the operation that computes it and the digests of what
    that is given. Whatever no output depends on is in none.
    """
    jaxpr, consts = program, ()
    if isinstance(program, jex.ClosedJaxpr):
        jaxpr, consts = program.jaxpr, program.consts
    constants = dict(zip(jaxpr.constvars, map(_constant, consts)))
    constants |= {
        v: _digest("constant", i) for i, v in enumerate(jaxpr.constvars[len(consts) :])
    }
    constants |= dict(zip(jaxpr.invars, inputs))

    def digest(atom: Any) -> bytes:
        if isinstance(atom, jex.Literal):
            kind: Any = atom.aval
            return _constant(np.asarray(atom.val, kind.dtype))
        return constants[atom]

    for equation in jaxpr.eqns:
        given: Sequence[bytes] = list(map(digest, equation.invars))
        name = equation.primitive.name
        if name in _HIDDEN:
            raise Unknowable(
                f"{_HIDDEN[name]} cannot be known from the program ({name}). Use "
                "jax.numpy"
            )
        called = inner(equation) if name in CALLS else None
        if called is not None:
            results = _outputs(called, given)
        elif name.startswith("copy"):
            results = list(given)
        elif name in _BRANCHING:
            results = _branching(equation, given)
        else:
            operands = sorted(given) if name in _COMMUTE else given
            params = map(_bytes, sorted(equation.params.items()))
            whole = _digest(name, *params, *operands)
            results = [_digest(whole, i) for i in range(len(equation.outvars))]
        constants |= dict(zip(equation.outvars, results))
    return list(map(digest, jaxpr.outvars))


def _branching(equation: Any, given: Sequence[bytes]) -> list[bytes]:
    """Returns digests of what a loop or a choice returns.

    Its programs are known by what they are given, not by where that stands.
    """
    params, name = equation.params, equation.primitive.name
    if name == "cond":
        choice, *operands = given
        bodies = [_outputs(branch, operands) for branch in params["branches"]]
        rest = [choice]
    elif name == "scan":
        consts, carried = _scanned(params)
        starts, lists = given[consts:][:carried], given[consts + carried :]
        inside = [_digest("carried", i) for i in range(carried)]
        inside += [_digest("each", part) for part in lists]
        bodies = [_outputs(params["jaxpr"], [*given[:consts], *inside])]
        rest = [_digest(params["length"], params["reverse"]), *starts]
    else:
        first, second = params["cond_nconsts"], params["body_nconsts"]
        starts = given[first + second :]
        inside = [_digest("carried", i) for i in range(len(starts))]
        fixed = given[:first], given[first : first + second]
        programs = params["cond_jaxpr"], params["body_jaxpr"]
        bodies = [_outputs(p, [*f, *inside]) for p, f in zip(programs, fixed)]
        rest = list(starts)
    flat = [part for body in bodies for part in (b"body", *body)]
    whole = _digest(name, *flat, *rest)
    return [_digest(whole, i) for i in range(len(equation.outvars))]


def _scanned(params: Mapping[str, Any]) -> tuple[int, int]:
    """Returns how many inputs of a scan are the same in all steps, or carried on."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    # Since JAX 0.12.
    fixed, carried, _ = params["ft_in"].unpack()
    return len(fixed), len(carried)


def inner(equation: Any) -> Any:
    """Returns the program that an equation calls."""
    kinds = (jex.ClosedJaxpr, jex.Jaxpr)
    programs = [p for p in equation.params.values() if isinstance(p, kinds)]
    return programs[0] if programs else None


def _digest(*parts: Any) -> bytes:
    joined = hashlib.sha256()
    for part in map(_bytes, parts):
        joined.update(len(part).to_bytes(8, "little") + part)
    return joined.digest()


def _constant(value: Any) -> bytes:
    kind = value.dtype
    if jnp.issubdtype(kind, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return _digest("value", kind, array.shape, array.tobytes())


def _bytes(part: Any) -> bytes:
    """Returns a parameter of an operation as bytes, in every process the same."""
    if isinstance(part, bytes):
        return part
    if isinstance(part, (jex.ClosedJaxpr, jex.Jaxpr)):
        variables = (part.jaxpr if isinstance(part, jex.ClosedJaxpr) else part).invars
        inputs = [_digest("input", i, v.aval) for i, v in enumerate(variables)]
        return _digest(*_outputs(part, inputs))
    if isinstance(part, (np.ndarray, jax.Array)):
        return _constant(part)
    if isinstance(part, Mapping):
        return _digest("mapping", *map(_bytes, sorted(part.items(), key=str)))
    if isinstance(part, (tuple, list)):
        return _digest("tuple", *map(_bytes, part))
    if callable(part) and not isinstance(part, type):
        return b"function"  # Rules of differentiation, which the gradient shows.
    return _ADDRESS.sub("", repr(part)).encode()
