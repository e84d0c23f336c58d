"""How a program starts, reports errors, shows help, and ends.

Nothing heavy is imported here, so that `--help` answers at once.
"""

import functools
import io
import os
import re
import shlex
import shutil
import signal
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags

from experiments.flags import GROUPS
from mnistopt.errors import InputError, meant

FLAGS = flags.FLAGS
_STARTED = time.perf_counter()
# Seconds that a process has to end by itself after it was asked to stop.
ENDING = 1.0
# Where absl defines flags of its own.
_OF_ABSL = ("absl.flags", "absl.logging", "absl.app")
# Columns of help: a terminal's usual ones, and what flags take of them.
_WIDTH, _NAMES = 80, 22


def running_for() -> float:
    """Returns the seconds since the program started."""
    return time.perf_counter() - _STARTED


def command(program: str, *arguments: str) -> str:
    """Returns how a program is called from here, quoted for the shell."""
    # launch.sh says how it was called itself.
    launcher = os.environ.get("MNISTOPT_LAUNCHER")
    start = (
        [launcher, program] if launcher else ["python", "-m", f"experiments.{program}"]
    )
    return shlex.join([*start, *arguments])


def short_path(path: str | os.PathLike) -> str:
    """Returns a path from the current folder, or the whole one if it is not below."""
    below = os.path.relpath(path)
    return os.fspath(path) if below.startswith("..") else below


def run(main: Callable[[], None], about: str) -> None:
    """Parses the command line, runs `main`, and ends the process.

    A user's mistake gives one message and exit code 2; and so
    is, at the end, that output could not be written: no run is lost for that.

    Args:
        main: The program.
        about: The program's description, for `--help`.
    """
    output, _ = _open_stream(1), _open_stream(2)
    warnings.showwarning = _warn_once(set())  # type: ignore[assignment]
    sys.unraisablehook = _unraisable
    flags.DEFINE_bool("help", False, "show this help", short_name="h")
    try:
        try:
            _run(main, about)
        finally:
            sys.stdout.flush()
            if why := output.error:
                words = f"error: the output cannot be written: {why.strerror}"
                print(words, file=sys.stderr)
    except BrokenPipeError:
        # Whoever read it has seen enough, as head has: there is nobody left to read.
        # What is still to be printed goes nowhere, so that nobody complains of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    if output.error:
        sys.exit(2)


def _run(main: Callable[[], None], about: str) -> None:
    try:
        rest = _parse(sys.argv)
        if FLAGS.help:
            print("\n".join(_help(about)))
            return
        if rest:
            example = "--lr=1e-3" if "lr" in FLAGS else "--workdir=runs/mnist_5k-cnn"
            raise InputError(
                f"{' '.join(rest)!r} is not a flag; flags look like {example} (see "
                "--help)"
            )
        main()
    except (flags.Error, InputError) as error:
        print(f"error: {_message(error)}", file=sys.stderr)
        sys.exit(2)
    except ValueError as error:
        # JAX reads its settings from the environment when it is imported.
        *_, last = traceback.walk_tb(error.__traceback__)
        if last[0].f_globals["__name__"] != "jax._src.config":
            raise
        print(
            f"error: invalid JAX setting in the environment: {error}", file=sys.stderr
        )
        sys.exit(2)
    except KeyboardInterrupt as error:
        # A signal's number, where it came to a run that listens to others than Ctrl-C.
        number = getattr(error, "number", signal.SIGINT)
        program = os.path.basename(sys.argv[0]).removesuffix(".py")
        again = command(program, *sys.argv[1:])
        print(f"stopped; the same command resumes: {again}", file=sys.stderr)
        # Python would wait for threads that still compute or compile.
        ending = threading.Timer(ENDING, os._exit, (128 + number,))
        ending.daemon = True
        ending.start()
        sys.exit(128 + number)


def _warn_once(shown: set[str]) -> Callable[..., None]:
    """Returns what prints warnings without the line of code that raised them."""

    def warn(message: Any, *_: Any, **__: Any) -> None:
        if str(message) not in shown:  # as of the parts of a study, on the same data
            shown.add(str(message))
            print(f"warning: {_with_flags(str(message))}", file=sys.stderr)

    return warn


class _Stream(io.FileIO):
    """A standard stream that raises nothing but that its reader has gone.

    Attributes:
        error: Why something could not be written; None where all was.
    """

    error: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Writes bytes; those that cannot be written are lost."""
        try:
            return super().write(content)
        except OSError as error:
            if isinstance(error, BrokenPipeError) and self.fileno() == 1:
                raise
            self.error = self.error or error
            return len(content)


def _open_stream(number: int) -> _Stream:
    """Reopens standard output (1) or error (2) so that it can write all characters."""
    name = {1: "stdout", 2: "stderr"}[number]
    before = getattr(sys, name)
    if before is None:  # closed, as by >&-
        # In its place, or else the next file that is opened gets what is printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    stream = _Stream(number, "w", closefd=False)
    # A terminal of few letters shows ? for the others.
    text = io.TextIOWrapper(
        io.BufferedWriter(stream),
        encoding=before.encoding if before else "utf-8",
        errors="replace",
        line_buffering=True,
    )
    setattr(sys, name, text)
    return stream


def _parse(arguments: list[str]) -> list[str]:
    """Parses flags; returns what is none."""
    _refuse_twice(arguments)
    try:
        return FLAGS(arguments)[1:]
    except flags.Error:
        raise
    except ValueError as error:  # --noquiet=3, for example, does not raise flags.Error.
        raise InputError(f"{error} (see --help)") from error


def _refuse_twice(arguments: list[str]) -> None:
    """Raises InputError if a flag is given twice, of which the last would count."""
    given: dict[str, str] = {}
    for argument in arguments[1:]:
        name = argument.lstrip("-").partition("=")[0]
        positive = name.removeprefix("no")
        if positive in FLAGS and FLAGS[positive].boolean:
            name = positive
        if not argument.startswith("-") or name not in FLAGS:
            continue
        if name in given:
            raise InputError(
                f"--{name} is given twice, as {given[name]} and {argument}: give it "
                "once; several values are joined by commas"
            )
        given[name] = argument


def _unraisable(unraisable: Any) -> None:
    """Handles exceptions that were raised in a callback and that no caller can catch.

    A Ctrl-C that met JAX's callback of the garbage collector would be lost: it comes
    again. Failed writes have been reported by callbacks already.
    """
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        again = functools.partial(os.kill, os.getpid(), signal.SIGINT)
        threading.Timer(0.05, again).start()
    elif str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _message(error: Exception) -> str:
    """Returns an error in words, without absl's and Python's."""
    if not isinstance(error, flags.Error):
        return _with_flags(str(error))
    if isinstance(error, flags.UnrecognizedFlagError):
        guess = meant(error.flagname, FLAGS)
        words = f"; did you mean --{guess}?" if guess else ""
        return f"there is no flag --{error.flagname}{words} (see --help)"
    text = re.sub(r"^flag (--.*?=.*?): ", r"\1 is not allowed: ", str(error), count=1)
    text = re.sub(r"\('Non-boolean .*\)", "expected true or false, or no value", text)
    text = re.sub(r"value should be one of <(.*)>", _choices, text)
    return f"{text} (see --help)"


def _with_flags(text: str) -> str:
    """Returns the library's words with its settings, `workdir`, as flags: --workdir."""

    def flag(match: re.Match[str]) -> str:
        return f"--{match[1]}{match[2]}" if match[1] in FLAGS else match[0]

    return re.sub(r"`(\w+)((?:=[^`]*)?)`", flag, text)


def _choices(match: re.Match[str]) -> str:
    return f"choose one of {match[1].replace('|', ', ')}"


def _help(about: str) -> Iterator[str]:
    """Yields the lines of a program's help: what it does, and its flags in groups."""
    width = min(_WIDTH, shutil.get_terminal_size().columns)
    blocks = about.strip().split("\n\n")
    yield "\n\n".join(b if b[0] == " " else textwrap.fill(b, width) for b in blocks)
    for name in FLAGS:  # in order of definition
        flag = FLAGS[name]
        if flag.name != name or FLAGS.find_module_defining_flag(name) in _OF_ABSL:
            continue
        if title := GROUPS.get(name):
            yield f"\n{title}:"
        given = flag.value is not None and not flag.boolean
        default = f" [{flag.serialize().split('=', 1)[1]}]" if given else ""
        # absl puts choices in front, which the words have already.
        words = re.sub("^<.*?>: ", "", flag.help)
        yield textwrap.fill(
            f"{words}{default}",
            width,
            initial_indent=f"  --{name}  ".ljust(_NAMES),
            subsequent_indent=" " * _NAMES,
            break_on_hyphens=False,
        )
