"""Settings of JAX, flax and XLA: each is held, named with the numbers, or harmless."""

import os
import threading

import jax
import pytest
from flax import configurations

from mnistopt import ambient
from mnistopt.ambient import HELD, fixed, xla_settings
from mnistopt.engine.devices import LocalDevice, describe_device, local_devices, name_of

# Reviewed: none of them changes a number of a network that trains on one device.
HARMLESS = {
    # Which devices there are, which a machine's description names.
    *("jax_platforms", "jax_platform_name", "jax_xla_backend", "jax_backend_target"),
    *("jax_num_cpu_devices", "jax_cpu_enable_async_dispatch", "jax_mock_gpu_topology"),
    *("jax_cuda_visible_devices", "jax_rocm_visible_devices", "mock_num_gpu_processes"),
    *("jax_oneapi_visible_devices", "jax_pjrt_client_create_options"),
    "jax_sort_devices_by_process_index",
    # What is written down, shown or warned of.
    *("jax_captured_constants_report_frames", "jax_captured_constants_warn_bytes"),
    *("jax_compiler_detailed_logging_min_ops", "jax_debug_log_modules"),
    *("jax_distributed_debug", "jax_dump_ir_modes", "jax_dump_ir_to"),
    *("jax_explain_cache_misses", "jax_hlo_source_file_canonicalization_regex"),
    *("jax_include_debug_info_in_dumps", "jax_include_full_tracebacks_in_locations"),
    *("jax_log_checkpoint_residuals", "jax_log_compiles", "jax_logging_level"),
    *("jax_pprint_use_color", "jax_send_traceback_to_runtime", "jax_source_url_schema"),
    *("jax_traceback_filtering", "jax_traceback_in_locations_limit"),
    *("jax_tracer_error_num_traceback_frames", "jax_transfer_guard"),  # sets the three
    *("jax_debug_leaked_clients_on_clear_backends", "flax_filter_frames"),
    *("flax_profile", "flax_max_repr_depth"),
    # Whether a compiled program is found again.
    *("jax_compilation_cache_check_contents", "jax_compilation_cache_dir"),
    *("jax_compilation_cache_include_metadata_in_key", "jax_enable_compilation_cache"),
    *("jax_compilation_cache_max_size", "jax_persistent_cache_enable_xla_caches"),
    *("jax_persistent_cache_min_compile_time_secs", "jax_use_cpp_shard_args"),
    *("jax_persistent_cache_min_entry_size_bytes", "jax_pgle_aggregation_percentile"),
    *("jax_pgle_profiling_runs", "jax_remove_custom_partitioning_ptr_from_cache_key"),
    # Several processes or devices at one computation, which there are none of.
    *("check_vma", "jax_auto_pcast", "jax_check_proxy_envs", "jax_thread_guard"),
    *("jax_cpu_collectives_implementation", "jax_cpu_enable_gloo_collectives"),
    *("jax_cpu_get_global_topology_timeout_minutes", "jax_enable_recoverability"),
    *("jax_cpu_get_local_topology_timeout_minutes", "jax_enable_preemption_service"),
    *("jax_cross_host_transfer_socket_address", "jax_cross_host_transport_addresses"),
    *("jax_cross_host_transfer_timeout_seconds", "jax_force_dcn_cross_host_transfers"),
    *("jax_cross_host_transfer_transfer_size", "jax_disable_vmap_shmap_error"),
    *("jax_disallow_mesh_context_manager", "jax_pmap_no_rank_reduction"),
    *("jax_pmap_shmap_merge", "jax_remove_size_one_mesh_axis_from_type"),
    *("jax_share_binary_between_hosts", "jax_share_binary_between_hosts_timeout_ms"),
    *("jax_distributed_verify_secure_credentials", "jax_raise_on_ppermute_sort_diff"),
    *("jax_mtls_ca_file", "jax_mtls_cert_file", "jax_mtls_key_file", "jax_use_rgv3"),
    *("jax_mtls_peer_uri_prefix", "jax_experimental_unsafe_xla_runtime_errors"),
    # Programs that are exported, or that JAX makes for others.
    *("jax2tf_associative_scan_reductions", "jax2tf_default_native_serialization"),
    *("jax_export_calling_convention_version", "jax_serialization_version"),
    *("jax_export_ignore_forward_compatibility", "jax_mosaic_allow_hlo"),
    *("jax_export_deserialize_expired_versions", "jax_mosaic_unzip_debug_locations"),
    # Kernels in Pallas, ragged products, and flax' other interface: none is used.
    *("jax_pallas_enable_debug_checks", "jax_pallas_poison_buffers"),
    *("jax_pallas_use_mosaic_gpu", "jax_pallas_verbose_errors"),
    *("jax_pallas_auto_assign_collective_ids", "jax_use_emit_pipeline_primitive"),
    *("jax_pallas_auto_assign_collective_ids_limit", "jax_pallas_dump_promela_to"),
    *("jax_ragged_dot_use_gpu_pallas_triton_lowering", "flax_use_flaxlib"),
    *("jax_ragged_dot_use_ragged_dot_instruction", "flax_array_ref"),
    *("flax_pytree_module", "flax_always_shard_variable", "flax_hijax_variable"),
    *("nnx_graph_mode", "nnx_graph_updates", "nnx_sow_capture_noop"),
    "flax_use_orbax_checkpointing",
}
# Not set by default, which is the same.
UNSET = {name for name in HELD if "guard" in name}


def settings() -> dict:
    return {**jax.config.values, **configurations.config._values}


def set_all(values):
    for name, value in values.items():
        flax = name in configurations.config._values
        (configurations.config if flax else jax.config).update(name, value)


def test_every_setting_of_the_libraries_is_held_or_known_to_be_harmless():
    unknown = settings().keys() - HELD.keys() - HARMLESS
    assert not unknown, f"new settings: hold them, or say why not: {sorted(unknown)}"
    assert not HELD.keys() & HARMLESS
    # Of a version that nobody has, too, a name is one of theirs.
    assert len(HELD.keys() & settings().keys()) > 40


def test_what_is_held_is_the_default():
    """So the usual surroundings stay as they are, and JAX finds its caches."""
    usual = settings()
    for name in HELD.keys() & usual.keys() - UNSET:
        if name.upper() not in os.environ and name != "jax_explicit_x64_dtypes":
            assert usual[name] == HELD[name], name
    with fixed():
        assert settings() == usual


ODD = {
    **{name: not value for name, value in HELD.items() if isinstance(value, bool)},
    "jax_random_seed_offset": 7,
    "jax_default_prng_impl": "rbg",
    "jax_default_matmul_precision": "bfloat16",
    "jax_numpy_dtype_promotion": "strict",
    "jax_transfer_guard_host_to_device": "disallow_explicit",
    "jax_error_checking_behavior_nan": "raise",
    "jax_exec_time_optimization_effort": 1.0,
}


@pytest.fixture
def odd():
    """Settings of somebody else's, all at once."""
    before = settings()
    chosen = {name: value for name, value in ODD.items() if name in before}
    set_all(chosen)
    yield settings()
    set_all({name: before[name] for name in chosen})


def test_a_device_computes_under_what_is_held_and_gives_it_back(odd):
    device = local_devices()[0]
    inside = device.ask(lambda _: settings()).result()
    for name in ODD.keys() & inside.keys():
        assert inside[name] == HELD[name], name
    assert settings() == odd


def test_what_a_process_has_once_is_given_back_by_the_last_that_holds_it(odd):
    wide = ("flax_fix_rng_separator", "jax_disable_most_optimizations")
    xla = local_devices()[0].xla
    first, second = LocalDevice(xla, 0), LocalDevice(xla, 1)
    begun, go_on = threading.Barrier(3), threading.Event()

    def wait(number):
        begun.wait(60)
        assert not number or go_on.wait(60)
        return settings()

    short, long = first.start(wait, 0), second.start(wait, 1)
    begun.wait(60)
    short.result()
    assert [settings()[name] for name in wide] == [False, False]
    go_on.set()
    assert [long.result()[name] for name in wide] == [False, False]
    assert [settings()[name] for name in wide] == [True, True]
    with pytest.raises(ZeroDivisionError), fixed():
        assert settings()[wide[0]] is False
        _ = 1 / 0
    assert settings() == odd


def test_a_setting_that_a_version_lacks_is_left_out(monkeypatch):
    monkeypatch.setitem(HELD, "jax_of_the_year_2040", True)
    with fixed():
        assert "jax_of_the_year_2040" not in settings()


# --- What XLA reads ---


def machine(monkeypatch, **environment):
    for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "NPROC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return describe_device(local_devices()[0].xla, "float32")


@pytest.mark.parametrize(
    "environment",
    [
        {"XLA_FLAGS": "--xla_cpu_enable_fast_math=true"},
        {"XLA_FLAGS": "--xla_dump_to=/tmp/x  --xla_backend_optimization_level=0"},
        {"XLA_FLAGS": "--xla_of_the_year_2040"},
        {"LIBTPU_INIT_ARGS": "--xla_tpu_x=1"},
        {"NVIDIA_TF32_OVERRIDE": "0"},
        {"NPROC": "77"},
    ],
)
def test_what_may_change_a_bit_makes_another_machine(monkeypatch, environment):
    usual = machine(monkeypatch)
    assert "xla" not in usual
    assert name_of(machine(monkeypatch, **environment)) != name_of(usual)


@pytest.mark.parametrize(
    "flags",
    [
        "--xla_force_host_platform_device_count=4",
        "--xla_dump_to=/tmp/x --xla_dump_hlo_as_text",
        "  ",
    ],
)
def test_what_changes_none_does_not(monkeypatch, flags):
    assert machine(monkeypatch, XLA_FLAGS=flags) == machine(monkeypatch)


def test_flags_are_known_in_any_order_and_from_a_file(monkeypatch, tmp_path):
    flags = ["--xla_b=2", "--xla_a=1"]
    (tmp_path / "flags").write_text("\n".join(flags))
    written = [" ".join(flags), " ".join(flags[::-1]), str(tmp_path / "flags")]
    found = [machine(monkeypatch, XLA_FLAGS=text)["xla"] for text in written]
    assert found == [{"xla_a": "1", "xla_b": "2"}] * 3
    assert list(xla_settings()) == ["xla_a", "xla_b"]
    assert machine(monkeypatch, NPROC="nonsense") == machine(monkeypatch)
    assert ambient.xla_threads() is None
