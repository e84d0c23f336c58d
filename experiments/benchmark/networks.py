"""The networks that are timed, and the work that an update of theirs takes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

# Of the paper's better settings: what dropout costs is in the times.
DROPOUT, LEARNING_RATE = 0.3, 1e-3


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, as arguments of `mnistopt.run`.

    Attributes:
        name: The name in tables.
        axes: The axes of the grid's one point.
        examples: Number of training examples in a timed call of one replica: enough
            that the call's own cost does not count.
        most: The most replicas that are timed.
        batches: Examples per update.
        light: Whether only PyTorch is asked to train it, too: by `nn.Conv`, which under
            `jax.vmap` becomes a grouped convolution, an update takes ten times as long.
    """

    name: str
    axes: Mapping[str, Any]
    examples: int
    most: int
    batches: tuple[int, ...] = (64, 32)
    light: bool = False

    @property
    def convolves(self) -> bool:
        """Whether it has the paper's 3x3 convolutions."""
        return "channels" in self.axes


NETWORKS = (
    Network("MLP 128x128", {"model": "mlp", "hidden": (128, 128)}, 6_400, 256),
    Network(
        "CNN 32x64/128", {"model": "cnn", "channels": (32, 64), "dense": 128}, 640, 128
    ),
    Network(
        "CNN 32x64x64/128",
        {"model": "cnn", "channels": (32, 64, 64), "dense": 128},
        640,
        128,
    ),
    *(
        Network(words, {"model": model}, 640, 8, batches=(64,), light=True)
        for words, model in (
            ("MobileNet v1", "mobilenet_v1"),
            ("MobileNet v2", "mobilenet_v2"),
            ("ShuffleNet v1", "shufflenet_v1"),
            ("ShuffleNet v2", "shufflenet_v2"),
        )
    ),
)


def layers_of(axes: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the channels of convolutions, and the units of hidden dense layers."""
    return axes.get("channels", ()), axes.get("hidden") or (axes["dense"],)


def update_flops(model: Any) -> int:
    """Returns the floating-point operations of one image's share of an update.

    Counted exactly, by the direct method: two per multiplication of the layers'
    products, forward, for the kernels' gradients, and for the inputs' gradients of all
    layers but the first. Biases, activations, pools and Adam are left out, so a method
    with fewer multiplications than the direct one can pass 100 % of what the machine's
    products reach.

    Args:
        model: A flax module of `mnistopt.models`.
    """
    from mnistopt.models.networks import layer_multiply_adds

    layers = layer_multiply_adds(model)
    return 2 * (3 * sum(layers) - layers[0])
