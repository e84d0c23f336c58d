"""The bar below a notebook's cell, and the notebook that ships."""

import json
import re
import sys
import types
from pathlib import Path

import pytest

import mnistopt
from mnistopt.study.progress import Progress, in_notebook

NOTEBOOK = Path(__file__).parents[2] / "experiments" / "colab.ipynb"
TINY = {"model": "mlp", "hidden": (8,), "train_examples": 200, "epochs": 1, "seeds": 1}


def test_the_notebook_is_kept_with_its_outputs():
    """As docs/run_notebook.py leaves them: small, and of no machine's folders."""
    text = NOTEBOOK.read_text()
    assert len(text) < 500_000 and "<script" not in text and "Traceback" not in text
    assert set(re.findall(r"PosixPath\('(/\w+)", text)) == {"/content"}
    cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    assert all(cell["execution_count"] is None for cell in cells)
    kinds = [
        kind for c in cells for out in c["outputs"] for kind in out.get("data", ())
    ]
    assert kinds.count("image/png") >= 5 and kinds.count("text/html") >= 3


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
    nbclient, nbformat = (pytest.importorskip(n) for n in ("nbclient", "nbformat"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        small = "epochs=2, hidden=(16,), train_examples=500"
        cell.source = cell.source.replace("epochs=8", small)
    place = {"metadata": {"path": str(tmp_path)}}
    # Three minutes are the most that a reader should wait.
    nbclient.NotebookClient(
        notebook, timeout=180, kernel_name="python3", resources=place
    ).execute()
    outputs = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    shown = [output["data"] for output in outputs if "data" in output]
    assert any("best first" in str(data) for data in shown)
    study = next(data for data in shown if "<Study" in data["text/plain"])
    assert "The best setting by validation" in study["text/html"]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "test digits are right" in printed and "accuracy" in printed
    assert (tmp_path / "runs" / "notebook" / "report.html").stat().st_size < 3e6
    # One more rate trained its own six replicas, and no other.
    assert "24" in "".join(str(data) for data in shown)


NET = """
import flax.linen as nn
import mnistopt

class Net(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, images):
        x = nn.relu(nn.Dense(self.width)(images.reshape(len(images), -1)))
        return nn.Dense(10)(x)
"""
RUN = """
study = mnistopt.run(model=Net, train_examples=100, epochs=1, seeds=1, workdir="own")
print(study.model(), len(study.trials))
"""


def test_a_module_written_in_a_cell_is_trained_and_told_from_a_changed_one(tmp_path):
    nbclient, nbformat = (pytest.importorskip(n) for n in ("nbclient", "nbformat"))
    again = "print(mnistopt.open_study('own').model())"
    changed = NET.replace("nn.relu", "nn.gelu")
    caught = f"try:{RUN.replace(chr(10), chr(10) + '    ')}\nexcept mnistopt.InputError"
    sources = [NET, RUN, NET, RUN + again, changed, f"{caught} as e:\n    print(e)"]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources=place
    ).execute()
    printed = ["".join(one.get("text", "") for one in cell.outputs) for cell in cells]
    assert "width = 4" in printed[1] and printed[3].count("width = 4") == 2
    assert "Net 4 no longer computes what it did when this workdir" in printed[5]


@pytest.fixture
def cell(monkeypatch):
    """A notebook's cell: all that is shown below it; "" for what is taken away."""
    shown = []
    handle = types.SimpleNamespace(update=lambda html: shown.append(html.data))

    def display(html, display_id):
        shown.append(html.data)
        return handle

    shell = types.SimpleNamespace(kernel=None)
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    ipython.display = types.ModuleType("IPython.display")
    ipython.display.HTML = lambda data: types.SimpleNamespace(data=data)
    ipython.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)
    return shown


def test_a_run_in_a_notebook_shows_a_bar_and_takes_it_away(cell, tmp_path):
    mnistopt.run(**TINY | {"epochs": 2}, workdir=tmp_path)
    bars = [html for html in cell if "<progress" in html]
    assert "compiling" in bars[0]
    assert "epoch 1/2" in bars[1] and "epoch 2/2" in bars[2]
    assert "best" in bars[2] and "by validation" in bars[2]
    assert cell[-1] == ""


@pytest.mark.parametrize(
    "silence", [{"progress": False}, {"on_progress": lambda progress: None}]
)
def test_a_bar_can_be_done_without(cell, tmp_path, silence):
    mnistopt.run(**TINY, workdir=tmp_path, **silence)
    assert cell == []


def test_a_script_is_silent(tmp_path, capfd):
    assert not in_notebook()
    mnistopt.run(**TINY, workdir=tmp_path)
    assert capfd.readouterr() == ("", "")


def test_progress_is_told_in_words():
    progress = Progress(
        structure="mlp 8", compiling=False, epoch=3, epochs=9,
        images_per_second=12345.6, work=25, total_work=100, seconds=30.0, best=0.987,
        best_point="lr 0.001",
    )  # fmt: skip
    assert progress.figures == "epoch 3/9  12,346 images/s  1:30 left"
    assert progress.leader == "best 98.7 % by validation, lr 0.001"
    assert progress._replace(compiling=True).figures == "compiling"
    assert progress._replace(best=None).leader == ""
