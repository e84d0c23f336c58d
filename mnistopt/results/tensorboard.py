"""TensorBoard's files of a study: the only file that imports tensorboardX.

`tensorboard/POINT/seed SEED/` has one event file, of one replica: its numbers after
each epoch, and what the HParams tab shows, where a point is a group and each of its
seeds a session. From tensorboardX come messages and check sums only: its writers take a
thread and an open file each, and can neither name a group nor append to a file.
"""

import dataclasses
import math
import shutil
import struct
import time
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mnistopt.errors import InputError
from mnistopt.results.columns import axes_of, point_labels, varying_axes
from mnistopt.results.table_files import read_table
from mnistopt.results.tables import DIVERGED, FINISHED

FOLDER = "tensorboard"
# What the HParams tab compares points by; all numbers are under the other tabs.
METRICS = ("accuracy/validation", "loss/validation")
_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass
class _Session:
    """One replica's event file.

    Attributes:
        path: The file.
        last: The last epoch in it.
        repeated: Whether an epoch in it has been trained again.
    """

    path: Path
    last: int = 0
    repeated: bool = False

    def append(self, rows: Sequence[Mapping[Hashable, Any]]) -> None:
        """Appends rows of curves.csv, but for epochs that are there already."""
        new = [row for row in rows if row["epoch"] > self.last]
        self.repeated |= len(new) < len(rows)
        if new:
            self.last = new[-1]["epoch"]
            self.add(b"".join(map(_scalars, new)))

    def add(self, content: bytes) -> None:
        """Appends bytes; the file is open for no longer."""
        with open(self.path, "ab") as file:
            file.write(content)


class TensorBoard:
    """Writes a study's TensorBoard files: give it to `run` as `on_epoch`.

        with TensorBoard("runs/demo") as board:
            mnistopt.run(lr=[1e-3, 1e-2], workdir="runs/demo", on_epoch=board)

    A run rewrites the folder from the study's tables. So the epochs of earlier runs
    are in it, and none is twice that a killed run had shown without a checkpoint.

    Attributes:
        folder: The folder to show: `tensorboard --logdir FOLDER`.
    """

    def __init__(self, workdir: str | Path):
        """Writes nothing yet: a run may still be refused.

        Args:
            workdir: The run's workdir.
        """
        self._workdir = Path(workdir).expanduser().absolute()
        self.folder = self._workdir / FOLDER
        self._sessions: dict[Hashable, _Session] = {}

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        # A run that was stopped has no end to report; the next one starts over.
        if kind is None:
            self._close()
        self._sessions = {}

    def __call__(self, frame: pd.DataFrame) -> None:
        """Appends an epoch: rows of curves.csv, of a replica each.

        Raises:
            InputError: If the workdir is another than that of the run.
        """
        if not self._sessions:
            self._begin()
        for row in frame.to_dict("records"):
            if row["replica"] not in self._sessions:
                raise InputError(
                    f"replica {row['replica']} is not of {self._workdir}: give "
                    "TensorBoard the workdir of the run"
                )
            self._sessions[row["replica"]].append([row])

    def _close(self) -> None:
        """Marks the end of a run: which replicas have finished, and which diverged.

        Where nothing was trained, all that there is gets written here.
        """
        # An epoch that was trained again may have got its test accuracy since.
        if not self._sessions or any(
            session.repeated for session in self._sessions.values()
        ):
            self._begin()
        last = _last_trials(read_table(self._workdir, "trials"))
        for replica, status in zip(last["replica"], last["status"]):
            if status in (FINISHED, DIVERGED):
                self._sessions[replica].add(_end(status))

    def _begin(self) -> None:
        """Rewrites the folder from the tables."""
        trials = read_table(self._workdir, "trials")
        rows = defaultdict(list)
        for row in read_table(self._workdir, "curves").to_dict("records"):
            rows[row["replica"]].append(row)
        labels = _labels(read_table(self._workdir, "summary"))
        if self.folder.exists():
            shutil.rmtree(self.folder)
        last = _last_trials(trials)
        experiment = _experiment(last)
        # TensorBoard reads a file of the old name on from where it was.
        name = f"events.out.tfevents.{time.time_ns()}.mnistopt"
        for trial in last.to_dict("records"):
            label = labels[trial["point"]]
            folder = self.folder / label / f"seed {trial['seed']}"
            folder.mkdir(parents=True)
            session = _Session(folder / name)
            start = _start(trial, label, axes_of(last))
            session.add(_version() + experiment + start)
            session.append(rows[trial["replica"]])
            self._sessions[trial["replica"]] = session


def _last_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Returns of each replica the trial with the most epochs."""
    by_epochs = trials.sort_values("epochs", kind="stable")
    return by_epochs.drop_duplicates("replica", keep="last")


def _labels(summary: pd.DataFrame) -> dict[str, str]:
    """Returns a name per point that no other has: rates may be equal as printed."""
    labels = point_labels(summary)
    names = list(labels.values())
    return {
        point: name if names.count(name) == 1 else f"{name} ({point})"
        for point, name in labels.items()
    }


def _record(**content: Any) -> bytes:
    """Returns an event as event files have it, a TFRecord, with the time of now."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    data = Event(wall_time=time.time(), **content).SerializeToString()
    length = struct.pack("<Q", len(data))
    sums = [struct.pack("<I", masked_crc32c(part)) for part in (length, data)]
    return length + sums[0] + data + sums[1]


def _version() -> bytes:
    """Returns what every event file begins with."""
    return _record(file_version="brain.Event:2")


def _scalars(row: Mapping[Hashable, Any]) -> bytes:
    """Returns what a row of curves.csv has measured, as one event."""
    from tensorboardX.proto.summary_pb2 import Summary

    values = [
        Summary.Value(tag=f"{name}/{split}", simple_value=row[f"{split}_{name}"])
        for split in _SPLITS
        # What was not measured has no accuracy; a diverged replica's loss may be nan.
        if not math.isnan(row[f"{split}_accuracy"])
        for name in ("accuracy", "loss")
    ]
    return _record(step=row["epoch"], summary=Summary(value=values))


def _plugin(tag: str, **content: Any) -> bytes:
    """Returns an event for the HParams tab."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    data = HParamsPluginData(**content).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data)
    value = Summary.Value(
        tag=f"_hparams_/{tag}", metadata=SummaryMetadata(plugin_data=plugin)
    )
    return _record(summary=Summary(value=[value]))


def _experiment(trials: pd.DataFrame) -> bytes:
    """Returns what the trials differ in and are compared by: the same in all files."""
    from tensorboardX.proto import api_pb2 as api

    def kind(axis: str) -> int:
        number = pd.api.types.is_numeric_dtype(trials[axis])
        return api.DATA_TYPE_FLOAT64 if number else api.DATA_TYPE_STRING

    # The HParams tab shows the first few by the alphabet: those in which points differ.
    used = [axis for axis in axes_of(trials) if trials[axis].notna().any()]
    shown = varying_axes(trials) or used
    infos = [api.HParamInfo(name=axis, type=kind(axis)) for axis in shown]
    metrics = [
        api.MetricInfo(
            name=api.MetricName(tag=tag), dataset_type=api.DATASET_VALIDATION
        )
        for tag in METRICS
    ]
    experiment = api.Experiment(hparam_infos=infos, metric_infos=metrics)
    return _plugin("experiment", experiment=experiment)


def _start(trial: Mapping[Hashable, Any], group: str, axes: Sequence[str]) -> bytes:
    """Returns a trial's group, and the hyper-parameters that its model has."""
    from tensorboardX.proto.plugin_hparams_pb2 import SessionStartInfo

    info = SessionStartInfo(group_name=group, start_time_secs=time.time())
    for axis in axes:
        value = trial[axis]
        if isinstance(value, str):
            info.hparams[axis].string_value = value
        elif not pd.isna(value):
            info.hparams[axis].number_value = value
    return _plugin("session_start_info", session_start_info=info)


def _end(status: str) -> bytes:
    """Returns how a replica ended."""
    from tensorboardX.proto import api_pb2 as api
    from tensorboardX.proto.plugin_hparams_pb2 import SessionEndInfo

    ended = api.STATUS_SUCCESS if status == FINISHED else api.STATUS_FAILURE
    info = SessionEndInfo(status=ended, end_time_secs=time.time())
    return _plugin("session_end_info", session_end_info=info)
