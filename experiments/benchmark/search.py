"""Searches of the paper's space: the grid and ours, and Optuna's over PyTorch."""

import contextlib
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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
    """A way to search: who proposes, who stops, and the epochs between two copies."""

    sampler: str
    pruner: str
    pbt: int | None = None


RANDOM, PBT = "random", "population-based training"
OURS = {
    RANDOM: Way("random", "none"),
    "TPE": Way("tpe", "none"),
    "TPE + Hyperband": Way("tpe", "hyperband"),
    # As many members as the budget trains to the end, drawn as random draws them.
    PBT: Way("random", "none", 1),
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
    if "axes" not in measured:
        measured["axes"] = compare_axes(workdir / "cache")
        yield


def _measure(way: str, repeat: int, folder: Path, cache: Path) -> dict[str, Any]:
    """Searches once, and trains the winner anew with fresh seeds."""
    import mnistopt
    from mnistopt.results.ledger import read_ledger

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
        found = _took(study, repeat) | {"winner": study.best_params}
        found["seen"] = float(study.trials["validation_accuracy"].max())
    else:
        space = {"lr": mnistopt.log(LOW, HIGH), "dropout": mnistopt.uniform(0, DROPOUT)}
        study = mnistopt.search(
            **{**MODELS, **space},
            epochs=EPOCHS,
            **OURS[way]._asdict(),
            trials=budget // (EPOCHS * examples) if OURS[way].pbt else 1000,
            images=budget,
            seeds=[repeat],
            search_seed=repeat,
            confirm=1,
            workdir=folder / "search",
            **common,
        )
        found = _took(study, repeat)
        chosen = ledger.chosen if (ledger := read_ledger(study.workdir)) else {}
        found |= {"winner": study.best_params, "seen": chosen.get("accuracy")}
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


def _took(study: Any, seed: int) -> dict[str, Any]:
    """Returns the images and seconds of a study, compiling apart.

    What confirms a winner, with other seeds, is no part of a search. An epoch's seconds
    are the replica's share of the time that all devices took; those that a replica has
    taken over from another took none, and count once.
    """
    curves = study.curves
    trained = curves[(curves["seed"] == seed) & (curves["seconds"] > 0)]
    parts = study.config.seconds
    other = ("planning", "starting", "saving")
    return {
        "images": len(trained) * study.config.data.train,
        "seconds": float(trained["seconds"].sum())
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


# Figure 1 of Bergstra and Bengio 2012: nine trials each, on two numbers.
_NINE: dict[str, Any] = {"model": "mlp", "hidden": (128,), "epochs": EPOCHS, "seeds": 3}


def compare_axes(cache: Path) -> list[dict[str, Any]]:
    """Returns nine trials of a grid and nine at random: their numbers and errors."""
    import mnistopt

    found: list[dict[str, Any]] = []
    rates, rows = np.geomspace(1e-4, HIGH, 3), np.linspace(0, 0.6, 3)
    with tempfile.TemporaryDirectory() as folder:
        grid = mnistopt.run(
            **_NINE,
            lr=rates.tolist(),
            dropout=rows.tolist(),
            workdir=Path(folder, "grid"),
            cache_dir=cache,
        )
        for _, row in grid.summary.iterrows():
            error = 100 * (1 - row["validation_accuracy_mean"])
            numbers = {"lr": row["lr"], "dropout": row["dropout"]}
            found.append({"how": "grid", **numbers, "error": error})
        chance = mnistopt.search(
            **_NINE,
            lr=mnistopt.log(1e-4, HIGH),
            dropout=mnistopt.uniform(0.0, 0.6),
            sampler="random",
            pruner="none",
            trials=9,
            confirm=1,
            workdir=Path(folder, "random"),
            cache_dir=cache,
        )
        for _, row in chance.search.iterrows():
            numbers = {"lr": row["lr"], "dropout": row["dropout"]}
            error = 100 * (1 - row["accuracy"])
            found.append({"how": "random", **numbers, "error": error})
    return found
