"""A plain PyTorch run of the same recipe reaches the same accuracy, on all of MNIST."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

import mnistopt

REAL_MNIST = Path(__file__).parents[3] / "shared" / "mnist"
SEEDS = 3
# 0.3 points. The standard error of the difference was 0.04 points for the MLP and 0.13
# for the CNN, whose seeds differ more after its two epochs.
TOLERANCE = 0.003

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None,
        reason="needs PyTorch: pip install -e '.[bench]'",
    ),
    pytest.mark.skipif(
        not REAL_MNIST.is_dir(), reason=f"needs MNIST's four IDX files in {REAL_MNIST}"
    ),
]


def torch_model(name: str):
    """Returns the network, initialised as flax does (`nn.Dense`, `nn.Conv`)."""
    from torch import nn

    conv = {"kernel_size": 3, "padding": 1}
    mlp = [
        *(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Dropout(0.3)),
        *(nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10)),
    ]
    cnn = [
        *(nn.Conv2d(1, 32, **conv), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, **conv), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.3)),
        nn.Linear(128, 10),
    ]
    model = nn.Sequential(*{"mlp": mlp, "cnn": cnn}[name])
    for layer in model:
        if hasattr(layer, "weight"):
            # lecun_normal: variance 1 / fan_in after cutting off at two sigmas, which
            # leaves 0.8796 of a normal distribution's standard deviation.
            std = math.sqrt(1 / layer.weight[0].numel()) / 0.87962566103423978
            nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
            nn.init.zeros_(layer.bias)
    return model


def torch_run(name: str, epochs: int, seed: int, data) -> tuple[float, int]:
    """Trains, and returns the test accuracy and the number of parameters."""
    import torch

    torch.manual_seed(seed)
    (x, y), (test_x, test_y) = (
        (
            torch.from_numpy(split.images.copy()).permute(0, 3, 1, 2) / 255,
            torch.from_numpy(split.labels.astype(np.int64)),
        )
        for split in (data.train, data.test)
    )
    model = torch_model(name)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(y))[: len(y) // 64 * 64].view(-1, 64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(images) for images in test_x.split(1000)])
    correct = (logits.argmax(1) == test_y).sum().item()
    return correct / len(test_y), sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("model", "layers", "epochs"),
    [
        ("mlp", {"hidden": (128, 128)}, 20),
        ("cnn", {"channels": (32, 64), "dense": 128}, 2),
    ],
)
def test_plain_pytorch_reaches_the_same_accuracy(model, layers, epochs, tmp_path):
    study = mnistopt.run(
        model=model,
        **layers,
        epochs=epochs,
        lr=1e-3,
        dropout=0.3,
        batch_size=64,
        optimizer="adam",
        dataset="mnist",
        data_dir=REAL_MNIST,
        seeds=SEEDS,
        workdir=tmp_path / "run",
        cache_dir=tmp_path / "cache",
    )
    data = mnistopt.load("mnist", data_dir=REAL_MNIST)
    assert len(data.train.labels) == 55_000
    assert len(data.test.labels) == 10_000
    runs = [torch_run(model, epochs, seed, data) for seed in range(SEEDS)]

    ours = study.trials.test_accuracy.to_numpy()
    theirs = np.array([accuracy for accuracy, _ in runs])
    print(f"{model}: ours {ours}, PyTorch {theirs}")
    assert len(ours) == SEEDS
    assert {params for _, params in runs} == set(study.trials.params)
    assert abs(ours.mean() - theirs.mean()) <= TOLERANCE, (ours, theirs)
