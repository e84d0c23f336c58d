"""Writes the checkpoints of a store (see `checkpoint`)."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict

from mnistopt.engine.checkpoint import (
    CHECKSUM,
    FORMAT,
    Checkpoint,
    checksum,
    parted,
    remove,
    remove_partial,
)
from mnistopt.files import Unwritable, check_room, text_checksum
from mnistopt.logs import quiet
from mnistopt.training.cohort import TrainState

# Share of the time that writing checkpoints may take: after one that took t seconds,
# the next (but for those that are kept) waits for t / SAVE_SHARE.
SAVE_SHARE = 0.05
# Seconds of training before the first: what a kill may cost is not worth saving more
# often, and a study that is done by then saves its end only.
FIRST_SAVE = 10.0
# Orbax knows one operation of a process at a time: two of them mix their signals up.
_ORBAX = threading.Lock()
# Where Orbax reports a failure in the background, in a hundred lines.
_LOG = logging.getLogger("absl")


class _Ours(np.ndarray):
    """An array that nobody else has, which Orbax need not copy before it writes."""

    def __deepcopy__(self, memo: Any) -> "_Ours":
        return self


def _is_shown(record: logging.LogRecord) -> bool:
    """Says whether to log: not a failure of Orbax's, which is raised anyway."""
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


class Part(NamedTuple):
    """What a checkpoint has of one group.

    Attributes:
        replicas: Per identity its state, numpy leaves that nobody changes.
        about: Content of the item `about`, to which checksums are added.
    """

    replicas: Mapping[str, TrainState]
    about: Mapping[str, Any]


class Writer:
    """Writes the checkpoints of groups that train together, in the background.

    A context manager.
    """

    def __init__(self, *folders: Path):
        """Opens a folder for each group, making it; what is whole in it stays."""
        quiet()
        self._folders = folders
        # Per folder the newest, if it is to be removed when there is a newer one.
        self._passing: dict[Path, Path] = {}
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        with self._storing():
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
                # Of this process too: one that was asked to stop may still write.
                with _ORBAX:
                    remove_partial(folder)
        self._wait_until = time.monotonic() + FIRST_SAVE
        self._seconds = 0.0

    def __enter__(self) -> "Writer":
        _LOG.addFilter(_is_shown)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        """Waits until everything is written."""
        # Reports a write failure once.
        ignored = [Exception] if kind else []
        try:
            with contextlib.suppress(*ignored):
                self.finish()
        finally:
            self._thread.shutdown(wait=False)
            _LOG.removeFilter(_is_shown)

    @contextlib.contextmanager
    def _storing(self) -> Iterator[None]:
        """Tells in words of what the disk has refused, or refused in the background."""
        try:
            yield
        except Unwritable:
            raise
        except Exception as error:
            raise Unwritable(self._folders[0], error) from error

    def finish(self) -> None:
        """Waits until everything that was saved is written."""
        writing, self._writing = self._writing, None
        if writing:
            with self._storing():
                writing.result()

    def due(self) -> bool:
        """Says whether there is time to save, apart from milestones."""
        return time.monotonic() >= self._wait_until

    def save(
        self,
        epoch: int,
        parts: Sequence[Part],
        keep: bool,
        since: float | None = None,
    ) -> list[Checkpoint]:
        """Starts writing checkpoints; returns when the contents have been copied.

        The first one is waited for, to learn what one costs.

        Args:
            epoch: Epochs done.
            parts: One per folder; those without replicas are not written.
            keep: Whether they stay; of the others only the newest do.
            since: When the contents began to be brought here, which is part of what
                the first one costs; time.monotonic().

        Returns:
            What will be there when `finish` has returned.

        Raises:
            Unwritable: If the disk refuses this checkpoint, or has refused the last.
        """
        brought = 0.0 if since is None else time.monotonic() - since
        self.finish()
        start = time.monotonic()
        written = [
            (folder, *_stacked(part))
            for folder, part in zip(self._folders, parts, strict=True)
            if part.replicas
        ]
        trees = [tree for _, tree, _ in written]
        with self._storing():
            check_room(self._folders[0], sum(a.nbytes for a in jax.tree.leaves(trees)))
        steps = {
            folder / str(epoch): _arguments(tree, about)
            for folder, tree, about in written
        }
        self._writing = self._thread.submit(self._write, steps, keep)
        if not self._seconds:
            self.finish()
            self._seconds = brought + time.monotonic() - start
        self._wait_until = time.monotonic() + self._seconds / SAVE_SHARE
        return [Checkpoint(folder.name, epoch, about) for folder, _, about in written]

    def _write(self, steps: Mapping[Path, Any], keep: bool) -> None:
        for step, args in steps.items():
            with _ORBAX, ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as orbax:
                # It is there if a run that was asked to stop has gone on writing it.
                if not step.exists():
                    orbax.save(step, args=args)
            if passing := self._passing.pop(step.parent, None):
                remove(passing)
            if not keep:
                self._passing[step.parent] = step


def _stacked(part: Part) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the arrays of a checkpoint, and what is said of them."""
    stacked = jax.tree.map(
        lambda *leaves: np.stack(leaves).view(_Ours), *part.replicas.values()
    )
    weights, rest = parted(stacked)
    leaves = {f"{i:03d}": leaf for i, leaf in enumerate(jax.tree.leaves(rest))}
    tree = {"weights": weights, "stacked": leaves}
    about = {**part.about, "format": FORMAT, "replicas": list(part.replicas)}
    # Of each row of each array, by its path: "weights/last/params/Dense_0/bias".
    about["checksums"] = {
        path: list(map(checksum, rows))
        for path, rows in flatten_dict(tree, sep="/").items()
    }
    about[CHECKSUM] = text_checksum(about)
    return tree, about


def _arguments(tree: Mapping[str, Any], about: Mapping[str, Any]) -> Any:
    """Returns what Orbax saves."""
    # A chunk for each replica.
    chunks = jax.tree.map(lambda _: ocp.SaveArgs(shard_axes=(0,)), tree)
    return ocp.args.Composite(
        state=ocp.args.PyTreeSave(tree, chunks), about=ocp.args.JsonSave(about)
    )
