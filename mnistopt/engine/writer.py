"""Writes the checkpoints of a store (see `checkpoint`)."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict

from mnistopt.engine.checkpoint import (
    CHECKSUM,
    FORMAT,
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


class Writer:
    """Writes the checkpoints of one group, in the background; a context manager."""

    def __init__(self, folder: Path):
        """Opens `folder`, making it; what is whole in it stays."""
        quiet()
        self._folder = folder
        # The newest, if it is to be removed when there is a newer one.
        self._passing: Path | None = None
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        with self._storing():
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
            raise Unwritable(self._folder, error) from error

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
        replicas: Mapping[str, TrainState],
        about: Mapping[str, Any],
        keep: bool,
        since: float | None = None,
    ) -> None:
        """Starts writing a checkpoint; returns when the contents have been copied.

        The first one is waited for, to learn what one costs.

        Args:
            epoch: Epochs done.
            replicas: Per identity its state, numpy leaves that nobody changes.
            about: Content of the item `about`, to which checksums are added.
            keep: Whether it stays; of the others only the newest does.
            since: When the contents began to be brought here, which is part of what
                the first one costs; time.monotonic().

        Raises:
            Unwritable: If the disk refuses this checkpoint, or has refused the last.
        """
        brought = 0.0 if since is None else time.monotonic() - since
        self.finish()
        start = time.monotonic()
        weights, rest = parted(
            jax.tree.map(
                lambda *leaves: np.stack(leaves).view(_Ours), *replicas.values()
            )
        )
        leaves = {f"{i:03d}": leaf for i, leaf in enumerate(jax.tree.leaves(rest))}
        tree = {"weights": weights, "stacked": leaves}
        # A chunk for each replica.
        chunks = jax.tree.map(lambda _: ocp.SaveArgs(shard_axes=(0,)), tree)
        content = {**about, "format": FORMAT, "replicas": list(replicas)}
        # Of each row of each array, by its path: "weights/last/params/Dense_0/bias".
        content["checksums"] = {
            path: list(map(checksum, rows))
            for path, rows in flatten_dict(tree, sep="/").items()
        }
        content[CHECKSUM] = text_checksum(content)
        args = ocp.args.Composite(
            state=ocp.args.PyTreeSave(tree, chunks), about=ocp.args.JsonSave(content)
        )
        with self._storing():
            check_room(self._folder, sum(a.nbytes for a in jax.tree.leaves(tree)))
        self._writing = self._thread.submit(self._write, epoch, args, keep)
        if not self._seconds:
            self.finish()
            self._seconds = brought + time.monotonic() - start
        self._wait_until = time.monotonic() + self._seconds / SAVE_SHARE

    def _write(self, epoch: int, args: Any, keep: bool) -> None:
        step = self._folder / str(epoch)
        with _ORBAX, ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as orbax:
            # It is there if a run that was asked to stop has gone on writing it.
            if not step.exists():
                orbax.save(step, args=args)
        if self._passing:
            remove(self._passing)
        self._passing = None if keep else step
