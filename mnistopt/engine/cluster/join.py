"""Joining a Ray cluster, or starting one on this machine for one run."""

import functools
import logging
import re
import socket
import warnings
from typing import Any

import jax
import ray
from ray._common.utils import get_default_system_temp_dir
from ray._private import ray_constants, services
from ray._private.authentication import authentication_token_setup as tokens

from mnistopt.engine.devices import cores
from mnistopt.errors import InputError, see

# Seconds that a head which is there takes to accept a connection.
PATIENCE = 5.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_QUIETLY: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
_EXPECTED = "expected local, auto or HOST:PORT"
# Ray's name of what a worker takes one of, by JAX's names of platforms.
RESOURCES = {"cuda": "GPU", "rocm": "GPU", "gpu": "GPU", "tpu": "TPU", "cpu": "CPU"}


def join(address: str) -> bool:
    """Makes this process a driver of a cluster; returns whether it was none before.

    Args:
        address: "local" for one of this machine's cores (and accelerators), which ends
            with the run, and listens on loopback only; "auto" for the one that this
            machine belongs to; else where the head is, as in "10.0.0.1:6379".

    Raises:
        InputError: If there is none, or it is of another version, or does not let this
            process in.
    """
    if ray.is_initialized():
        # A notebook's own, or a test's: whoever has joined it says where it is.
        return False
    # What Ray says of itself at every start.
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # JAX warns of the fork by which a process of Ray's own begins.
            warnings.filterwarnings("ignore", "os.fork.* was called", RuntimeWarning)
            _join(address)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        ray.shutdown()
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"cluster={address} cannot be joined: {_why(error)}{see('cluster')}"
        ) from error
    return True


def _join(address: str) -> None:
    local, about = address == "local", _QUIETLY
    if local:
        about = {**_QUIETLY, "num_cpus": cores(), "include_dashboard": False}
    else:
        address = _find(address)
    before = ray_constants.ENABLE_RAY_CLUSTER
    if local or address.rpartition(":")[0] in LOOPBACK:
        # Ray then listens on loopback only, as it does by itself on macOS and Windows.
        ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(address, **about)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
    if local and (where := ray.nodes()[0]["NodeManagerAddress"]) not in LOOPBACK:
        ray.shutdown()
        raise InputError(
            f"cluster=local would listen on {where}, which others may reach: this "
            f"version of Ray ({ray.__version__}) is not known here; leave `cluster` out"
        )


def _find(asked: str) -> str:
    """Returns the address of a head that answers: Ray itself would try for minutes.

    Args:
        asked: The address, see `join`; not "local".
    """
    address, shown, recorded = asked, f"cluster={asked}", False
    if asked == "auto":
        address = services.get_ray_address_from_environment("", None)
        shown = f"cluster=auto (RAY_ADDRESS={address})"
        if recorded := not address:
            # By Ray's processes here, or its file of the last cluster.
            address = services.get_ray_address_from_environment(asked, None)
            shown = f"cluster=auto (by Ray's records {address})"
    match = re.fullmatch(r"\[?([^\s/]+?)\]?:(\d{1,5})", address)
    if not match:
        raise InputError(f"{shown} is not allowed: {_EXPECTED}")
    try:
        socket.create_connection((match[1], int(match[2])), PATIENCE).close()
        # As Ray does before it asks; it would go on asking for twenty seconds, and for
        # minutes if something else listens there.
        if recorded:
            tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        tokens.ensure_token_if_auth_enabled(create_token_if_missing=False)
        ray._raylet.GcsClient(address=address)  # type: ignore[attr-defined]
    except ray.exceptions.AuthenticationError as error:
        raise InputError(
            f"{shown} asks for a token, and that of this process is missing or wrong: "
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN as on the cluster's nodes"
            + see("cluster#security")
        ) from error
    except (OSError, OverflowError, ray.exceptions.RpcError) as error:
        raise InputError(
            f"{shown} cannot be reached ({error}): {_EXPECTED}, as printed by `ray "
            f"start --head`{see('cluster')}"
        ) from error
    return address


def _why(error: Exception) -> str:
    """Returns the first words of Ray's error; what to do where it does not say."""
    text = " ".join(str(error).split())
    if "any running Ray" in text:
        return (
            "no Ray runs on this machine: begin with `ray start --head`, or give local"
        )
    if "AF_UNIX" in text:
        return (
            f"{get_default_system_temp_dir()}, from TMPDIR or RAY_TMPDIR, is too long "
            "for Ray's sockets: set RAY_TMPDIR=/tmp, or another short folder"
        )
    if "ersion mismatch" in text:
        text += ". Install the same versions on all nodes"
    return text[:400]


@functools.cache
def _asked_platform() -> str:
    """Returns the platform that JAX was first asked to use; "" for none."""
    return (jax.config.values["jax_platforms"] or "").split(",")[0]


def find_resource() -> str:
    """Returns what workers take one of each: what JAX was asked to use, or is best.

    Raises:
        InputError: If the cluster has none.
    """
    resources, asked = ray.cluster_resources(), _asked_platform()
    wanted = [RESOURCES.get(asked, asked)] if asked else ["GPU", "TPU", "CPU"]
    usable = [name for name in wanted if resources.get(name, 0) >= 1]
    if not usable:
        has = {name: resources.get(name, 0) for name in ("GPU", "TPU", "CPU")}
        parts = ", ".join(f"{count:.0f} {name}" for name, count in has.items())
        raise InputError(
            f"the cluster has no {' or '.join(wanted)}"
            + (f" (JAX_PLATFORMS={asked})" if asked else "")
            + f": it has {parts}. Unset JAX_PLATFORMS to use any device, or "
            "start nodes that have one"
        )
    if usable[0] != "CPU":
        # The accelerators are the workers'. This has no effect if it is too late.
        jax.config.update("jax_platforms", "cpu")
    return usable[0]
