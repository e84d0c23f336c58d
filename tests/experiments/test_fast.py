"""The recipe `fast` in PyTorch: the same network, and what was measured."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.benchmark import fast
from mnistopt.models.networks import make_network
from mnistopt.recipes import RECIPES
from mnistopt.study.grid import make_point

ROOT = Path(__file__).parents[2]
AXES = RECIPES["fast"]().settings


def test_pytorchs_network_answers_as_ours_with_our_weights():
    torch = pytest.importorskip("torch", reason="needs the extra [bench]")
    network = make_network(make_point(**AXES))
    images = np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
    variables = network.init(jax.random.key(1), images)
    params = variables["params"]
    theirs = fast.network(AXES["channels"], AXES["dense"])
    kernels = [params[f"Conv_{i}"]["kernel"] for i in range(len(AXES["channels"]))]
    given = [np.transpose(kernel, (3, 2, 0, 1)) for kernel in kernels]
    # What comes to the dense layer has its channels first there, and last here.
    dense = params["Dense_0"]["kernel"].reshape(7, 7, -1, AXES["dense"])
    given += [dense.transpose(3, 2, 0, 1).reshape(AXES["dense"], -1)]
    given += [params["Dense_1"]["kernel"].T]
    # In both, normalization begins with scales of 1 and offsets of 0.
    own = [one for one in theirs.parameters() if one.ndim > 1]
    with torch.no_grad():
        for one, array in zip(own, given, strict=True):
            one.copy_(torch.from_numpy(np.array(array)))
        theirs[-1].bias.zero_()
        found = theirs.eval()(torch.from_numpy(images).permute(0, 3, 1, 2))
    wanted = network.apply(variables, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)
    assert abs(np.asarray(wanted)).max() > 0.01


def test_the_docs_say_what_was_measured():
    found = json.loads((ROOT / "experiments/results/fast/fast.json").read_text())
    text = (ROOT / "docs" / "recipes.md").read_text()
    assert fast.markdown(found) in text
    seconds = found["ours"]["seconds"]
    ratio = fast.fastest(found)["seconds"] / seconds
    alone = [row["seconds"] for row in found["pytorch"] if row["way"][:3] == "1 x"]
    words = " ".join(text.split())
    assert f"{ratio:.1f} times as fast as PyTorch's fastest way" in words
    assert f"{min(alone) / seconds:.1f} times as fast as one model after" in words
    assert f"it takes {found['ours']['compiling']:.1f} s once" in words
    readme = " ".join((ROOT / "README.md").read_text().split())
    told = (
        f"`fast` takes {seconds:.1f} s a seed on two cores, {ratio:.1f} times as fast"
    )
    assert told in readme
    assert len(found["ours"]["test"]) == RECIPES["fast"]().seeds == 30


def test_the_fastest_way_is_compared_and_what_failed_is_said():
    ran = {"test": [99.0, 99.2], "way": "a"}
    rows = [{**ran, "seconds": 9.0}, {**ran, "seconds": 7.0, "way": "b"}]
    rows += [{"way": "c", "failed": "no compiler"}]
    measured = {"ours": {"seconds": 2.0, "test": [99.1, 99.1]}, "pytorch": rows}
    assert fast.fastest(measured)["way"] == "b"
    text = fast.markdown(measured)
    assert "| PyTorch, c | no compiler | | |" in text
    assert "| `mnistopt` | 2.00 | 99.10 [99.10, 99.10] % | 2 |" in text
