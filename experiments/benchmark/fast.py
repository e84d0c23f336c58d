"""Seconds for 99 %: the recipe `fast`, here and in PyTorch."""

import itertools
import multiprocessing
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.pytorch import Way, keep_memory
from experiments.benchmark.workers import Failed, Workers
from mnistopt.hparams import AVERAGE_START
from mnistopt.results.stats import accuracy_interval

# Rounds of each of PyTorch's ways that count: the quickest does.
ROUNDS = 2
# Seconds that a round, or compiling, may take.
LIMIT = 1200.0


def measure(
    data_dir: str | None, cores: int, log: Callable[[str], None]
) -> dict[str, Any]:
    """Times the recipe here and in PyTorch, on the same cores.

    Args:
        data_dir: Where MNIST is.
        cores: How many to use.
        log: Called with a line of progress.

    Returns:
        As JSON has it: `seeds`; `ours`, with `seconds` per seed, test images included
        and compiling not, `compiling` in all, and each seed's `test` accuracy in per
        cent; and as `pytorch` a row per `way`, with the same, or what `failed`.
    """
    import mnistopt

    recipe = mnistopt.recipes.fast()
    studies = []
    with tempfile.TemporaryDirectory() as folder:
        # The first compiles for the second.
        for seeds in (cores, recipe.seeds):
            study = mnistopt.run(
                **recipe.settings,
                seeds=seeds,
                dataset="mnist",
                data_dir=data_dir,
                cache_dir=Path(folder, "cache"),
                workdir=Path(folder, str(seeds)),
                devices=cores,
            )
            studies.append((study.config.seconds, study.trials["test_accuracy"]))
            log(f"ours, {seeds} seeds: {studies[-1][0]}")
    (cold, _), (warm, accuracies) = studies
    ours = {
        "seconds": warm["training"] / recipe.seeds,
        "compiling": cold["compiling"],
        "test": (100 * accuracies).tolist(),
    }
    data = mnistopt.load("mnist", data_dir=data_dir)
    rows = []
    for way in _ways(cores):
        arrays = *data.train, *data.test
        rows.append({"way": str(way), **_pytorch(way, recipe.settings, arrays)})
        words = "{seconds:.2f} s a seed" if "seconds" in rows[-1] else "{failed}"
        log(f"PyTorch, {way}: {words.format(**rows[-1])}")
    return {"seeds": recipe.seeds, "ours": ours, "pytorch": rows}


def _ways(cores: int) -> list[Way]:
    """Returns how PyTorch is tried, always with its memory kept: that is faster."""
    kept = {"fused": True, "keeps_memory": True}
    return [
        Way(processes, threads, channels_last=layout, compiled=compiled, **kept)
        for processes, threads in dict.fromkeys([(1, cores), (cores, 1)])
        for layout, compiled in ((False, False), (True, False), (True, True))
    ]


def _pytorch(way: Way, settings: Mapping[str, Any], arrays: Any) -> dict[str, Any]:
    """Trains some seeds in one way; returns seconds per seed and their accuracies."""
    with tempfile.TemporaryDirectory() as folder:
        work = make, way, settings, arrays, folder
        try:
            with Workers(way.processes, LIMIT, *work) as workers:
                # The first one warms up, or compiles.
                _, *seconds = (workers.run() for _ in range(1 + ROUNDS))
        except Failed as error:
            return {"failed": str(error)}
        found = [float(path.read_text()) for path in Path(folder).iterdir()]
    return {"seconds": min(seconds) / way.processes, "test": found}


def make(
    way: Way, settings: Mapping[str, Any], arrays: Any, folder: str
) -> Callable[[], None]:
    """Returns a function that trains a network and tests it, in a process of its own.

    Args:
        way: How.
        settings: The recipe's.
        arrays: Images and labels to train on, and to test on.
        folder: Gets a file per network with its accuracy, in per cent.
    """
    if way.keeps_memory:
        keep_memory()
    import torch

    torch.set_num_threads(way.threads)
    layout = torch.channels_last if way.channels_last else torch.contiguous_format

    def tensors(images: Any, labels: Any) -> tuple[Any, Any]:
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        return x.contiguous(memory_format=layout), torch.from_numpy(labels).long()

    train, test = tensors(*arrays[:2]), tensors(*arrays[2:])
    process = multiprocessing.current_process().pid or 0
    done = 0

    def work() -> None:
        nonlocal done
        done += 1
        torch.manual_seed(1000 * process + done)
        model = network(settings["channels"], settings["dense"]).to(
            memory_format=layout
        )
        averaged = _train(model, settings, *train, compiled=way.compiled)
        averaged.eval()
        with torch.no_grad():
            said = torch.cat([averaged(some).argmax(-1) for some in test[0].split(500)])
        right = 100 * (said == test[1]).float().mean().item()
        Path(folder, f"{process}-{done}").write_text(str(right), encoding="utf-8")

    return work


def network(channels: tuple[int, ...], dense: int) -> Any:
    """Returns `mnistopt.models.mlp_cnn.CNN` with batch normalization."""
    from torch import nn

    layers: list[Any] = []
    for i, (before, features) in enumerate(itertools.pairwise((1, *channels))):
        layers += [nn.Conv2d(before, features, 3, padding=1, bias=False)]
        layers += [nn.MaxPool2d(2)] * (i < 2)
        layers += [nn.BatchNorm2d(features), nn.ReLU()]
    layers += [nn.Flatten(), nn.Linear(7 * 7 * channels[-1], dense, bias=False)]
    layers += [nn.BatchNorm1d(dense), nn.ReLU(), nn.Linear(dense, 10)]
    return nn.Sequential(*layers)


def _train(
    model: Any, settings: Mapping[str, Any], images: Any, labels: Any, compiled: bool
) -> Any:
    """Trains with AdamW, one cycle and a moving average; returns the average."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    size, rate = settings["batch_size"], settings["lr"]
    decay = settings["weight_decay"]
    adamw = torch.optim.AdamW(
        model.parameters(), lr=rate, weight_decay=decay, fused=True
    )
    steps = len(labels) // size * settings["epochs"]
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        adamw, rate, total_steps=steps, cycle_momentum=False
    )

    def move(averages: Any, current: Any, step: Any) -> None:
        first, second = AVERAGE_START
        kept = min(settings["average"], (first + int(step)) / (second + int(step)))
        # Batch normalization counts its batches, too.
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - kept)

    averaged = AveragedModel(model, multi_avg_fn=move, use_buffers=True)
    model.train()
    answer = torch.compile(model) if compiled else model
    for _ in range(settings["epochs"]):
        order = torch.randperm(len(labels))
        for batch in order[: len(labels) // size * size].view(-1, size):
            adamw.zero_grad(set_to_none=True)
            logits = answer(images[batch])
            torch.nn.functional.cross_entropy(logits, labels[batch]).backward()
            adamw.step()
            cycle.step()
            averaged.update_parameters(model)
    return averaged


def fastest(measured: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the row of PyTorch's fastest way."""
    ran = [row for row in measured["pytorch"] if "seconds" in row]
    return min(ran, key=lambda row: row["seconds"])


def markdown(measured: Mapping[str, Any]) -> str:
    """Returns the table of seconds and accuracies, in Markdown."""
    lines = ["| | seconds per seed | test accuracy, 95 % interval | n |"]
    lines.append("|---|---|---|---|")
    rows = [{"way": "`mnistopt`", **measured["ours"]}]
    rows += [{**row, "way": f"PyTorch, {row['way']}"} for row in measured["pytorch"]]
    for row in rows:
        if "failed" in row:
            lines.append(f"| {row['way']} | {row['failed']} | | |")
            continue
        found = accuracy_interval((np.array(row["test"]) / 100).tolist())
        mean, low, high = (100 * end for end in (found.mean, *found[2:4]))
        accuracy = f"{mean:.2f} [{low:.2f}, {high:.2f}] %"
        lines.append(
            f"| {row['way']} | {row['seconds']:.2f} | {accuracy} | {found.n} |"
        )
    return "\n".join(lines) + "\n"
