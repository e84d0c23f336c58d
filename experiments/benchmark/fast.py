"""Seconds until a network reads 99 % of MNIST's test digits: ours, and PyTorch's."""

import json
import multiprocessing
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.pytorch import Way, keep_memory
from experiments.benchmark.workers import Failed, Workers

# Seeds of each way of PyTorch's, in all.
SEEDS = 4
LIMIT = 3600.0


def measure(
    data_dir: str | None, cores: int, log: Callable[[str], None]
) -> dict[str, Any]:
    """Times the recipe `fast` and the same recipe in PyTorch, in turn.

    Args:
        data_dir: Where MNIST is.
        cores: How many to use.
        log: Called with a line of progress.

    Returns:
        As JSON has it: `ours`, with `seconds` per seed without compiling, those of
        `compiling`, and each seed's `test` accuracy; and a row per way of PyTorch's,
        with the same.
    """
    import mnistopt
    from mnistopt.recipes import fast

    recipe = fast()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            study = mnistopt.run(
                **recipe.settings,
                seeds=recipe.seeds,
                dataset="mnist",
                data_dir=data_dir,
                workdir=Path(folder, name),
                cache_dir=Path(folder, "cache"),
            )
            seconds = study.config.seconds
            rows.append((seconds["training"], seconds["compiling"]))
            log(f"ours, {name}: {rows[-1][0]:.1f} s of training")
        accuracies = study.trials.sort_values("seed")["test_accuracy"]
        ours = {
            "seconds": rows[-1][0] / recipe.seeds,
            "compiling": rows[0][1],
            "test": (100 * accuracies).tolist(),
        }
    data = mnistopt.load("mnist", data_dir=data_dir)
    ways = []
    for way in (
        Way(cores, 1, fused=True, keeps_memory=True),
        Way(cores, 1, channels_last=True, fused=True, keeps_memory=True),
        Way(1, cores, channels_last=True, fused=True, keeps_memory=True),
    ):
        ways.append({"way": str(way), **_pytorch(way, recipe.settings, data)})
        log(f"PyTorch, {way}: {ways[-1]}")
    return {"seeds": recipe.seeds, "ours": ours, "pytorch": ways}


def _pytorch(way: Way, settings: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """Trains some seeds in one way; returns seconds per seed and their accuracies."""
    with tempfile.TemporaryDirectory() as folder:
        arrays = (*data.train, *data.test)
        asked = (make, way, dict(settings), arrays, folder)
        seconds = []
        try:
            with Workers(way.processes, LIMIT, *asked) as workers:
                # The first does not count: it warms up.
                for _ in range(1 + SEEDS // way.processes):
                    seconds.append(workers.run())
        except Failed as error:
            return {"failed": str(error)}
        found = [json.loads(path.read_text()) for path in Path(folder).iterdir()]
    return {"seconds": min(seconds[1:]) / way.processes, "test": found}


def make(
    way: Way, settings: Mapping[str, Any], arrays: Any, folder: str
) -> Callable[[], None]:
    """Returns a function that trains a network anew; runs in a process of its own.

    Args:
        way: How.
        settings: The recipe's.
        arrays: Images and labels to train on, and to test on.
        folder: Gets a file with the accuracy of each network, in per cent.
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
    seeds = iter(range(1_000_000))
    process = multiprocessing.current_process().pid

    def work() -> None:
        seed = next(seeds)
        torch.manual_seed(1000 * (process or 0) + seed)
        model = network(settings["channels"]).to(memory_format=layout)
        averaged = _train(model, settings, train)
        averaged.eval()
        with torch.no_grad():
            said = [averaged(some).argmax(-1) for some in test[0].split(500)]
        right = (torch.cat(said) == test[1]).float().mean().item()
        Path(folder, f"{process}-{seed}.json").write_text(
            json.dumps(100 * right), encoding="utf-8"
        )

    return work


def network(channels: Any) -> Any:
    """Returns `mnistopt.models.compact.Separable` with batch normalization."""
    from torch import nn

    first, *rest = channels
    layers: list[Any] = [nn.Conv2d(1, first, 3, padding=1, bias=False)]
    layers += [nn.MaxPool2d(2), nn.BatchNorm2d(first), nn.ReLU()]
    before = first
    for features in rest:
        layers += [
            nn.Conv2d(before, before, 3, groups=before, bias=False),
            nn.Conv2d(before, features, 1, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(),
        ]
        before = features
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)]
    return nn.Sequential(*layers)


def _train(model: Any, settings: Mapping[str, Any], train: Any) -> Any:
    """Trains with AdamW, one cycle and a moving average; returns the average."""
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    x, y = train
    size, epochs = settings["batch_size"], settings["epochs"]
    decay, rate = settings["weight_decay"], settings["lr"]
    adamw = torch.optim.AdamW(
        model.parameters(), lr=rate, weight_decay=decay, fused=True
    )
    steps = len(y) // size * epochs
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        adamw, rate, total_steps=steps, cycle_momentum=False, final_div_factor=1e9
    )
    averaged = AveragedModel(
        model,
        multi_avg_fn=get_ema_multi_avg_fn(settings["average"]),
        use_buffers=True,
    )
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(y))
        for batch in order[: len(y) // size * size].view(-1, size):
            adamw.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            adamw.step()
            cycle.step()
            averaged.update_parameters(model)
    return averaged


def summary(measured: Mapping[str, Any]) -> dict[str, float]:
    """Returns the ratio to PyTorch's fastest way, and mean accuracies."""
    ran = [row for row in measured["pytorch"] if "seconds" in row]
    best = min(ran, key=lambda row: row["seconds"])
    return {
        "times": best["seconds"] / measured["ours"]["seconds"],
        "ours": float(np.mean(measured["ours"]["test"])),
        "pytorch": float(np.mean(best["test"])),
    }
