"""Reads handwritten fields of forms from scans, and says which to look at.

    python -m experiments.read --images=scans.pdf --layout=layout.json

Writes a table, the pages with their fields marked, and a page on which a person types
what was doubted. --draw_layout makes a page to draw layout.json on; --train makes the
reader, once; --truth calibrates it on forms whose values are known.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags

from experiments import flags as common
from experiments.program import command, run, short_path
from mnistopt.errors import InputError

FLAGS = flags.FLAGS
WORKDIR = "runs/reader"
# Forms of each kind by which a reader is calibrated, filled in with validation digits:
# at 0.5 % it takes 598 fields without an error.
KNOWN = {"exam": 300, "transfer": 600, "cheque": 2000}


def define_flags() -> None:
    """Defines this program's flags."""
    common.GROUPS |= {"images": "What to read", "train": "The reader", "out": "Output"}
    flags.DEFINE_string("images", None, "a scan, a PDF file, or a folder of them")
    flags.DEFINE_string("layout", None, "layout.json: where the fields are")
    flags.DEFINE_bool("draw_layout", False, "make a page to draw layout.json on a scan")
    flags.DEFINE_float(
        "max_error", 0.005, "share of accepted fields that may be wrong, 95 % sure"
    )
    flags.DEFINE_string("truth", None, "a CSV file of page, field, value: calibrate")
    flags.DEFINE_bool("train", False, "train and calibrate the reader")
    flags.DEFINE_string("workdir", WORKDIR, "folder of the reader's study")
    common.define_count("seeds", None, "networks that read [as the recipe says]")
    common.define_count("epochs", None, "of their training [as the recipe says]")
    common.define_data("mnist_5k")
    flags.DEFINE_string("out", None, "folder that gets the results [runs/read/NAME]")
    common.define_quiet()


def main() -> None:
    """Reads scans, draws a layout, or makes a reader."""
    try:
        import cv2  # noqa: F401
        import pypdfium2  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is missing: install the extra [read], or run it by "
            "./launch.sh read"
        ) from error
    workdir = Path(FLAGS.workdir)
    if FLAGS.train:
        train(workdir)
        return
    if not FLAGS.images:
        raise InputError("give the scans: --images=FOLDER, or a picture or PDF file")
    if FLAGS.draw_layout:
        draw_layout()
        return
    if not FLAGS.layout:
        again = command("read", f"--images={FLAGS.images}", "--draw_layout")
        raise InputError(f"give the layout: --layout=layout.json, made by {again}")
    if not (workdir / "config.json").exists():
        again = command("read", "--train", f"--workdir={FLAGS.workdir}")
        raise InputError(f"{workdir} has no reader: train one, once, by {again}")
    read(workdir)


def read(workdir: Path) -> None:
    """Reads scans, and writes what they say."""
    import mnistopt
    from mnistopt.data.scans import pages
    from mnistopt.study.fields import calibrated, output
    from mnistopt.study.fields.layout import read_layout
    from mnistopt.study.fields.reader import Reader
    from mnistopt.study.fields.run import Session

    out = Path(FLAGS.out or f"runs/read/{Path(FLAGS.images).stem}")
    # Before the scans are read: that may take long.
    truth = calibrated.read_truth(FLAGS.truth) if FLAGS.truth else None
    folder = output.Folder(out)
    start, count = time.perf_counter(), 0
    shown = not FLAGS.quiet and sys.stderr.isatty()

    def on_page(sheet: Any, values: Any) -> None:
        nonlocal count
        count += 1
        folder.on_page(sheet, values)
        if shown:
            print(f"\r{count} pages", end="", file=sys.stderr, flush=True)

    study, layout = mnistopt.open_study(workdir), read_layout(FLAGS.layout)
    reader = Reader(study)
    known = calibrated.read_calibration(workdir, reader.digest)
    session = Session(reader, layout, known)
    answer = session.read(pages.find(FLAGS.images), FLAGS.max_error, on_page)
    folder.finish(answer)
    if shown:
        print(file=sys.stderr)
    print("\n".join(output.summary(answer)))
    if truth:
        calibrate(workdir, session, answer, truth)
    print(f"Table: {short_path(out / output.TABLE)}")
    print(f"Type the rest: {short_path(out / output.TYPING)}")
    print(f"Took {time.perf_counter() - start:.0f} s")


def calibrate(workdir: Path, session: Any, answer: Any, truth: Any) -> None:
    """Keeps what a reader says of known fields, and says how right that is."""
    from mnistopt.study.fields import calibrated

    rows = calibrated.compare(answer.values, truth, session.layout)
    digests = session.reader.digest, session.layout.digest
    calibrated.keep_calibration(workdir, *digests, rows)
    print(calibrated.sentence(rows))


def draw_layout() -> None:
    """Writes a page on which boxes are drawn on the first scan."""
    import cv2
    import numpy as np

    from mnistopt.data.scans import ink, pages, straighten
    from mnistopt.files import write_text
    from mnistopt.study.fields import output

    first = next(pages.read(pages.find(FLAGS.images)[0]))
    if first.grey is None:
        raise InputError(f"{first.name} cannot be read: {first.why}")
    # Level, as boxes are.
    size = np.array(first.grey.shape[::-1], float)
    found = straighten.by_border(first.grey, ink.darkness(first.grey), size)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shape = first.grey.shape[::-1]
    level = cv2.warpPerspective(first.grey, found.matrix, shape, flags=how)
    out = Path(FLAGS.out or f"runs/read/{Path(FLAGS.images).stem}") / "layout.html"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, output.page("layout", picture=output.picture_url(level)))
    print(f"Open {short_path(out)} in a browser, and draw a box around each field")


def train(workdir: Path) -> None:
    """Trains a reader on what segmentation makes of digits, and calibrates it."""
    import mnistopt
    from experiments import forms, show
    from experiments.paperwork import practice
    from mnistopt import recipes
    from mnistopt.data.scans import pages
    from mnistopt.study.fields import calibrated
    from mnistopt.study.fields.layout import read_layout
    from mnistopt.study.fields.reader import Reader
    from mnistopt.study.fields.run import Session

    digits = mnistopt.load(FLAGS.dataset, data_dir=FLAGS.data_dir)
    workdir.mkdir(parents=True, exist_ok=True)
    # By what they are made of: other digits must not be taken for these.
    examples = workdir / f"practice-{digits.fingerprint}.npz"
    if not examples.exists():
        if not FLAGS.quiet:
            print("Writing strings of digits to practise on", file=sys.stderr)
        practice.write(examples, digits)
    recipe = recipes.reader()
    settings = dict(recipe.settings)
    if FLAGS.epochs:
        settings |= {"epochs": FLAGS.epochs}
    with show.Bar(FLAGS.quiet) as bar:
        study = mnistopt.run(
            **settings,
            seeds=FLAGS.seeds or recipe.seeds,
            data=examples,
            workdir=workdir,
            on_plan=None if FLAGS.quiet else bar.print_plan,
            on_progress=bar,
        )
    reader = Reader(study)
    for number, (kind, count) in enumerate(KNOWN.items()):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            forms.write(kind, digits.validation, count, 1 + number, path)
            known = calibrated.read_truth(path / "truth.csv")
            layout = read_layout(path / "layout.json")
            session = Session(reader, layout, calibrated.nothing())
            answer = session.read(pages.find(path), 0.5)
        print(f"{kind}: ", end="")
        calibrate(workdir, session, answer, known)
    print(f"Reader: {short_path(workdir)}")


if __name__ == "__main__":
    define_flags()
    run(main, __doc__ or "")
