"""Objects of arrays and plain values as one .npz file, and back."""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mnistopt.errors import InputError

# The entry that says what the arrays are, and the kind of file that it is.
_TREE, _KIND = "tree", "mnistopt classifier 1"


def pack(value: Any) -> bytes:
    """Returns an object as the bytes of an .npz file, the same for equal objects.

    Args:
        value: Dataclasses, named tuples, tuples, lists, mappings, arrays and plain
            values within each other.
    """
    arrays: dict[str, np.ndarray] = {}
    tree = {"kind": _KIND, "value": _flat(value, arrays)}
    arrays[_TREE] = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    content = {}
    for name, array in arrays.items():
        entry = io.BytesIO()
        np.lib.format.write_array(entry, array, allow_pickle=False)
        content[f"{name}.npy"] = entry.getvalue()
    return zipped(content)


def zipped(content: Mapping[str, bytes]) -> bytes:
    """Returns a zip file of files by name, the same for equal ones."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in content.items():
            # A date would make equal files differ.
            packed.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def unpack(path: Path, kinds: Mapping[str, Any]) -> Any:
    """Returns the object that a file was made of.

    Args:
        path: The file.
        kinds: The classes of what may be in it, by name.

    Raises:
        InputError: If it is none of `pack`'s, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
        tree = json.loads(arrays[_TREE].tobytes())
        if tree["kind"] != _KIND:
            raise ValueError(f"it is {tree['kind']}, not {_KIND}")
        return _full(tree["value"], arrays, kinds)
    except FileNotFoundError as error:
        raise InputError(f"{path} is not there") from error
    # Whatever bytes of any kind lead NumPy, zipfile and the classes to.
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise _not_read(path, error) from error
    except (zipfile.BadZipFile, zlib.error, AttributeError) as error:
        raise _not_read(path, error) from error


def _not_read(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be read ({error}): expected is a file that `export` with "
        "format=npz has written; write it again"
    )


def _flat(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Returns a value as JSON has it, its arrays put aside."""
    if isinstance(value, np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    fields = getattr(value, "__dataclass_fields__", None) or getattr(
        value, "_fields", None
    )
    if fields:
        parts = {name: _flat(getattr(value, name), arrays) for name in fields}
        return {"class": type(value).__name__, "fields": parts}
    if isinstance(value, Mapping):
        return {"mapping": {key: _flat(part, arrays) for key, part in value.items()}}
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_flat(part, arrays) for part in value]}
    return value.item() if isinstance(value, np.generic) else value


def _full(value: Any, arrays: Mapping[str, np.ndarray], kinds: Mapping) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "mapping" in value:
        parts = value["mapping"].items()
        return {key: _full(part, arrays, kinds) for key, part in parts}
    if "class" in value:
        parts = value["fields"].items()
        kind = kinds[value["class"]]
        return kind(**{name: _full(part, arrays, kinds) for name, part in parts})
    several = value["tuple"] if "tuple" in value else value["list"]
    made = [_full(part, arrays, kinds) for part in several]
    return tuple(made) if "tuple" in value else made
