"""What surrounds a program changes no digit of its tables."""

import numpy as np
import pandas as pd
from programs import run

from mnistopt.data.load import load
from mnistopt.results.tables import TABLES, read_table

ASKED = ("--lr=0.01", "--dropout=0.4", "--seeds=3", "--epochs=2", "--quiet")
MLP = ("--model=mlp", "--hidden=8")
BOTH = ("--model=mlp,cnn", "--hidden=8", "--channels=2x3", "--dense=4")
# What people set for other work, each of which once gave other digits or an error.
SURROUNDINGS = {
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_ENABLE_X64": "1",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_DEBUG_NANS": "1",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
}


def tables(workdir, *asked, **environment):
    found = run("grid", f"--workdir={workdir}", *ASKED, *asked, **environment)
    assert found.returncode == 0, found.stderr
    return {name: read_table(workdir, name).drop(columns="seconds") for name in TABLES}


def assert_equal(found, wanted):
    for name in TABLES:
        pd.testing.assert_frame_equal(found[name], wanted[name], check_exact=True)


def test_settings_of_jax_and_xla(tmp_path):
    asked = (*BOTH, "--train_examples=200")
    wanted = tables(tmp_path / "plain", *asked)
    assert_equal(tables(tmp_path / "set", *asked, **SURROUNDINGS), wanted)


def idx_files(folder, parts):
    folder.mkdir()
    for part, (images, labels) in parts.items():
        for kind, array in (("images-idx3", images[..., 0]), ("labels-idx1", labels)):
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            head = bytes((0, 0, 8, array.ndim)) + sizes
            path = folder / f"{part}-{kind}-ubyte"
            path.write_bytes(head + array.astype(np.uint8).tobytes())


def test_the_file_that_examples_came_in(tmp_path):
    digits = load("mnist_5k", train_examples=400)
    parts = {"train": digits.train, "t10k": digits.test}
    idx_files(tmp_path / "ordered", parts)
    rng = np.random.default_rng(0)
    shuffled = {}
    for name, (images, labels) in parts.items():
        order = rng.permutation(len(labels))
        shuffled[name] = images[order], labels[order]
    idx_files(tmp_path / "shuffled", shuffled)
    np.savez(
        tmp_path / "arrays.npz",
        images=shuffled["train"][0],
        labels=shuffled["train"][1],
        test_images=digits.test.images[::-1],
        test_labels=digits.test.labels[::-1],
    )
    ordered, other, arrays = (
        tables(tmp_path / f"runs-{i}", *MLP, *data)
        for i, data in enumerate(
            [
                ("--dataset=mnist", f"--data_dir={tmp_path / 'ordered'}"),
                ("--dataset=mnist", f"--data_dir={tmp_path / 'shuffled'}"),
                (f"--data={tmp_path / 'arrays.npz'}",),
            ]
        )
    )
    assert_equal(other, ordered)
    assert_equal(arrays, ordered)
