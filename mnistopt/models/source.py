"""The source of a user's classes and functions, by which changed ones are told apart.

It is that of a class and of what it uses from the user's own files: its bases, other
modules, functions, and plain constants.
"""

import ast
import collections
import hashlib
import inspect
import linecache
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from mnistopt.errors import InputError


def hash_source(of: Any) -> str:
    """Returns 8 hexadecimal digits that tell a class or function from changed ones.

    Raises:
        InputError: If Python does not know its source.
    """
    texts = sorted(set(_sources(of, {})))
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:8]


def own_modules(of: Any) -> set[ModuleType]:
    """Returns the user's own modules that a class or function and what it uses are in.

    Without those that cannot be imported elsewhere either way: a notebook's cells.
    """
    seen: dict[int, Any] = {}
    if is_own(of):
        collections.deque(_sources(of, seen), maxlen=0)
    names = {one.__module__ for one in seen.values()} - {"__main__"}
    return {sys.modules[name] for name in names if name in sys.modules}


def _sources(of: Any, seen: dict[int, Any]) -> Iterator[str]:
    """Yields the sources of a class or function and of what it uses of its own kind.

    Args:
        of: The class or function.
        seen: Those whose sources were told, by id; they are added.
    """
    if id(of) in seen:
        return
    seen[id(of)] = of
    yield _source(of)
    used: list[Any] = list(of.__mro__[1:]) if isinstance(of, type) else []
    functions = [of]
    if isinstance(of, type):
        functions = [inspect.unwrap(one) for one in vars(of).values() if callable(one)]
    for function in functions:
        code, scope = getattr(function, "__code__", None), _scope(function)
        for name in sorted(_names(code)) if code else ():
            if _is_plain(scope.get(name)):
                yield f"{name} = {scope[name]!r}"
            used.append(scope.get(name))
    for one in used:
        if isinstance(one, (type, FunctionType)) and is_own(one):
            yield from _sources(one, seen)


def _source(of: Any) -> str:
    """Returns the source of a class or function as it stands in its file or cell."""
    try:
        try:
            return textwrap.dedent(inspect.getsource(of))
        except (OSError, TypeError):
            # Before 3.13, Python finds the methods of a notebook's class, but not it.
            methods = [one for one in vars(of).values() if _is_method(one, of)]
            file = inspect.unwrap(methods[0]).__code__.co_filename
            text = "".join(linecache.getlines(file))
            (found,) = (
                node
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.ClassDef) and node.name == of.__name__
            )
            return textwrap.dedent(ast.get_source_segment(text, found) or "")
    except (OSError, TypeError, ValueError, LookupError, SyntaxError) as error:
        raise InputError(
            f"the source of {of.__qualname__} cannot be found, which tells it from "
            "changed ones: define it in a file, or in a cell of a notebook"
        ) from error


def _is_method(thing: Any, of: type) -> bool:
    return isinstance(thing, FunctionType) and thing.__qualname__.startswith(
        f"{of.__qualname__}."
    )


def is_closure(thing: Any) -> bool:
    """Says whether it is a function made by another one."""
    return isinstance(thing, FunctionType) and thing.__closure__ is not None


def _is_plain(thing: Any) -> bool:
    if isinstance(thing, tuple):
        return all(map(_is_plain, thing))
    return isinstance(thing, (bool, int, float, str))


def _scope(function: Any) -> dict[str, Any]:
    """Returns what a function sees by name, besides its own variables."""
    if not isinstance(function, FunctionType):
        return {}
    closed = inspect.getclosurevars(function).nonlocals
    return {**function.__globals__, **closed}


def _names(code: CodeType) -> set[str]:
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    own = {*code.co_names, *code.co_freevars}
    return own.union(*map(_names, inner))


def is_own(thing: Any) -> bool:
    """Says whether a class or function is of a user's own files, or a notebook."""
    home: ModuleType | None = sys.modules.get(thing.__module__)
    if thing.__module__.split(".")[0] in ("builtins", "mnistopt"):
        return False
    file = getattr(home, "__file__", None)
    if file is None:
        return thing.__module__ == "__main__"
    paths = sysconfig.get_paths()
    installed = (paths[name] for name in ("purelib", "platlib", "stdlib"))
    return not any(Path(file).is_relative_to(folder) for folder in installed)
