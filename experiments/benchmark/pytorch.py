"""PyTorch doing the same updates, in the ways that its users try."""

import contextlib
import ctypes
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from experiments.benchmark.networks import DROPOUT, LEARNING_RATE, layers_of

# In words, of `Way.keeps_memory`.
MEMORY_KEPT = "memory kept"


@dataclasses.dataclass(frozen=True)
class Way:
    """How PyTorch is used.

    Attributes:
        processes: Number of processes that train at the same time, one model each.
        threads: The number of threads of each process.
        channels_last: Memory layout of images and kernels.
        fused: Adam in one kernel for all parameters.
        compiled: Whether `torch.compile` is used.
        keeps_memory: Freed memory stays with the process; by default glibc gives large
            arrays back to the system, and each batch fetches its pages again.
        ensemble: Models stacked and trained at once by `torch.func`; 1 for none.
    """

    processes: int
    threads: int
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False
    keeps_memory: bool = False
    ensemble: int = 1

    @property
    def models(self) -> int:
        """Trained at the same time."""
        return self.processes * self.ensemble

    def __str__(self) -> str:
        """The way in words."""
        words = [f"{self.processes} x {self.threads} thread{'s' * (self.threads > 1)}"]
        words += ["channels last"] * self.channels_last
        words += ["fused Adam"] * self.fused
        words += ["compiled"] * self.compiled
        words += [MEMORY_KEPT] * self.keeps_memory
        words += [f"torch.func, {self.ensemble} models"] * (self.ensemble > 1)
        return ", ".join(words)


def ways(model: str, cores: int, quick: bool) -> list[Way]:
    """Returns what is tried for a kind of network on some cores."""
    each = Way(cores, 1)
    plain = {Way(1, cores), each}
    layouts = (False,) if model == "mlp" else (False, True)
    ways = [
        dataclasses.replace(
            way, channels_last=layout, fused=True, keeps_memory=keeps_memory
        )
        for way in sorted(plain, key=lambda way: way.threads)
        for layout in layouts
        for keeps_memory in ((True,) if quick else (False, True))
    ]
    if not quick:
        compiled = dataclasses.replace(ways[-1], compiled=True)
        together = Way(cores, 1, fused=True, keeps_memory=True, ensemble=8)
        ways += [each, compiled, together]
    return ways


def make(
    way: Way, axes: Mapping[str, Any], batch: int, images: Any, labels: Any
) -> Callable[[], None]:
    """Returns a function that trains one epoch; runs in a process of its own.

    Args:
        way: How.
        axes: The network's axes, as in `networks.NETWORKS`.
        batch: Examples per update.
        images: uint8 [N, 28, 28, 1].
        labels: int [N].
    """
    if way.keeps_memory:
        keep_memory()
    import torch

    torch.set_num_threads(way.threads)
    torch.manual_seed(0)
    # Scaled once and laid out as the network reads them, which is what PyTorch's
    # users do with data that fit into memory.
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    y = torch.from_numpy(labels).long()
    memory = torch.channels_last if way.channels_last else torch.contiguous_format
    x = x.contiguous(memory_format=memory)
    together = way.ensemble > 1
    update = _ensemble(way, axes) if together else _single(way, axes, memory)

    def epoch() -> None:
        order = torch.randperm(len(y))
        for batch_order in order[: len(y) // batch * batch].view(-1, batch):
            update(x[batch_order], y[batch_order])

    return epoch


def keep_memory() -> None:
    """Has glibc keep what is freed: no mapping of their own for arrays, no trimming."""
    with contextlib.suppress(AttributeError, OSError):
        set_option = ctypes.CDLL(None).mallopt
        set_option(-3, 1 << 30)  # M_MMAP_THRESHOLD, in bytes
        set_option(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def network(axes: Mapping[str, Any], dropout: float = DROPOUT) -> Any:
    """Returns a network with these axes, as in `networks.NETWORKS`."""
    from torch import nn

    from experiments.benchmark import pytorch_light

    if axes["model"] in pytorch_light.NETWORKS:
        return pytorch_light.make(axes["model"])
    channels, hidden = layers_of(axes)
    layers: list[Any] = []
    before, side = 1, 28
    for i, features in enumerate(channels):
        layers += [nn.Conv2d(before, features, 3, padding=1), nn.ReLU()]
        if i < 2:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        before = features
    layers.append(nn.Flatten())
    before *= side * side
    for units in hidden:
        layers += [nn.Linear(before, units), nn.ReLU(), nn.Dropout(dropout)]
        before = units
    return nn.Sequential(*layers, nn.Linear(before, 10))


def _single(way: Way, axes: Mapping[str, Any], memory: Any) -> Callable:
    import torch

    model = network(axes).to(memory_format=memory)
    adam = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=way.fused)
    loss_of = torch.nn.functional.cross_entropy
    forward = torch.compile(model) if way.compiled else model

    def update(x: Any, y: Any) -> None:
        adam.zero_grad(set_to_none=True)
        loss_of(forward(x), y).backward()
        adam.step()

    return update


def _ensemble(way: Way, axes: Mapping[str, Any]) -> Callable:
    import torch
    from torch import func

    models = [network(axes) for _ in range(way.ensemble)]
    stacked, statistics = func.stack_module_state(models)
    params = {k: v.detach().requires_grad_(False) for k, v in stacked.items()}
    adam = torch.optim.Adam(params.values(), lr=LEARNING_RATE, fused=True)
    skeleton = models[0].to("meta")

    def loss_of(params: Any, statistics: Any, x: Any, y: Any) -> Any:
        logits = func.functional_call(skeleton, (params, statistics), (x,))
        return torch.nn.functional.cross_entropy(logits, y)

    axes_of = (0, 0, None, None)
    grads_of = func.vmap(func.grad(loss_of), axes_of, randomness="different")

    def update(x: Any, y: Any) -> None:
        for name, grad in grads_of(params, statistics, x, y).items():
            params[name].grad = grad
        adam.step()

    return update
