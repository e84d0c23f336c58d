"""A progress bar in a notebook."""

import html
import sys

from mnistopt.study.progress import Progress


def in_notebook() -> bool:
    """Says whether a notebook's cell is running, which can show more than text."""
    # Not imported here: a notebook has, and a script need not.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class NotebookBar:
    """Shows where a run is, below the cell; a callback of `runner.run`."""

    def __init__(self) -> None:
        """Shows that the run prepares."""
        from IPython.display import HTML, display

        self._html = HTML
        self._handle = display(HTML("<p>preparing</p>"), display_id=True)

    def __call__(self, progress: Progress) -> None:
        """Shows where the run is."""
        text = f"{progress.structure}  {progress.figures}"
        self._handle.update(
            self._html(
                f'<progress value="{progress.work}" max="{progress.total_work}" '
                f'style="width: 20em" aria-label="work done"></progress> '
                f"{html.escape(text)}<br>{html.escape(progress.leader)}"
            )
        )

    def done(self) -> None:
        """Takes the bar away."""
        self._handle.update(self._html(""))
