"""What a network bears: its accuracy on images corrupted ever more strongly."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from mnistopt.data.corrupt import CORRUPTIONS, STRENGTHS, corrupt
from mnistopt.report.charts.theme import finished, rows
from mnistopt.results.sheets import data_url

# Pixels of a panel, and of the sample pictures below it.
_WIDTH, _HEIGHT, _SAMPLE = 236, 120, 32
_COLUMNS = 4


def robustness_frame(
    table: pd.DataFrame, example: np.ndarray, setting: str = ""
) -> pd.DataFrame:
    """Returns what the chart shows.

    Args:
        table: The table from `study.evaluation.summarise`.
        example: The image to show corrupted, uint8 [H, W, C].
        setting: The name of the point whose networks they are.

    Returns:
        A row per corruption, and of all of them, and strength, 0 being none: `panel`,
        the corruption and its unit; `amount` as text; `accuracy`, `low` and `high` in
        per cent; `n` networks; and the example as it is then, `image`, as the data URL
        of a PNG, "" for all of them; and the `setting`.
    """
    known = {(row["corruption"], row["strength"]): row for _, row in table.iterrows()}
    panels = {name: f"{name} ({how.unit})" for name, how in CORRUPTIONS.items()}
    panels["all"] = "mean of all (strength)"
    cells = []
    for name, panel in panels.items():
        for strength in (0, *STRENGTHS):
            row = known[(name, str(strength)) if strength else ("clean", "0")]
            image, amount = example, float(strength)
            if strength and name in CORRUPTIONS:
                image = corrupt(example[np.newaxis], name, strength)[0]
                amount = CORRUPTIONS[name].amounts[strength - 1]
            url = data_url(image) if name in CORRUPTIONS else ""
            ends = (100 * row[end] for end in ("accuracy", "low", "high"))
            cells.append((panel, strength, f"{amount:g}", *ends, row["n"], url))
    columns = ["panel", "strength", "amount", "accuracy", "low", "high", "n", "image"]
    return pd.DataFrame(cells, columns=columns).assign(setting=setting)


def robustness_chart(frame: pd.DataFrame) -> Any:
    """Draws a panel per corruption, the example below; takes a `robustness_frame`."""
    last = max(STRENGTHS)
    base = alt.Chart().encode(
        x=alt.X("strength:Q", axis=None).scale(domain=[-0.4, last + 0.4], nice=False),
        tooltip=[
            alt.Tooltip("panel:N", title="corruption"),
            alt.Tooltip("amount:N"),
            alt.Tooltip("accuracy:Q", title="right (%)", format=".2f"),
            alt.Tooltip("low:Q", format=".2f"),
            alt.Tooltip("high:Q", format=".2f"),
            alt.Tooltip("n:Q", title="networks"),
        ],
    )
    ticks = alt.Axis(values=[0, 25, 50, 75, 100], labelExpr="datum.label + ' %'")
    y = alt.Y("accuracy:Q", title=None, axis=ticks).scale(domain=[0, 100])
    middle = _HEIGHT + 8 + _SAMPLE / 2
    images = base.transform_filter("datum.image")
    layers = [
        base.mark_line(strokeWidth=2.5, style="first").encode(y=y),
        base.mark_rule(strokeWidth=1.5, style="first").encode(
            y=alt.Y("low:Q"), y2="high:Q"
        ),
        base.mark_point(filled=True, size=60, opacity=1, style="first").encode(y=y),
        base.transform_filter(f"datum.strength == {last}")
        .mark_text(dy=-12, style="ink")
        .encode(y=alt.Y("high:Q"), text=alt.Text("accuracy:Q", format=".0f")),
        images.mark_image(width=_SAMPLE, height=_SAMPLE, smooth=False).encode(
            y=alt.value(middle), url="image:N"
        ),
        base.mark_text(style="soft", fontSize=11, dy=_SAMPLE / 2 + 10).encode(
            y=alt.value(middle), text="amount:N"
        ),
    ]
    panels = frame["panel"].drop_duplicates().tolist()
    header = alt.Header(
        title=None, labelAnchor="start", labelFontSize=14, labelPadding=12
    )
    chart = (
        alt.layer(*layers, data=rows(frame))
        .properties(width=_WIDTH, height=_HEIGHT)
        .facet(alt.Facet("panel:N", sort=panels, header=header), columns=_COLUMNS)
    )
    worst = frame.sort_values("accuracy").iloc[0]
    clean, n = frame["accuracy"].iloc[0], frame["n"].iloc[0]
    setting = str(frame["setting"].iloc[0]) if "setting" in frame else ""
    of = f"Setting: {setting}." if setting else ""
    who = f"Mean accuracy of {n} seeds" if n > 1 else "Accuracy of one network"
    return finished(
        chart.properties(spacing={"row": 22, "column": 22}),
        "What the network bears",
        [
            f"{who} on corrupted images, with its 95 % interval, by the strength of "
            f"the corruption; below, what becomes of one of them. {of}"
        ],
        f"Accuracy under seven corruptions in five strengths: {clean:.2f} % without, "
        f"and least, {worst['accuracy']:.1f} %, under {worst['panel']} "
        f"{worst['amount']}.",
    )
