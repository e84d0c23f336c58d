"""A module is known by what it computes: what changes its hash, and what does not."""

import importlib
import json
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from mnistopt.engine.identity import agree, probe
from mnistopt.errors import InputError
from mnistopt.models.program import trace
from tests.models import changes

ALL = {"": None, **changes.OTHER, **changes.SAME}


@pytest.fixture(scope="module")
def hashes(tmp_path_factory):
    """Net's hash by change, "" for none, as files have them."""
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        yield {
            name: trace(_net(folder, change), (5, 4, 1), 4)[0]
            for name, change in ALL.items()
        }
    for name in changes.FILES:
        sys.modules.pop(name, None)


def _net(folder, change):
    for name, text in changes.changed(change).items():
        (folder / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return importlib.import_module("own_nets").Net()


def test_there_are_forty_changes():
    assert len(changes.OTHER) == 30 and len(changes.SAME) == 10


@pytest.mark.parametrize("name", changes.OTHER)
def test_what_computes_something_else_is_told_apart(hashes, name):
    assert hashes[name] != hashes[""]


@pytest.mark.parametrize("name", changes.SAME)
def test_what_computes_the_same_is_the_same(hashes, name):
    assert hashes[name] == hashes[""]


def _told(surroundings, every):
    program = [sys.executable, "-m", "tests.models.changes", surroundings, f"{every}"]
    told = subprocess.run(program, capture_output=True, text=True, check=True)
    return json.loads(told.stdout.splitlines()[-1])


@pytest.mark.parametrize("surroundings", ["prompt", "notebook"])
def test_a_prompt_and_a_notebook_tell_what_a_file_tells(hashes, surroundings):
    found = _told(surroundings, every=8)
    assert len(found) == 6
    assert found == {name: hashes[name] for name in found}


@pytest.mark.full
@pytest.mark.parametrize("surroundings", ["prompt", "notebook"])
def test_a_prompt_and_a_notebook_tell_all_changes(hashes, surroundings):
    assert _told(surroundings, every=1) == hashes


# What a probe is to see: wherever it computes something else from equal variables.
PROBED = ["an array", "a decorated helper", "a gradient", "training only", "dropout"]
# A normalization undoes what is added before it.
UNSEEN = ["an initializer", "another initializer", "a base's method"]


@pytest.mark.parametrize(
    "names",
    [
        pytest.param([*PROBED, "a helper taken apart"], id="some"),
        pytest.param([*changes.OTHER, *changes.SAME], id="all", marks=pytest.mark.full),
    ],
)
def test_a_probe_tells_changes_apart_across_versions(tmp_path, monkeypatch, names):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def answers(change):
        net = _net(tmp_path, change)
        return probe(net, (5, 4, 1), trace(net, (5, 4, 1), 4)[1])

    first = answers(None)
    assert agree(first, [[x * (1 + 1e-6) for x in group] for group in first])
    for name in names:
        same = name in changes.SAME or name in UNSEEN
        assert agree(answers(ALL[name]), first) == same, name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.relu, lambda x: x),
        (nn.relu, nn.leaky_relu),
        (nn.relu, lambda x: jnp.minimum(nn.relu(x), 1.5)),
        (lambda x: x, lambda x: 1.001 * x),
        (lambda x: (x > 0.5) * 1.0, lambda x: (x > 0.6) * 1.0),
    ],
)
def test_a_probe_sees_small_changes(one, other):
    def answers(act):
        class Net(nn.Module):
            @nn.compact
            def __call__(self, images):
                x = act(images.reshape(len(images), -1))
                return nn.Dense(4)(act(nn.Dense(16)(x)))

        return probe(Net(), (5, 4, 1), trace(Net(), (5, 4, 1), 4)[1])

    assert not agree(answers(one), answers(other))


def test_loops_are_known_by_what_they_do():
    def hash_of(body):
        class Net(nn.Module):
            @nn.compact
            def __call__(self, images):
                x = nn.Dense(4)(images.reshape(len(images), -1))
                return body(x, jnp.float32(2) * x[0], jnp.float32(3) * x[1])

        return trace(Net(), (5, 4, 1), 4)[0]

    def scan(first, second, **options):
        def looped(x, a, b):
            def step(carry, _):
                return second(first(carry, a), b), 0.0

            return jax.lax.scan(step, x, length=3, **options)[0]

        return looped

    plain = hash_of(scan(lambda c, a: c + a, lambda c, b: c * b))
    assert hash_of(scan(lambda c, a: c + a, lambda c, b: c * b, unroll=3)) == plain
    assert hash_of(scan(lambda c, a: a + c, lambda c, b: b * c)) == plain
    assert hash_of(scan(lambda c, a: c + a, lambda c, b: c * b, reverse=True)) != plain
    assert hash_of(scan(lambda c, a: c - a, lambda c, b: c * b)) != plain
    chosen = [
        hash_of(
            lambda x, a, b, k=k: jax.lax.cond(x.sum() > k, lambda: a + x, lambda: b * x)
        )
        for k in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert hash_of(lambda x, a, b: jnp.array(x)) == hash_of(lambda x, a, b: x)
    assert hash_of(lambda x, a, b: x / len(x)) != hash_of(lambda x, a, b: x / 3)


def test_what_cannot_be_seen_is_refused():
    @jax.custom_batching.custom_vmap
    def doubled(x):
        return 2 * x

    doubled.def_vmap(lambda size, batched, x: (3 * x, True))

    def called(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(lambda x: x, shape, x, vmap_method="sequential")

    for act, words in ((doubled, "its own batching rule"), (called, "calls Python")):

        class Net(nn.Module):
            @nn.compact
            def __call__(self, images, act=act):
                return nn.Dense(4)(act(images).reshape(len(images), -1))

        with pytest.raises(InputError, match=f"Net: .*{words}"):
            trace(Net(), (5, 4, 1), 4)
