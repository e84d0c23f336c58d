"""What was measured, as tables and pictures."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmark.contest import OURS, PYTORCH
from experiments.benchmark.pytorch import MEMORY_KEPT


def ceilings_in_words(found: Mapping[str, Any]) -> str:
    """Returns what the machine can do, in a sentence."""
    machine, ceilings = found["machine"], found["ceilings"]
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
        rows: Of one network and batch size.
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
    found = []
    for _, group in _groups(rows, "network", "batch"):
        for row in (row for row in group if row["who"] == OURS):
            best = pytorch_best(group, one_model=row["replicas"] == 1)
            about = {name: row[name] for name in ("network", "batch", "replicas")}
            found.append({**about, "ratio": row["images_per_second"] / best})
    return found


def markdown(found: Mapping[str, Any]) -> str:
    """Returns all tables."""
    parts = ["# How fast replicas train", ceilings_in_words(found) + "."]
    rows, peak = found["rows"], found["ceilings"]["flops"]
    ours = {(r["network"], r["batch"], r["replicas"]): r for r in ratios(rows)}
    for (name, batch), group in _groups(rows, "network", "batch"):
        table = [
            ["who", "how", "models", "images/s", "low to high", "GFLOP/s", "of peak"]
            + ["PyTorch ="]
        ]
        for row in (row for row in group if not row.get("tried")):
            table.append(
                _speed_cells(row, peak, ours.get((name, batch, row.get("replicas"))))
            )
        parts += [f"## {name}, batch {batch}", _table(table)]
        mine = [row for row in group if row["who"] == OURS]
        memory = [["replicas", "planned MB", "used MB", "at the peak"]]
        memory += [
            [str(row["replicas"]), *map(_megabytes, _BYTES(row))] for row in mine
        ]
        parts.append(
            f"Compiled in {mine[0]['compile_seconds']:.1f} s, from the cache in "
            f"{mine[0]['cached_seconds']:.1f} s."
        )
        parts.append(_table(memory))
        parts.append(
            "Memory that who came before has freed is used again, and not counted."
        )
        tried = [["PyTorch, tried", "images/s"]]
        for row in (row for row in group if row.get("tried")):
            speed = row.get("images_per_second")
            tried.append([row["how"], f"{speed:,.0f}" if speed else row["failed"]])
        parts.append(_table(tried))
    if "evaluation_share" in found:
        share = 100 * found["evaluation_share"]
        parts.append(
            f"Evaluation takes {share:.1f} % of a 10-epoch run of the main job's "
            "network: the validation split after each epoch, all splits after the last."
        )
    if found["studies"]:
        parts += ["## Whole studies", _table(_study_cells(found["studies"]))]
    return "\n\n".join(parts) + "\n"


_BYTES = operator.itemgetter("planned_bytes", "bytes", "peak_bytes")


def _megabytes(count: int | None) -> str:
    return "" if count is None else f"{count / 1e6:,.1f}"


def _speed_cells(
    row: Mapping[str, Any], peak: float, ratio: Mapping[str, Any] | None
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
        f"{ratio['ratio']:.2f}" if ratio and row["who"] == OURS else "",
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


def _groups(rows: Sequence[Mapping[str, Any]], *names: str) -> Iterable[tuple]:
    keys = dict.fromkeys(tuple(row[name] for name in names) for row in rows)
    for key in keys:
        yield key, [row for row in rows if tuple(row[name] for name in names) == key]


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def headline(found: Mapping[str, Any]) -> str:
    """Returns the README's table: images/s, and how many times PyTorch's."""
    table = [
        ["network", "batch", "1 replica", "8 replicas", "128 or more"]
        + ["PyTorch at best: one model, many", "8 replicas against it", "as it comes"]
    ]
    for (name, batch), group in _groups(found["rows"], "network", "batch"):
        speeds = {
            row["replicas"]: row["images_per_second"]
            for row in group
            if row["who"] == OURS
        }
        one, many = (pytorch_best(group, one_model) for one_model in (True, False))
        plain = pytorch_best(group, one_model=False, as_it_comes=True)
        shown = (speeds[1], speeds[8], speeds[max(speeds)])
        table.append(
            [name, str(batch), *(f"{speed:,.0f}" for speed in shown)]
            + [f"{one:,.0f}, {many:,.0f}", f"**{speeds[8] / many:.1f} times**"]
            + [f"{speeds[8] / plain:.1f} times"]
        )
    return _table(table)


def write(workdir: Path, found: Mapping[str, Any]) -> list[Path]:
    """Writes bench.md and the pictures; returns all paths."""
    from experiments.benchmark.charts import pictures
    from mnistopt.report.charts.pictures import write_picture

    (workdir / "bench.md").write_text(markdown(found), encoding="utf-8")
    drawn = pictures(found)
    for name, picture in drawn.items():
        write_picture(workdir, name, picture)
    names = ["bench.json", "bench.md", *(f"{name}.png" for name in drawn)]
    return [workdir / name for name in names]
