"""One reproduction of the paper: trains its parts, and collects what they measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnistopt.paper.conclude import conclude
from mnistopt.paper.evidence import collect
from mnistopt.paper.findings import Findings
from mnistopt.paper.plan import Options, Part, make_cells, make_parts
from mnistopt.paper.times import make_speeds
from mnistopt.study import runner
from mnistopt.study.jobs import Plan
from mnistopt.study.progress import OnProgress, Progress


def _settings(part: Part, options: Options, workdir: Path) -> dict[str, Any]:
    """Returns the arguments of `runner.run` that train a part."""
    return {
        "points": part.points,
        "seeds": part.seeds,
        "dataset": options.dataset,
        "data_dir": options.data_dir,
        "train_examples": part.train_examples,
        "workdir": workdir / part.name,
    }


def plan(options: Options, workdir: str | Path) -> dict[str, Plan]:
    """Returns by part what `reproduce` would train; writes nothing."""
    parts = make_parts(make_cells(options), options)
    return {
        part.name: runner.plan(**_settings(part, options, Path(workdir).expanduser()))
        for part in parts
    }


def reproduce(
    options: Options,
    workdir: str | Path,
    command: str = "",
    on_plan: Callable[[dict[str, Plan]], None] | None = None,
    on_progress: OnProgress | None = None,
) -> Findings:
    """Trains what of the paper's tables is not in the workdir yet, and judges it.

    Args:
        options: How large.
        workdir: Where everything goes: a study per part in folders of their names,
            what they measured (see `evidence`), and what follows (see `conclude`).
        command: The command line that did it, for the report.
        on_plan: Called with the plans before they are carried out.
        on_progress: Called as that of `runner.run`, with the work of all parts.

    Returns:
        What was found; `paper.md` tells it.

    Raises:
        InputError: If an option cannot be used, or does not fit the workdir.
    """
    workdir = Path(workdir).expanduser()
    plans = plan(options, workdir)
    if on_plan:
        on_plan(plans)
    whole = WholeProgress(sum(one.work for one in plans.values()), on_progress)
    studies = {}
    for part in make_parts(make_cells(options), options):
        settings = _settings(part, options, workdir)
        studies[part.name] = runner.run(on_progress=whole, **settings)
        whole.next_part()
    cells = make_cells(options)
    speeds = make_speeds(make_parts(cells, options), options, workdir, studies)
    collect(options, command, cells, studies, speeds).write(workdir)
    return conclude(workdir)


class WholeProgress:
    """Tells of the parts' progress as of one study: a callback of `runner.run`."""

    def __init__(self, total_work: int, on_progress: OnProgress | None):
        """Knows the work of all parts, and whom to tell."""
        self._total_work, self._on_progress = total_work, on_progress
        self._work, self._seconds = 0, 0.0  # of the parts before
        self._last: Progress | None = None

    def next_part(self) -> None:
        """Counts the part that has ended among those before."""
        if self._last is not None:
            self._work, self._seconds = self._last.work, self._last.seconds

    def __call__(self, progress: Progress) -> None:
        """Adds the parts before to the progress of this one."""
        self._last = progress._replace(
            work=self._work + progress.work,
            total_work=self._total_work,
            seconds=self._seconds + progress.seconds,
        )
        if self._on_progress:
            self._on_progress(self._last)
