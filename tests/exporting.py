"""Classifiers to export, without training, and their C files compiled."""

import dataclasses
import functools
import shutil
import subprocess

import jax
import numpy as np

import mnistopt
from mnistopt.models.networks import init, make_network
from mnistopt.models.reading import read_graph
from mnistopt.study.export.card import Source
from mnistopt.study.export.classifier import (
    Classifier,
    Refusal,
    choose_refusal,
    sum_shares,
)
from mnistopt.study.export.integers import quantize
from mnistopt.study.grid import make_point
from tests.models.test_reading import SETTINGS, SHAPE, disturbed

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
__all__ = ["COMPILERS", "SETTINGS", "STRICT"]


@functools.cache
def digits():
    return mnistopt.load("mnist_5k")


@functools.cache
def networks(number, count=1):
    """Networks of one of the settings and their variables, as after training."""
    model = make_network(make_point(**SETTINGS[number]))
    start = jax.jit(lambda key: init(model, key, np.zeros((1, *SHAPE), np.float32)))
    return [(model, disturbed(start(jax.random.key(i)), i)) for i in range(count)]


@functools.cache
def source(number, count=1):
    """What is exported of one of the settings."""
    from mnistopt.results.config import DataDescription

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
        graph = read_graph(*pair, SHAPE)
        # So that random networks tell images apart, and are sure of some only.
        logits, (*layers, last) = graph(some[:64] / np.float32(255)), graph.layers
        last = dataclasses.replace(last, bias=last.bias - logits.mean(0))
        graph = graph._replace(layers=(*layers, last))
        members.append(quantize(graph, some[:64], float(logits.std(0).mean())))
    least, most, _ = choose_refusal(members, some, dark_on_light=False)
    # Random networks are never sure: they refuse half of the images.
    sure = sum_shares(members, some).max(-1) // count
    refusal = Refusal(least, most, int(np.median(sure)))
    return Classifier(tuple(members), digits().class_names, False, refusal, {})


def compiled(text, folder, compiler=None, flags=()):
    """Compiles a C file; returns the path of its program."""
    file, made = folder / "digit.c", folder / "digit"
    file.write_text(text)
    compiler = compiler or COMPILERS[0]
    command = [compiler, *STRICT, "-O2", *flags, file, "-o", made]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return made


def asked(program, images):
    """Returns the classes, -1 for none, and confidences of a compiled program."""
    found = subprocess.run([program], input=images.tobytes(), capture_output=True)
    assert found.returncode == 0, found.stderr
    rows = [line.split() for line in found.stdout.decode().splitlines()]
    classes = [-1 if row[0] == "none" else int(row[0]) for row in rows]
    return np.array(classes), np.array([row[1:] for row in rows], int)
