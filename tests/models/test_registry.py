"""The networks that can be chosen by name: their entries and their modules agree."""

import dataclasses
import importlib
import inspect

import pytest

from mnistopt.models.own import read_call
from mnistopt.models.registry import DEFAULT, NETWORKS

ENTRIES = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def module_of(network):
    name, _, kind = network.path.partition(":")
    return getattr(importlib.import_module(name), kind)


@ENTRIES
def test_axes_are_the_fields_of_the_module(network):
    fields = {field.name for field in dataclasses.fields(module_of(network))}
    assert fields - {"classes", "parent", "name"} == set(network.axes)
    assert network.dropout == read_call(module_of(network)).dropout
    assert NETWORKS[network.name] is network


@ENTRIES
def test_defaults_are_allowed_and_told(network):
    for name, axis in network.axes.items():
        assert axis.check(name, axis.default) == axis.default
        assert axis.help
    structure = network.choose({})
    told = [name for name, axis in network.axes.items() if axis.neutral is None]
    assert [name for name, _ in structure.values] == told
    assert structure.model == network.name and not structure.path


@ENTRIES
def test_what_is_chosen_is_in_the_structure(network):
    for name, axis in network.axes.items():
        other = "batch" if name == "norm" else axis.clean("4" if axis.joined else 4)
        assert network.choose({name: other}) != network.choose({})


def test_networks_are_lazily_imported_and_explained():
    assert DEFAULT in NETWORKS
    for network in NETWORKS.values():
        assert inspect.getdoc(module_of(network)) and network.words
