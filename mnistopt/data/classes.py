"""The names of classes: what labels stand for, and how those of other data match."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mnistopt.errors import InputError

# Predictions are kept as bytes.
MOST_CLASSES = 256


def natural(name: str) -> tuple:
    """Returns a sort key by which numbers in names count as numbers."""
    parts: list[tuple] = []
    for i, part in enumerate(re.split(r"(\d+)", name)):
        # By length first: Python refuses to read numbers of thousands of digits.
        digits = part.lstrip("0")
        parts.append((len(digits), digits) if i % 2 else (-1, part))
    return parts, name


def plain(name: Any) -> str:
    """Returns a name in Unicode's composed form; file systems may decompose it."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    return unicodedata.normalize("NFC", text)


def default_names(count: int) -> tuple[str, ...]:
    """Returns the names of classes that have none: "0" to "K - 1"."""
    return tuple(map(str, range(count)))


def check_names(given: Any) -> tuple[str, ...]:
    """Returns the names of K classes as words.

    Args:
        given: K names: words, or numbers, which become words.

    Raises:
        InputError: If they are not such a list, or two are equal.
    """
    kinds = (str, bytes, int, np.integer)
    alone = isinstance(given, (str, bytes)) or not hasattr(given, "__iter__")
    names = [] if alone else list(given)
    if not names or not all(isinstance(name, kinds) for name in names):
        raise InputError(
            f"class_names={given!r} is not allowed: expected a list of names, the "
            "first that of label 0"
        )
    words = tuple(map(plain, names))
    if twice := sorted({name for name in words if words.count(name) > 1}):
        raise InputError(f"class_names has {twice[0]!r} twice: each class has its own")
    if "" in words:
        raise InputError("class_names has an empty name: each class has its own")
    if len(words) > MOST_CLASSES:
        raise InputError(
            f"class_names has {len(words)} names; at most {MOST_CLASSES} are possible"
        )
    return words


def sorted_names(labels: Iterable[Any]) -> tuple[str, ...]:
    """Returns the names that labels in words have, in natural order."""
    return tuple(sorted({plain(label) for label in labels}, key=natural))


def positions(
    names: Sequence[str],
    class_names: Sequence[str],
    where: str,
    labels: np.ndarray,
) -> np.ndarray:
    """Returns labels as positions among other names of classes, as of a study.

    Args:
        names: The names that the labels stand for.
        class_names: The names that they should stand for.
        where: The name of the data, for error messages.
        labels: Positions in `names`, int [N]; only names that they use need match.

    Returns:
        Positions in `class_names`, int32 [N].

    Raises:
        InputError: If a name is none of them; says which, and what those are.
    """
    places = {name: position for position, name in enumerate(class_names)}
    used = dict.fromkeys(names[k] for k in sorted(set(labels.tolist())))
    if unknown := [name for name in used if name not in places]:
        raise InputError(
            f"{where} has the class {', '.join(unknown[:8])}, which matches no class "
            f"of {', '.join(class_names)}. Classes are matched by their "
            "names: rename the folders, or give class_names beside the labels"
        )
    return np.array([places.get(name, 0) for name in names], np.int32)[labels]
