"""What exported networks are worth: the same answers, accuracy, size and latency."""

import contextlib
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.report import as_table

FORMS = {
    "xla": "float32, XLA",
    "onnx": "float32, ONNX Runtime",
    "onnx_int8": "int8, ONNX Runtime",
    "c": "int8, C",
    "page": "int8, page in Chromium",
}
_COMPILER = "cc", "-std=c99", "-O3", "-march=native"
# Calls that are timed one by one, and how often the C program reads as many digits.
_CALLS, _TIMES = 300, 5


def measure(
    workdirs: Sequence[str], log: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Yields what is found of the best trial of each study.

    Args:
        workdirs: Folders of finished studies.
        log: Called with a line of progress.
    """
    import mnistopt
    from mnistopt.engine.devices import use_devices

    devices = use_devices()
    for workdir in workdirs:
        study = mnistopt.open_study(workdir)
        name = study.workdir.name
        log(f"exporting {name}")
        with tempfile.TemporaryDirectory() as place:
            yield _one(study, name, Path(place), devices[0])


def _one(study: Any, name: str, place: Path, device: Any) -> dict[str, Any]:
    import mnistopt
    from mnistopt.engine.predict import measure_latency, predict
    from mnistopt.models.networks import count_params, multiply_adds
    from mnistopt.study.examples import study_data

    test = study_data(study.config, None).test
    network, variables = study.network(), study.variables()
    card = study.export("npz", int8=True, path=place / "a.npz")
    whole = mnistopt.read_export(card["path"])
    classes, confidence = whole(test.images)
    found: dict[str, Any] = {
        "name": name,
        "settings": card["settings"],
        "params": count_params(network),
        "multiply_adds": multiply_adds(network),
        "test": card["test"],
        "bytes": {},
        "ms": {"xla": 1e3 * measure_latency(network, test.images, device)[1]},
    }
    # Classes alone: how sure it is depends on rounding.
    said = predict(network, variables, test.images).probabilities
    for form, int8 in (("onnx", False), ("onnx_int8", True)):
        made = study.export("onnx", int8=int8, path=place / f"{form}.onnx")
        session = _session(made["path"])
        (logits,) = session.run(["logits"], {"image": test.images})
        if not int8:
            apart = np.log(np.maximum(said, 1e-37)) - logits
            likely = said > 1e-6
            apart -= np.median(np.where(likely, apart, np.nan), -1, keepdims=True)
            found["onnx_apart"] = float(np.nanmax(np.where(likely, abs(apart), np.nan)))
            same = logits.argmax(-1) == said.argmax(-1)
            found["onnx_same"] = int(same.sum())
        else:
            right = logits.argmax(-1) == test.labels
            found["onnx_int8_accuracy"] = float(right.mean())
        found["bytes"][form] = made["bytes"]
        images = [test.images[i : i + 1] for i in range(_CALLS)]
        found["ms"][form] = _median(session, images)
    made = study.export("c", path=place / "digit.c")
    program = place / "digit"
    subprocess.run([*_COMPILER, made["path"], "-o", program], check=True)
    rows = _asked(program, test.images)
    found["c_same"] = int(
        sum(row[0] == ("none" if k < 0 else whole.class_names[k]) and row[1:] == sure
            for row, k, sure in zip(rows, classes, confidence.astype(str).tolist()))
    )  # fmt: skip
    found["bytes"]["c"] = sum(
        w.bytes for member in whole.members for w in member.layers
    )
    some = test.images[:_CALLS]
    found["ms"]["c"] = min(_timed(program, some) for _ in range(_TIMES)) / _CALLS
    page = place / "draw.html"
    made = study.export("html", path=page)
    found["bytes"]["page"] = made["bytes"]
    same, milliseconds = _in_chromium(page, test.images, classes, confidence)
    found["page_same"], found["ms"]["page"] = same, milliseconds
    return found


def _session(path: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        path, options, providers=["CPUExecutionProvider"]
    )


def _median(session: Any, images: Sequence[Any]) -> float:
    """Returns the median time of a call, in ms, after one that does not count."""
    session.run(None, {"image": images[0]})
    times = []
    for image in images:
        start = time.perf_counter()
        session.run(None, {"image": image})
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def _asked(program: Path, images: np.ndarray) -> list[list[str]]:
    told = subprocess.run([program], input=images.tobytes(), capture_output=True)
    return [line.split() for line in told.stdout.decode().splitlines()]


def _timed(program: Path, images: np.ndarray) -> float:
    """Returns the ms of all images, without what the process takes to start."""
    times = []
    for some in (images[:1], images):
        start = time.perf_counter()
        _asked(program, some)
        times.append(1e3 * (time.perf_counter() - start))
    return times[1] - times[0]


def _in_chromium(
    page: Path, images: np.ndarray, classes: np.ndarray, confidence: np.ndarray
) -> tuple[int, float]:
    """Returns how many images a page answers alike, and the median ms of one."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    ask = """images => images.map(list => {
      const image = Uint8Array.from(list), began = performance.now();
      const {class: chosen, confidence} = classifier.classify(image);
      return [chosen, confidence, performance.now() - began];
    })"""
    alike, times = 0, list[float]()
    with contextlib.ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        stack.callback(browser.close)
        opened = browser.new_page()
        opened.goto(page.absolute().as_uri())
        for i in range(0, len(images), 500):
            some = images[i : i + 500].reshape(-1, images[0].size).tolist()
            for j, (chosen, sure, took) in enumerate(opened.evaluate(ask, some), i):
                alike += chosen == classes[j] and sure == confidence[j].tolist()
                times.append(took)
    return alike, statistics.median(times)


def markdown(measured: Mapping[str, Any]) -> str:
    """Returns what was found, as a page."""
    about, rows = measured["machine"], measured["rows"]
    accuracy = [["network", "float32, %", "int8, %", "points lost", "refused, %"]]
    sizes = [["network", "multiply-adds", "ONNX", "ONNX int8", "C (ROM)", "page"]]
    times = [["network", *FORMS.values()]]
    for row in rows:
        test, size, name = row["test"], row["bytes"], row["name"]
        refused = f"{100 * test['refused']:.2f}"
        accuracy.append([name, *_accuracies(test), refused])
        forms = ("onnx", "onnx_int8", "c", "page")
        kilobytes = [f"{size[form] / 1000:,.1f}" for form in forms]
        sizes.append([name, f"{row['multiply_adds']:,}", *kilobytes])
        times.append([name, *(f"{row['ms'][form]:.3g}" for form in FORMS)])
    count = rows[0]["test"]["float"]["n"]
    same = [
        f"- {row['name']}: C {row['c_same']:,}, page {row['page_same']:,}, ONNX's "
        f"classes {row['onnx_same']:,} (logits within {row['onnx_apart']:.0e}); in "
        f"int8 ONNX Runtime reads {100 * row['onnx_int8_accuracy']:.2f} %"
        for row in rows
    ]
    lines = [
        "# Exported networks",
        f"`./launch.sh bench --export=...`, on {about['cpu']}, {about['versions']}: "
        f"the best trial of each study by validation, on {count:,} test digits.",
        "\n".join(f"- {row['name']}: {_settings(row)}" for row in rows),
        "## Accuracy",
        as_table(accuracy),
        "Brackets are 95 % intervals over the digits: Wilson's, and for what int8 "
        "loses that of Agresti and Min 2005, paired by digit. Refused are test digits "
        "that page and C file take for no digit. On so many of the test digits answers "
        "are those of NumPy's integers, or of XLA's floats:",
        "\n".join(same),
        "## Size, in thousands of bytes",
        as_table(sizes),
        "## Latency, ms for one digit, one thread",
        as_table(times),
        f"Medians of {_CALLS} calls (in Chromium of all digits); C by "
        f"`{' '.join(_COMPILER)}`.",
    ]
    return "\n\n".join(lines) + "\n"


def headline(measured: Mapping[str, Any]) -> str:
    """Returns the table of the documentation."""
    head = ["network", "parameters", "float32, %", "int8, %", "points lost"]
    table = [[*head, "C, kB", "C, ms", "page, ms"]]
    for row in measured["rows"]:
        ms, kilobytes = row["ms"], f"{row['bytes']['c'] / 1000:,.1f}"
        cells = [row["name"], f"{row['params']:,}", *_accuracies(row["test"])]
        table.append([*cells, kilobytes, f"{ms['c']:.2g}", f"{ms['page']:.2g}"])
    return as_table(table)


def _settings(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row["settings"].items())


def _accuracies(test: Mapping[str, Any]) -> list[str]:
    low, high = test["lost"]["ci95"]
    lost = f"{test['lost']['points']:+.2f} [{low:+.2f}, {high:+.2f}]"
    return [_shown(test["float"]), _shown(test["int8"]), lost]


def _shown(found: Mapping[str, Any]) -> str:
    low, high = (100 * end for end in found["ci95"])
    return f"{100 * found['accuracy']:.2f} [{low:.2f}, {high:.2f}]"
