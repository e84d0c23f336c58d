"""Writes the checkpoints of a store (see `checkpoint`)."""

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict
from orbax.checkpoint import checkpoint_managers as policies

from mnistopt.engine.checkpoint import CHECKSUM, FORMAT, checksum, parted, text_checksum
from mnistopt.files import Unwritable, check_room
from mnistopt.logs import quiet
from mnistopt.training.cohort import TrainState

# Share of the time that writing checkpoints may take: after one that took t seconds,
# the next (but for those that are kept) waits for t / SAVE_SHARE.
SAVE_SHARE = 0.05
# Seconds of training before the first: what a kill may cost is not worth saving more
# often, and a study that is done by then saves its end only.
FIRST_SAVE = 10.0
# Folder that checkpoints are moved to before they are deleted, so that nobody sees half
# of one: not a reader, and not the next run if this one is killed. By its name Orbax
# takes it for what a killed run has left.
SUPERSEDED = "superseded.orbax-checkpoint-tmp"
# Where Orbax tells of a failure in the background, in a hundred lines.
_LOG = logging.getLogger("absl")


class _Kept(policies.PreservationPolicy):
    """Preserves the epochs of a set that may grow."""

    def __init__(self, epochs: Set[int]):
        self._epochs = epochs

    def should_preserve(self, checkpoints, *, context) -> Sequence[bool]:
        return [checkpoint.step in self._epochs for checkpoint in checkpoints]


class _Ours(np.ndarray):
    """An array that nobody else has, which Orbax need not copy before it writes."""

    def __deepcopy__(self, memo: Any) -> "_Ours":
        return self


def _told(record: logging.LogRecord) -> bool:
    """Says whether to log: not a failure of Orbax's, which is raised anyway."""
    return record.levelno < logging.ERROR or "orbax" not in record.pathname


class Writer:
    """Writes the checkpoints of one group, in the background; a context manager."""

    def __init__(self, folder: Path):
        """Opens `folder`, making it; what is in it stays."""
        quiet()
        self._folder = folder
        self._keep: set[int] = set()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(
                [policies.LatestN(1), _Kept(self._keep)]
            ),
            cleanup_tmp_directories=True,
            todelete_subdir=SUPERSEDED,
        )
        with self._storing():
            self._manager = ocp.CheckpointManager(folder, options=options)
        self._keep.update(self._manager.all_steps())
        self._wait_until = time.monotonic() + FIRST_SAVE
        self._seconds = 0.0

    def __enter__(self) -> "Writer":
        _LOG.addFilter(_told)
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        """Waits until everything is written."""
        # Who could not write is told once.
        ignored = [Exception] if kind else []
        try:
            with contextlib.suppress(*ignored):
                self.finish()
        finally:
            with contextlib.suppress(Exception):
                self._manager.close()
            _LOG.removeFilter(_told)

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
        """Waits until everything that was saved is written, and deletes the rest."""
        with self._storing():
            self._manager.wait_until_finished()
        shutil.rmtree(self._folder / SUPERSEDED, ignore_errors=True)

    def due(self) -> bool:
        """Says whether time allows to save, besides what is to be kept."""
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
            about: For the item `about`, which has checksums besides.
            keep: Whether it stays; of the others only the newest does.
            since: When the contents began to be brought here, which is part of what
                the first one costs; time.monotonic().

        Raises:
            Unwritable: If the disk refuses this checkpoint, or has refused the last.
        """
        if keep:
            self._keep.add(epoch)
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
        told = {**about, "format": FORMAT, "replicas": list(replicas)}
        # Of each row of each array, by its path: "weights/last/params/Dense_0/bias".
        told["checksums"] = {
            path: list(map(checksum, rows))
            for path, rows in flatten_dict(tree, sep="/").items()
        }
        told[CHECKSUM] = text_checksum(told)
        args = ocp.args.Composite(
            state=ocp.args.PyTreeSave(tree, chunks), about=ocp.args.JsonSave(told)
        )
        with self._storing():
            check_room(self._folder, sum(a.nbytes for a in jax.tree.leaves(tree)))
            self._manager.save(epoch, args=args)
        if not self._seconds:
            self.finish()
            self._seconds = brought + time.monotonic() - start
        self._wait_until = time.monotonic() + self._seconds / SAVE_SHARE
