"""What surrounds a program changes no digit of its tables."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
from comparing import without_times

import mnistopt
from mnistopt.data.load import load
from mnistopt.results.table_files import TABLES
from tests.idx import write_dataset
from tests.programs import ROOT

# Without a report, which takes most of a small run's time.
PROGRAM = """
import sys, mnistopt
mnistopt.run(model=["mlp", "cnn"], hidden=(8,), channels=(2, 3), dense=4,
             lr=[0.01, 1e30],  # of which one diverges
             dropout=0.4, epochs=2, train_examples=200, workdir=sys.argv[1])
"""
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
    "JAX_DISABLE_JIT": "1",
    "JAX_TRANSFER_GUARD": "disallow_explicit",
    "JAX_DEBUG_INFS": "1",
    "JAX_RANDOM_SEED_OFFSET": "7",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_SOFTMAX_CUSTOM_JVP": "1",
    "JAX_ENABLE_CHECKS": "1",
    "JAX_DEBUG_KEY_REUSE": "1",
    "JAX_CHECK_TRACER_LEAKS": "1",
    "JAX_ERROR_CHECKING_BEHAVIOR_NAN": "raise",
    "JAX_ALLOW_F16_REDUCTIONS": "0",
    "JAX_MEMORY_FITTING_LEVEL": "O0",
    "FLAX_FIX_RNG_SEPARATOR": "1",
    "FLAX_RETURN_FROZENDICT": "1",
    "OMP_NUM_THREADS": "1",
    "TZ": "Pacific/Kiritimati",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONHASHSEED": "7",
}


def tables(study):
    return {name: without_times(getattr(study, name)) for name in TABLES}


def assert_equal(found, wanted):
    for name in TABLES:
        pd.testing.assert_frame_equal(found[name], wanted[name], check_exact=True)


def test_settings_of_jax_and_xla(tmp_path):
    found = []
    for name, settings, cwd in (("plain", {}, ROOT), ("set", SURROUNDINGS, tmp_path)):
        command = [sys.executable, "-c", PROGRAM, tmp_path / name]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
        subprocess.run(command, cwd=cwd, env=environment, check=True)
        found.append(tables(mnistopt.open_study(tmp_path / name)))
    assert_equal(*found)


def test_the_file_that_examples_came_in(tmp_path):
    digits = load("mnist_5k", train_examples=400)
    splits = {"train": digits.train, "t10k": digits.test}
    parts = {
        name: (split.images[..., 0], split.labels) for name, split in splits.items()
    }
    write_dataset(tmp_path / "ordered", parts)
    rng = np.random.default_rng(0)
    shuffled = {}
    for name, (images, labels) in parts.items():
        order = rng.permutation(len(labels))
        shuffled[name] = images[order], labels[order]
    write_dataset(tmp_path / "shuffled", shuffled)
    np.savez(
        tmp_path / "arrays.npz",
        images=shuffled["train"][0],
        labels=shuffled["train"][1],
        test_images=digits.test.images[::-1],
        test_labels=digits.test.labels[::-1],
    )
    ordered, other, arrays = (
        mnistopt.run(
            model="mlp", hidden=(8,), lr=0.01, epochs=2, workdir=workdir, **data
        )
        for workdir, data in {
            tmp_path / "1": {"dataset": "mnist", "data_dir": tmp_path / "ordered"},
            tmp_path / "2": {"dataset": "mnist", "data_dir": tmp_path / "shuffled"},
            tmp_path / "3": {"data": tmp_path / "arrays.npz"},
        }.items()
    )
    assert_equal(tables(other), tables(ordered))
    assert_equal(tables(arrays), tables(ordered))
