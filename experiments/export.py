"""Writes a trained network as a file for where it is used.

    python -m experiments.export --workdir=runs/mnist_5k-cnn --format=html

The formats: html, one page to draw digits on; c, one C99 file without malloc and
floats; onnx; stablehlo, XLA's own program; npz, plain numbers for NumPy. html and c are
in whole numbers of 8 bits, onnx and npz are with --int8. Each file says what images
have to be like, and how accurate it is.
"""

from absl import flags

from experiments import flags as common
from experiments.program import run, short_path
from mnistopt.errors import InputError

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines this program's flags."""
    common.GROUPS |= {"workdir": "Which replica", "format": "The file"}
    flags.DEFINE_string("workdir", None, "folder of the study")
    flags.DEFINE_string(
        "trial",
        "best",
        "best (by validation), a trial's name, or ensemble: all seeds of the best "
        "setting, which vote",
    )
    flags.DEFINE_enum(
        "weights",
        "last",
        ["last", "best"],
        "last: after the trial's epochs; best: after its best epoch by validation",
    )
    flags.DEFINE_string(
        "data_dir", None, "where the study's data are, if they have been moved"
    )
    flags.DEFINE_string("format", "html", "html, c, onnx, stablehlo or npz")
    flags.DEFINE_bool("int8", False, "whole numbers of 8 bits in onnx and npz, too")
    flags.DEFINE_string("path", None, "the file [WORKDIR/export/...]")


def main() -> None:
    """Exports one classifier and prints what it is."""
    if not FLAGS.workdir:
        raise InputError("give the folder of a grid: --workdir=runs/...")
    # JAX and the rest of the library take a second or two to import.
    import mnistopt
    from experiments import show_results

    study = mnistopt.open_study(FLAGS.workdir)
    card = study.export(
        FLAGS.format,
        FLAGS.trial,
        FLAGS.int8,
        FLAGS.weights,
        FLAGS.path,
        FLAGS.data_dir,
    )
    show_results.exported(card, short_path(card["path"]))


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
