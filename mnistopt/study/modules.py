"""A user's own modules: named by what they compute, and told from changed ones."""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from mnistopt.data.dataset import Dataset
from mnistopt.engine.devices import local_devices
from mnistopt.engine.probe import agree, probe
from mnistopt.engine.record import Record
from mnistopt.errors import InputError
from mnistopt.models import own
from mnistopt.models.call import Known, bare
from mnistopt.models.networks import make_network, trace
from mnistopt.models.own import axes_of
from mnistopt.points import Point, Structure

# What traces depend on besides the module; and the kind of device.
_TOOLS = ("jax", "flax", "mnistopt")

# What config.json knows of a class: its `path`; whether a `command` can name it; and in
# `programs`, by `_key`, the `values` of a module, the `name` of what it computes, the
# hashes of its `traces` by toolchain, and its `probe`.
Modules = Mapping[str, Mapping[str, Any]]
Probe = Sequence[Sequence[float]]


def identify(
    points: Sequence[Point], data: Dataset, known: Modules, measured: bool
) -> tuple[list[Point], dict[str, Any]]:
    """Returns points whose modules have the names of what they compute.

    Args:
        points: Those asked for.
        data: What they are trained on.
        known: `modules` of the workdir's config.json.
        measured: Whether to compute probes too, for config.json.

    Returns:
        The points, and what config.json is to know of modules.

    Raises:
        InputError: If a module cannot be trained, or computes something else than in
            the workdir.
    """
    found = {name: dict(about) for name, about in known.items()}
    named: dict[Structure, Structure] = {}
    keys: dict[str, _Traced] = {}
    for structure in dict.fromkeys(point.structure for point in points):
        if not structure.path:
            continue
        one = _traced(structure, data)
        first = keys.setdefault(_key(structure), one)
        if first.traced != one.traced:
            raise InputError(
                f"two modules {structure} compute different things, and no field tells "
                "them apart: give them a field with a word or a number for each, or "
                "functions with names of their own"
            )
        named[structure] = _named(one, data, found, measured)
    _check_others(list(named.values()), data, known)
    renamed = [
        dataclasses.replace(
            point, structure=named.get(point.structure, point.structure)
        )
        for point in points
    ]
    return list(dict.fromkeys(renamed)), found


def toolchain() -> str:
    """Returns what traces depend on besides the module, in words."""
    versions = (f"{name} {importlib.metadata.version(name)}" for name in _TOOLS)
    return ", ".join((*versions, jax.default_backend()))


class _Traced(NamedTuple):
    """A module, the hash of its trace, and the shapes of its variables."""

    structure: Structure
    module: Any
    traced: str
    shapes: Any

    def probe(self, data: Dataset) -> Probe:
        return probe(self.module, data.image_shape, self.shapes)


def _traced(structure: Structure, data: Dataset) -> _Traced:
    module = own.make(structure)
    found = trace(module, data.image_shape, data.classes)
    return _Traced(structure, module, *found)


def _named(
    one: _Traced, data: Dataset, found: dict[str, Any], measured: bool
) -> Structure:
    """Returns a structure with the name of its program, noting what is new of it."""
    structure = one.structure
    about = found.setdefault(structure.model, {"programs": {}})
    about["path"] = structure.path
    plain = set(dict(structure.values)) <= set(axes_of(type(one.module)))
    about["command"] = plain and own.is_importable(type(one.module))
    entry = about["programs"].get(_key(structure))
    if entry is None:
        entry = {"values": dict(structure.values), "name": one.traced, "traces": {}}
        if measured:
            entry["probe"] = one.probe(data)
    elif not _same(entry, one.traced, lambda: one.probe(data)):
        if _traced(structure, data).traced != one.traced:
            raise InputError(
                f"{structure} computes something else each time it is traced, as if it "
                "drew from NumPy's or Python's generators: take numbers from its key, "
                "or from constants"
            )
        raise _changed(structure, type(one.module))
    entry = entry | {"traces": entry["traces"] | {toolchain(): one.traced}}
    about["programs"] = about["programs"] | {_key(structure): entry}
    return dataclasses.replace(structure, program=entry["name"], module=one.module)


def _same(entry: Mapping[str, Any], traced: str, measure: Callable[[], Probe]) -> bool:
    """Says whether a module computes what it did.

    Args:
        entry: What config.json knows of it.
        traced: The hash of its trace now.
        measure: Returns its probe, which decides where versions differ.
    """
    traces = entry["traces"]
    if toolchain() in traces or traced in traces.values():
        return traces.get(toolchain(), traced) == traced
    return agree(measure(), entry["probe"])


def _changed(structure: Structure, kind: type) -> InputError:
    return InputError(
        f"{structure} computes something else than when this workdir was made with it: "
        f"its class {kind.__qualname__}, or what that uses, has changed. Give another "
        "workdir, or bring back what it was"
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
            one = _traced(dataclasses.replace(other, module=module), data)
        except InputError as error:
            raise _changed(other, kind) from error
        if not _same(entry, one.traced, functools.partial(one.probe, data)):
            raise _changed(other, kind)


def check_records(points: Iterable[Point], records: Iterable[Record]) -> None:
    """Checks that the workdir's replicas of the same modules computed the same.

    Args:
        points: Identified.
        records: What the checkpoints know.

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


class Maker:
    """Makes the networks of points again, checking that they compute what they did."""

    def __init__(
        self,
        modules: Modules,
        shape: Sequence[int],
        classes: int,
        made: Mapping[Structure, Any] | None = None,
    ):
        """Knows what there is.

        Args:
            modules: From config.json.
            shape: Of an image, (H, W, C).
            classes: K.
            made: Networks that are made already.
        """
        self._modules, self._made = modules, dict(made or {})
        self._shape, self._classes = tuple(shape), classes

    def __call__(self, point: Point) -> Any:
        """Returns the network of a point, as `make_network`.

        Raises:
            InputError: If it is a module of one's own that cannot be had or has
                changed since.
        """
        structure = point.structure
        if structure not in self._made:
            network = make_network(point, self._classes)
            if isinstance(network, Known):
                self._check(structure, bare(network))
            self._made[structure] = network
        return self._made[structure]

    def _check(self, structure: Structure, module: Any) -> None:
        about = self._modules.get(structure.model, {})
        entry = about.get("programs", {}).get(_key(structure))
        local_devices()  # Before JAX is used.
        try:
            traced, shapes = trace(module, self._shape, self._classes)
        except InputError as error:
            raise _not_as_trained(structure) from error
        if entry is None:
            same = traced == structure.program
        else:
            same = entry["name"] == structure.program and _same(
                entry, traced, lambda: probe(module, self._shape, shapes)
            )
        if not same:
            raise _not_as_trained(structure)


def _not_as_trained(structure: Structure) -> InputError:
    return InputError(
        f"{structure.path} has changed since {structure} was trained, and computes "
        "something else: bring back what it was, or make the module yourself: "
        "module.apply(study.variables(...), images)"
    )
