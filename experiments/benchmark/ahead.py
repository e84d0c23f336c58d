"""Programs compiled for accelerators that are not there, and what XLA says of them.

Nothing runs: what is counted is counted in the program that would run, and its time is
XLA's own estimate.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from experiments.benchmark import kernels
from experiments.benchmark.networks import DROPOUT, LEARNING_RATE, NETWORKS, Network
from experiments.benchmark.targets import TARGETS, Target

OURS, FLAX, BLOCKS = "mnistopt", "plain flax", "mnistopt, laid out as on a CPU"
BATCH = 64
# Examples to train on, and to validate on after the epoch: their loops are known by
# their trips.
TRAIN, VALIDATION = 6_400, 1_280
_CHANGES = {
    **{"rotate": 10, "shift": 2, "zoom": 0.1, "shear": 5, "elastic": 1},
    **{"erase": 0.2, "blur": 0.5, "contrast": 0.2, "noise": 0.1},
}


def networks() -> list[Network]:
    """Returns those that are compiled."""
    changed = {**NETWORKS[1].axes, "norm": "batch", **_CHANGES}
    normed = Network("CNN 32x64/128, batch norm, images changed", changed, 0, 0)
    return [*NETWORKS[:3], normed, *NETWORKS[3:]]


def rows(
    target: Target,
    xla: Any,
    chosen: Sequence[Network],
    known: Sequence[Mapping[str, Any]],
) -> Iterator[dict[str, Any]]:
    """Compiles networks, and yields what is known of each.

    Args:
        target: Name of the device to compile for.
        xla: The target's device, from `targets.device`.
        chosen: The networks, from `networks`.
        known: Rows of before, which are not made again.

    Yields:
        `network`, `who`, `lanes`; `kernels` of a step, and `kinds` of them; `slowest`
        and `fastest`, images/s of all lanes, or None; `unknown`, how many kernels XLA
        has no estimate of; `evaluation`, the kernels of a batch of 256; `bytes` of
        temporaries; `compile_seconds`. Or `failed`, why there are none.
    """
    done = {(row["network"], row["who"], row["lanes"]) for row in known}
    for network in chosen:
        model = network.axes["model"]
        for lanes in target.lanes.get(model, target.lanes[""]):
            ways: dict[str, Callable] = {OURS: _ours}
            if not network.light and "norm" not in network.axes:
                ways[FLAX] = _flax
            if model == "cnn":
                ways[BLOCKS] = functools.partial(_ours, form="blocks")
            for who, way in ways.items():
                about = {"network": network.name, "who": who, "lanes": lanes}
                if tuple(about.values()) in done:
                    continue
                if who != OURS and lanes > target.beside:
                    continue
                yield about | _compiled(
                    target, functools.partial(way, network, lanes, xla), lanes
                )


def _compiled(target: Target, compile_: Callable, lanes: int) -> dict[str, Any]:
    import jax

    start = time.perf_counter()
    try:
        program = compile_()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return {"failed": "does not fit into its memory"}
    compile_seconds = time.perf_counter() - start
    read = kernels.Program(program.as_text())
    step, evaluation = read.loop(TRAIN // BATCH), 0
    with contextlib.suppress(ValueError):  # Plain flax does not evaluate.
        evaluation = sum(k.times for k in read.loop(VALIDATION // 256))
    fastest, slowest = (
        kernels.seconds(step, least, target.clock) for least in target.launches
    )
    return {
        "kernels": sum(kernel.times for kernel in step),
        "kinds": kernels.count(step),
        "slowest": lanes * BATCH / slowest["seconds"] if target.estimated else None,
        "fastest": lanes * BATCH / fastest["seconds"] if target.estimated else None,
        "unknown": fastest["unknown"],
        "evaluation": evaluation,
        "bytes": program.memory_analysis().temp_size_in_bytes,
        "compile_seconds": compile_seconds,
    }


def _ours(network: Network, lanes: int, xla: Any, form: str = "") -> Any:
    """Returns our epoch, compiled; in the device's form of layers if none is given."""
    from unittest import mock

    import jax

    from experiments.benchmark.ours import noise
    from mnistopt.engine.devices import Lanes
    from mnistopt.engine.precision import precision_on
    from mnistopt.engine.replicas import compiled
    from mnistopt.models import forms
    from mnistopt.study.grid import grid
    from mnistopt.training.cohort import Cohort

    (point,) = grid(**network.axes, batch_size=BATCH, dropout=DROPOUT, lr=LEARNING_RATE)
    data = noise(TRAIN, VALIDATION)
    splits = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
        (data.train, data.validation, data.test),
    )
    cohort, precision = Cohort.of(point, data), precision_on(xla.platform)
    form = form or forms.form_of(xla.platform)
    with mock.patch.dict(forms.OF_PLATFORM, {xla.platform: form}):
        _, epoch = compiled(cohort, Lanes(1, lanes), splits, precision, xla)
    compiled.cache_clear()
    return epoch


def _flax(network: Network, lanes: int, xla: Any) -> Any:
    """Returns plain flax's epoch, compiled as ours is."""
    import jax
    import jax.numpy as jnp
    from jax.sharding import SingleDeviceSharding

    from experiments.benchmark.others import flax_update
    from mnistopt.engine.devices import compiler_options

    create, update = flax_update(network.axes)

    def epoch(states: Any, keys: Any, x: Any, y: Any, order: Any) -> Any:
        def step(states: Any, rows: Any) -> Any:
            return update(states, keys, x, y, rows), None

        return jax.lax.scan(step, states, order)[0]

    def on_it(leaf: Any) -> Any:
        place = SingleDeviceSharding(xla)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), lanes))
    arguments = (
        jax.eval_shape(create, keys),
        keys,
        jax.ShapeDtypeStruct((TRAIN, 28, 28, 1), jnp.float32),
        jax.ShapeDtypeStruct((TRAIN,), jnp.int32),
        jax.ShapeDtypeStruct((TRAIN // BATCH, BATCH), jnp.int32),
    )
    lowered = jax.jit(epoch, donate_argnums=0).lower(*jax.tree.map(on_it, arguments))
    return lowered.compile(compiler_options(xla.platform))


def markdown(name: str, compiled: Mapping[str, Any]) -> str:
    """Returns what was found of a target, as a page."""
    from experiments.benchmark.report import as_table

    target, parts = TARGETS[name], []
    parts.append(f"# Compiled for {target.words}, which was not there")
    versions = ", ".join(f"{key} {of}" for key, of in compiled["versions"].items())
    few, many = (1e6 * seconds for seconds in target.launches)
    note = (
        f"A kernel takes as long as XLA's model of the device says, and {few:.0f} to "
        f"{many:.0f} microseconds at least, for its launch; those of a library that "
        "XLA has no model of (cuDNN's convolutions) count as a launch."
        if target.launches[1]
        else f"Cycles of XLA's model, at {target.clock / 1e9} GHz."
    )
    parts.append(
        f"`./launch.sh bench --compile_for={name}`: {versions}. Nothing was run. Per "
        f"step of {BATCH} images in each lane; images/s of all lanes together. {note}"
    )
    heads = ["network", "who", "lanes", "kernels", "of them products", "images/s"]
    heads += ["without an estimate", "a batch evaluated", "temporaries, GB"]
    heads += ["compiled, s"]
    table = [heads]
    for row in _ordered(compiled):
        cells = [row["network"], row["who"], str(row["lanes"])]
        if "failed" in row:
            cells += [row["failed"], *[""] * 6]
        else:
            ends = [row[end] for end in ("slowest", "fastest") if row[end]]
            speeds = dict.fromkeys(map(_rounded, ends))
            products = sum(row["kinds"].get(k, 0) for k in ("product", "convolution"))
            cells += [f"{row['kernels']:,}", str(products), " to ".join(speeds)]
            cells += [str(row["unknown"]), str(row["evaluation"] or "")]
            cells += [f"{row['bytes'] / 1e9:.2f}", f"{row['compile_seconds']:.0f}"]
        table.append(cells)
    return "\n\n".join([*parts, as_table(table)]) + "\n"


def _ordered(compiled: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the rows by network, lanes and who, whenever they were made."""
    names = [network.name for network in networks()]
    who = OURS, FLAX, BLOCKS
    return sorted(
        compiled["rows"],
        key=lambda row: (
            names.index(row["network"]),
            row["lanes"],
            who.index(row["who"]),
        ),
    )


def _rounded(speed: float) -> str:
    return f"{float(f'{speed:.3g}'):,.0f}"


def picture(name: str, compiled: Mapping[str, Any]) -> Any:
    """Returns the picture of a target: images/s against lanes."""
    import altair as alt
    import pandas as pd

    from mnistopt.report.charts import theme
    from mnistopt.report.charts.pictures import Picture

    frame = pd.DataFrame([row for row in _ordered(compiled) if "failed" not in row])
    frame = frame[["network", "who", "lanes", "slowest", "fastest", "kernels"]]
    # One number alone is for the table.
    frame = frame[frame.groupby("network")["lanes"].transform("size") > 1]
    order = list(frame["network"].unique())
    base = alt.Chart(theme.rows(frame)).encode(
        x=alt.X(
            "lanes:Q",
            title="replicas side by side",
            scale=alt.Scale(
                type="log",
                base=2,
                domain=[1, frame["lanes"].max()],
                padding=14,
                nice=False,
            ),
            axis=alt.Axis(values=[1, 4, 16, 64, 256, 1024], format="d", grid=False),
        ),
        y=alt.Y(
            "fastest:Q",
            title="images per second, estimated",
            scale=alt.Scale(type="log", padding=8, nice=False),
            axis=alt.Axis(format="~s", tickCount=4),
        ),
        color=alt.Color(
            "who:N",
            scale=alt.Scale(
                domain=[OURS, BLOCKS, FLAX],
                range=[theme.PALETTE[i] for i in (0, 1, 4)],
            ),
            legend=alt.Legend(
                title=None, orient="top", columns=3, symbolType="circle", labelLimit=300
            ),
        ),
    )
    marks = [
        base.mark_line(strokeWidth=2),
        base.mark_rule(strokeWidth=2.5).encode(y2="slowest:Q"),
        base.mark_point(filled=True, size=55, opacity=1),
    ]
    panels = [
        alt.layer(*marks)
        .transform_filter(alt.datum.network == network)
        .properties(
            title=network.replace("32x64/128, batch norm, images", "with norm, images")
        )
        .properties(width=220, height=150)
        for network in order
    ]
    return Picture.of(
        frame,
        theme.finished(
            alt.concat(*panels, columns=3),
            f"Compiled for {TARGETS[name].words}, which was not there",
            ["XLA's estimates; nothing was run. Bars: launches of 3 to 5 microseconds."]
            if TARGETS[name].launches[1]
            else ["XLA's estimates; nothing was run."],
            "Estimated images per second against replicas side by side, by network.",
        ),
    )


def versions(target: Target) -> dict[str, str]:
    """Returns those of what compiles."""
    import importlib.metadata

    plugin = "jax-cuda12-plugin" if target.platform == "cuda" else "libtpu"
    return {name: importlib.metadata.version(name) for name in ("jaxlib", plugin)}
