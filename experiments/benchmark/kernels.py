"""What a compiled program launches, read from XLA's text of it.

A device that is not there cannot run a program, but XLA compiles for it, and writes
how long it believes each kernel takes: on a GPU at "the speed of light" (operations and
bytes over the device's peaks), on a TPU in cycles.
"""

import collections
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_COMPUTATION = re.compile(r"(?:ENTRY )?%([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"  (?:ROOT )?%([\w.\-]+) = .*? ([a-z][\w\-]*)\((.*)$")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_SECONDS = re.compile(r'"exec_time_us":([\d.e+\-]+)[^{}]*"name":"sol"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_LIBRARY = re.compile(r'custom_call_target="([^"]*)"')
# What names, joins or looks at arrays, and launches nothing.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("opt-barrier", "partition-id", "replica-id", "copy-done", "slice-done"),
}


class Kernel(NamedTuple):
    """A kernel of a loop's body.

    Attributes:
        kind: "product", "convolution", "sum", "copy" or "elementwise".
        times: It is launched, each time that the body runs.
        cost: Seconds of a launch on a GPU, cycles on a TPU; None where XLA has none.
    """

    kind: str
    times: int
    cost: float | None


class Program:
    """The optimized program of one call."""

    def __init__(self, text: str):
        """Reads what `jax.stages.Compiled.as_text` returns."""
        self._bodies: dict[str, list[tuple[str, str, str]]] = {}
        for line in text.splitlines():
            if match := _COMPUTATION.match(line):
                body = self._bodies.setdefault(match[1], [])
            elif match := _INSTRUCTION.match(line):
                body.append((match[1], match[2], match[3]))

    def loop(self, trips: int) -> list[Kernel]:
        """Returns the kernels of a loop's body: the largest one of so many trips."""
        candidates = [
            list(self._kernels(_called(rest, "body")))
            for body in self._bodies.values()
            for _, operation, rest in body
            if operation == "while" and self._trips(rest) == trips
        ]
        if not candidates:
            raise ValueError(f"the program has no loop of {trips} trips")
        return max(
            candidates, key=lambda kernels: sum(kernel.times for kernel in kernels)
        )

    def _trips(self, rest: str) -> int:
        if trips := _TRIPS.search(rest):
            return int(trips[1])
        # A TPU's program has it as the only number that the condition compares with.
        condition = self._bodies[_called(rest, "condition")]
        numbers = [
            int(rest.partition(")")[0])
            for _, operation, rest in condition
            if operation == "constant" and rest.partition(")")[0].isdigit()
        ]
        return max(numbers, default=1)

    def _kernels(self, body: str, times: int = 1) -> Iterator[Kernel]:
        for name, operation, rest in self._bodies[body]:
            if operation == "while":
                inner = times * self._trips(rest)
                yield from self._kernels(_called(rest, "body"), inner)
            elif operation == "call":
                yield from self._kernels(_called(rest, "to_apply"), times)
            elif operation not in _FREE:
                yield Kernel(_kind(name, operation, rest), times, _cost(rest))


def _called(rest: str, role: str) -> str:
    match = re.search(rf"{role}=%([\w.\-]+)", rest)
    return match[1] if match else ""


def _cost(rest: str) -> float | None:
    if match := _SECONDS.search(rest):
        return float(match[1]) / 1e6
    match = _CYCLES.search(rest)
    return float(match[1]) if match else None


def _kind(name: str, operation: str, rest: str) -> str:
    library = _LIBRARY.search(rest)
    what = f"{library[1] if library else ''} {operation} {name}"
    words = {
        "convolution": ("conv_fusion", "cudnn", "convolution"),
        "product": ("matmul", "gemm", "dot"),
        "sum": ("reduce",),
        "copy": ("copy", "transpose"),
    }
    for kind, parts in words.items():
        if any(part in what for part in parts):
            return kind
    return "elementwise"


def count(kernels: list[Kernel]) -> dict[str, int]:
    """Returns how many there are of each kind."""
    counts: collections.Counter[str] = collections.Counter()
    for kernel in kernels:
        counts[kernel.kind] += kernel.times
    return dict(sorted(counts.items()))


def seconds(kernels: list[Kernel], least: float, clock: float = 1.0) -> dict[str, Any]:
    """Estimates how long they take, one after the other.

    Args:
        kernels: The kernels of a step.
        least: Seconds that a kernel takes at least: the host's for launching it.
        clock: Cycles per second by which costs are divided; 1 for costs in seconds.

    Returns:
        `seconds`; and `unknown`, the kernels that XLA has no estimate of, which count
        as their launch.
    """
    total = sum(
        kernel.times * max(least, (kernel.cost or 0) / clock) for kernel in kernels
    )
    unknown = sum(kernel.times for kernel in kernels if kernel.cost is None)
    return {"seconds": total, "unknown": unknown}
