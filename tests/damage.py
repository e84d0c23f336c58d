"""Damage to the files of a workdir, and what the same command makes of it.

    python -m tests.damage

prints the table of docs/faults.md: every file of a study, damaged in every way.
"""

import builtins
import collections
import contextlib
import io
import os
import re
import shutil
import tempfile
import unittest.mock
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

import mnistopt
from mnistopt.errors import InputError

ASKED = {
    "model": "mlp", "hidden": (8,), "train_examples": 200, "seeds": 2,
    "epochs": [1, 2],
}  # fmt: skip
TIMES = ["seconds", "latency_1_ms", "latency_256_ms"]

# By the kind of a file, what its path in the workdir looks like.
KINDS = {
    "config.json": r"config\.json",
    "tables": r"\w+\.csv",
    "records of a checkpoint": r"checkpoints/\w+/\d+/about/metadata",
    "arrays of a checkpoint": r"checkpoints/\w+/\d+/state/.*(ocdbt|/d/\w+)",
    "other files of a checkpoint": r"checkpoints/.*",
    "predictions": r"predictions/.*",
    "figures": r"figures/.*",
    "report.html": r"report\.html",
    ".manifest.json": r"\.manifest\.json",
    ".lock": r"\.lock",
}


def kind_of(name: str) -> str:
    """Returns the kind of a file of a workdir."""
    return next(kind for kind, form in KINDS.items() if re.fullmatch(form, name))


def cut(path: Path, share: float) -> None:
    """Leaves the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def flip(path: Path, share: float) -> None:
    """Flips a bit of a file."""
    content = bytearray(path.read_bytes() or b"\0")
    place = int(share * 8 * len(content)) % (8 * len(content))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def replace(path: Path, share: float) -> None:
    """Puts a folder of somebody else's in the place of a file."""
    del share
    path.unlink()
    (path / "of mine").mkdir(parents=True)


# Each takes a file and, where in it.
DAMAGES: dict[str, Callable[[Path, float], None]] = {
    "gone": lambda path, _: path.unlink(),
    "emptied": lambda path, _: path.write_bytes(b""),
    "cut": cut,
    "a bit flipped": flip,
    "others' bytes": lambda path, share: path.write_bytes(
        np.random.default_rng(int(1e6 * share)).bytes(300)
    ),
    "a folder": replace,
    "read-only": lambda path, _: path.chmod(0o444),
}


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing in a folder can be written, by root neither."""

    def refuse(path: object) -> None:
        if folder in Path(os.fsdecode(path)).absolute().parents:  # type: ignore[arg-type]
            raise PermissionError(13, "Permission denied", os.fsdecode(path))  # type: ignore[arg-type]

    def guarded(call: Callable, place: int, writes: Callable) -> Callable:
        def instead(*args: object, **more: object) -> object:
            if writes(args, more) and isinstance(
                args[place], (str, bytes, os.PathLike)
            ):
                refuse(args[place])
            return call(*args, **more)

        return instead

    def to_write(args: tuple, more: dict) -> bool:
        mode = more.get("mode", args[1] if len(args) > 1 else "r")
        return bool(set(mode) & set("wax+"))

    def to_make(args: tuple, more: dict) -> bool:
        return bool(args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    always = lambda *_: True  # noqa: E731
    opened = guarded(io.open, 0, to_write)
    patches = [
        unittest.mock.patch.object(io, "open", opened),
        unittest.mock.patch.object(builtins, "open", opened),
        *(
            unittest.mock.patch.object(os, name, guarded(getattr(os, name), i, always))
            for name, i in (("replace", 1), ("rename", 1), ("mkdir", 0), ("unlink", 0))
        ),
        unittest.mock.patch.object(os, "open", guarded(os.open, 0, to_make)),
    ]
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


def make(folder: Path) -> mnistopt.Study:
    """Returns a study with its report, for damage."""
    study = mnistopt.run(**ASKED, workdir=folder)
    study.report()
    return study


def files_of(folder: Path) -> list[str]:
    """Returns the paths of all files of a workdir, in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.relative_to(folder).as_posix() for path in files]


def mend(folder: Path, report: bool = True) -> str:
    """Gives the same command again; returns "" or the sentence that refuses it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = mnistopt.run(**ASKED, workdir=folder)
            if report:
                study.report()
    except InputError as error:
        return str(error)
    return ""


def check_right(study: mnistopt.Study, folder: Path) -> None:
    """Checks that a workdir has all that a study has: numbers, weights and files."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = mnistopt.open_study(folder)
        for table in ("trials", "curves", "summary"):
            ours, theirs = (
                getattr(one, table).drop(columns=TIMES, errors="ignore")
                for one in (again, study)
            )
            assert ours.equals(theirs), table
        for trial in study.trials["trial"]:
            ours, theirs = (one.variables(trial) for one in (again, study))
            jax.tree.map(np.testing.assert_array_equal, ours, theirs)
            pairs = (one.predictions(trial) for one in (again, study))
            for one, other in zip(*pairs):
                np.testing.assert_array_equal(one, other)
    derived = [one for one in files_of(study.workdir) if "checkpoints/" not in one]
    assert set(derived) <= set(files_of(folder))


def outcome(
    study: mnistopt.Study, name: str, damage: str, share: float, report: bool = True
) -> str:
    """Damages a file of a copy; returns "mended" or "refused", or raises.

    What refuses names the file or its folder, and is true: once that is out of the
    way, the same command mends all.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(study.workdir, Path(place) / "w"))
        DAMAGES[damage](folder / name, share)
        if not (told := mend(folder, report)):
            check_right(study, folder)
            return "mended"
        assert str(folder) in told and len(told) < 600, told
        in_the_way = folder / name
        assert in_the_way.is_dir() and str(in_the_way) in told, told
        assert (in_the_way / "of mine").is_dir()
        in_the_way.rename(Path(place) / "elsewhere")
        assert not mend(folder, report)
        check_right(study, folder)
        return "refused"


# Places of a file that are damaged, at most; of the texts that everything is read from
# ten times as many cuts: every tenth byte of small ones.
MOST = {"cut": 6, "a bit flipped": 3}
TEXTS = {"config.json", "tables"}
# Kinds of which there are many files, that are written and read alike: each fourth.
ALIKE = {"figures", "predictions", "other files of a checkpoint"}


def main() -> None:
    """Prints the table."""
    found: dict[str, dict[str, collections.Counter]] = {}
    with tempfile.TemporaryDirectory() as place:
        study = make(Path(place) / "w")
        names = files_of(study.workdir)
        alike = [name for name in names if kind_of(name) in ALIKE]
        skipped = set(alike) - set(alike[::4])
        for name in (one for one in names if one not in skipped):
            for damage in DAMAGES:
                most = MOST.get(damage, 1)
                most *= 10 if damage == "cut" and kind_of(name) in TEXTS else 1
                size = (study.workdir / name).stat().st_size
                places = max(1, min(most, size // 10))
                for i in range(places):
                    share = (i + 0.5) / places
                    said = outcome(study, name, damage, share, report=not i)
                    row = found.setdefault(kind_of(name), {})
                    row.setdefault(damage, collections.Counter())[said] += 1
    print("| what | what is", " | ".join(DAMAGES), "|")
    print("|---|" + "---|" * len(DAMAGES))
    for kind in KINDS:
        cells = [
            ", ".join(f"{n} {said}" for said, n in found[kind].get(one, {}).items())
            for one in DAMAGES
        ]
        print(f"| {kind} |", " | ".join(cells), "|")


if __name__ == "__main__":
    from mnistopt.engine import predict

    predict.BUDGET = 0.0
    main()
