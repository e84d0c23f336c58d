"""What decides the bits of a replica's numbers, besides its settings."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnistopt.engine.devices import Device, Lanes, cores


def processor() -> str:
    """Returns the processor's name."""
    # Linux tells it nowhere else.
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = next(line for line in lines if line.startswith("model name"))
        return found.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def describe(devices: Sequence[Device], lanes: Lanes) -> dict[str, Any]:
    """Returns all that must be the same for numbers to be the same to the bit.

    XLA's program for a CPU depends on its instructions and on the number of cores, not
    on how many of them compute; and each program rounds as its shapes have it.
    """
    device = devices[0]
    cpu = device.platform == "cpu"
    return {
        "platform": device.platform,
        "device": processor() if cpu else device.xla.device_kind,
        "cores": cores() if cpu else None,
        "jax": importlib.metadata.version("jax"),
        "jaxlib": importlib.metadata.version("jaxlib"),
        "lanes": list(lanes),
    }


def name_of(description: Mapping[str, Any]) -> str:
    """Returns a short name that only equal descriptions share."""
    content = json.dumps(description, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]
