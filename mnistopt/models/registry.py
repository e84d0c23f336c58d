"""The networks that can be chosen by name, and the axes of each.

One entry here and one file with a flax module make a network; `docs/extending.md`
shows it. Flags, checks and tables read the entries, so nothing heavy is imported: a
module is, where a network is made.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from mnistopt.axes import Axis, choice, count, layers, number, show
from mnistopt.points import Structure


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that can be chosen.

    Attributes:
        name: The value of `--model` and of the column `model`.
        path: Where its flax module is: "package.module:Class".
        words: The network's name in a sentence.
        axes: Fields of the module that can be set.
        dropout: Whether its `__call__` takes the traced dropout rate.
        kind: The class of a user's module; None otherwise.
        structure: The structure of a user's module instance; None otherwise.
    """

    name: str
    path: str
    words: str
    axes: Mapping[str, Axis]
    dropout: bool = True
    kind: type | None = None
    structure: Structure | None = None

    def choose(self, values: Mapping[str, Any]) -> Structure:
        """Returns the structure with these values of its axes, and defaults.

        Args:
            values: Values from `Axis.check`.
        """
        if self.structure:
            return self.structure
        chosen = {
            name: values.get(name, axis.default) for name, axis in self.axes.items()
        }
        shown = tuple(
            (name, show(value) if isinstance(value, tuple) else value)
            for name, value in chosen.items()
            if value is None or value != self.axes[name].neutral
        )
        path = self.path if self.kind else ""
        return Structure(self.name, shown, self.dropout, path=path)


# Networks that share an axis share its flag, and so its default.
_WIDTH = number(
    1.0, "factor on the numbers of channels", 0.01, "expected a number of at least 0.01"
)
_DEPTH = count(2, "units of stride 1 after each of stride 2")
_NORM = choice(
    "none",
    "none, or batch for batch normalization before each ReLU",
    ("none", "batch"),
    neutral="none",
)

# The defaults of the MLP and the CNN are the paper's base structures (section 3.2).
NETWORKS = {
    network.name: network
    for network in (
        Network(
            name="mlp",
            path="mnistopt.models.mlp_cnn:MLP",
            words="MLP",
            axes={
                "hidden": layers((128, 128), "units per hidden layer, as in 128x128"),
                "norm": _NORM,
            },
        ),
        Network(
            name="cnn",
            path="mnistopt.models.mlp_cnn:CNN",
            words="CNN",
            axes={
                "channels": layers((32, 64), "kernels per convolution, as in 32x64x64"),
                "dense": count(128, "units of the dense layer"),
                "norm": _NORM,
            },
        ),
        Network(
            name="separable",
            path="mnistopt.models.separable_cnn:Separable",
            words="separable CNN",
            axes={
                "channels": layers((32, 64), "kernels per convolution, as in 32x64x64"),
                "slope": number(
                    0.0,
                    "slope of ReLUs below 0",
                    0,
                    "expected a number of at least 0",
                    neutral=0.0,
                ),
                "norm": _NORM,
            },
        ),
        Network(
            name="mobilenet_v1",
            path="mnistopt.models.light:MobileNetV1",
            words="MobileNet v1",
            axes={"width": _WIDTH, "depth": _DEPTH},
        ),
        Network(
            name="mobilenet_v2",
            path="mnistopt.models.light:MobileNetV2",
            words="MobileNet v2",
            axes={"width": _WIDTH, "depth": _DEPTH},
        ),
        Network(
            name="shufflenet_v1",
            path="mnistopt.models.light:ShuffleNetV1",
            words="ShuffleNet v1",
            axes={
                "width": _WIDTH,
                "depth": _DEPTH,
                "groups": choice(
                    3, "groups of pointwise convolutions", (1, 2, 3, 4, 8)
                ),
            },
        ),
        Network(
            name="shufflenet_v2",
            path="mnistopt.models.light:ShuffleNetV2",
            words="ShuffleNet v2",
            axes={"width": _WIDTH, "depth": _DEPTH},
        ),
    )
}
DEFAULT = "cnn"


def fields(networks: Iterable[Network] = NETWORKS.values()) -> dict[str, Axis]:
    """Returns the fields of networks by name, each with help that names its networks.

    Networks that share a field share its flag, and so its default: the first one's.
    """
    axes: dict[str, Axis] = {}
    helps: dict[str, dict[str, list[str]]] = {}
    for network in networks:
        for name, axis in network.axes.items():
            axes.setdefault(name, axis)
            helps.setdefault(name, {}).setdefault(axis.help, []).append(network.name)
    return {
        name: dataclasses.replace(
            axis,
            help="; ".join(
                f"{', '.join(users)}: {text}".strip(": ")
                for text, users in helps[name].items()
            ),
        )
        for name, axis in axes.items()
    }
