"""What was measured, as tables and pictures."""

import itertools
import math
import operator
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from experiments.benchmark.contest import FLAX, KERAS, OURS, PYTORCH, WITHOUT
from experiments.benchmark.pytorch import MEMORY_KEPT
from experiments.benchmark.scaling import DEVICES
from mnistopt.report.charts.pictures import Picture, write_picture
from mnistopt.report.charts.theme import PALETTE, finished
from mnistopt.report.charts.theme import rows as data


def ceilings_in_words(measured: Mapping[str, Any]) -> str:
    """Returns what the machine can do, in a sentence."""
    machine, ceilings = measured["machine"], measured["ceilings"]
    return (
        f"{machine['cpu']}, {machine['instructions']}, {len(machine['devices'])} "
        f"devices: float32 products {ceilings['flops'] / 1e9:,.0f} GFLOP/s, memory "
        f"{ceilings['memory_bytes'] / 1e9:,.0f} GB/s, caches "
        f"{ceilings['cache_bytes'] / 1e9:,.0f} GB/s"
    )


def pytorch_best(
    rows: Sequence[Mapping[str, Any]], one_model: bool, as_it_comes: bool = False
) -> float:
    """Returns PyTorch's images/s in its best way, whether tried alone or in turn.

    Args:
        rows: The rows of one network and batch size.
        one_model: Whether only one model is trained.
        as_it_comes: Whether to leave out the ways that keep freed memory.
    """
    return max(
        row["images_per_second"]
        for row in rows
        if row["who"] == PYTORCH
        and "failed" not in row
        and (row["replicas"] == 1 or not one_model)
        and not (as_it_comes and MEMORY_KEPT in row["how"])
    )


def ratios(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns how many times as fast as PyTorch's best each of our rows is.

    One replica is compared with the best way of training one model, several with the
    best way of training any number.

    Returns:
        `network`, `batch`, `replicas` and `ratio`.
    """
    return [
        {name: row[name] for name in ("network", "batch", "replicas")}
        | {"ratio": _ratio(row, group)}
        for _, group in _groups(rows)
        for row in group
        if row["who"] == OURS
    ]


def _ratio(row: Mapping[str, Any], group: Sequence[Mapping[str, Any]]) -> float:
    best = pytorch_best(group, one_model=row["replicas"] == 1)
    return row["images_per_second"] / best


def markdown(measured: Mapping[str, Any]) -> str:
    """Returns all tables."""
    parts = ["# How fast replicas train", ceilings_in_words(measured) + "."]
    for (name, batch), group in _groups(measured["rows"]):
        table = [
            ["who", "how", "models", "images/s", "low to high", "GFLOP/s", "of peak"]
            + ["PyTorch ="]
        ]
        peak = measured["ceilings"]["flops"]
        table += [_cells(row, peak, group) for row in group if not row.get("tried")]
        parts += [f"## {name}, batch {batch}", as_table(table)]
        ours_only = [row for row in group if row["who"] == OURS]
        memory = [["replicas", "planned MB", "used MB", "at the peak"]]
        for row in ours_only:
            counts = (row[name] for name in ("planned_bytes", "bytes", "peak_bytes"))
            cells = ("" if count is None else f"{count / 1e6:,.1f}" for count in counts)
            memory.append([str(row["replicas"]), *cells])
        parts += [
            f"Compiled in {ours_only[0]['compile_seconds']:.1f} s, from the cache in "
            f"{ours_only[0]['cached_seconds']:.1f} s.",
            as_table(memory),
            "Memory that who came before has freed is used again, and not counted.",
        ]
        tried = [["PyTorch, tried", "images/s"]]
        for row in (row for row in group if row.get("tried")):
            speed = row.get("images_per_second")
            tried.append([row["how"], f"{speed:,.0f}" if speed else row["failed"]])
        parts.append(as_table(tried))
    if "evaluation_share" in measured:
        share = 100 * measured["evaluation_share"]
        parts.append(
            f"Evaluation takes {share:.1f} % of a 10-epoch run of the main job's "
            "network: the validation split after each epoch, all splits after the last."
        )
    if measured["studies"]:
        parts += ["## Whole studies", as_table(_study_cells(measured["studies"]))]
    return "\n\n".join(parts) + "\n"


def _cells(
    row: Mapping[str, Any], peak: float, group: Sequence[Mapping[str, Any]]
) -> list[str]:
    if "failed" in row:
        return [row["who"], row["how"], "", row["failed"], "", "", "", ""]
    return [
        row["who"],
        row["how"],
        str(row["replicas"]),
        f"{row['images_per_second']:,.0f}",
        f"{row['low']:,.0f} to {row['high']:,.0f}",
        f"{row['flops'] / 1e9:,.0f}",
        f"{100 * row['flops'] / peak:.0f} %",
        f"{_ratio(row, group):.2f}" if row["who"] == OURS else "",
    ]


def _study_cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    names = list(dict.fromkeys(name for row in rows for name in row["stages"]))
    table = [["study", "run", "seconds", *names, "imports, report", "peak MB"]]
    for row in rows:
        stages = [row["stages"].get(name, 0.0) for name in names]
        rest = row["seconds"] - sum(stages)
        cells = [f"{value:.1f}" for value in (row["seconds"], *stages, rest)]
        table.append(
            [row["study"], row["run"], *cells, f"{row['peak_bytes'] / 1e6:,.0f}"]
        )
    return table


def _groups(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[tuple, list]]:
    """Yields a network and a batch size, and their rows, which stand together."""
    key = operator.itemgetter("network", "batch")
    for name_and_batch, group in itertools.groupby(rows, key):
        yield name_and_batch, list(group)


def as_table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows of cells, the heads first, as a table in Markdown."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def headline(measured: Mapping[str, Any]) -> str:
    """Returns the README's table: images/s, and how many times PyTorch's.

    Of each network those of its largest batch, which suits PyTorch best.
    """
    table = [
        ["network", "1 replica", "8 replicas", "128 or more replicas"]
        + ["PyTorch: one model / many", "speed-up at 8", "with default malloc"]
    ]
    groups = list(_groups(measured["rows"]))
    largest: dict[str, int] = {}
    for (name, batch), _ in groups:
        largest[name] = max(batch, largest.get(name, 0))
    for (name, batch), group in groups:
        if batch != largest[name]:
            continue
        speeds = {
            row["replicas"]: row["images_per_second"]
            for row in group
            if row["who"] == OURS
        }
        single, many = (pytorch_best(group, one_model) for one_model in (True, False))
        plain = pytorch_best(group, one_model=False, as_it_comes=True)
        shown = (speeds[1], speeds[8], speeds[max(speeds)])
        table.append(
            [name, *(f"{speed:,.0f}" for speed in shown)]
            + [f"{single:,.0f} / {many:,.0f}", f"**{speeds[8] / many:.1f} times**"]
            + [f"{speeds[8] / plain:.1f} times"]
        )
    return as_table(table)


def write(workdir: Path, measured: Mapping[str, Any]) -> list[Path]:
    """Writes bench.md and the pictures; returns all paths."""
    (workdir / "bench.md").write_text(markdown(measured), encoding="utf-8")
    drawn = pictures(measured)
    for name, picture in drawn.items():
        write_picture(workdir, name, picture)
    names = ["bench.json", "bench.md", *(f"{name}.png" for name in drawn)]
    return [workdir / name for name in names]


# The best of each, in this order and these colours in both pictures.
_WHO = (OURS, WITHOUT, PYTORCH, KERAS, FLAX)
_COLOUR = alt.Color(
    "who:N",
    scale=alt.Scale(domain=list(_WHO), range=[PALETTE[i] for i in (0, 2, 1, 3, 4)]),
    legend=alt.Legend(title=None, orient="top", columns=5, symbolType="circle"),
)


def pictures(measured: Mapping[str, Any]) -> dict[str, Picture]:
    """Returns the pictures, by name, of what `experiments.bench` found."""
    # PyTorch's ways count by what they reached when tried, too, where that is more.
    frame = pd.DataFrame([row for row in measured["rows"] if "failed" not in row])
    frame["panel"] = frame["network"] + ", batch " + frame["batch"].astype(str)
    pytorch = frame[frame["who"] == PYTORCH].groupby("panel")["images_per_second"].max()
    columns = ["panel", "who", "how", "replicas", "images_per_second", "low", "high"]
    speed = frame.loc[frame["low"].notna(), columns]
    speed["pytorch_best"] = speed["panel"].map(pytorch)
    flops = (
        (frame["flops"] / frame["images_per_second"]).groupby(frame["network"]).max()
    )
    reached = frame["images_per_second"] * frame["network"].map(flops)
    share = frame.assign(share=100 * reached / measured["ceilings"]["flops"])
    share = share[(share["who"] != OURS) | (share["replicas"] == 8)]
    best = share.groupby(["panel", "who"], sort=False)["share"].idxmax()
    share = share.loc[best, ["panel", "who", "how", "replicas", "share"]]
    return {
        "speed": Picture.of(speed, _speed_chart(speed)),
        "roofline": Picture.of(share, _roofline_chart(share, measured)),
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
    base = alt.Chart(data(frame)).encode(
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
    dashed = alt.Chart(data(best)).mark_rule(strokeDash=[5, 4], strokeWidth=1.5)
    return alt.layer(
        dashed.encode(y="pytorch_best:Q", color=_COLOUR),
        base.transform_filter(f"datum.who === '{OURS}'").mark_line(strokeWidth=2.5),
        base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(filled=True, size=90, opacity=1),
    ).properties(
        width=300, height=190, title=alt.TitleParams(name, fontSize=15, offset=24)
    )


def _roofline_chart(frame: pd.DataFrame, measured: Mapping[str, Any]) -> Any:
    base = alt.Chart(data(frame)).encode(
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
    flops = measured["ceilings"]["flops"] / 1e9
    height = 88 * frame["panel"].nunique()
    return finished(
        alt.layer(*layers).properties(height=height),
        "How much of the machine training uses",
        [
            "Operations per second, counted by the direct method; ours does fewer.",
            f"100 % are {flops:,.0f} GFLOP/s, measured in the same run.",
        ],
        "Share of the machine's matrix products that each program's training reaches.",
    )


def cluster_markdown(measured: Mapping[str, Any]) -> str:
    """Returns what was found of a cluster, as Markdown."""
    cost = measured["overhead"]
    words = (
        f"{cost['replicas']} replicas of CNN 32x64/128 on {cost['devices']} devices "
        f"took {statistics.median(cost['local']):.2f} s per epoch with the local queue "
        f"and {statistics.median(cost['ray']):.2f} s with Ray's, {cost['ratio']:.3f} "
        "times."
    )
    table = [
        ["devices", "seconds per epoch", "replica epochs per second"]
        + ["share of the ideal", "driver, share of a core", "results, kB/s"]
    ]
    for row in measured["simulation"]:
        shares = (row["rate"] / row["ideal"], row["driver"])
        table.append(
            [str(row["devices"]), str(row["epoch_seconds"]), f"{row['rate']:,.0f}"]
            + [f"{100 * share:.0f} %" for share in shares]
            + [f"{row['bytes_per_second'] / 1e3:,.1f}"]
        )
    return f"{words}\n\n{as_table(table)}\n"


def cluster_picture(simulation: Sequence[Mapping[str, Any]]) -> Picture:
    """Returns the picture of a simulation: what is reached, and the driver's part."""
    frame = pd.DataFrame(simulation)
    frame["reached"] = 100 * frame["rate"] / frame["ideal"]
    frame["busy"] = 100 * frame["driver"]
    frame["epoch"] = frame["epoch_seconds"].map("{:g} s per epoch".format)
    names = list(frame["epoch"].unique())
    colour = alt.Color(
        "epoch:N",
        scale=alt.Scale(domain=names, range=[PALETTE[i] for i in (0, 1, 3)]),
        legend=alt.Legend(title=None, orient="top", symbolType="circle"),
    )

    def panel(column: str, title: str, highest: float) -> Any:
        base = alt.Chart(data(frame)).encode(
            x=alt.X(
                "devices:Q",
                title="devices",
                scale=alt.Scale(type="log", base=2, padding=16, nice=False),
                axis=alt.Axis(values=list(DEVICES), grid=False),
            ),
            y=alt.Y(
                f"{column}:Q",
                title=title,
                scale=alt.Scale(domain=[0, highest], nice=False),
                axis=alt.Axis(tickCount=5),
            ),
            color=colour,
            tooltip=["epoch:N", "devices:Q", alt.Tooltip("rate:Q", format=",.0f")],
        )
        lines = base.mark_line(strokeWidth=2.5)
        return alt.layer(lines, base.mark_point(filled=True, size=70)).properties(
            width=300, height=220
        )

    top = max(100.0, 10 * math.ceil(frame["busy"].max() / 10))
    chart = alt.hconcat(
        panel("reached", "epochs per second, % of the ideal", 105.0),
        panel("busy", "driver's use of a core, %", top),
    )
    return Picture.of(
        frame,
        finished(
            chart,
            "One driver, 10,000 replicas, 8 to 512 devices",
            [
                "Workers sleep for as long as an epoch takes; driver, queue, records",
                "and Ray are real. The ideal: no device ever waits. Epochs of 1.3 s",
                "are the CNN's on one core, of 0.1 s the MLP's.",
            ],
            "Share of the ideal speed and use of a core against devices.",
        ),
    )
