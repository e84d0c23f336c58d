"""What decides the bits of a replica's numbers, besides its settings."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

# What XLA computes with at a time, the widest first.
_VECTORS = ("avx512f", "avx2", "avx")


def processor() -> str:
    """Returns the processor's name, model and widest vectors, as far as they are told.

    Virtual machines call processors of several generations, whose last bits differ,
    by one name: "AMD EPYC".
    """
    # Linux tells it nowhere else.
    with contextlib.suppress(OSError, KeyError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        first = text.partition("\n\n")[0].splitlines()
        told = {
            name.strip(): value.strip()
            for name, _, value in (line.partition(":") for line in first)
        }
        flags = told.get("flags", "").split()
        parts = [told["model name"]]
        parts += [f"{name} {told[name]}" for name in ("cpu family", "model")]
        return ", ".join([*parts, *(one for one in _VECTORS if one in flags)][:4])
    return platform.processor() or platform.machine()


def cores() -> int:
    """Returns the cores this process may use where the system tells, else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe(xla: jax.Device) -> dict[str, Any]:
    """Returns all that must be the same for numbers to be the same to the bit.

    XLA's program for a CPU depends on its instructions and on the number of cores, not
    on how many of them compute; and each program rounds as its shapes have it, so the
    lanes belong to it.
    """
    cpu = xla.platform == "cpu"
    return {
        "platform": xla.platform,
        "device": processor() if cpu else xla.device_kind,
        "cores": cores() if cpu else None,
        "jax": importlib.metadata.version("jax"),
        "jaxlib": importlib.metadata.version("jaxlib"),
    }


def name_of(description: Mapping[str, Any]) -> str:
    """Returns a short name that only equal descriptions share."""
    content = json.dumps(description, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]
