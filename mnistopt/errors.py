"""What a person gave that cannot be used, or is doubtful."""

import contextlib
import difflib
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """A flag, argument or file that cannot be used.

    Its message says what was given, what is expected and what to do about it. The
    programs print the message and exit with code 2.
    """


# What other tools call the settings, without underscores.
_ELSEWHERE = {
    "batch": "batch_size",
    "bs": "batch_size",
    "wd": "weight_decay",
    "learningrate": "lr",
    "eta": "lr",
    "dropoutrate": "dropout",
    "units": "hidden",
    "neurons": "hidden",
    "layers": "hidden",
    "hiddenlayers": "hidden",
    "filters": "channels",
    "kernels": "channels",
    "numepochs": "epochs",
    "nepochs": "epochs",
    "maxepochs": "epochs",
    "seed": "seeds",
    "numseeds": "seeds",
    "output": "workdir",
    "outputdir": "workdir",
    "logdir": "workdir",
    "network": "model",
    "rotation": "rotate",
}


def meant(name: str, known: Iterable[str]) -> str:
    """Returns the known name that an unknown one stands for, or resembles; or "".

    Args:
        name: What was given, as in "learning-rate".
        known: The names that there are.
    """
    known, letters = list(known), re.sub("[^a-z0-9]", "", name.lower())
    if (usual := _ELSEWHERE.get(letters)) in known:
        return str(usual)
    plain = {re.sub("[^a-z0-9]", "", other): other for other in known}
    close = difflib.get_close_matches(letters, plain, n=1, cutoff=0.75)
    return plain[close[0]] if close else ""


def see(page: str) -> str:
    """Returns a line for a message that names the page of the documentation.

    Args:
        page: The file's name in docs/ without the ending, as in "data", and perhaps
            the anchor of a heading: "faults#divergence".

    Returns:
        "See ...", on a line of its own: the page of the built site or the text that it
        is made of, from the current folder; its name in the project's repository where
        this is installed without it.
    """
    root, (name, mark, anchor) = Path(__file__).parents[1], page.partition("#")
    places = (root / f"build/docs/{name}.html", root / f"docs/{name}.md")
    path = next(filter(Path.exists, places), None)
    if path is None:
        return f"\nSee docs/{name}.md{mark}{anchor} in the repository of mnistopt"
    with contextlib.suppress(ValueError, OSError):
        path = path.relative_to(Path.cwd())
    return f"\nSee {path}{mark}{anchor}"


@contextlib.contextmanager
def starving() -> Iterator[None]:
    """Raises InputError where the system gives no more memory, or no more threads."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        short = "memory" if isinstance(error, MemoryError) else "threads"
        # The words are Python's, of a plain RuntimeError.
        if short == "threads" and "can't start new thread" not in str(error):
            raise
        raise InputError(
            f"the system gives this process no more {short}: raise its limits (ulimit "
            "-a, or the container's), or end other processes; then run the same "
            "command to resume"
        ) from error


@contextlib.contextmanager
def noting(noted: list[str] | None = None) -> Iterator[list[str]]:
    """Yields a list to which this thread's warnings are added, as they are shown.

    Warnings that a notebook has shown for an earlier run are shown again.

    Args:
        noted: The list; None for a new one.
    """
    noted = [] if noted is None else noted
    with warnings.catch_warnings():
        show, thread = warnings.showwarning, threading.get_ident()

        def note(message: Any, category: type[Warning], *rest: Any) -> None:
            ours = category is UserWarning and threading.get_ident() == thread
            if ours and str(message) not in noted:
                noted.append(str(message))
            show(message, category, *rest)

        warnings.showwarning = note  # type: ignore[assignment]
        yield noted
