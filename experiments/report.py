"""Redraws the report of a study: report.html and figures/.

    python -m experiments.report --workdir=runs/mnist_5k-cnn

The study may still be running; the page says so. --workdir is that of a study of
`grid`, or of `paper`, whose tables, verdicts and documents are then rebuilt from its
evidence.
"""

from pathlib import Path

from absl import flags

from experiments.program import run, short_path
from mnistopt.errors import InputError
from mnistopt.files import check_path

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines this program's flags."""
    flags.DEFINE_string("workdir", None, "folder of the study")


def main() -> None:
    """Writes the page and prints its path."""
    if not FLAGS.workdir:
        raise InputError("give the folder of a study: --workdir=runs/...")
    # The library takes a second or two to import.
    from experiments.reproduction.findings import Findings, is_reproduction
    from experiments.reproduction.write import write, write_page
    from mnistopt.report.fresh import write_report

    workdir = check_path("workdir", FLAGS.workdir) or Path()
    if is_reproduction(workdir):
        write(Findings.read(workdir), workdir)
        path = write_page(workdir)
    else:
        path = write_report(workdir, anew=True)
    print(short_path(path))


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
