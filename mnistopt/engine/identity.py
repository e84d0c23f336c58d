"""A user's own modules: named by what they compute, so that changed ones differ.

By a hash of what they trace to; across versions, whose traces differ, by their answers.
"""

import dataclasses
import importlib.metadata
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mnistopt.ambient import PRNG, fixed
from mnistopt.data.dataset import Dataset
from mnistopt.engine.devices import local_devices
from mnistopt.engine.record import Record
from mnistopt.errors import InputError, see
from mnistopt.models import own
from mnistopt.models.networks import Known, apply, apply_training, bare, make_network
from mnistopt.models.own import axes_of
from mnistopt.models.program import BATCH, trace
from mnistopt.points import Point, Structure

# What traces depend on, apart from the module and the kind of device.
_TOOLS = ("jax", "flax", "mnistopt")

# What config.json knows of a class: its `path`; whether a `command` can name it; and in
# `programs`, by `_key`, the `values` of a module, the `name` of what it computes, the
# hashes of its `traces` by toolchain, and its `probe`.
Modules = Mapping[str, Mapping[str, Any]]
# Of the documentation.
PAGE = "extending#a-module-of-your-own-without-touching-the-project"
# The dropout rate that training is probed at.
RATE = 0.25
# Of the largest number of a probe: rounding by another version of XLA, or by another
# machine, stays below it; bfloat16's would not.
TOLERANCE = 1e-4


def identify(
    points: Sequence[Point], data: Dataset, known: Modules, measured: bool
) -> tuple[list[Point], dict[str, Any]]:
    """Returns points whose modules have the names of what they compute.

    Args:
        points: The requested points.
        data: The data that they are trained on.
        known: `modules` of config.json: the workdir's, and that of a study which is
            run again.
        measured: Whether to compute probes too, for config.json.

    Returns:
        The points, and what config.json is to know of modules.

    Raises:
        InputError: If a module cannot be trained, or computes something else than in
            the workdir.
    """
    noted = {name: dict(about) for name, about in known.items()}
    named: dict[Structure, Structure] = {}
    keys: dict[str, _Traced] = {}
    for structure in dict.fromkeys(point.structure for point in points):
        if not structure.path:
            continue
        traced = _Traced(own.make(structure), data.image_shape, data.classes)
        first = keys.setdefault(_key(structure), traced)
        if first.name != traced.name:
            raise InputError(
                f"two modules {structure} compute different things, and no field sets "
                "them apart: give them a field with a word or a number for each, or "
                "functions with names of their own"
            )
        named[structure] = _named(structure, traced, noted, measured)
    _check_others(list(named.values()), data, known)
    renamed = [
        dataclasses.replace(
            point, structure=named.get(point.structure, point.structure)
        )
        for point in points
    ]
    return list(dict.fromkeys(renamed)), noted


def toolchain() -> str:
    """Returns what traces depend on, apart from the module, in words."""
    versions = (f"{name} {importlib.metadata.version(name)}" for name in _TOOLS)
    return ", ".join((*versions, jax.default_backend()))


class _Traced:
    """A module, and the hash of what it traces to on images of some shape."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...], classes: int):
        """Traces it; raises InputError if it cannot be trained."""
        self.module, self._on = module, (shape, classes)
        self.name, self._variables = trace(module, shape, classes)

    def again(self) -> "_Traced":
        return _Traced(self.module, *self._on)

    def probe(self) -> list[list[float]]:
        return probe(self.module, self._on[0], self._variables)

    def is_as(self, entry: Mapping[str, Any]) -> bool:
        """Says whether it computes what it did, by what config.json knows of it."""
        traces = entry["traces"]
        if toolchain() in traces or self.name in traces.values():
            return traces.get(toolchain(), self.name) == self.name
        return agree(self.probe(), entry["probe"])


def _named(
    structure: Structure, traced: _Traced, noted: dict[str, Any], measured: bool
) -> Structure:
    """Returns a structure with the name of its program, noting what is new of it."""
    about = noted.setdefault(structure.model, {"programs": {}})
    about["path"] = structure.path
    plain = set(dict(structure.values)) <= set(axes_of(type(traced.module)))
    about["command"] = plain and own.is_importable(type(traced.module))
    entry = about["programs"].get(_key(structure))
    if entry is None:
        entry = {"values": dict(structure.values), "name": traced.name, "traces": {}}
        if measured:
            entry["probe"] = traced.probe()
    elif not traced.is_as(entry):
        if traced.again().name != traced.name:
            raise InputError(
                f"{structure} computes something else each time it is traced, as if "
                "it drew from NumPy's or Python's random generators: use its key, or "
                f"constants{see(PAGE)}"
            )
        raise _changed(structure, type(traced.module))
    entry = entry | {"traces": entry["traces"] | {toolchain(): traced.name}}
    about["programs"] = about["programs"] | {_key(structure): entry}
    return dataclasses.replace(structure, program=entry["name"], module=traced.module)


def _changed(structure: Structure, kind: type) -> InputError:
    return InputError(
        f"{structure} no longer computes what it did when this workdir was made: its "
        f"class {kind.__qualname__}, or code that it uses, has changed. Give another "
        f"workdir, or restore the code{see(PAGE)}"
    )


def _check_others(asked: Sequence[Structure], data: Dataset, known: Modules) -> None:
    """Checks classes by those of their modules in the workdir that are not asked for.

    Raises:
        InputError: If one would compute something else now.
    """
    kinds = {structure.model: type(structure.module) for structure in asked}
    keys = set(map(_key, asked))
    others = [
        (Structure(model, tuple(entry["values"].items())), kind, entry)
        for model, kind in kinds.items()
        for key, entry in known.get(model, {}).get("programs", {}).items()
        if key not in keys
    ]
    for other, kind, entry in others:
        try:
            module = own.remake(kind, other.values)
        except InputError:
            continue  # It cannot be made again from its values, nor be continued.
        try:
            traced = _Traced(module, data.image_shape, data.classes)
        except InputError as error:
            raise _changed(other, kind) from error
        if not traced.is_as(entry):
            raise _changed(other, kind)


def check_records(points: Iterable[Point], records: Iterable[Record]) -> None:
    """Checks that the workdir's replicas of the same modules computed the same.

    Args:
        points: Identified.
        records: The records of the checkpoints.

    Raises:
        InputError: If one did not.
    """
    now = {_key(p.structure): p.structure for p in points if p.structure.path}
    for record in records:
        structure = now.get(_key(record.point.structure))
        if structure and structure.program != record.point.structure.program:
            raise _changed(structure, type(structure.module))


def _key(structure: Structure) -> str:
    """Returns the words by which config.json knows a module: class and values."""
    values = (f"{name}={value!r}" for name, value in structure.values)
    return " ".join((structure.model, *values))


def make_again(
    point: Point, modules: Modules, shape: Sequence[int], classes: int
) -> Any:
    """Returns the network of a point as `make_network`, if it computes what it did.

    Args:
        point: A point; only its structure counts.
        modules: The entry `modules` of config.json.
        shape: The shape of an image, (H, W, C).
        classes: K.

    Raises:
        InputError: If it is a user's module that cannot be had or has changed
            since.
    """
    structure, network = point.structure, make_network(point, classes)
    if not isinstance(network, Known):
        return network
    entry = modules.get(structure.model, {}).get("programs", {}).get(_key(structure))
    local_devices()  # Before JAX is used.
    try:
        traced = _Traced(bare(network), tuple(shape), classes)
    except InputError as error:
        raise _not_as_trained(structure) from error
    name = traced.name if entry is None else entry["name"]
    if name != structure.program or (entry and not traced.is_as(entry)):
        raise _not_as_trained(structure)
    return network


def _not_as_trained(structure: Structure) -> InputError:
    return InputError(
        f"{structure.path} has changed since {structure} was trained, and computes "
        "something else: restore the code, or make the module yourself: "
        f"module.apply(study.variables(...), images){see(PAGE)}"
    )


# --- Answers, where traces cannot be compared ---


@fixed()
def probe(model: nn.Module, shape: tuple[int, ...], shapes: Any) -> list[list[float]]:
    """Returns what a network makes of fixed variables and pixels, six digits each.

    First variables are not in it: to compile their draws takes longer than all else,
    and a replica that has begun needs them no more.

    Args:
        model: The network.
        shape: The shape of an image, (H, W, C).
        shapes: The shapes of its variables.

    Returns:
        The logits in evaluation; those in training; and the norms of each leaf of the
        running statistics after it, and of the gradients of weighted logits.
    """
    variables = jax.tree_util.tree_map_with_path(_numbers, shapes)
    images = _spread((BATCH, *shape)).astype(np.float32)
    key = jax.random.key(0, impl=PRNG)

    def answers(variables, images, key):
        def weighted(params):
            now = {**variables, "params": params}
            logits, statistics = apply_training(model, now, images, RATE, key)
            weights = _spread(logits.shape).astype(np.float32)
            return (weights * logits).sum(), (logits, statistics)

        gradient = jax.grad(weighted, has_aux=True)
        grads, (trained, statistics) = gradient(variables["params"])
        norms = [[jnp.linalg.norm(leaf.ravel()) for leaf in jax.tree.leaves(tree)]
                 for tree in (statistics, grads)]  # fmt: skip
        return apply(model, variables, images), trained, *map(jnp.array, norms)

    with jax.default_matmul_precision("highest"):
        lowered = jax.jit(answers).lower(variables, images, key)
        # It runs once: what compiles soonest is best.
        program = lowered.compile(dict[str, Any](xla_backend_optimization_level=0))
        groups = program(variables, images, key)
    return [
        [float(f"{x:.6g}") for x in np.asarray(group, float).flat] for group in groups
    ]


def _spread(shape: tuple[int, ...]) -> np.ndarray:
    """Returns fixed numbers spread evenly over [0, 1), without any order.

    Weyl's sequence of the golden ratio, in an order mixed by Knuth's multiplier.
    """
    mixed = np.arange(1, math.prod(shape) + 1, dtype=np.uint64) * np.uint64(2654435761)
    return (mixed % np.uint64(2**32) / 2**32).reshape(shape)


def _numbers(path: Any, leaf: Any) -> np.ndarray:
    """Returns fixed numbers for a leaf, of both signs unless it is a variance.

    Kernels are scaled so that activations stay near 1.
    """
    spread = _spread(leaf.shape)
    if "var" in jax.tree_util.keystr(path[-1:]):
        return (0.5 + spread).astype(leaf.dtype)
    fan_in = math.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 1
    return ((2 * spread - 1) * math.sqrt(3 / max(fan_in, 1))).astype(leaf.dtype)


def agree(first: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> bool:
    """Says whether two probes are the same to rounding."""
    if [len(group) for group in first] != [len(group) for group in other] or not first:
        return False
    for mine, theirs in zip(map(np.array, first), map(np.array, other)):
        finite = np.abs(theirs[np.isfinite(theirs)])
        slack = TOLERANCE * finite.max(initial=0)
        if not np.allclose(mine, theirs, TOLERANCE, slack, equal_nan=True):
            return False
    return True
