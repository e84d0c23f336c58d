"""Draws the report of a study anew: report.html and figures/.

    python -m experiments.report --workdir=runs/mnist_5k-cnn

The study may be running still; the page says so. It takes a study of `grid`; or of
`paper`, whose tables and verdicts are then made anew, too, of what was measured.
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
    import mnistopt.paper.outlook.conclude as outlook
    from mnistopt.paper.conclude import conclude
    from mnistopt.paper.outlook.page import is_outlook
    from mnistopt.paper.outlook.page import write_page as write_outlook
    from mnistopt.paper.page import is_reproduction, write_page
    from mnistopt.report.study import write_report

    workdir = check_path("workdir", FLAGS.workdir) or Path()
    if is_reproduction(workdir):
        conclude(workdir)
        path = write_page(workdir, anew=True)
    elif is_outlook(workdir):
        outlook.conclude(workdir)
        path = write_outlook(workdir)
    else:
        path = write_report(workdir, anew=True)
    print(short_path(path))


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
