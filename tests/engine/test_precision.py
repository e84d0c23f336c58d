"""How accelerators multiply: what may be chosen, its name, and what JAX is told."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

import mnistopt
from mnistopt.engine import devices, predict
from mnistopt.engine.devices import LocalDevice, compiler_options, describe_device
from mnistopt.engine.precision import (
    CHOICES,
    choice,
    chosen,
    multiplying,
    precision_on,
)
from mnistopt.engine.replicas import compiled
from mnistopt.errors import InputError
from mnistopt.models import forms
from mnistopt.models.forms import form_of
from mnistopt.models.mlp_cnn import CNN
from mnistopt.training.cohort import Cohort


def xla(platform):
    return SimpleNamespace(
        platform=platform,
        device_kind=f"a {platform}",
        memory_stats=lambda: None,
        client=SimpleNamespace(platform_version="1"),
    )


def test_each_platform_has_its_own_by_default():
    defaults = {platform: precision_on(platform) for platform in CHOICES}
    assert defaults == {"cpu": "float32", "gpu": "tf32", "tpu": "bfloat16"}
    assert precision_on("rocm") == "tf32"


@pytest.mark.parametrize(
    ("platform", "asked"), [("cpu", "tf32"), ("cpu", "bfloat16"), ("tpu", "tf32")]
)
def test_what_a_device_has_not_is_refused_with_what_it_has(platform, asked):
    with chosen(asked), pytest.raises(InputError, match=f"{asked} .* {platform}, .*32"):
        precision_on(platform)
    assert choice() == (None, None)


def test_what_a_study_had_is_kept_where_the_devices_have_it():
    with chosen(usual="float32"):
        assert precision_on("gpu") == precision_on("tpu") == "float32"
    with chosen(usual="tf32"):
        assert (precision_on("gpu"), precision_on("tpu")) == ("tf32", "bfloat16")
        assert precision_on("cpu") == "float32"
    with chosen("bfloat16", usual="float32"):
        assert precision_on("gpu") == "bfloat16"


def test_networks_are_asked_in_the_precision_of_their_study(monkeypatch):
    told = []
    monkeypatch.setattr(predict, "local_devices", lambda: told.append(choice()) or [])
    for one in (None, "float32"):
        predict.Predictor({}, one)
    assert told == [(None, None), (None, "float32")]


@pytest.mark.parametrize(
    ("machines", "precision"),
    [
        ({"a": {"precision": "tf32"}, "b": {"precision": "float32"}}, "float32"),
        ({"a": {"precision": "tf32"}, "b": {"platform": "cpu"}}, None),
        ({"a": {"precision": ["tf32"]}, "b": "somebody's"}, None),
        ({}, None),
    ],
)
def test_a_study_knows_the_precision_that_it_was_trained_in(
    tiny, tmp_path, machines, precision
):
    settings = {"model": "mlp", "hidden": (4,), "batch_size": 8, "epochs": 1}
    study = mnistopt.run(data=tiny, **settings, seeds=1, workdir=tmp_path)
    config = dataclasses.replace(study.config, machines=machines)
    assert config.precision == precision


def test_an_epoch_is_compiled_in_the_form_and_precision_of_its_device(tiny):
    """On a CPU that is told to be laid out and to multiply as a GPU."""
    cohort = Cohort(CNN((2, 2), 2), "adam", 8)
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
        (tiny.train, tiny.validation, tiny.test),
    )

    def text(precision):
        compiled.cache_clear()
        lanes, xla = devices.Lanes(1, 1), jax.devices()[0]
        return compiled(cohort, lanes, shapes, precision, xla)[1].as_text()

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(forms.OF_PLATFORM, "cpu", forms.BLOCKS)
        usual = text("float32")
        patch.setitem(forms.OF_PLATFORM, "cpu", forms.PATCHES)
        patch.setitem(CHOICES, "cpu", {"highest": "float32"})
        other = text("highest")
    compiled.cache_clear()
    assert usual.count(" while(") > other.count(" while(") > 0
    assert "operand_precision={highest,highest}" in other
    assert "operand_precision" not in usual


def test_a_run_refuses_it_before_it_makes_anything(tiny, tmp_path):
    for asked, why in (("tf32", "have float32"), ("half", "expected auto, tf32")):
        with pytest.raises(InputError, match=why):
            mnistopt.run(
                data=tiny, batch_size=8, precision=asked, workdir=tmp_path / "study"
            )
    assert not list(tmp_path.iterdir())


def test_a_machine_s_name_says_its_form_and_an_accelerator_s_its_precision():
    for platform in ("gpu", "tpu"):
        names = set()
        for one in CHOICES[platform]:
            with chosen(one):
                device = LocalDevice(xla(platform), 0)
            about = device.describe(devices.Lanes(1, 2))
            assert (about["form"], about["precision"]) == (form_of(platform), one)
            names.add(devices.name_of(about))
        assert len(names) == len(CHOICES[platform])
    about = describe_device(jax.devices()[0], "float32")
    assert about["form"] == form_of("cpu") and "precision" not in about


def products(text):
    """The lines of a lowered program that multiply matrices."""
    return [line for line in text.splitlines() if "dot_general" in line]


@pytest.mark.parametrize(
    ("platform", "asked", "words"),
    [
        ("cpu", "float32", ["DEFAULT"]),
        ("gpu", "tf32", ["HIGH"]),
        ("gpu", "float32", ["HIGHEST"]),
        ("gpu", "bfloat16", ["lhs_precision_type = bf16", "accumulation_type = f32"]),
        ("tpu", "bfloat16", ["DEFAULT"]),
        ("tpu", "float32", ["HIGHEST"]),
    ],
)
def test_the_compiler_is_told(platform, asked, words):
    lowering = {"gpu": "cuda"}.get(platform, platform)
    with multiplying(platform, asked):
        traced = jax.jit(lambda x: x @ x).trace(jnp.ones((2, 2)))
    (line,) = products(traced.lower(lowering_platforms=(lowering,)).as_text())
    assert all(word in line for word in words)
    if words == ["DEFAULT"] or words == ["HIGH"]:
        assert "HIGHEST" not in line


def test_gpus_choose_no_program_by_the_clock():
    options = compiler_options("gpu")
    assert options["xla_gpu_autotune_level"] == 0
    assert options["xla_gpu_deterministic_ops"]
    assert compiler_options("rocm") == options
    assert compiler_options("tpu") == {}
    assert set(compiler_options("cpu")) == {"xla_cpu_multi_thread_eigen"}
