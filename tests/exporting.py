"""Classifiers to export, without training, and their C files compiled."""

import dataclasses
import functools
import math
import shutil
import subprocess

import jax
import numpy as np

import mnistopt
from mnistopt.models.networks import make_network, variable_shapes
from mnistopt.models.reading import read_graph
from mnistopt.results.config import DataDescription
from mnistopt.study.export.card import Source
from mnistopt.study.export.classifier import (
    Classifier,
    Refusal,
    choose_refusal,
    sum_shares,
)
from mnistopt.study.export.integers import quantize
from mnistopt.study.grid import make_point

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
SHAPE = (28, 28, 1)
# Each network of the registry.
SETTINGS = [
    {"model": "mlp", "hidden": (8, 8)},
    {"model": "mlp", "hidden": (8,), "norm": "batch"},
    {"model": "cnn", "channels": (4, 6, 5), "dense": 8},
    {"model": "cnn", "channels": (4, 6, 5), "dense": 8, "norm": "batch"},
    *(
        {"model": model, "width": 0.25, "depth": 1}
        for model in ("mobilenet_v1", "mobilenet_v2", "shufflenet_v1", "shufflenet_v2")
    ),
    {"model": "separable", "channels": (4, 6, 5), "norm": "batch"},
]
# What is only said in files.
_ACCURACY = {"accuracy": 0.5, "ci95": [0.4, 0.6], "n": 100}
CARD = {
    "title": "a network", "input": "images", "classes": list("0123456789"),
    "settings": {}, "study": "study", "trials": ["a"], "commit": None, "mnistopt": "0",
    "command": "a command", "data": {"train": 1},
    "test": {"float": _ACCURACY, "int8": _ACCURACY,
             "lost": {"points": 0.0, "ci95": [0.0, 0.0]}, "refused": 0.0},
}  # fmt: skip


@functools.cache
def digits():
    return mnistopt.load("mnist_5k")


def variables(model, shape=SHAPE, seed=0):
    """Variables as training leaves them: no bias is 0, and some scales are below 0."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name, drawn = path[-1].key, rng.normal(size=leaf.shape)
        if name == "kernel":
            drawn /= math.sqrt(math.prod(leaf.shape[:-1]) / 2)
        elif name == "var":
            drawn = abs(1 + 0.2 * drawn)
        elif name == "scale":
            drawn = (1 + 0.2 * drawn) * np.where(np.arange(leaf.size) % 3 == 0, -1, 1)
        else:
            drawn *= 0.2
        return drawn.astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, variable_shapes(model, shape))


@functools.cache
def networks(number, count=1):
    """Networks of one of the settings and their variables."""
    model = make_network(make_point(**SETTINGS[number]))
    return [(model, variables(model, seed=seed)) for seed in range(count)]


@functools.cache
def graph(number):
    """The layers of the network of one of the settings."""
    return read_graph(*networks(number)[0], SHAPE)


@functools.cache
def source(number, count=1):
    """What is exported of one of the settings."""
    return Source(
        networks=networks(number, count),
        data=digits(),
        about=DataDescription.of(digits(), None),
        study="study",
        trial="trial",
        trials=[f"trial{i}" for i in range(count)],
        settings=SETTINGS[number],
    )


@functools.cache
def classifier(number, count=1):
    """A classifier in whole numbers, of one of the settings."""
    some, members = digits().validation.images, []
    for pair in networks(number, count):
        read = graph(number) if count == 1 else read_graph(*pair, SHAPE)
        # So that random networks tell images apart, and are sure of some only.
        logits, (*layers, last) = read(some[:64] / np.float32(255)), read.layers
        last = dataclasses.replace(last, bias=last.bias - logits.mean(0))
        read = read._replace(layers=(*layers, last))
        members.append(quantize(read, some[:64], float(logits.std(0).mean())))
    least, most, _ = choose_refusal(members, some, dark_on_light=False)
    # Random networks are never sure: they refuse half of the images.
    sure = sum_shares(members, some).max(-1) // count
    refusal = Refusal(least, most, int(np.median(sure)))
    return Classifier(tuple(members), digits().class_names, False, refusal, CARD)


def compiled(text, folder, compiler=None, flags=()):
    """Compiles a C file; returns the path of its program."""
    file, made = folder / "digit.c", folder / "digit"
    file.write_text(text)
    compiler = compiler or COMPILERS[0]
    command = [compiler, *STRICT, "-O2", *flags, file, "-o", made]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return made


def asked(program, images):
    """Returns what a compiled program answers to images."""
    found = subprocess.run([program], input=images.tobytes(), capture_output=True)
    assert found.returncode == 0, found.stderr
    return answers(found.stdout.decode())


def answers(text):
    """Returns the classes, -1 for none, and confidences that a program prints."""
    rows = [line.split() for line in text.splitlines()]
    classes = [-1 if row[0] == "none" else int(row[0]) for row in rows]
    return np.array(classes), np.array([row[1:] for row in rows], int)
