"""The contact sheet: what a network sees in training."""

from typing import Any

import altair as alt
import pandas as pd

from mnistopt.report.charts.theme import finished, rows

# Pixels of an image on the sheet, and from one to the next.
_SIZE, _STEP = 40, 46


def samples_chart(frame: pd.DataFrame) -> Any:
    """Draws images as they are, and as each setting changes them.

    Args:
        frame: From `samples.read_samples`.
    """
    lines = frame[["row", "draw"]].drop_duplicates().reset_index(drop=True)
    # A setting's draws stand together, a little apart from the next.
    lines["y"] = lines.index * _STEP + 22 * (lines["row"] + 1)
    placed = frame.merge(lines, on=["row", "draw"])
    placed["x"] = placed["place"] * _STEP + _STEP / 2
    heads = placed[(placed["draw"] == 0) & (placed["place"] == 0)]
    wide, high = int(placed["x"].max() + _STEP / 2), int(placed["y"].max() + _STEP)
    x = alt.X("x:Q", axis=None).scale(domain=[0, wide], nice=False)
    y = alt.Y("y:Q", axis=None).scale(domain=[high, 0], nice=False)
    layers = [
        alt.Chart(rows(placed[["x", "y", "image", "setting"]]))
        .mark_image(width=_SIZE, height=_SIZE, smooth=False, baseline="top")
        .encode(x=x, y=y, url="image:N", tooltip="setting:N"),
        alt.Chart(rows(heads[["y", "setting"]]))
        .mark_text(align="left", baseline="bottom", dy=-4)
        .encode(x=alt.value(3), y=y, text="setting:N"),
    ]
    settings = frame["setting"].unique()[1:]
    return finished(
        alt.layer(*layers).properties(width=wide, height=high),
        "What the network sees",
        ["Training images as they are, and two draws of each augmentation."],
        f"Training images changed by: {'; '.join(settings)}.",
    )
