"""Searches of the paper's space: the grid and ours, and Optuna's over PyTorch."""

import contextlib
import json
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmark.report import as_table

# Of the paper's tables (sections 4.2 to 4.4).
MODELS: dict[str, Any] = {
    "model": ["mlp", "cnn"],
    "hidden": [(64,), (128,), (128, 128)],
    "channels": [(16, 32), (32, 64)],
    "dense": [128],
    "batch_size": [32, 64],
}
EPOCHS = 9
GRID = {**MODELS, "lr": [1e-4, 1e-3, 1e-2], "dropout": [0.0, 0.2, 0.3, 0.5]}
LOW, HIGH, DROPOUT = 1e-5, 1e-1, 0.5
# The share of the grid's images that searches may use, and fresh seeds for the winner.
SHARE, CONFIRM = 3, 5
REPEATS = 5
GRID_HERE, PYTORCH = "grid", "Optuna, TPE + Hyperband, over PyTorch"


class Way(NamedTuple):
    """A way to search: who proposes, and who stops."""

    sampler: str
    pruner: str


OURS = {
    "random": Way("random", "none"),
    "TPE": Way("tpe", "none"),
    "TPE + Hyperband": Way("tpe", "hyperband"),
}


def run(
    workdir: Path, measured: dict[str, Any], log: Callable[[str], None]
) -> Iterator[None]:
    """Measures all ways in turn, each with its repeats; yields after each.

    Args:
        workdir: Folder of the results.
        measured: What was measured before, to which is added.
        log: Called with a line of progress.
    """
    there = {(row["way"], row["repeat"]) for row in measured["rows"]}
    for repeat in range(REPEATS):
        for way in (GRID_HERE, *OURS, PYTORCH):
            if (way, repeat) in there:
                continue
            with tempfile.TemporaryDirectory() as folder:
                row = _measure(way, repeat, Path(folder), workdir / "cache")
            log(
                f"repeat {repeat}, {way}: {row['images']:,} images, "
                f"{row['seconds']:.0f} s, validation {100 * row['validation']:.2f} %"
            )
            measured["rows"].append({"way": way, "repeat": repeat, **row})
            yield


def _measure(way: str, repeat: int, folder: Path, cache: Path) -> dict[str, Any]:
    """Searches once, and trains the winner anew with fresh seeds."""
    import mnistopt

    common: dict[str, Any] = {"cache_dir": cache}
    examples = len(mnistopt.load("mnist_5k").train.labels)
    points = mnistopt.plan(**GRID, epochs=EPOCHS, seeds=1, **common).asked
    budget = points * EPOCHS * examples // SHARE
    if way == PYTORCH:
        found = _pytorch(repeat, budget, folder)
    elif way == GRID_HERE:
        study = mnistopt.run(
            **GRID, epochs=EPOCHS, seeds=[repeat], workdir=folder / "grid", **common
        )
        found = _took(study, study.trials) | {"winner": study.best_params}
        found["seen"] = float(study.trials["validation_accuracy"].max())
    else:
        space = {"lr": mnistopt.log(LOW, HIGH), "dropout": mnistopt.uniform(0, DROPOUT)}
        study = mnistopt.search(
            **{**MODELS, **space},
            epochs=EPOCHS,
            **OURS[way]._asdict(),
            trials=1000,
            images=budget,
            seeds=[repeat],
            search_seed=repeat,
            confirm=1,
            workdir=folder / "search",
            **common,
        )
        trials = study.trials
        # What confirms the winner is not part of the search.
        found = _took(study, trials[trials["seed"] == repeat])
        best = study.search
        best = best[best["state"] == "complete"].sort_values("accuracy")
        found |= {"winner": study.best_params, "seen": float(best["accuracy"].iloc[-1])}
    fresh = list(range(100, 100 + CONFIRM))
    anew = mnistopt.run(
        **{**found["winner"], "epochs": EPOCHS},
        seeds=fresh,
        workdir=folder / "anew",
        **common,
    ).trials
    found["winner"] = {name: _plain(value) for name, value in found["winner"].items()}
    return found | {
        "validation": float(anew["validation_accuracy"].mean()),
        "test": float(anew["test_accuracy"].mean()),
    }


def _plain(value: Any) -> Any:
    return "x".join(map(str, value)) if isinstance(value, tuple) else value


def _took(study: Any, trials: Any) -> dict[str, Any]:
    """Returns the images and seconds of a study, compiling apart.

    A replica's seconds are its share of the time that all devices took.
    """
    by_replica = trials.groupby("replica")
    epochs = int(by_replica["epochs_done"].max().sum())
    parts = study.config.seconds
    other = ("planning", "starting", "saving")
    return {
        "images": epochs * study.config.data.train,
        "seconds": float(by_replica["seconds"].max().sum())
        + sum(parts.get(name, 0.0) for name in other),
        "compiling": parts.get("compiling", 0.0),
    }


# --- Optuna over PyTorch ---


def _pytorch(repeat: int, budget: int, folder: Path) -> dict[str, Any]:
    """Searches as Optuna's users do: a process per core, one storage for all."""
    import os

    import mnistopt

    data = mnistopt.load("mnist_5k")
    arrays: dict[str, Any] = {
        "images": data.train.images,
        "labels": data.train.labels,
        "held_out": data.validation.images,
        "held_labels": data.validation.labels,
    }
    np.savez(folder / "data.npz", **arrays)
    spawn = multiprocessing.get_context("spawn")
    used, ready = spawn.Value("q", 0), spawn.Barrier((os.cpu_count() or 1) + 1)
    about = folder, budget, repeat, used, ready
    workers = [
        spawn.Process(target=_worker, args=(core, *about))
        for core in range(os.cpu_count() or 1)
    ]
    for worker in workers:
        worker.start()
    ready.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - start
    study = _study(folder, 0)
    # As here, by what was trained to the end.
    best = study.best_trial
    winner = dict(best.params)
    if winner["model"] == "mlp":
        winner["hidden"] = tuple(map(int, winner["hidden"].split("x")))
    else:
        winner["channels"] = tuple(map(int, winner["channels"].split("x")))
        winner["dense"] = MODELS["dense"][0]
    seen, images = float(best.value), int(used.value)
    return {
        "images": images,
        "seconds": seconds,
        "compiling": 0.0,
        "winner": winner,
        "seen": seen,
    }


def _study(folder: Path, seed: int) -> Any:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "optuna.log"))),
        study_name="search",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True),
        pruner=optuna.pruners.HyperbandPruner(1, EPOCHS, 3),
    )


def _worker(
    core: int, folder: Path, budget: int, repeat: int, used: Any, ready: Any
) -> None:
    """Tries settings in turn until the budget is used up."""
    import warnings

    warnings.simplefilter("ignore")
    import optuna
    import torch

    from experiments.benchmark import pytorch

    pytorch.keep_memory()
    torch.set_num_threads(1)
    torch.manual_seed(1000 * repeat + core)
    with np.load(folder / "data.npz") as arrays:
        x, x_held = (
            torch.from_numpy(arrays[name]).permute(0, 3, 1, 2).float() / 255
            for name in ("images", "held_out")
        )
        y, y_held = (
            torch.from_numpy(arrays[name]).long() for name in ("labels", "held_labels")
        )

    def objective(trial: Any) -> float:
        choose = trial.suggest_categorical
        axes: dict[str, Any] = {"model": choose("model", MODELS["model"])}
        if axes["model"] == "mlp":
            axes["hidden"] = choose("hidden", list(map(_plain, MODELS["hidden"])))
        else:
            axes["channels"] = choose("channels", list(map(_plain, MODELS["channels"])))
            axes["dense"] = MODELS["dense"][0]
        for name in ("hidden", "channels"):
            if name in axes:
                axes[name] = tuple(map(int, axes[name].split("x")))
        lr = trial.suggest_float("lr", LOW, HIGH, log=True)
        dropout = trial.suggest_float("dropout", 0.0, DROPOUT)
        batch = choose("batch_size", MODELS["batch_size"])
        model = pytorch.network(axes, dropout)
        adam = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
        loss_of, accuracy = torch.nn.functional.cross_entropy, 0.0
        for epoch in range(1, EPOCHS + 1):
            model.train()
            order = torch.randperm(len(y))
            for rows in order[: len(y) // batch * batch].view(-1, batch):
                adam.zero_grad(set_to_none=True)
                loss_of(model(x[rows]), y[rows]).backward()
                adam.step()
            model.eval()
            with torch.no_grad():
                right = (model(x_held).argmax(1) == y_held).sum().item()
            accuracy = right / len(y_held)
            with used.get_lock():
                used.value += len(y)
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    def stop(study: Any, _: Any) -> None:
        if used.value >= budget:
            study.stop()

    study = _study(folder, 1000 * repeat + core)
    ready.wait()
    with contextlib.suppress(KeyboardInterrupt):
        study.optimize(objective, callbacks=[stop])


# --- What came out ---


def _of(measured: Mapping[str, Any], way: str, name: str) -> Any:
    rows = [row for row in measured["rows"] if row["way"] == way]
    return np.array([row[name] for row in sorted(rows, key=lambda r: r["repeat"])])


def markdown(measured: Mapping[str, Any]) -> str:
    """Returns what was found, as a page."""
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
    about = measured["machine"]
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
        as_table(table),
        f"Seconds are without compiling, which takes {compiling.max():.0f} s the first "
        f"time and {compiling.min():.0f} s from the cache here, and without imports. "
        "Optuna over PyTorch is a process per core on one journal, with its TPE and "
        "HyperbandPruner; PyTorch keeps its freed memory and uses fused Adam.",
    ]
    return "\n\n".join(lines) + "\n"


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
        for panel, name, scale in (
            ("million training images", "images", 1e-6),
            ("seconds", "seconds", 1.0),
        ):
            spent = scale * _of(measured, way, name).mean()
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
    colours = [PALETTE[6], PALETTE[3], PALETTE[4], PALETTE[0], PALETTE[1]]
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
        [f"Winner trained anew with {CONFIRM} fresh seeds; mean of the repeats, 95 %."],
        f"Validation error of the winners: {', '.join(words)}.",
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
    return [workdir / name for name in ("search.json", "search.md", "search.png")]
