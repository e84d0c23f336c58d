"""docs/faults.md: every row of it is run, here or by a test that is named here."""

import ast
import contextlib
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import mnistopt
from tests.damage import KINDS
from tests.programs import ROOT, run

PAGE = (ROOT / "docs" / "faults.md").read_text()
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in re.sub(r".*\n\|---", "", PAGE).splitlines()
    if line.startswith("| ")
]
COMMANDS = [row for row in ROWS if re.match("`(--|lr=)", row[0]) and '"' in row[1]]


@pytest.mark.parametrize("row", COMMANDS, ids=[row[0] for row in COMMANDS])
def test_a_command_is_refused_with_the_words_of_the_page(tmp_path, row):
    flags = re.match("`(.+?)`", row[0])[1].split()
    found = run("grid", f"--workdir={tmp_path / 'w'}", *flags)
    assert found.returncode == 2, found
    assert "error: " in found.stderr and "Traceback" not in found.stderr
    for words in re.findall('"(.+?)"', row[1]):
        assert words in found.stderr
    assert not (tmp_path / "w" / "trials.csv").exists()


# By file: the beginning of a row, and the test that runs it.
RUN_BY = {
    "study/test_stopping": {
        "Ctrl-C": "what_is_done_is_saved_and_the_same_call_goes_on",
        "an epoch that does": "an_epoch_that_does_not_end_is_given_up",
        "whatever else": "whatever_a_run_does_it_stops_in_time",
        "the same signal": "a_second_signal_is_not_held_up",
        "a signal that is": "ignored_signals_stay_so_and_other_threads_listen_to_none",
    },
    "study/test_kills": {
        "`kill -9`, a power": "killed_five_times_it_ends_with_the_same_bits",
        "`kill -9` while": "killed_before_a_file_takes_its_place",
    },
    "study/test_workdirs": {
        "what such runs": "what_killed_runs_left_is_removed",
        "another run": "a_second_run_is_refused_and_told_of_the_first",
        "a run on another": "another_host_is_known_by_its_heartbeat",
        "a run started by": "a_run_in_a_callback_of_another_is_a_second_run",
        "`config.json`": "a_damaged_config_is_made_anew",
        "`config.json` is damaged": "a_damaged_config_alone_is_refused",
        "`config.json` is gone": "checkpoints_of_other_data_are_not_added_to",
        "`trials.csv`": "a_table_of_somebody_else_s_is_not_overwritten",
        "checkpoints of": "trials_without_checkpoints_do_not_vanish",
        "records of": "a_damaged_checkpoint_locks_nobody_out",
        "the same, and other": "a_damaged_checkpoint_locks_nobody_out",
        "`.lock`": "a_lock_of_nobody_locks_nobody_out",
        "arrays of a": "damaged_arrays_are_mended_by_the_same_command",
        "`[`": "every_name_of_a_folder_works",
        "`~`": "home_is_where_bash_says",
        "a disk that fills": "a_disk_without_room_ends_in_one_message_and_goes_on",
        "a quota": "a_write_that_the_system_refuses_ends_in_one_message",
    },
    "study/test_damage": {
        **dict.fromkeys(
            KINDS, "whatever_is_damaged_the_same_command_mends_it_or_says_why_not"
        ),
        "`checkpoints/": "what_could_be_restored_before_a_repair_can_be_after_it",
        "`trials.csv`, ": "a_table_that_is_cut_anywhere_says_nothing_of_checkpoints",
        "`predictions/`": "predictions_are_made_anew",
        "`figures/`": "a_report_knows_what_it_is_made_of",
        "`.manifest": "a_manifest_that_is_gone_takes_nothing_away",
        "`damaged/`": "the_checkpoints_of_others_are_left_alone",
    },
    "report/test_study": {
        "a limit of addresses":
        "a_limit_of_addresses_that_no_picture_fits_into_is_told",
    },
    "study/test_side_by_side": {
        "a run in another thread": "three_runs_are_as_if_each_were_alone",
    },
    "experiments/test_evaluate": {
        "`corrupt.csv`": "corrupt_measures_all_seeds_of_the_best_point",
    },
    "study/test_search": {
        "`search.json`": "a_ledger_that_was_changed_is_refused",
        "`optuna.log`": "a_file_of_optuna_s_that_was_lost_is_made_again",
    },
    "study/test_ensemble": {
        "`ensemble.json`": "a_vote_is_kept_for_pupils_and_drawn",
    },
    "study/test_recipes": {
        "`recipe.json`": "a_recipe_is_followed_on_ones_own_images",
    },
    "study/test_export": {
        "`export/`": "a_damaged_file_is_refused",
    },
    "results/test_tensorboard": {
        "`tensorboard/`": "an_interrupted_run_that_is_repeated_shows_no_epoch_twice",
    },
    "study/test_divergence": {
        "`--fail_fast`":
        "fail_fast_ends_the_run_and_the_same_command_without_it_goes_on",
        "a loss": "the_cause_is_in_the_table",
        "gradients": "the_cause_is_in_the_table",
        "50 of": "among_a_thousand_replicas_the_fifty_bad_ones_change_no_bit",
    },
    "results/test_config": {
        "`config.json` is somebody": "a_config_that_is_damaged_or_foreign_is_named",
        "`config.json` is of a later": "a_format_of_another_version_is_said_to_be_one",
    },
    "study/test_workdir": {
        "`config.json` is of other":
        "a_workdir_of_other_data_is_refused_with_every_difference",
        "a file stands where the": "a_file_in_the_way_of_the_workdir_is_refused",
        "no right": "a_folder_without_the_right_to_write_is_refused",
    },
    "study/test_repeating": {
        "settings in": "what_cannot_be_run_again_is_refused",
        "another machine": "going_on_elsewhere_is_told_once_and_marked",
        "a run that should": "other_numbers_are_told",
    },
    "engine/test_checkpoint": {
        "a checkpoint has": "arrays_of_another_network_are_not_taken_for_one_s_own",
    },
    "study/test_capacity": {
        "a disk with": "a_disk_that_is_too_small_is_told_before_training",
        "networks or": "what_cannot_fit_is_refused_before_it_is_compiled",
        "a device that": "a_device_out_of_memory_goes_on_with_half_of_the_lanes",
        "a device too": "one_replica_that_does_not_fit_is_refused",
        "a limit of the": "too_low_a_limit_is_refused_with_one_that_suffices",
        "no more threads": "a_thread_that_cannot_be_had_ends_in_one_sentence",
    },
    "models/test_fused": {
        "convolutions whose": "a_study_says_that_its_c_plus_plus_is_missing",
    },
    "engine/test_devices": {
        "a process that": "a_fork_after_jax_was_in_use_is_refused_and_so_is_its_fork",
    },
    "experiments/test_surroundings": {
        "settings of JAX": "settings_of_jax_and_xla",
    },
    "test_ambient": {
        "`XLA_FLAGS`": "what_may_change_a_bit_makes_another_machine",
    },
    "engine/test_compile_cache": {
        "a damaged entry": "a_damaged_entry_is_written_anew",
    },
    "training/test_train": {
        "the last update": "a_finite_validation_loss_beyond_the_bound_is_divergence",
    },
    "results/test_tables": {
        "all replicas": "where_all_have_diverged_there_is_no_best",
    },
    "data/test_idx": {
        "an IDX": "says_what_is_wrong_with_a_file",
        "a gzipped": "small_files_cannot_fill_the_memory",
        "labels beyond": "labels_and_counts_are_checked",
    },
    "study/test_inputs": {
        "a path with": "a_path_longer_than_systems_take_is_refused",
        "MNIST's": "mnist_is_not_taken_for_others_whose_files_have_its_names",
        "blank": "doubtful_examples_are_told_of",
    },
    "test_brought": {
        "whatever else": "what_cannot_be_read_is_named",
        "standard output": "what_cannot_be_printed_stops_nothing",
        "standard error": "what_cannot_be_printed_stops_nothing",
    },
    "data/test_load": {
        "an array file": "damaged_array_files_are_never_believed",
    },
    "data/test_prepare": {
        "a file prepared": "damaged_tfrecord_is_refused",
        "a download": "wrong_checksum_is_refused",
        "no network": "no_network",
    },
    "data/test_arrays": {
        "your own arrays": "what_cannot_be_used_is_refused_by_what_was_found",
    },
}  # fmt: skip


def test_every_other_row_is_run_by_a_test_of_the_suite():
    others = [row[0] for row in ROWS if row not in COMMANDS]
    for what in others:
        assert any(what.startswith(key) for tests in RUN_BY.values() for key in tests)
    for file, tests in RUN_BY.items():
        tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text())
        known = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        for key, name in tests.items():
            assert any(what.startswith(key) for what in others), key
            assert f"test_{name}" in known
    assert len(ROWS) >= 60


def test_a_store_is_read_without_this_project(tmp_path):
    """By the lines of the page."""
    code = re.search("```python\n(.+?)```", PAGE, re.DOTALL)[1]
    asked = {"model": "mlp", "hidden": (8,), "train_examples": 200, "epochs": 1}
    workdir = tmp_path / "runs" / "mnist_5k-mlp"
    study = mnistopt.run(**asked, seeds=3, workdir=workdir)
    names: dict[str, Any] = {}
    with contextlib.chdir(tmp_path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, names)
    assert [path.name for path in Path(names["step"]).parents[2].iterdir()]
    for replica, kernel in zip(names["about"]["replicas"], names["kernels"]):
        ours = study.params(f"{replica}-1")["Dense_0"]["kernel"]
        assert (ours == kernel).all() and kernel.shape == (784, 8)
