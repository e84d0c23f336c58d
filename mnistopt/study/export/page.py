"""A classifier as one page to draw on, which needs no network and no other file."""

import base64
import html
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np

from mnistopt.models.graph import Conv, Select
from mnistopt.study.export.c_file import fnv1a
from mnistopt.study.export.card import sentences, shown
from mnistopt.study.export.classifier import Classifier
from mnistopt.study.export.integers import ENTRY, POWERS, WHOLE, Network, Whole

_SCRIPTS = "network.js", "place.js", "draw.js"


def page(classifier: Classifier, examples: Sequence[np.ndarray]) -> str:
    """Returns the page's HTML.

    Args:
        classifier: The classifier, of digits of 28 x 28 pixels.
        examples: An image of each class, uint8 [28, 28, 1], ink 255.
    """
    card = classifier.card
    accuracy = shown(card["test"]["int8"])
    lead = f"{card['title']}: {accuracy} of {card['test']['int8']['n']:,} test digits "
    lead += "are read right. All of it is in this page."
    # What is in a script's element must not end it.
    network = json.dumps(_content(classifier, examples)).replace("<", "\\u003c")
    parts = {
        "@TITLE@": html.escape(f"Draw a digit: {card['title']}"),
        "@LEAD@": html.escape(lead),
        "@CARD@": "".join(f"<li>{html.escape(text)}</li>" for text in sentences(card)),
        "@STYLE@": _text("draw.css"),
        "@NETWORK@": network,
        "@SCRIPT@": "\n".join(map(_text, _SCRIPTS)),
    }
    text = _text("draw.html")
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _content(classifier: Classifier, examples: Sequence[np.ndarray]) -> dict[str, Any]:
    kernels = [w.flat_kernel for net in classifier.members for w in net.layers]
    refusal = classifier.refusal
    return {
        "classes": list(classifier.class_names),
        "inkIsDark": classifier.dark_on_light,
        "refusal": {
            "leastInk": refusal.least_ink,
            "mostInk": refusal.most_ink,
            "leastShare": refusal.least_share,
        },
        "powers": POWERS.tolist(),
        "powerStep": ENTRY,
        "whole": WHOLE,
        "checksum": fnv1a(b"".join(kernel.tobytes() for kernel in kernels)),
        "examples": [_base64(image) for image in examples],
        "members": [
            [
                _layer(network, whole, whole is network.layers[-1])
                for whole in network.layers
            ]
            for network in classifier.members
        ],
    }


def _layer(network: Network, whole: Whole, last: bool) -> dict[str, Any]:
    layer: Any = whole.layer
    about = {
        "name": layer.name,
        "inputs": list(layer.inputs),
        "shape": list(layer.shape),
        "zeros": list(whole.zeros),
        "multiplier": whole.multiplier.tolist(),
        "offset": whole.offset.tolist(),
        "shift": whole.shift.tolist(),
        "low": whole.low,
        "high": whole.high,
    }
    if isinstance(layer, Conv):
        window, pool = layer.window, layer.pool
        return about | {
            "kind": "conv",
            "last": last,
            "seen": list(layer.seen),
            "groups": layer.groups,
            "size": list(window.size),
            "stride": list(window.stride),
            "padding": [before for before, _ in window.padding],
            "places": list(window.over(layer.seen)),
            "pool": pool
            and {
                "size": list(pool.size),
                "stride": list(pool.stride),
                "padding": [before for before, _ in pool.padding],
            },
            "kernel": _base64(whole.flat_kernel),
        }
    if isinstance(layer, Select):
        return about | {
            "kind": "select",
            "source": layer.source.tolist(),
            "channel": layer.channel.tolist(),
            "channels": [network.graph.shapes[number][2] for number in layer.inputs],
        }
    return about | {"kind": "add"}


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
