"""What searches of the paper's space have found, as a page and as pictures."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.report import as_table
from experiments.benchmark.search import (
    CONFIRM,
    EPOCHS,
    GRID_HERE,
    OURS,
    PBT,
    PYTORCH,
    RANDOM,
)

# Million images that the points of ways which took equally many are drawn apart.
_APART = 0.07


def _of(measured: Mapping[str, Any], way: str, name: str) -> Any:
    rows = [row for row in measured["rows"] if row["way"] == way]
    return np.array([row[name] for row in sorted(rows, key=lambda r: r["repeat"])])


def headline(measured: Mapping[str, Any]) -> str:
    """Returns the table of the documentation, and of the page."""
    from mnistopt.results.stats import mean_interval, positive_interval

    head = ["way", "images (million)", "seconds", "validation % of the winner, anew"]
    head += ["behind the grid, points", "test %", "n"]
    table = [head]
    grid = _of(measured, GRID_HERE, "validation")
    for way in (GRID_HERE, *OURS, PYTORCH):
        found = _of(measured, way, "validation")
        if not len(found):
            continue
        cells = [way, f"{_of(measured, way, 'images').mean() / 1e6:.2f}"]
        seconds = positive_interval(_of(measured, way, "seconds"))
        cells += [_ranged(seconds, 1, 0), _accuracy(found)]
        behind = mean_interval(100 * (grid[: len(found)] - found))
        low, high = behind.low, behind.high
        text = f"{behind.mean:+.2f} [{low:+.2f}, {high:+.2f}]"
        cells.append("" if way == GRID_HERE else text)
        cells += [_accuracy(_of(measured, way, "test")), str(len(found))]
        table.append(cells)
    return as_table(table)


def markdown(measured: Mapping[str, Any]) -> str:
    """Returns what was found, as a page."""
    from mnistopt.results.stats import mean_interval

    about, apart = measured["machine"], ""
    fixed, found = _of(measured, RANDOM, "validation"), _of(measured, PBT, "validation")
    if len(found):
        ahead = mean_interval(100 * (found - fixed[: len(found)]))
        apart = (
            f"Population-based training costs as much as {RANDOM} search: its schedule "
            f"is ahead of the best fixed setting by {ahead.mean:+.2f} points "
            f"[{ahead.low:+.2f}, {ahead.high:+.2f}], paired by repeat and fresh seeds."
        )
    compiling = _of(measured, GRID_HERE, "compiling")
    lines = [
        "# Searches of the paper's space",
        f"`./launch.sh bench --search`, on {about['cpu']}, {about['versions']}. "
        "MLPs 64, 128 and 128x128, CNNs 16x32/128 and 32x64/128, batches of 32 and 64, "
        "dropout 0 to 0.5 and learning rates 0.00001 to 0.1, on mnist_5k for up to "
        f"{EPOCHS} epochs. The grid has 3 rates and 4 dropouts; the searches may use a "
        "third of its images. Each way is repeated with other seeds, in turn; its "
        f"winner by validation is trained anew here with {CONFIRM} fresh seeds, equal "
        "for all. Brackets are 95 % intervals over the repeats.",
        headline(measured),
        f"Seconds are without compiling, which takes {compiling.max():.0f} s the first "
        f"time and {compiling.min():.0f} s from the cache here, and without imports. "
        "Optuna over PyTorch is a process per core on one journal, with its TPE and "
        "HyperbandPruner; PyTorch keeps its freed memory and uses fused Adam.",
        apart,
    ]
    return "\n\n".join(filter(None, lines)) + "\n"


def _accuracy(values: np.ndarray) -> str:
    from mnistopt.results.stats import accuracy_interval

    return _ranged(accuracy_interval(values), 100, 2)


def _ranged(of: Any, scale: float, digits: int) -> str:
    mean, low, high = (
        f"{scale * end:.{digits}f}" for end in (of.mean, of.low, of.high)
    )
    return mean if math.isnan(of.low) else f"{mean} [{low}, {high}]"


def picture(measured: Mapping[str, Any]) -> Any:
    """Returns a chart of the winner's error against images and against seconds."""
    import altair as alt
    import pandas as pd

    from mnistopt.report.charts.pictures import Picture
    from mnistopt.report.charts.theme import PALETTE, finished, rows
    from mnistopt.results.stats import accuracy_interval

    ways = [w for w in (GRID_HERE, *OURS, PYTORCH) if len(_of(measured, w, "images"))]
    found = []
    for way in ways:
        right = accuracy_interval(_of(measured, way, "validation"))
        for panel, name, scale, apart in (
            ("million training images", "images", 1e-6, _APART),
            ("seconds", "seconds", 1.0, 0.0),
        ):
            spent = scale * _of(measured, way, name).mean()
            spent += (way != GRID_HERE) * apart * (ways.index(way) - len(ways) / 2)
            found.append(
                {
                    "way": way,
                    "panel": panel,
                    "spent": spent,
                    "error": 100 * (1 - right.mean),
                    "low": 100 * (1 - right.high),
                    "high": 100 * (1 - right.low),
                }
            )
    frame = pd.DataFrame(found)
    colours = [PALETTE[i] for i in (6, 3, 4, 0, 2, 1)]
    colour = alt.Color(
        "way:N",
        scale=alt.Scale(domain=ways, range=colours[: len(ways)]),
        legend=alt.Legend(title=None, orient="bottom", columns=2),
    )
    y = alt.Y("error:Q", title="validation error (%)", scale=alt.Scale(zero=False))
    panels = []
    for panel in frame["panel"].unique():
        part = frame[frame["panel"] == panel]
        base = alt.Chart(rows(part)).encode(
            x=alt.X("spent:Q", title=panel, scale=alt.Scale(domainMin=0)),
            color=colour,
        )
        panels.append(
            alt.layer(
                base.mark_rule(strokeWidth=2).encode(
                    y=alt.Y("low:Q", title="validation error (%)"), y2="high:Q"
                ),
                base.mark_point(filled=True, size=110).encode(y=y),
            ).properties(width=250, height=240)
        )
    words = [f"{row['way']} {row['error']:.2f} %" for row in found[::2]]
    chart = finished(
        alt.hconcat(*panels),
        "What a search finds, and what it takes",
        [
            f"Winner trained anew with {CONFIRM} fresh seeds; mean of repeats, 95 %.",
            "Ways of equal images stand side by side.",
        ],
        f"Validation error of the winners: {', '.join(words)}.",
    )
    return Picture.of(frame, chart)


def axes_picture(found: Sequence[Mapping[str, Any]]) -> Any:
    """Returns the picture of what `compare_axes` has found."""
    import altair as alt
    import pandas as pd

    from mnistopt.report.charts.pictures import Picture
    from mnistopt.report.charts.theme import finished, rows

    frame = pd.DataFrame(found)
    scale = alt.Scale(type="log", domain=[7e-5, 1.4e-1], nice=False)
    # One scale for both, so that they can be compared.
    lowest = 0.8 * float(frame["error"].min())
    errors = alt.Scale(type="log", domain=[lowest, 110], nice=False)
    colour = alt.Color(
        "error:Q", scale=alt.Scale(scheme="viridis", type="log"), legend=None
    )
    sides = []
    for how, some in frame.groupby("how"):
        rates = some["lr"].map("{:.6g}".format).nunique()
        base = alt.Chart(rows(some)).encode(
            x=alt.X("lr:Q", scale=scale, title="learning rate").axis(
                values=[1e-4, 1e-3, 1e-2, 1e-1], format="~e"
            )
        )
        above = base.mark_point(filled=True, size=90).encode(
            x=alt.X("lr:Q", scale=scale, title=None, axis=None),
            y=alt.Y("error:Q", title="error (%)", scale=errors).axis(
                values=[5, 10, 20, 50, 100]
            ),
            color=colour,
        )
        below = base.mark_point(filled=True, size=170).encode(
            y=alt.Y("dropout:Q", title="dropout", scale=alt.Scale(padding=10)),
            color=colour,
        )
        words = f"{how}: {len(some)} trials, {rates} learning rates"
        sides.append(
            alt.vconcat(
                above.properties(width=230, height=110, title=words),
                below.properties(width=230, height=170),
            )
        )
    best = frame.groupby("how")["error"].min()
    chart = finished(
        alt.hconcat(*sides),
        "Nine trials, three or nine values of what matters",
        ["Validation error of an MLP of 128 units, mean of three seeds; dark is best."],
        f"The best of the grid has {best['grid']:.2f} % validation error, the best at "
        f"random {best['random']:.2f} %.",
    )
    return Picture.of(frame, chart)


def write(workdir: Path, measured: Mapping[str, Any]) -> list[Path]:
    """Writes search.json, search.md and the picture; returns their paths."""
    from mnistopt.report.charts.pictures import write_picture

    workdir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(measured, indent=1) + "\n"
    (workdir / "search.json").write_text(text, encoding="utf-8")
    (workdir / "search.md").write_text(markdown(measured), encoding="utf-8")
    write_picture(workdir, "search", picture(measured))
    write_picture(workdir, "axes", axes_picture(measured["axes"]))
    names = ("search.json", "search.md", "search.png", "axes.png")
    return [workdir / name for name in names]
