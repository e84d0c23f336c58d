"""Measures how fast replicas train, next to the alternatives.

    python -m experiments.bench --quick

Times the machine's matrix products and memory; this project at several numbers of
replicas; and PyTorch, Keras and plain flax with the same updates, each in the fastest
of the ways that were tried, all in turn in one run. Then it times the parts of whole
studies.

Results go to --workdir: bench.json, bench.md and two charts. --quick takes three
minutes on two cores, the whole benchmark an hour or more, and --cluster ten minutes.

--compile_for=h200 compiles for an accelerator that is not present, and writes the
number of kernels per step and XLA's estimate of their time, in half an hour; the same
command resumes. --rounding trains with products rounded as on accelerators, in ten
minutes. --search compares searches of the paper's space, in an hour; it resumes, too.
--fast times the recipe `fast` and the same recipe in PyTorch, in four.
--export=WORKDIR,... exports the best network of each study in all formats, and compares
answers, sizes and latency.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.benchmark import ahead
from experiments.benchmark.networks import NETWORKS, Network
from experiments.benchmark.targets import TARGETS, device
from experiments.program import run
from mnistopt.errors import InputError
from mnistopt.files import check_path

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("workdir", "runs/bench", "folder of the results")
    flags.DEFINE_bool(
        "quick", False, "two networks, batch 64, 1 and 8 replicas; no studies"
    )
    flags.DEFINE_list("networks", None, "only networks whose names begin with this")
    flags.DEFINE_bool("studies", True, "time whole studies, too")
    flags.DEFINE_enum(
        "compile_for", None, list(TARGETS), "compile for a device that is not present"
    )
    flags.DEFINE_bool(
        "rounding", False, "train with products rounded as accelerators round them"
    )
    flags.DEFINE_bool(
        "search", False, "search the paper's space in several ways, and by Optuna's"
    )
    flags.DEFINE_bool("fast", False, "time the recipe `fast`, here and in PyTorch")
    flags.DEFINE_string("data_dir", None, "folder of MNIST, for --fast")
    flags.DEFINE_list("export", None, "folders of studies whose networks are exported")
    flags.DEFINE_bool(
        "cluster",
        False,
        "time Ray on this machine instead, and how many devices one driver can serve",
    )


def main() -> None:
    """Measures, and writes what was found after each step."""
    workdir = check_path("workdir", FLAGS.workdir) or Path()
    if FLAGS.cluster:
        _cluster(workdir)
        return
    if FLAGS.compile_for:
        _compile(workdir, FLAGS.compile_for)
        return
    if FLAGS.rounding:
        _round(workdir)
        return
    if FLAGS.search:
        _search(workdir)
        return
    if FLAGS.fast:
        _fast(workdir, FLAGS.data_dir)
        return
    if FLAGS.export:
        _export(workdir, FLAGS.export)
        return
    from experiments.benchmark import contest, ours, report
    from mnistopt.engine.devices import use_devices

    chosen = _named(NETWORKS)
    if FLAGS.quick:
        chosen = chosen[:2]
    with tempfile.TemporaryDirectory() as cache:
        # An empty cache, so that the first compile is a cold one.
        devices = use_devices(cache_dir=Path(cache))
        measured: dict[str, Any] = {
            "quick": FLAGS.quick,
            "machine": ours.describe(devices),
            "ceilings": ours.measure_ceilings(devices),
            "rows": [],
            "studies": [],
        }
        log(report.ceilings_in_words(measured))
        for network in chosen:
            for batch in (64,) if FLAGS.quick else network.batches:
                log(f"{network.name}, batch {batch}")
                task = contest.Contest(network, batch, devices, FLAGS.quick, log)
                measured["rows"] += task.run()
                _write(workdir, measured)
        studies = FLAGS.studies and not FLAGS.quick
        if studies:
            log("evaluation beside training")
            measured["evaluation_share"] = ours.evaluation_share(devices)
    if studies:
        for name in ours.STUDIES:
            log(f"a study: {name}")
            measured["studies"] += ours.time_study(name)
            _write(workdir, measured)
    print(report.markdown(measured))
    print(f"Written: {', '.join(map(str, report.write(workdir, measured)))}")


def _named(networks: Sequence[Network]) -> list[Network]:
    """Returns those whose names begin as --networks has them.

    Raises:
        InputError: If none do.
    """
    begin = tuple(FLAGS.networks or [""])
    if chosen := [network for network in networks if network.name.startswith(begin)]:
        return chosen
    names = ", ".join(network.name for network in networks)
    raise InputError(f"--networks={','.join(begin)} names none of: {names}")


def _cluster(workdir: Path) -> None:
    """Measures what a cluster costs, and how far one driver reaches."""
    from experiments.benchmark import report, scaling
    from mnistopt.report.charts.pictures import write_picture

    with tempfile.TemporaryDirectory() as cache:
        cost = scaling.overhead(Path(cache), 1 if FLAGS.quick else 5, log)
    simulation = scaling.simulate(log)
    measured = {"overhead": cost, "simulation": simulation}
    _write(workdir, measured, "cluster.json")
    write_picture(workdir, "scaling", report.cluster_picture(simulation))
    print(report.cluster_markdown(measured))
    print(f"Written: {workdir / 'cluster.json'}, {workdir / 'scaling.png'}")


def _compile(workdir: Path, name: str) -> None:
    """Compiles for a device that is not there, and writes what is known of it."""
    target, chosen = TARGETS[name], _named(ahead.networks())
    xla = device(target)
    path = workdir / f"{name}.json"
    compiled: dict[str, Any] = {"versions": ahead.versions(target), "rows": []}
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["versions"] == compiled["versions"]:
            compiled = before
            log(f"{len(compiled['rows'])} rows are in {path}: remove it to repeat them")
    for row in ahead.rows(target, xla, chosen, compiled["rows"]):
        log(f"{row['network']}, {row['who']}, {row['lanes']} lanes: "
             f"{row.get('failed') or row['kernels']}")  # fmt: skip
        compiled["rows"].append(row)
        _write(workdir, compiled, path.name)
    from mnistopt.report.charts.pictures import write_picture

    page = ahead.markdown(name, compiled)
    (workdir / f"{name}.md").write_text(page, encoding="utf-8")
    if target.estimated:
        write_picture(workdir, name, ahead.picture(name, compiled))
    print(page)
    print(f"Written: {path}, and its tables and pictures")


def _round(workdir: Path) -> None:
    """Measures what rounding the operands of products costs, and writes it."""
    from experiments.benchmark import rounding
    from mnistopt.engine.devices import use_devices

    use_devices()  # Before JAX is used.
    rounded: dict[str, Any] = {"errors": rounding.errors()}
    rounded["accuracies"] = rounding.train(workdir / "rounding", log)
    _write(workdir, rounded, "rounding.json")
    page = rounding.markdown(rounded)
    (workdir / "rounding.md").write_text(page, encoding="utf-8")
    print(page)


def _machine() -> dict[str, Any]:
    from mnistopt.results.config import describe_machine

    about = describe_machine()
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    return {"cpu": about["cpu"], "versions": versions, "commit": about["commit"]}


def _export(workdir: Path, studies: Sequence[str]) -> None:
    """Measures exported networks, and writes what was found."""
    from experiments.benchmark import exports

    measured: dict[str, Any] = {"machine": _machine(), "rows": []}
    for row in exports.measure(studies, log):
        measured["rows"].append(row)
        _write(workdir, measured, "export.json")
    page = exports.markdown(measured)
    (workdir / "export.md").write_text(page, encoding="utf-8")
    print(page)


def _fast(workdir: Path, data_dir: str | None) -> None:
    """Times the recipe `fast`, and writes what was found."""
    from experiments.benchmark import fast
    from mnistopt.engine.devices import cores

    measured = {"machine": _machine(), **fast.measure(data_dir, cores(), log)}
    _write(workdir, measured, "fast.json")
    print(fast.markdown(measured))


def _search(workdir: Path) -> None:
    """Measures what searches find, and what they take; resumes."""
    from experiments.benchmark import search, search_report

    path = workdir / "search.json"
    measured: dict[str, Any] = {"machine": _machine(), "rows": []}
    if path.is_file():
        measured = json.loads(path.read_text(encoding="utf-8"))
    for _ in search.run(workdir, measured, log):
        _write(workdir, measured, path.name)
    found = search_report.write(workdir, measured)
    print(search_report.markdown(measured))
    print(f"Written: {', '.join(map(str, found))}")


def log(words: str) -> None:
    """Tells whoever waits."""
    print(words, file=sys.stderr, flush=True)


def _write(workdir: Path, content: dict[str, Any], name: str = "bench.json") -> None:
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
