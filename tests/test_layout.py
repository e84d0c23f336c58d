"""The floors of the project: imports go down, and each tool stays in its file."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The rooms from the ground up, and the files of each: imports only go down, between
# the rooms and within them.
ROOMS = {
    "": ("errors", "logs", "files", "disk", "ambient", "axes", "hparams", "points"),
    "data": (
        *("splits", "format2", "official", "content", "classes", "mnist_5k", "idx"),
        *("pixels", "pictures", "folders"),
        *("prepare", "find", "tfrecord", "prepared", "arrays", "check", "doubts"),
        *("cache", "dataset", "load"),
        *("place", "strangers", "corrupt"),
    ),
    "models": (
        "registry",
        *("cells", "direct", "winograd", "conv", "norm", "layers", "mlp", "cnn"),
        *("separable", "mobilenet", "shufflenet"),
        *("call", "program", "fields", "own", "networks"),
    ),
    "training": (
        *("metrics", "evaluate", "schedules", "optimizers", "augment"),
        *("replica", "train"),
    ),
    "engine": (
        *("compile_cache", "machine", "devices", "memory", "rounds", "replicas"),
        *("line", "pool", "queue", "timer", "predict", "probe", "latency"),
        *("checksums", "contents", "first_params", "writer", "checkpoint", "tidy"),
    ),
    "engine.cluster": ("worker", "device", "program", "hiring", "join", "pool"),
    "results": (
        *("record", "columns", "costs", "labels", "stats", "compare"),
        *("summary", "tables", "agreement", "config"),
        *("predictions", "mistakes", "samples", "tensorboard"),
    ),
    "report.charts": (
        *("theme", "curves", "points", "sweep", "placing", "costs", "classes"),
        *("pictures", "robustness", "samples", "export"),
    ),
    "report": ("words", "page", "study"),
    "study": (
        *("stopwatch", "stopping", "lock", "grid", "inputs", "modules", "planning"),
        *("integrity", "setup", "capacity", "scheduler", "progress", "costs", "loop"),
        *("notebook", "study", "robustness", "runner", "rerun"),
    ),
    "paper": (
        *("tables", "hypotheses", "claims", "plan", "frames", "judge"),
        *("differences", "learning", "times", "evidence"),
        *("findings", "markdown", "answer", "report", "conclude", "reproduce"),
        *("charts", "curves", "page"),
    ),
    "paper.outlook": ("rows", "claims", "measure", "conclude", "charts", "page"),
}
FLOORS = tuple(
    f"{room}.{name}".lstrip(".") for room, files in ROOMS.items() for name in files
)
LIBRARY = sorted((ROOT / "mnistopt").rglob("*.py"))
PROGRAMS = sorted((ROOT / "experiments").glob("*.py"))


def module(path: Path) -> str:
    """Returns a library file's name as it is imported, without the package's."""
    return ".".join(path.relative_to(ROOT / "mnistopt").with_suffix("").parts)


def imports(path: Path) -> set[str]:
    """Returns the full names of all that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def names(path: Path) -> set[str]:
    """Returns the last parts of all names and attributes that a file uses."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in nodes
        if isinstance(node, (ast.Attribute, ast.Name))
    }


def test_there_are_at_most_eight_rooms():
    assert len({room.split(".")[0] for room in ROOMS} - {""}) <= 8
    tests = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert {room.split(".")[0] for room in ROOMS} - {""} <= tests


def test_every_library_file_has_a_floor():
    packages = {f"{room}.__init__".lstrip(".") for room in ROOMS}
    assert {module(path) for path in LIBRARY} == {*FLOORS, *packages}


@pytest.mark.parametrize("path", LIBRARY, ids=module)
def test_imports_go_down_the_floors(path):
    if path.stem == "__init__":  # the public names, imported when first used
        return
    below = FLOORS[: FLOORS.index(module(path))]
    for name in imports(path):
        package, _, rest = name.partition(".")
        assert package != "experiments"
        if package == "mnistopt":
            assert any(f"{rest}.".startswith(f"{home}.") for home in below), (
                f"{module(path)} imports {name}"
            )


@pytest.mark.parametrize(
    ("tool", "homes"),
    [
        ("orbax", {"engine.checkpoint", "engine.first_params", "engine.writer"}),
        ("absl", set()),
        ("tensorflow_datasets", {"data.prepare", "data.prepared"}),
        ("rich", set()),
        ("vl_convert", {"report.charts.export", "report.page"}),
        ("jinja2", {"report.page"}),
        ("matplotlib", set()),
        ("tensorboardX", {"results.tensorboard"}),
        ("ray", {f"engine.cluster.{name}" for name in ROOMS["engine.cluster"]}),
    ],
)
def test_a_tool_is_imported_in_its_file_only(tool, homes):
    users = {
        module(path)
        for path in LIBRARY
        if any(name.split(".")[0] == tool for name in imports(path))
    }
    assert users == homes


def test_the_replica_axis_is_in_one_file():
    tools = {"vmap", "pmap", "shard_map", "donate_argnums", "NamedSharding"}
    users = {module(path) for path in LIBRARY if names(path) & tools}
    assert users == {"engine.replicas"}


def test_programs_are_compiled_in_the_engine_only():
    users = {module(path) for path in LIBRARY if "jit" in names(path)}
    assert users == {"engine.replicas", "engine.predict", "engine.probe"}


def test_the_library_prints_nothing_and_reads_no_environment():
    for path in LIBRARY:
        assert not names(path) & {"print", "environ", "getenv", "argv"}, path


def test_programs_do_no_arithmetic_of_the_library():
    for path in PROGRAMS:
        used = {name.split(".")[0] for name in imports(path)}
        assert not used & {"jax", "flax", "optax", "orbax", "scipy"}, path


def test_files_and_functions_stay_short():
    for path in [*LIBRARY, *PROGRAMS]:
        tree = ast.parse(path.read_text())
        assert len(path.read_text().splitlines()) <= 300, path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, (path, node.name)


@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        (
            "mnistopt, experiments.grid, experiments.report",
            "jax pandas altair jinja2 ray",
        ),
        (
            "mnistopt.study.runner, mnistopt.study.study",
            "altair vl_convert jinja2 tensorboardX ray",
        ),
        ("experiments.show", "altair vl_convert jinja2 tensorboardX IPython"),
    ],
)
def test_heavy_imports_happen_where_they_are_used(imported, absent):
    code = f"import sys, {imported}; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True
    )
    assert not set(absent.split()) & set(found.stdout.decode().split())
