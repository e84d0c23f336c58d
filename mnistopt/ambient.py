"""What surrounds the project: it changes no number, or it is named with the numbers.

People set JAX, flax and XLA for other work, by environment variable or in a notebook's
first cell. A study that was continued under other settings would be a mixture.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from flax import configurations

# The generator of all keys: JAX's own default, which `JAX_DEFAULT_PRNG_IMPL` replaces.
PRNG = "threefry2x32"

# Settings that the project computes under: the libraries' own defaults, from the oldest
# to the newest version. Those that an installed version lacks are left out.
HELD: dict[str, Any] = {
    # What is drawn, and which weights a layer's name stands for.
    "jax_default_prng_impl": PRNG,
    "jax_threefry_partitionable": True,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_random_seed_offset": 0,
    "jax_enable_custom_prng": False,
    "jax_safer_randint": True,
    "jax_high_dynamic_range_gumbel": False,
    "flax_fix_rng_separator": False,
    "flax_preserve_adopted_names": False,
    "flax_return_frozendict": False,
    # Types and roundings.
    "jax_enable_x64": False,
    "jax_explicit_x64_dtypes": "warn",
    "jax_default_dtype_bits": "64",
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_default_matmul_precision": None,
    "jax_allow_f16_reductions": True,
    "jax_softmax_custom_jvp": False,
    "jax_accurate_erf_inv": False,
    "jax_use_hlo_logistic_lowering": None,
    "jax_use_magma": "auto",
    # How programs are traced.
    "jax_use_direct_linearize": True,
    "jax_use_simplified_jaxpr_constants": False,
    "jax_embedded_constants_max_bytes": 32,
    "jax_custom_jvp3": False,
    "jax_custom_vjp3": False,
    "jax_enable_custom_vjp_by_custom_transpose": False,
    "jax_remat3": False,
    "jax_remat_barrier_no_cotangents": False,
    "jax_scan3": False,
    "jax_vjp3": False,
    "jax_refs_to_pins": False,
    "jax_dynamic_shapes": False,
    "eager_constant_folding": False,
    "jax_bcoo_cusparse_lowering": False,
    # How they are compiled.
    "jax_disable_most_optimizations": False,
    "jax_optimization_level": "UNKNOWN",
    "jax_exec_time_optimization_effort": 0.0,
    "jax_memory_fitting_effort": 0.0,
    "jax_memory_fitting_level": "O2",
    "jax_compiler_enable_remat_pass": True,
    "jax_use_shardy_partitioner": True,
    "jax_enable_pgle": False,
    "jax_compilation_cache_expect_pgle": False,
    "jax_xla_profile_version": 0,
    # What refuses to compute, or does it one operation at a time. A replica that
    # diverges computes NaNs, which its record says.
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_debug_key_reuse": False,
    "jax_legacy_prng_key": "allow",
    "jax_check_tracer_leaks": False,
    "jax_check_static_indices": False,
    "jax_custom_vjp_disable_shape_check": False,
    "jax_disable_bwd_checks": False,
    "jax_mutable_array_checks": True,
    "jax_enable_checks": False,
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_disable_jit": False,
    "jax_no_tracing": False,
    "jax_no_execution": False,
    "jax_raise_persistent_cache_errors": False,
    "jax_default_device": None,
    # Not set by default, which allows; in one thread that would be what others have.
    "jax_transfer_guard_host_to_device": "allow",
    "jax_transfer_guard_device_to_device": "allow",
    "jax_transfer_guard_device_to_host": "allow",
    "jax_array_garbage_collection_guard": "allow",
}


class _ForAllThreads:
    """Holds the settings that a process has only once, while anybody computes."""

    def __init__(self) -> None:
        self._lock, self._holders = threading.Lock(), 0
        self._before: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> None:
        with self._lock:
            self._holders += 1
            if self._holders > 1:
                return
            for config, name, value in _once_per_process():
                if value != HELD[name]:
                    self._before.append((config, name, value))
                    config.update(name, HELD[name])

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._holders -= 1
            while self._before and not self._holders:
                config, name, value = self._before.pop()
                config.update(name, value)


def _once_per_process() -> Iterator[tuple[Any, str, Any]]:
    """Yields the configuration, name and value of what is held for a whole process."""
    holders, of_flax = jax.config._value_holders, configurations.config._values
    for name in HELD:
        if name in of_flax:
            yield configurations.config, name, of_flax[name]
        elif name in holders and not callable(holders[name]):
            yield jax.config, name, holders[name].value


_FOR_ALL_THREADS = _ForAllThreads()


@contextlib.contextmanager
def fixed() -> Iterator[None]:
    """Holds `HELD` in this thread; a decorator too.

    Whoever calls gets all settings back. What is set already is left alone, so that
    under the usual settings JAX finds its caches as they were.
    """
    holders = jax.config._value_holders
    with _FOR_ALL_THREADS, contextlib.ExitStack() as stack:
        for name, value in HELD.items():
            holder = holders.get(name)
            # JAX's own context manager, of this thread only. None is: not set.
            if callable(holder) and holder.value not in (value, None):
                stack.enter_context(holder(value))
        yield


# --- What XLA reads from the environment itself ---

# Flags that change no number: the number of devices, and what is written down.
_HARMLESS = re.compile(
    "xla_force_host_platform_device_count|xla_dump_.*|xla_gpu_cuda_data_dir|"
    "xla_hlo_profile|xla_detailed_logging|xla_log_hlo_text|xla_gpu_dump_.*"
)
# Of TPUs, and of the kernels of NVIDIA's GPUs.
_FLAGS, _OTHERS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS"), ("NVIDIA_TF32_OVERRIDE",)


def xla_settings() -> dict[str, str]:
    """Returns what the environment asks of XLA that may change a number, by name."""
    settings = {name: os.environ[name] for name in _OTHERS if os.environ.get(name)}
    for name in _FLAGS:
        text = os.environ.get(name, "").strip()
        # As XLA reads it: what does not begin with a flag is a file of flags.
        if text and not text.startswith("-"):
            with contextlib.suppress(OSError, ValueError):
                text = Path(text).read_text(encoding="utf-8")
        for flag in text.split():
            key, _, value = flag.lstrip("-").partition("=")
            if not _HARMLESS.fullmatch(key):
                settings[key] = value
    return dict(sorted(settings.items()))


def xla_threads() -> int | None:
    """Returns the threads of XLA's pool on a CPU if the environment sets them."""
    with contextlib.suppress(ValueError):
        return max(0, int(os.environ.get("NPROC", ""))) or None
    return None
