"""The benchmark's two pictures."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from experiments.benchmark.contest import FLAX, KERAS, OURS, PYTORCH
from mnistopt.report.charts.pictures import Picture
from mnistopt.report.charts.theme import PALETTE, finished, rows

# The best of each, in this order and these colours in both pictures.
_WHO = (OURS, PYTORCH, KERAS, FLAX)
_COLOUR = alt.Color(
    "who:N",
    scale=alt.Scale(domain=list(_WHO), range=[PALETTE[i] for i in (0, 1, 3, 4)]),
    legend=alt.Legend(title=None, orient="top", columns=4, symbolType="circle"),
)


def pictures(found: Mapping[str, Any]) -> dict[str, Picture]:
    """Returns the pictures, by name, of what `experiments.bench` found."""
    # PyTorch's ways count by what they reached when tried, too, where that is more.
    frame = pd.DataFrame([row for row in found["rows"] if "failed" not in row])
    frame["panel"] = frame["network"] + ", batch " + frame["batch"].astype(str)
    pytorch = frame[frame["who"] == PYTORCH].groupby("panel")["images_per_second"].max()
    columns = ["panel", "who", "how", "replicas", "images_per_second", "low", "high"]
    speed = frame.loc[frame["low"].notna(), columns]
    speed["pytorch_best"] = speed["panel"].map(pytorch)
    flops = (
        (frame["flops"] / frame["images_per_second"]).groupby(frame["network"]).max()
    )
    reached = frame["images_per_second"] * frame["network"].map(flops)
    share = frame.assign(share=100 * reached / found["ceilings"]["flops"])
    share = share[(share["who"] != OURS) | (share["replicas"] == 8)]
    best = share.groupby(["panel", "who"], sort=False)["share"].idxmax()
    share = share.loc[best, ["panel", "who", "how", "replicas", "share"]]
    return {
        "speed": Picture.of(speed, _speed_chart(speed)),
        "roofline": Picture.of(share, _roofline_chart(share, found)),
    }


def _speed_chart(frame: pd.DataFrame) -> Any:
    names = frame["panel"].unique()
    panels = [_panel(frame[frame["panel"] == name], name) for name in names]
    return finished(
        alt.concat(*panels, columns=2),
        "Training speed by how many models are trained at once",
        [
            "Forward, backward and Adam, all on the same machine in turn: medians of",
            "the repeats, and their spread. Dashed: PyTorch's best in any of its runs.",
        ],
        "Images per second against the number of models, per network and batch size.",
    )


def _panel(frame: pd.DataFrame, name: str) -> Any:
    base = alt.Chart(rows(frame)).encode(
        x=alt.X(
            "replicas:Q",
            title="models trained at once",
            scale=alt.Scale(type="log", base=2, padding=12, nice=False),
            axis=alt.Axis(values=[1, 2, 4, 8, 32, 128], grid=False),
        ),
        y=alt.Y(
            "images_per_second:Q",
            title="images per second",
            axis=alt.Axis(format="~s", tickCount=5),
        ),
        color=_COLOUR,
        tooltip=["who:N", "how:N", "replicas:Q", "images_per_second:Q"],
    )
    best = frame[frame["who"] == PYTORCH].head(1)
    dashed = alt.Chart(rows(best)).mark_rule(strokeDash=[5, 4], strokeWidth=1.5)
    return alt.layer(
        dashed.encode(y="pytorch_best:Q", color=_COLOUR),
        base.transform_filter(f"datum.who === '{OURS}'").mark_line(strokeWidth=2.5),
        base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(filled=True, size=90, opacity=1),
    ).properties(
        width=300, height=190, title=alt.TitleParams(name, fontSize=15, offset=24)
    )


def _roofline_chart(frame: pd.DataFrame, found: Mapping[str, Any]) -> Any:
    base = alt.Chart(rows(frame)).encode(
        x=alt.X(
            "share:Q",
            title="per cent of the machine's float32 matrix products",
            axis=alt.Axis(tickCount=6),
        ),
        y=alt.Y(
            "panel:N",
            title=None,
            sort=list(frame["panel"].unique()),
            scale=alt.Scale(paddingInner=0.3),
        ),
        yOffset=alt.YOffset("who:N", sort=list(_WHO), scale={"domain": list(_WHO)}),
    )
    layers = [
        base.mark_bar().encode(color=_COLOUR),
        base.mark_text(style="soft", align="left", dx=5, fontSize=12).encode(
            text=alt.Text("share:Q", format=".0f")
        ),
    ]
    flops = found["ceilings"]["flops"] / 1e9
    height = 88 * frame["panel"].nunique()
    return finished(
        alt.layer(*layers).properties(height=height),
        "How much of the machine training uses",
        [
            "Operations per second, counted by the direct method; Winograd's does 2.25",
            f"times fewer. 100 % are {flops:,.0f} GFLOP/s, measured in the same run.",
        ],
        "Share of the machine's matrix products that each program's training reaches.",
    )
