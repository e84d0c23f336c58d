"""A classifier in ONNX: its layers as an ONNX user would write them.

https://onnx.ai/onnx/operators/: operators of opset 17, which runtimes since 2022 have.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mnistopt.errors import InputError
from mnistopt.models.graph import Add, Conv, Graph, Select, Window
from mnistopt.study.export.integers import MOST, Network

OPSET, IR_VERSION = 17, 8
# ONNX's numbers for types, and the names of what is put in and comes out.
_FLOAT, _UINT8 = 1, 2
IMAGE, LOGITS, PROBABILITIES = "image", "logits", "probabilities"


def import_onnx() -> Any:
    """Returns the library.

    Raises:
        InputError: If it is not installed.
    """
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise InputError(
            "onnx is not installed, which the format onnx needs: pip install "
            "'mnistopt[export]'"
        ) from error
    return onnx


def onnx_bytes(
    members: Sequence[Graph | Network],
    temperatures: Sequence[float],
    card: Mapping[str, Any],
    pixels: bool,
) -> bytes:
    """Returns the file.

    Args:
        members: The networks: in floats, or in whole numbers.
        temperatures: What each one's logits are divided by.
        card: What is known of it, which becomes its metadata.
        pixels: Whether images are bytes; or else floats, as the network takes them.
    """
    onnx = import_onnx()
    writer = _Writer(onnx)
    for number, (member, temperature) in enumerate(zip(members, temperatures)):
        writer.network(member, temperature, f"m{number}_", pixels)
    writer.vote(len(members))
    graph = members[0].graph if isinstance(members[0], Network) else members[0]
    classes = graph.layers[-1].shape[-1]
    info, kind = onnx.helper.make_tensor_value_info, _UINT8 if pixels else _FLOAT
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            writer.nodes,
            "classifier",
            [info(IMAGE, kind, ["batch", *graph.shape])],
            [info(name, _FLOAT, ["batch", classes]) for name in writer.outputs],
            writer.constants,
            doc_string=str(card["input"]),
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mnistopt",
        producer_version=str(card["mnistopt"]),
        doc_string=str(card["title"]),
    )
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in card.items()
    }
    onnx.helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


@dataclasses.dataclass
class _Writer:
    """Writes nodes, one after the other.

    Attributes:
        onnx: The library.
        nodes: What has been written.
        constants: The numbers that they use.
        outputs: The names of what comes out.
    """

    onnx: Any
    nodes: list[Any] = dataclasses.field(default_factory=list)
    constants: list[Any] = dataclasses.field(default_factory=list)
    outputs: list[str] = dataclasses.field(default_factory=list)

    def node(self, kind: str, inputs: Sequence[str], name: str, **given: Any) -> str:
        """Writes a node, and returns the name of what it makes, which is its own."""
        made = self.onnx.helper.make_node(kind, list(inputs), [name], name, **given)
        self.nodes.append(made)
        return name

    def constant(self, values: Any, name: str, kind: Any = np.float32) -> str:
        """Writes numbers, and returns their name."""
        array = np.asarray(values, kind)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def network(
        self, member: Graph | Network, temperature: float, prefix: str, pixels: bool
    ) -> None:
        """Writes one network, up to its logits and probabilities."""
        whole = member if isinstance(member, Network) else None
        graph: Any = whole.graph if whole else member
        turned = self.node("Transpose", [IMAGE], prefix + "turned", perm=[0, 3, 1, 2])
        if whole:
            turned = self.dequantized(turned, whole, 0, prefix + "image")
        elif pixels:
            turned = self.node("Cast", [turned], prefix + "cast", to=_FLOAT)
            most = self.constant(255, prefix + "most")
            turned = self.node("Div", [turned, most], prefix + "pixels")
        made = [turned]
        for number, layer in enumerate(graph.layers, 1):
            name = f"{prefix}{number}_{layer.name.replace('/', '_')}"
            inputs = [made[i] for i in layer.inputs]
            shapes = [graph.shapes[i] for i in layer.inputs]
            if isinstance(layer, Conv):
                seen = self.seen(layer, inputs[0], shapes[0], name)
                last = number == len(graph.layers)
                made.append(self.conv(layer, seen, name, whole, number, last))
                continue
            if isinstance(layer, Add):
                made.append(self.limited(layer, self.node("Add", inputs, name)))
            else:
                made.append(self.select(layer, inputs, shapes, name))  # type: ignore
            if whole:
                made[-1] = self.requantized(made[-1], whole, number, name)
        logits = self.node("Flatten", [made[-1]], prefix + LOGITS, axis=1)
        divided = self.constant(temperature, prefix + "temperature")
        soft = self.node("Div", [logits, divided], prefix + "tempered")
        self.node("Softmax", [soft], prefix + PROBABILITIES, axis=1)

    def vote(self, count: int) -> None:
        """Writes what comes out: of several networks the mean of probabilities."""
        names = [f"m{number}_{PROBABILITIES}" for number in range(count)]
        self.node("Mean", names, PROBABILITIES)
        self.outputs = [PROBABILITIES]
        if count == 1:
            self.node("Identity", [f"m0_{LOGITS}"], LOGITS)
            self.outputs = [LOGITS, PROBABILITIES]

    # --- Layers; what is between them is [B, C, H, W] ---

    def seen(self, layer: Conv, x: str, shape: tuple[int, ...], name: str) -> str:
        """Returns what a convolution takes, in the shape in which it takes it."""
        if layer.seen == shape:
            return x
        x = self.node("Transpose", [x], name + "_last", perm=[0, 2, 3, 1])
        sides = self.constant([-1, *layer.seen], name + "_shape", np.int64)
        x = self.node("Reshape", [x, sides], name + "_seen")
        return self.node("Transpose", [x], name + "_first", perm=[0, 3, 1, 2])

    def conv(
        self,
        layer: Conv,
        x: str,
        name: str,
        whole: Network | None,
        number: int,
        last: bool,
    ) -> str:
        """Writes a convolution, or a dense layer, and what follows it."""
        window, (height, width, channels) = layer.window, layer.seen
        covers = window.size == (height, width) and not np.any(window.padding)
        turned = bool((layer.sign < 0).any())
        dense = covers and layer.groups == 1 and layer.pool is None
        even = covers and layer.groups == channels == layer.shape[2]
        even &= bool((layer.kernel == layer.kernel.flat[0]).all())
        even &= math.isclose(layer.kernel.flat[0] * height * width, 1, rel_tol=1e-5)
        if even and not layer.bias.any() and layer.pool is None:
            x = self.node("GlobalAveragePool", [x], name)
        elif dense:
            kernel = layer.kernel.transpose(3, 2, 0, 1).reshape(layer.shape[2], -1)
            numbers = self.numbers(layer, kernel, layer.bias, name, whole, number)
            flat = self.node("Flatten", [x], name + "_flat", axis=1)
            x = self.node("Gemm", [flat, *numbers], name + "_product", transB=1)
            if not last:
                x = self.limited(layer, x)
                sides = self.constant([-1, *_first(layer.shape)], name + "_s", np.int64)
                x = self.node("Reshape", [x, sides], name)
        else:
            kernel = layer.kernel.transpose(3, 2, 0, 1)
            bias = layer.bias * (not turned)
            numbers = self.numbers(layer, kernel, bias, name, whole, number)
            places = {"strides": list(window.stride), "pads": _pads(window)}
            x = self.node("Conv", [x, *numbers], name, group=layer.groups, **places)
        limited = dense and not last
        if not turned:
            x = x if limited else self.limited(layer, x)
            if whole and not last:
                x = self.requantized(x, whole, number, name)
        if layer.pool is not None:
            pool = layer.pool
            places = {"strides": list(pool.stride), "pads": _pads(pool)}
            size = list(pool.size)
            x = self.node("MaxPool", [x], name + "_pool", kernel_shape=size, **places)
        if turned:
            sign = self.constant(layer.sign.reshape(-1, 1, 1), name + "_sign")
            x = self.node("Mul", [x, sign], name + "_turned")
            shift = self.constant(layer.bias.reshape(-1, 1, 1), name + "_shift")
            x = self.limited(layer, self.node("Add", [x, shift], name + "_shifted"))
            if whole and not last:
                x = self.requantized(x, whole, number, name)
        return x

    def numbers(
        self,
        layer: Conv,
        kernel: np.ndarray,
        bias: np.ndarray,
        name: str,
        whole: Network | None,
        number: int,
    ) -> list[str]:
        """Writes a kernel with its outputs first, and a bias."""
        if whole is None:
            return [
                self.constant(kernel, name + "_kernel"),
                self.constant(bias, name + "_bias"),
            ]
        steps = whole.layers[number - 1].steps
        weights = np.round(kernel / steps.reshape(-1, *(1,) * (kernel.ndim - 1)))
        unit = steps * whole.scales[layer.inputs[0]]
        shift = np.clip(np.round(bias / unit), -(2**31), 2**31 - 1)
        return [
            self.known(weights, np.int8, steps, name + "_kernel"),
            self.known(shift, np.int32, unit, name + "_bias"),
        ]

    def known(self, values: Any, kind: Any, steps: np.ndarray, name: str) -> str:
        """Writes whole numbers, and the floats that they stand for."""
        inputs = [
            self.constant(values, name + "_whole", kind),
            self.constant(steps, name + "_scale"),
            self.constant(np.zeros(len(steps)), name + "_zero", kind),
        ]
        return self.node("DequantizeLinear", inputs, name, axis=0)

    def limited(self, layer: Any, x: str) -> str:
        """Writes the limits of a layer."""
        if (layer.low, layer.high) == (-math.inf, math.inf):
            return x
        if (layer.low, layer.high) == (0, math.inf):
            return self.node("Relu", [x], x + "_relu")
        ends = [
            self.constant(end, f"{x}_{word}") if math.isfinite(end) else ""
            for word, end in (("low", layer.low), ("high", layer.high))
        ]
        return self.node("Clip", [x, *ends], x + "_clip")

    def select(
        self, layer: Select, inputs: list[str], shapes: Sequence[Any], name: str
    ) -> str:
        """Writes channels joined, split or shuffled."""
        starts = np.cumsum([0, *(shape[2] for shape in shapes)])
        chosen = starts[layer.source] + layer.channel
        x = inputs[0]
        if len(inputs) > 1:
            x = self.node("Concat", inputs, name + "_joined", axis=1)
        if np.array_equal(chosen, np.arange(starts[-1])):
            return x
        places = self.constant(chosen, name + "_places", np.int64)
        return self.node("Gather", [x, places], name, axis=1)

    # --- Whole numbers ---

    def requantized(self, x: str, whole: Network, number: int, name: str) -> str:
        """Writes bytes, and the floats that they stand for."""
        inputs = [x, *self.range(whole, number, name + "_to")]
        x = self.node("QuantizeLinear", inputs, name + "_bytes")
        return self.dequantized(x, whole, number, name + "_from")

    def dequantized(self, x: str, whole: Network, number: int, name: str) -> str:
        inputs = [x, *self.range(whole, number, name)]
        return self.node("DequantizeLinear", inputs, name + "_floats")

    def range(self, whole: Network, number: int, name: str) -> list[str]:
        scale = self.constant(whole.scales[number], name + "_scale")
        zero = min(max(whole.zeros[number], 0), MOST)
        return [scale, self.constant(zero, name + "_zero", np.uint8)]


def _first(shape: Sequence[int]) -> list[int]:
    """Returns (C, H, W) of (H, W, C)."""
    return [shape[2], shape[0], shape[1]]


def _pads(window: Window) -> list[int]:
    (top, bottom), (left, right) = window.padding
    return [top, left, bottom, right]
