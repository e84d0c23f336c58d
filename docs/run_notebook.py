"""Runs experiments/colab.ipynb and keeps its outputs, for the tutorial and GitHub.

.venv/bin/python docs/run_notebook.py
"""

import base64
import io
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "experiments" / "colab.ipynb"
# Charts as pictures, as the page that Altair makes by default loads Vega from outside.
PICTURES = "import altair; altair.renderers.enable('png', scale_factor=1.5)"
# Where Colab works; the place of this run is nobody's business.
PLACE = "/content"


def main() -> None:
    """Runs all cells in a new folder."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    first = nbformat.v4.new_code_cell(PICTURES)
    notebook.cells.insert(0, first)
    with tempfile.TemporaryDirectory() as folder:
        place = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, resources=place).execute()
        notebook.cells.remove(first)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # when it ran
            if cell.cell_type == "code":
                cell.execution_count = None
                cell.outputs = [_kept(output) for output in cell.outputs]
                cell.outputs = [output for output in cell.outputs if output]
        text = nbformat.writes(notebook).replace(folder, PLACE)
    NOTEBOOK.write_text(text + "\n", encoding="utf-8")


def _kept(output: dict) -> dict | None:
    """Returns an output; None for a progress bar that has been taken away."""
    if output.get("data", {}).get("text/html") == "":
        return None
    if output["output_type"] == "execute_result":
        output["execution_count"] = None
    if picture := output.get("data", {}).get("image/png"):
        # 256 colours are a third of the bytes.
        file = io.BytesIO()
        image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
        image.quantize(256).save(file, format="png", optimize=True)
        output["data"]["image/png"] = base64.b64encode(file.getvalue()).decode()
    return output


if __name__ == "__main__":
    main()
