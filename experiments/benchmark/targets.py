"""Accelerators that can be compiled for where they are not."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from mnistopt.errors import InputError

# XLA's name for a GPU's text format. The numbers are those of the makers' data sheets.
_GPU = """
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared}
  threads_per_core_limit: 2048
  core_count: {cores}
  fpus_per_core: {units}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}
  l2_cache_size: {cache}
  clock_rate_ghz: {clock}
  device_memory_size: {memory}
  shared_memory_per_block_optin: {most_shared}
  cuda_compute_capability {{ major: {major} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{words}"
"""


_GPU_LANES = {"mlp": (1, 16, 64, 256, 1024), "cnn": (1, 9, 64, 256), "": (1, 9)}


class Target(NamedTuple):
    """A device to compile for.

    Attributes:
        words: The device in words.
        platform: "cuda" or "tpu", as JAX's topologies have it.
        about: A GPU's numbers, or the name of a TPU's topology.
        launches: Seconds that a kernel takes at least, at best and at worst: on a GPU
            the host's for launching it, on a TPU nothing, as a program runs alone.
        clock: Cycles a second, which costs are in; 1 where they are seconds.
        lanes: Numbers of lanes to compile, by model; "" stands for the light networks.
        beside: The most of them for programs other than ours.
        estimated: Whether XLA estimates times: of an A100 it knows none, and fails
            where it is asked for them ("Cannot find key: sm_80", JAX 0.10.2).
    """

    words: str
    platform: str
    about: Any
    launches: tuple[float, float] = (3e-6, 5e-6)
    clock: float = 1.0
    lanes: Mapping[str, tuple[int, ...]] = _GPU_LANES
    beside: int = 64
    estimated: bool = True


_H200 = {
    **{"cores": 132, "units": 128, "clock": 1.98, "major": 9},
    **{"shared": 233_472, "most_shared": 232_448, "cache": 52_428_800},
    **{"memory": 151_397_597_184, "bandwidth": 4_800_000_000_000},
}
_A100 = {
    **{"cores": 108, "units": 64, "clock": 1.41, "major": 8},
    **{"shared": 167_936, "most_shared": 166_912, "cache": 41_943_040},
    **{"memory": 42_331_013_120, "bandwidth": 1_555_200_000_000},
}
TARGETS = {
    "h200": Target("NVIDIA H200, 141 GB", "cuda", _H200),
    "a100": Target("NVIDIA A100, 40 GB", "cuda", _A100, estimated=False),
    "v5e": Target(
        "TPU v5e, one chip",
        "tpu",
        "v5e:2x2",
        launches=(0.0, 0.0),
        clock=1.5e9,
        lanes={"mlp": (1, 16, 64), "cnn": (1, 9), "": (1,)},
        beside=1,
    ),
}
_ENVIRONMENT = {
    # Only to compile: JAX computes on the CPU.
    "JAX_PLATFORMS": "cpu",
    # libtpu asks for the machine that it is on.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}


def device(target: Target) -> Any:
    """Returns JAX's device of a target, that can only be compiled for.

    To be called before anything uses JAX, which reads the environment then.

    Raises:
        InputError: If its compiler is not installed.
    """
    os.environ.update(_ENVIRONMENT)
    if target.estimated:
        os.environ["XLA_FLAGS"] = "--xla_gpu_collect_cost_model_stats=true"
    import jax
    from jax.experimental import topologies

    jax.devices()  # JAX finds its plugins then.
    about: dict[str, Any] = {"topology_name": target.about}
    if target.platform == "cuda":
        text = _GPU.format(**target.about, words=target.words)
        about = {"topology_name": "", "topology": "1x1x1", "target_config": text}
    try:
        topology = topologies.get_topology_desc(platform=target.platform, **about)
    except Exception as error:  # of a kind for each plugin
        raise InputError(
            f"JAX cannot compile for {target.words} here "
            f"({str(error).splitlines()[0]:.100}): pip install 'mnistopt[aot]', or "
            "use ./launch.sh bench --compile_for=..., which installs it apart"
        ) from error
    return topology.devices[0]
