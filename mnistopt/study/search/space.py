"""What a search may choose: ranges of numbers, and lists of whatever has values."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mnistopt.axes import Typed, as_list, show
from mnistopt.errors import InputError
from mnistopt.hparams import NUMBERS, RECIPE, TRAINING
from mnistopt.models.registry import DEFAULT, Network
from mnistopt.points import Point
from mnistopt.study import grid
from mnistopt.study.search.ranges import Range, typed_range

# Combinations of lists from which a space is taken for endless.
MANY = 10_000
# Share of a range within which two settings are hardly two.
_NEAR = 0.01


# Whether a hyper-parameter means something beside others that were chosen before it.
_NEEDS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "weight_decay": lambda chosen: chosen["optimizer"] != "adam",
    "lr_floor": lambda chosen: chosen["schedule"] != "constant",
    "horizon": lambda chosen: chosen["schedule"] != "constant",
}


class Space:
    """The settings that a search chooses from.

    Attributes:
        networks: Those to choose from.
        axes: Per hyper-parameter that was given its `Range`, or its values.
    """

    def __init__(self, axes: Mapping[str, Any]):
        """Checks what was given, as `mnistopt.grid` does.

        Args:
            axes: As for `run`; a number may be a `Range`, too.

        Raises:
            InputError: If a name is unknown, a value not allowed, a range empty, or of
                something whose values have to be listed.
        """
        given = {name: _as_range(name, value) for name, value in axes.items()}
        models = as_list(given.pop("model", DEFAULT))
        self.networks: list[Network] = [grid.find(model) for model in models]
        called = [network.name for network in self.networks]
        if twice := [name for name in called if called.count(name) > 1]:
            raise InputError(
                f"two networks are called {twice[0]}: a search chooses networks by "
                "their names, and their fields by lists of values"
            )
        self._models = {n.name: model for n, model in zip(self.networks, models)}
        self.axes: dict[str, Range | list[Any]] = {}
        fields = {name: axis for n in self.networks for name, axis in n.axes.items()}
        self._declared = {**fields, **TRAINING}
        for name, value in given.items():
            axis = self._declared.get(name)
            if not isinstance(value, Range):
                self.axes[name] = axis.values(name, value) if axis else as_list(value)
                continue
            if axis is None or name not in NUMBERS:
                raise InputError(
                    f"{name}={value} is a range of something that changes the program, "
                    f"or is no number: list its values, as in {name}=A,B,C"
                )
            self.axes[name] = _checked(name, axis, value)
        # The messages of a grid, for all else that cannot be.
        self.corners = self._corners(axes)

    def _corners(self, axes: Mapping[str, Any]) -> list[Point]:
        """Returns points that have all structures, and the ends of all ranges."""
        ends = {
            name: [of.low, of.high] if isinstance(of, Range) else of
            for name, of in self.axes.items()
        }
        few = {name: [of[0], of[-1]] for name, of in ends.items() if name in NUMBERS}
        given = {name: few.get(name, of) for name, of in ends.items()}
        if "model" in axes:
            given["model"] = list(self._models.values())
        # Unknown names, and those without effect, are told by a grid of single values.
        single = {k: of if k == "model" else of[-1:] for k, of in given.items()}
        means = [
            {name: value}
            for name in ("optimizer", "schedule")
            for value in given.get(name, [RECIPE[name].default])
        ]
        for name, needed in _NEEDS.items():
            if name in single and any(needed(_with_defaults(one)) for one in means):
                del single[name]
        grid.grid(**single)
        points = []
        for network in self.networks:
            names = [name for name in self.axes if self._static(network, name)]
            for values in itertools.product(*[given[name] for name in names]):
                for end in (0, -1):
                    chosen = dict(zip(names, values))
                    chosen |= {name: of[end] for name, of in few.items()}
                    points.append(self._make(network, chosen))
        return list(dict.fromkeys(points))

    def _static(self, network: Network, name: str) -> bool:
        return name in network.axes or (name in TRAINING and name not in NUMBERS)

    def _used(self, network: Network, chosen: Mapping[str, Any]) -> Iterator[str]:
        """Yields the hyper-parameters that a network takes, beside what is chosen."""
        for name in self.axes:
            declared = name in network.axes or name in TRAINING
            if name == "dropout" and not network.dropout:
                declared = False
            if declared and _NEEDS.get(name, lambda _: True)(_with_defaults(chosen)):
                yield name

    def _make(self, network: Network, chosen: Mapping[str, Any]) -> Point:
        used = {name: chosen[name] for name in self._used(network, chosen)}
        return grid.make_point(model=self._models[network.name], **used)

    @property
    def ranges(self) -> dict[str, Range]:
        """The ranges, by hyper-parameter."""
        return {name: of for name, of in self.axes.items() if isinstance(of, Range)}

    @property
    def _lists(self) -> dict[str, list[Any]]:
        return {name: of for name, of in self.axes.items() if isinstance(of, list)}

    @property
    def epochs(self) -> int:
        """The epochs that a trial may be trained for."""
        return max(point.epochs for point in self.corners)

    @functools.cached_property
    def size(self) -> float:
        """How many settings there are; inf if a range is among them."""
        lists = self._lists
        combinations = len(self.networks) * math.prod(map(len, lists.values()))
        if self.ranges or combinations > MANY:
            return math.inf
        chosen = (
            (network, dict(zip(lists, values)))
            for network in self.networks
            for values in itertools.product(*lists.values())
        )
        return len({self._make(*of) for of in chosen})

    def settings(self) -> Iterator[dict[str, Any]]:
        """Yields all settings of a space that has a size, as `suggest` has them."""
        lists, seen = self._lists, set()
        for network in self.networks:
            for values in itertools.product(*lists.values()):
                given = {name: _plain(value) for name, value in zip(lists, values)}
                given["model"] = network.name
                params = self.suggest(lambda name, *_, given=given: given[name])
                if (point := self.point(params)) not in seen:
                    seen.add(point)
                    yield params

    def suggest(self, choose: Callable[[str, Any, bool], Any]) -> dict[str, Any]:
        """Chooses a setting, one hyper-parameter after the other.

        Args:
            choose: Returns a value of a hyper-parameter, by its name, its `Range` or
                the list of its values as words or numbers, and whether it is whole.

        Returns:
            The values by name, as words and numbers.
        """
        params: dict[str, Any] = {}
        names = {network.name: network for network in self.networks}
        network = self.networks[0]
        if len(names) > 1:
            params["model"] = choose("model", list(names), False)
            network = names[params["model"]]
        single = {name: of[0] for name, of in self._lists.items() if len(of) == 1}
        # What others depend on comes first.
        order = sorted(self.axes, key=lambda name: (name in _NEEDS, name in NUMBERS))
        for name in order:
            if name in self._used(network, single | params):
                of = self.axes[name]
                listed = of if isinstance(of, Range) else list(map(_plain, of))
                if isinstance(listed, list) and len(listed) == 1:
                    continue
                whole = self._declared[name].kind == "whole"
                params[name] = choose(name, listed, whole)
        return params

    def everything(self) -> Iterator[tuple[str, Any, bool]]:
        """Yields all that there may be to choose, as `suggest` asks for it."""
        asked: dict[str, tuple[Any, bool]] = {}

        def note(name: str, of: Any, whole: bool) -> Any:
            asked[name] = of, whole
            return given.get(name) or (of.low if isinstance(of, Range) else of[0])

        for point in self.corners:
            row = point.row()
            given = {name: row[name] for name in ("model", *RECIPE) if name in row}
            self.suggest(note)
        yield from ((name, *of) for name, of in asked.items())

    def point(self, params: Mapping[str, Any]) -> Point:
        """Returns the point of chosen values; numbers in ranges are rounded."""
        names = {network.name: network for network in self.networks}
        network = names.get(params.get("model", ""), self.networks[0])
        chosen: dict[str, Any] = {}
        for name, of in self.axes.items():
            if isinstance(of, Range):
                if name in params:
                    chosen[name] = of.rounded(params[name])
            elif name in params:
                chosen[name] = next(v for v in of if _plain(v) == params[name])
            else:
                chosen[name] = of[0]
        return self._make(network, chosen)

    def near(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Says whether two settings are nearly the same: each number within 1 %."""
        if one.keys() != other.keys():
            return False
        for name, value in one.items():
            of = self.axes.get(name)
            if isinstance(of, Range):
                if abs(of.place(value) - of.place(other[name])) > _NEAR:
                    return False
            elif value != other[name]:
                return False
        return True

    def params(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a setting that someone gives, as `suggest` has it.

        Args:
            setting: Values by name. What it leaves out has its first value, or the
                middle of its range.

        Raises:
            InputError: If one is not in the space.
        """
        found: dict[str, Any] = {}
        for name, value in setting.items():
            if name == "model":
                of: Any = [network.name for network in self.networks]
            else:
                of = self.axes.get(name)
            if of is None:
                raise InputError(
                    f"{name}={show(value)} is not in the space of the search"
                )
            plain = value
            if name != "model":
                plain = _plain(self._declared[name].check(name, value))
            if isinstance(of, Range):
                inside = of.low <= plain <= of.high
            else:
                inside = plain in list(map(_plain, of))
            if not inside:
                raise InputError(
                    f"{name}={show(value)} is not in the space of the search, "
                    f"{name}={self.shown(name)}"
                )
            found[name] = plain

        def choose(name: str, of: Any, whole: bool) -> Any:
            if name in found:
                return found[name]
            middle = of.middle if isinstance(of, Range) else of[0]
            return round(middle) if whole and isinstance(of, Range) else middle

        return self.suggest(choose)

    def shown(self, name: str) -> str:
        """Returns a hyper-parameter's range or values as a person types them."""
        if name == "model":
            return ",".join(network.name for network in self.networks)
        of = self.axes[name]
        return str(of) if isinstance(of, Range) else ",".join(map(show, of))

    def to_json(self) -> dict[str, str]:
        """Returns all of it as a person types it."""
        return {name: self.shown(name) for name in ("model", *self.axes)}


def _with_defaults(chosen: Mapping[str, Any]) -> dict[str, Any]:
    return {name: axis.default for name, axis in RECIPE.items()} | dict(chosen)


def _plain(value: Any) -> Any:
    """Returns a value as Optuna has it: layers as a word."""
    return show(value) if isinstance(value, (tuple, list)) else value


def _as_range(name: str, given: Any) -> Any:
    """Returns a typed range as a `Range`; anything else as it is."""
    values = as_list(given) if not isinstance(given, Range) else [given]
    ranges = [
        typed_range(value) if isinstance(value, Typed) else value
        for value in values
        if isinstance(value, (Typed, Range))
    ]
    found = [of for of in ranges if isinstance(of, Range)]
    if not found:
        return given
    if len(values) > 1:
        raise InputError(
            f"{name} has a range, {found[0]}, and other values: give one range, or a "
            "list"
        )
    return found[0]


def _checked(name: str, axis: Any, of: Range) -> Range:
    """Returns a range whose ends are allowed.

    Raises:
        InputError: If they are not, or are in the wrong order.
    """
    try:
        low, high = axis.check(name, of.low), axis.check(name, of.high)
    except InputError as error:
        raise InputError(f"{name}={of}: {error}") from None
    if low >= high:
        raise InputError(
            f"{name}={of} is an empty range: give the lower end first, as in "
            f"{name}={Range(min(low, high), max(low, high), of.log)}"
            if low > high
            else f"{name}={of} is one value: give {name}={show(low)}"
        )
    if of.log and low <= 0:
        raise InputError(
            f"{name}={of} goes through 0, where there is no logarithm: give a lower "
            "end above 0, or leave log: out"
        )
    return Range(low, high, of.log)
