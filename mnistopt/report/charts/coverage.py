"""How often accepted fields of forms are wrong, by how many are accepted."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mnistopt.report.charts.theme import finished, rows

_WIDTH, _HEIGHT = 560, 300
# Points of a curve that are drawn, and per cent of errors up to which they are.
_POINTS, _MOST = 200, 3.0
# Of all fields: with fewer the share of wrong ones says little.
_FEWEST = 0.1


def coverage_frame(curves: pd.DataFrame) -> pd.DataFrame:
    """Returns what the chart shows, in per cent: some points of each curve.

    Args:
        curves: A row per `form` and threshold, as `reject.curve` returns them.
    """
    parts = []
    for _, curve in curves[curves["coverage"] >= _FEWEST].groupby("form", sort=False):
        places = np.unique(np.linspace(0, len(curve) - 1, _POINTS).round().astype(int))
        parts.append(curve.iloc[places])
    table = pd.concat(parts, ignore_index=True)
    shares = ["coverage", "risk", "low", "high"]
    table[shares] = (100 * table[shares]).round(4)
    return table[["form", *shares]]


def coverage_chart(table: pd.DataFrame, marks: pd.DataFrame, max_error: float) -> Any:
    """Draws the share of wrong fields among those accepted.

    Args:
        table: A `coverage_frame`.
        marks: Where the reader's own threshold is: a row per `form`, with `coverage`
            and `risk` in per cent.
        max_error: What it was to hold, in per cent.
    """
    names = list(dict.fromkeys(table["form"]))
    colour = alt.Color("form:N", sort=names, title=None)
    clipped = table.assign(
        high=table["high"].clip(upper=_MOST), low=table["low"].clip(upper=_MOST)
    )
    scale = alt.Scale(domain=[0, _MOST], nice=False)
    wide = alt.Scale(domain=[100 * _FEWEST, 100], nice=False)
    x = alt.X("coverage:Q", title="fields taken over unseen (%)", scale=wide)
    y = alt.Y("risk:Q", title="of these wrong (%)", scale=scale)
    base = alt.Chart(rows(clipped)).encode(x=x, color=colour)
    bands = base.mark_area(opacity=0.15, clip=True).encode(
        y=alt.Y("low:Q", scale=scale), y2="high:Q"
    )
    lines = base.mark_line(strokeWidth=2.5, clip=True).encode(y=y)
    level = (
        alt.Chart(rows(pd.DataFrame({"risk": [max_error]})))
        .mark_rule(strokeDash=[6, 4], strokeWidth=1.5)
        .encode(y=y)
    )
    points = (
        alt.Chart(rows(marks))
        .mark_point(size=110, filled=True)
        .encode(x=x, y=y, color=colour)
    )
    said = "; ".join(
        f"{row.form}: {row.coverage:.1f} % taken over, {row.risk:.2f} % of them wrong"
        for row in marks.itertuples()
    )
    return finished(
        alt.layer(bands, lines, level, points).properties(width=_WIDTH, height=_HEIGHT),
        "What is taken over, and what of it is wrong",
        [
            "Fields by their probability, the surest first, with 95 % intervals.",
            f"Points: the reader's own thresholds, to hold {max_error:g} % (dashed).",
        ],
        f"The share of wrong fields among those taken over. {said}.",
    )
