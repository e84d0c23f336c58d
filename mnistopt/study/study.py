"""The results of a study, as a notebook and the programs read them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mnistopt.data.content import listed
from mnistopt.engine.checkpoint import Checkpoint, Damaged, Store
from mnistopt.engine.identity import make_again
from mnistopt.engine.record import Record
from mnistopt.errors import InputError
from mnistopt.files import check_path
from mnistopt.models.networks import bare
from mnistopt.results import config
from mnistopt.results.columns import axes_of
from mnistopt.results.compare import Comparison
from mnistopt.results.effects import Effects, find_effects
from mnistopt.results.ledger import SEARCH, read_ledger, search_table
from mnistopt.results.predictions import Predictions, read_predictions
from mnistopt.results.table_files import read_table
from mnistopt.results.tables import FINISHED, best_trial
from mnistopt.study.naming import FEWEST, compare_settings, named
from mnistopt.study.progress import in_notebook


class Study:
    """The results in a workdir, read again at each access: a grid may be running.

    Attributes:
        workdir: The folder.
        config: The content of its config.json.
    """

    def __init__(self, workdir: str | Path):
        """Opens a workdir; raises InputError if it is none."""
        # Absolute, as a notebook's next cell may go to another folder.
        self.workdir = (check_path("workdir", workdir) or Path()).absolute()
        self.config = config.read_config(self.workdir)
        self._seen: tuple[list[Path], list[Checkpoint]] = [], []

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of its K classes, by label."""
        return self.config.data.class_names

    @property
    def trials(self) -> pd.DataFrame:
        """A row per replica and asked number of epochs."""
        return read_table(self.workdir, "trials")

    @property
    def curves(self) -> pd.DataFrame:
        """A row per replica and epoch."""
        return read_table(self.workdir, "curves")

    @property
    def summary(self) -> pd.DataFrame:
        """A row per point, best first by validation accuracy."""
        return read_table(self.workdir, "summary")

    @property
    def search(self) -> pd.DataFrame:
        """A row per trial of a search, as `results.ledger.search_table` returns it.

        Raises:
            InputError: If nothing was searched here.
        """
        ledger = read_ledger(self.workdir)
        if ledger is None:
            raise InputError(f"{self.workdir} is no search: it has no {SEARCH}")
        return search_table(ledger)

    def charts(self) -> dict[str, Any]:
        """Returns the study's pictures by name: Altair charts, which show themselves.

        Which there are depends on what was swept: "effects", "importance", "seeds",
        "sweep", "differences", "fit", "error", "loss", "gap", "samples", "weights",
        "params", "multiply_adds", "latency_1_ms", "latency_256_ms", "seconds",
        "mistakes", "confusion", "classes", "hardest", "reliability", "votes",
        "robustness", and "interaction-A-B" of axes that depend on each other; of a
        search "search", "rungs", "schedule", "decides", "slices" and "parallel".
        """
        from mnistopt.report.study import make_pictures

        if in_notebook():
            from mnistopt.report.inline import show_charts_inline

            show_charts_inline()
        return {
            name: picture.chart for name, picture in make_pictures(self.workdir).items()
        }

    def effects(self) -> Effects | None:
        """Returns what each swept axis does to the validation accuracy.

        Returns:
            Tables of importance, of the mean of each value and of their differences;
            None if no axis varies among the finished trials.
        """
        return find_effects(self.trials)

    @property
    def findings(self) -> list[str]:
        """What the study found, as the sentences of its report."""
        from mnistopt.report.study import findings

        return findings(self.workdir)

    def report(self) -> Path:
        """Writes report.html and figures/ into the workdir, unless they are new.

        Returns:
            The path of the page: one file, which needs no network.
        """
        from mnistopt.report.fresh import write_report

        return write_report(self.workdir)

    def _repr_html_(self) -> str:
        """Shows findings, points and curves below a notebook's cell."""
        from mnistopt.report.study import glimpse

        return glimpse(self.workdir)

    def __repr__(self) -> str:
        """Says what it is, where a notebook does not show it."""
        states = self.trials["status"].value_counts()
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        return f"<Study {self.workdir}: trials {counts or 'none'}>"

    def trial(self, name: str = "best") -> dict[str, Any]:
        """Returns a row of `trials`, as a dictionary.

        Args:
            name: "best", or the beginning of one trial's name.

        Raises:
            InputError: If no trial, or more than one, is named so.
        """
        trials = self.trials
        rows = named(trials, best_trial(trials) if name == "best" else name)
        if len(rows) != 1:
            some = f" ({listed(rows['trial'], 4)})" if len(rows) else ""
            raise InputError(
                f"trial={name!r} names {len(rows)} trials of {self.workdir}{some}; "
                "give best, or a name from the column trial of trials.csv, or "
                f"{FEWEST} or more letters that it begins with"
            )
        return {str(name): value for name, value in rows.iloc[0].items()}

    def siblings(self, trial: str = "best") -> list[str]:
        """Returns the finished trials of a trial's point, by seed, itself among them.

        Raises:
            InputError: If the trial is unknown, or none has finished.
        """
        row, trials = self.trial(trial), self.trials
        alike = trials[trials["point"] == row["point"]]
        finished = alike[alike["status"] == FINISHED].sort_values("seed")
        if finished.empty:
            raise InputError(f"trial={trial} is of a setting without a finished seed")
        return finished["trial"].tolist()

    def model(self, trial: str = "best"):
        """Returns the flax module of a trial: `model.apply(study.variables(trial), x)`.

        Raises:
            InputError: If the trial is unknown or has not finished, or its module is of
                the user's own and cannot be had, or has changed since.
        """
        return bare(self.network(trial))

    def network(self, trial: str = "best") -> Any:
        """Returns `model` as `engine.predict` takes it; raises as `model`."""
        shape, classes = self.config.data.image_shape, len(self.class_names)
        point = self._find(trial)[1].point
        return make_again(point, self.config.modules, shape, classes)

    def params(self, trial: str = "best", weights: str = "last") -> Any:
        """Restores one trial's parameters: `variables` without running statistics."""
        return self.variables(trial, weights)["params"]

    def variables(self, trial: str = "best", weights: str = "last") -> Any:
        """Restores one trial's variables, and reads no other replica's.

        Args:
            trial: See `trial`.
            weights: "last", those after the trial's epochs, or "best", those after
                its best epoch by validation accuracy. Of a trial with a moving
                average, both are the average's.

        Returns:
            What the trial's model is applied to: `params`, and `batch_stats` with
            BatchNorm; numpy arrays.

        Raises:
            InputError: If the trial is unknown or has not finished.
        """
        if weights not in ("last", "best"):
            raise InputError(f"weights={weights!r} is not known; choose last or best")
        holders, record = self._find(trial)
        if weights == "best" and record.history["diverged_at"][0] >= 0:
            raise InputError(
                f"trial {trial} has diverged in its first epoch, and has no best one: "
                "give weights=last, or another trial"
            )
        name = record.replica
        for saved in holders:
            # Of a damaged one there may be another.
            try:
                part = self._store.load_part(saved, [name], f"weights/{weights}")
                return part[name]
            except Damaged as error:
                damaged = error
        raise damaged

    def predictions(self, trial: str = "best", split: str = "test") -> Predictions:
        """Returns what all finished seeds of a trial's point say of each image.

        Args:
            trial: See `trial`.
            split: "validation" or "test".

        Raises:
            InputError: If the trial is unknown or its point has none finished.
        """
        row = self.trial(trial)
        return read_predictions(self.workdir, row["point"], split)

    def predict(
        self,
        images: Any,
        trial: str = "best",
        ensemble: bool = False,
        weights: str = "last",
    ) -> pd.DataFrame:
        """Classifies images from anywhere, placed and scaled as the study's are.

        Images of a study of 28 x 28 grey pixels are taken for digits: found on their
        paper, dark on light or light on dark, and placed as MNIST's
        (`data.place.place`), even if they already are. Others are fitted into the
        study's size. Networks get pixels from 0 to 1, so this does not suit a study of
        floats with another range.

        Args:
            images: A file or folder of pictures, or an .npz file with `images`; or one
                image or several: arrays [H, W] or [H, W, C], uint8 or floats, pictures
                of Pillow's, paths of files.
            trial: See `trial`.
            ensemble: Whether to ask all finished seeds of the trial's point, and to
                take the mean of their probabilities.
            weights: See `variables`.

        Returns:
            A row per image: its name or number `image`, the likeliest `class` (none
            where there is no digit), the `probability` of it, and the
            probability of each class under the class' name.

        Raises:
            InputError: If the images or the trial cannot be used.
        """
        from mnistopt.study.classify import classify

        names = self.siblings(trial) if ensemble else [trial]
        all_of = ((self.network(one), self.variables(one, weights)) for one in names)
        return classify(self.config, all_of, images)

    def export(
        self,
        format: str = "onnx",
        trial: str = "best",
        int8: bool = False,
        weights: str = "last",
        path: str | Path | None = None,
        data_dir: str | Path | None = None,
    ) -> dict[str, Any]:
        """Writes a trained network as a file for where it is used.

        Args:
            format: "onnx", "html" (a page to draw on), "c", "stablehlo", or "npz", for
                `mnistopt.read_export`.
            trial: See `trial`; or "ensemble", all seeds of the best point, which vote.
            int8: Whether onnx and npz are in whole numbers, as html and c always are.
            weights: See `variables`.
            path: The file; None for one in the workdir's folder export.
            data_dir: Where the study's data are, if they have been moved.

        Returns:
            What stands in the file (input, accuracy, data, command), `path`, `bytes`.

        Raises:
            InputError: If it cannot be exported; says which layer, or what is missing.
        """
        from mnistopt.study.exporting import export_study

        return export_study(self, format, trial, int8, weights, path, data_dir)

    def ensemble(self, how: str = "greedy", shifts: int = 0, data: Any = None) -> Any:
        """Lets networks vote, calibrates the vote, and measures it.

        Args:
            how: "greedy": those of all finished trials that lower the vote's loss on
                validation images; "all": all seeds of the best point.
            shifts: Pixels by which each image is also shifted, in all directions.
            data: Where the study's data are, if moved; or the `Dataset` itself.

        Returns:
            A `study.ensemble.Ensemble`; raises InputError if it cannot be chosen.
        """
        from mnistopt.study.ensemble import make_ensemble

        return make_ensemble(self, how, shifts, data)

    def per_class(self, trial: str = "best", split: str = "test") -> pd.DataFrame:
        """Returns how well each class is recognized by a trial's point.

        Args:
            trial: See `trial`.
            split: "validation" or "test".

        Returns:
            A row per class: its name `class`, the `count` of its images, its `accuracy`
            (recall), `precision` and `f1`, means over the finished seeds, in [0, 1].

        Raises:
            InputError: See `predictions`.
        """
        return self.predictions(trial, split).per_class()

    @property
    def best_params(self) -> dict[str, Any]:
        """The hyper-parameters of the best point, without those that it has not."""
        return self.settings(self.trial("best"))

    def settings(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the hyper-parameters of a row of `trials`, those that it has."""
        axes = {name: row[name] for name in axes_of(self.trials)}
        # A class of the user's own is named by where it is.
        own = self.config.modules.get(row["model"], {})
        axes["model"] = own.get("path") or row["model"]
        return {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in axes.items()
            if pd.notna(value)
        }

    def compare(
        self, a: Any, b: Any, metric: str = "validation_accuracy"
    ) -> Comparison:
        """Compares two settings, seed by seed.

        Args:
            a: A setting: "best", a trial's name, or some of its hyper-parameters as a
                dictionary, as in {"lr": 0.001}.
            b: The other.
            metric: An accuracy, a loss or another of the columns of `trials` that
                `summary` has means of.

        Raises:
            InputError: If one is unknown, more than one is meant, or they have no
                finished seed in common.
        """
        return compare_settings(self, a, b, metric)

    @property
    def _store(self) -> Store:
        return Store(self.workdir / "checkpoints")

    def _saved(self) -> list[Checkpoint]:
        """Returns the checkpoints, read again if they have changed."""
        folder = self.workdir / "checkpoints"
        folders = sorted(folder.glob("*/*/"))
        if folders != self._seen[0]:
            self._seen = folders, self._store.saved()
        return self._seen[1]

    def _find(self, trial: str) -> tuple[list[Checkpoint], Record]:
        """Returns a trial's checkpoints, rarely two, and the replica's record."""
        row = self.trial(trial)
        epoch, name = row["epochs_done"], row["replica"]
        holders = [
            saved
            for saved in self._saved()
            if saved.epoch == epoch and name in saved.replicas
        ]
        if holders:
            return holders, holders[0].record(name)
        raise InputError(
            f"trial {row['trial']} of {self.workdir} is {row['status']} and has no "
            "checkpoint; run the grid's command again to resume"
        )


# Opens the workdir of a grid that has run, or is running.
open_study = Study
