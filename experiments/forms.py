"""Fills forms in with handwritten digits, to try and to calibrate readers.

    python -m experiments.forms exam --count=20 --data_dir=mnist

Without a name, says which forms there are. A folder gets the scans, layout.json,
truth.csv with what is written in each field, and what else the layout needs. With
--results, forms of each kind are read by the reader of --workdir, and compared.
"""

import concurrent.futures
import csv
import io
import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

from absl import flags

from experiments import flags as common
from experiments.program import command, run, short_path
from mnistopt.errors import InputError

FLAGS = flags.FLAGS
# Forms that one process fills in at a time.
_CHUNK = 50
# Pixels a millimetre of the empty form, and the quality of scans as JPEG.
_SCALE, _QUALITY = 6.5, 90


def define_flags() -> None:
    """Defines this program's flags."""
    common.GROUPS |= {"form": "Which forms", "out": "Output"}
    flags.DEFINE_string("form", None, "exam, transfer or cheque")
    common.define_count("count", 100, "number of forms")
    common.define_count("seed", 0, "seed of all that is drawn", 0)
    common.define_data("mnist_5k")
    flags.DEFINE_enum(
        "split",
        "test",
        ["train", "validation", "test"],
        "whose digits: validation to calibrate, test to try",
    )
    flags.DEFINE_string("out", None, "folder that gets them [runs/forms/FORM]")
    flags.DEFINE_bool("pdf", False, "scans as one PDF file")
    common.GROUPS["results"] = "Proof"
    flags.DEFINE_string("results", None, "a folder that gets what a reader comes to")
    flags.DEFINE_string("workdir", "runs/reader", "folder of the reader's study")
    flags.DEFINE_float("max_error", 0.005, "share of accepted fields that may be wrong")


def main() -> None:
    """Fills forms in, or lists them."""
    import inspect

    try:
        from experiments.paperwork.sheets import FORMS
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is missing: install the extra [read], or run it by "
            "./launch.sh forms"
        ) from error
    if FLAGS.results:
        prove(Path(FLAGS.results))
        return
    if FLAGS.form is None:
        for name, form in FORMS.items():
            print(f"{name:10}{(inspect.getdoc(form) or '').partition(chr(10))[0]}")
        print(f"\nFill some in by {command('forms', 'NAME')}")
        return
    if FLAGS.form not in FORMS:
        raise InputError(
            f"form={FLAGS.form} is not known; choose one of {', '.join(FORMS)}"
        )
    out = Path(FLAGS.out or f"runs/forms/{FLAGS.form}")
    asked = FLAGS.form, _digits(), FLAGS.count, FLAGS.seed, out
    write(*asked, pdf=FLAGS.pdf)
    print(f"{FLAGS.count} forms: {short_path(out)}")


def _digits() -> Any:
    """Returns the digits to write with."""
    import mnistopt

    data = mnistopt.load(FLAGS.dataset, data_dir=FLAGS.data_dir)
    if tuple(data.class_names) != tuple("0123456789"):
        raise InputError(f"{data.name} has no digits: forms are written with these")
    return getattr(data, FLAGS.split)


def prove(results: Path) -> None:
    """Measures a reader on forms that it has not seen."""
    import mnistopt
    from experiments.paperwork import proof

    study = mnistopt.open_study(FLAGS.workdir)

    def on_chunk(kind: str, count: int) -> None:
        print(f"{kind}: {count} of {FLAGS.count}", file=sys.stderr)

    asked = study, _digits(), FLAGS.count, FLAGS.max_error, on_chunk
    answer, rows = proof.measure(*asked)
    proof.write(results, answer, rows)
    print(proof.table(answer), end="")
    print(f"Written: {short_path(results)}")


def write(
    kind: str, digits: Any, count: int, seed: int, out: Path, pdf: bool = False
) -> None:
    """Writes forms that are filled in.

    Args:
        kind: Which form.
        digits: The digits to write with, with images [N, 28, 28, 1] and labels [N].
        count: How many forms.
        seed: Of all that is drawn.
        out: The folder that gets them.
        pdf: Whether scans are the pages of one PDF file.
    """
    import cv2
    import numpy as np

    from experiments.paperwork import filling, sheets
    from mnistopt.files import write_text

    out.mkdir(parents=True, exist_ok=True)
    form = sheets.FORMS[kind]()
    write_text(out / "layout.json", json.dumps(form.layout, indent=1) + "\n")
    numbers = filling.students(np.random.default_rng(seed))
    if kind == "exam":
        write_text(out / sheets.STUDENTS, "\n".join(numbers) + "\n")
    if "blank" in form.layout:
        size = [round(_SCALE * side) for side in reversed(form.layout["page"])]
        dark = np.zeros(size, np.float32)
        form.printed(dark, _SCALE)
        cv2.imwrite(str(out / "blank.png"), np.rint(255 * (1 - dark)).astype(np.uint8))
    # The number of processes must not change what is written.
    starts = range(0, count, _CHUNK)
    images, labels = digits.images[..., 0], digits.labels
    tasks = [
        (kind, images, labels, (seed, start), min(_CHUNK, count - start), numbers)
        for start in starts
    ]
    rows, pictures = [], []
    # Not by forking, which takes threads' locks along.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(mp_context=spawn) as pool:
        for start, some in zip(starts, pool.map(_filled, tasks)):
            for number, (picture, values) in enumerate(some, start):
                name = f"{kind}-{number:05}.jpg"
                if pdf:
                    pictures.append(picture)
                    name = f"{kind}.pdf#{number + 1}"
                else:
                    (out / name).write_bytes(picture)
                rows += [(name, field, value) for field, value in values.items()]
    if pictures:
        _write_pdf(out / f"{kind}.pdf", pictures)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows])
    write_text(out / "truth.csv", text.getvalue())


_COLUMNS = "page", "field", "value"


def _filled(task: tuple) -> list[tuple[bytes, dict[str, str]]]:
    """Returns some forms as JPEG, with what stands in them."""
    import cv2
    import numpy as np

    from experiments.paperwork import filling, sheets

    kind, images, labels, seed, count, numbers = task
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    form = sheets.FORMS[kind]()
    supply = filling.Supply(filling.Digits(images, labels), rng)
    filled = []
    for _ in range(count):
        one = filling.fill(kind, form, supply, rng, numbers)
        coded = cv2.imencode(".jpg", one.grey, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        filled.append((coded.tobytes(), dict(one.values)))
    return filled


def _write_pdf(path: Path, pictures: list[bytes]) -> None:
    """Writes pictures as the pages of a PDF file, at 200 dots an inch."""
    from PIL import Image

    first, *others = (Image.open(io.BytesIO(picture)) for picture in pictures)
    first.save(path, save_all=True, append_images=others, resolution=200)


if __name__ == "__main__":
    define_flags()
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        sys.argv[1] = f"--form={sys.argv[1]}"
    run(main, __doc__ or "")
