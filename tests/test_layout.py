"""The floors of the project: imports go down, and each tool stays in its file."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# The rooms from the ground up: imports go down between them, and nowhere in circles.
ROOMS = (
    *("", "data", "data.scans", "models", "training", "engine", "engine.cluster"),
    *("results", "report.charts", "report", "study.export", "study", "study.search"),
    "study.fields",
)
LIBRARY = sorted((ROOT / "mnistopt").rglob("*.py"))
PROGRAMS = sorted((ROOT / "experiments").glob("*.py"))
REPRODUCTION = sorted((ROOT / "experiments" / "reproduction").glob("*.py"))
CLUSTER = ("worker", "device", "program", "join", "pool")
# Lines of a file that one still reads as a whole.
LONGEST = 400


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


def room(name: str) -> str:
    """Returns the room of a library file."""
    return name.rpartition(".")[0]


def imported(path: Path) -> set[str]:
    """Returns the library files that one imports."""
    known = {module(other) for other in LIBRARY}
    found = set()
    for name in imports(path):
        package, _, rest = name.partition(".")
        assert package != "experiments"
        if package == "mnistopt":
            found |= {rest, rest.rpartition(".")[0]} & known
    return found


def test_there_are_at_most_seven_rooms():
    rooms = {name.split(".")[0] for name in ROOMS} - {""}
    assert len(rooms) <= 7
    assert rooms <= {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert {room(module(path)) for path in LIBRARY} == set(ROOMS)


@pytest.mark.parametrize("path", LIBRARY, ids=module)
def test_imports_go_down_the_rooms(path):
    if path.stem == "__init__":  # the public names, imported when first used
        return
    for name in imported(path):
        assert ROOMS.index(room(name)) <= ROOMS.index(room(module(path))), name


def test_imports_go_in_no_circle():
    below = {
        module(path): imported(path) for path in LIBRARY if path.stem != "__init__"
    }
    graphlib.TopologicalSorter(below).prepare()


@pytest.mark.parametrize(
    ("tool", "homes"),
    [
        ("orbax", {"engine.writer"}),
        ("absl", set()),
        ("ctypes", {"models.fused"}),
        ("tensorflow_datasets", {"data.prepare"}),
        ("rich", set()),
        ("vl_convert", {"report.charts.pictures", "report.page"}),
        ("jinja2", {"report.page"}),
        ("matplotlib", set()),
        ("tensorboardX", {"data.prepare", "results.tensorboard"}),
        ("ray", {f"engine.cluster.{name}" for name in CLUSTER}),
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
    used = {module(path): names(path) & tools for path in LIBRARY}
    # Groups of images are no replicas.
    assert used.pop("training.augment") == {"vmap"}
    assert {name for name in used if used[name]} == {"engine.replicas"}


def test_programs_are_compiled_in_the_engine_only():
    users = {module(path) for path in LIBRARY if "jit" in names(path)}
    # What is exported is compiled where it is used.
    users.remove("study.export.program")
    assert users == {"engine.replicas", "engine.predict", "engine.identity"}


def test_the_library_prints_nothing_and_reads_no_environment():
    for path in LIBRARY:
        # What XLA reads of it is part of a machine's description.
        allowed = {"environ"} if module(path) == "ambient" else set()
        assert names(path) & {"print", "environ", "getenv", "argv"} <= allowed, path


def test_programs_do_no_arithmetic_of_the_library():
    for path in PROGRAMS:
        used = {name.split(".")[0] for name in imports(path)}
        assert not used & {"jax", "flax", "optax", "orbax", "scipy"}, path


def test_the_reproduction_uses_public_names_of_the_library_only():
    for path in REPRODUCTION:
        for name in imports(path):
            assert "._" not in name, (path, name)


def test_files_are_read_as_a_whole():
    for path in [*LIBRARY, *PROGRAMS, *REPRODUCTION]:
        assert len(path.read_text().splitlines()) <= LONGEST, path


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            "mnistopt, experiments.grid, experiments.report",
            "jax pandas altair jinja2 ray",
        ),
        (
            "mnistopt.study.runner, mnistopt.study.study",
            "altair vl_convert jinja2 tensorboardX ray",
        ),
        ("mnistopt.study.export.saved", "jax pandas altair onnx"),
        ("experiments.show", "altair vl_convert jinja2 tensorboardX IPython"),
    ],
)
def test_heavy_imports_happen_where_they_are_used(modules, absent):
    code = f"import sys, {modules}; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True
    )
    assert not set(absent.split()) & set(found.stdout.decode().split())
