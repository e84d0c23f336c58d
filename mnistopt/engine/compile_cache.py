"""JAX's compile cache: an entry that is damaged costs one compile, and not all starts.

JAX never writes over an entry, so one that was cut off by a kill or a full disk would
be warned of, and compiled anew, for ever.
"""

import contextlib
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

# How an entry begins where the package zstandard is installed.
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_UNREADABLE = re.compile("Error reading persistent compilation cache entry for '(.+?)'")


@contextlib.contextmanager
def mending() -> Iterator[None]:
    """Removes what cannot be read of the compile cache, so that it is written anew."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=_UNREADABLE.pattern)
        show = warnings.showwarning

        def mend(message: Any, *rest: Any, **more: Any) -> None:
            found = _UNREADABLE.match(str(message))
            if not (found and _remove(found[1])):
                show(message, *rest, **more)

        warnings.showwarning = mend
        yield


def _remove(module: str) -> int:
    """Removes the damaged entries of a module's name; returns how many there were."""
    count = 0
    folder = jax.config.values["jax_compilation_cache_dir"]
    for entry in Path(folder or "").glob(f"{module}-*-cache"):
        with contextlib.suppress(OSError):
            if _damaged(entry.read_bytes()):
                entry.unlink()
                count += 1
    return count


def _damaged(content: bytes) -> bool:
    """Says whether an entry cannot be unpacked by what JAX packs with."""
    try:
        if content.startswith(_ZSTANDARD):
            import zstandard

            zstandard.ZstdDecompressor().decompress(content)
        else:
            zlib.decompress(content)
    except ImportError:
        return False
    except Exception:  # noqa: BLE001 - each has errors of its own
        return True
    return False
