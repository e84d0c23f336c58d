"""What rounding the operands of products costs in accuracy, emulated on a CPU.

Accelerators multiply float32 numbers by fewer bits and add up in float32. Here inputs,
kernels and gradients are rounded so before each convolution and dense layer uses them,
which then computes exactly.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

# Bits of the mantissa that operands keep; float32 has 23.
MANTISSAS = {"float32": 23, "tf32": 10, "bfloat16": 7}
SEEDS = 10
STUDIES: dict[str, dict[str, Any]] = {
    "MLP 128x128": {"model": "mlp"},
    "CNN 32x64/128": {"model": "cnn"},
}


def _rounding(bits: int) -> Callable[[Callable], Callable]:
    """Returns what makes a product of (inputs, kernel, ...) one of rounded numbers."""
    import jax

    def rounded(x: Any) -> Any:
        return jax.lax.reduce_precision(x, 8, bits)

    # Each is rounded in one direction: JAX would round the gradient of a rounding, too.
    operand = jax.custom_vjp(rounded)
    operand.defvjp(lambda x: (rounded(x), None), lambda _, grad: (grad,))
    result = jax.custom_vjp(lambda y: y)
    result.defvjp(lambda y: (y, None), lambda _, grad: (rounded(grad),))

    def of(product: Callable) -> Callable:
        return lambda x, kernel, *more: result(
            product(operand(x), operand(kernel), *more)
        )

    return of


@contextlib.contextmanager
def rounded(precision: str) -> Iterator[None]:
    """Rounds what the layers of the MLP and the CNN multiply, in any thread."""
    from mnistopt.engine.replicas import compiled
    from mnistopt.models import layers

    of = _rounding(MANTISSAS[precision])
    with contextlib.ExitStack() as stack:
        for name in ("product", "conv3x3"):
            patch = mock.patch.object(layers, name, of(getattr(layers, name)))
            stack.enter_context(patch)
        compiled.cache_clear()
        stack.callback(compiled.cache_clear)
        yield


def errors() -> dict[str, list[float]]:
    """Returns how far each form is from float64: a convolution and its gradients.

    Of a batch of 64 and the second layer of the CNN 32x64, with pool; of the output,
    of the image's and of the kernel's gradient, the root of the mean square of the
    errors, relative to that of the numbers. Where rounding changes which of four
    pixels a pool takes, a gradient goes elsewhere.
    """
    import jax
    import jax.numpy as jnp
    import numpy as np

    from mnistopt.models import forms
    from mnistopt.models.conv import conv3x3

    rng = np.random.default_rng(0)
    x, grad = rng.normal(size=(64, 14, 14, 32)), rng.normal(size=(64, 7, 7, 64))
    kernel, bias = rng.normal(size=(3, 3, 32, 64)) / 17, rng.normal(size=64)

    def results(platform: str, kind: Any, bits: int | None = None) -> Any:
        conv: Any = _rounding(bits)(conv3x3) if bits else conv3x3

        def all_of(x: Any, kernel: Any, bias: Any, grad: Any) -> Any:
            with forms.laid_out(forms.form_of(platform)):
                y, back = jax.vjp(lambda *of: conv(*of, True), x, kernel, bias)
                return y, *back(grad)[:2]

        given = (jnp.asarray(operand, kind) for operand in (x, kernel, bias, grad))
        return [np.asarray(result, np.float64) for result in jax.jit(all_of)(*given)]

    with jax.enable_x64(True):
        wanted = results("tpu", jnp.float64)

    def error(found: Any) -> list[float]:
        return [
            float(np.linalg.norm(rounded - of) / np.linalg.norm(of))
            for rounded, of in zip(found, wanted)
        ]

    errors = {
        "our C++ (CPU), float32": error(results("cpu", jnp.float32)),
        "XLA's convolution (TPU), float32": error(results("tpu", jnp.float32)),
    }
    for precision, bits in MANTISSAS.items():
        found = results("gpu", jnp.float32, bits)
        errors[f"one product (GPU), {precision}"] = error(found)
    return errors


def train(folder: Path, log: Callable[[str], None]) -> dict[str, Any]:
    """Trains each study under each precision; returns the accuracies by seed.

    Args:
        folder: Parent of the workdirs; trials that they have are not trained again.
        log: Called with a line of progress.
    """
    import mnistopt

    accuracies: dict[str, Any] = {}
    for name, axes in STUDIES.items():
        for precision in MANTISSAS:
            log(f"{name}, {precision}")
            workdir = folder / f"{name.replace('/', ' ')} {precision}"
            with rounded(precision):
                study = mnistopt.run(**axes, seeds=SEEDS, workdir=workdir)
            trials = study.trials.sort_values("seed")
            accuracies.setdefault(name, {})[precision] = list(
                trials["validation_accuracy"]
            )
    return accuracies


def markdown(measured: Mapping[str, Any]) -> str:
    """Returns what was found, as a page."""
    import numpy as np

    from experiments.benchmark.report import as_table
    from mnistopt.results.stats import mean_interval

    heads = ["form", "output", "image's gradient", "kernel's gradient"]
    of_forms = [
        [name, *map("{:.1e}".format, of)] for name, of in measured["errors"].items()
    ]
    lines = [
        "# What rounding the operands of products costs",
        "Emulated on a CPU (`./launch.sh bench --rounding`): the operands of each "
        "product are rounded to tf32 or bfloat16, and sums are float32. Root mean "
        "square of the errors of a convolution of 32 to 64 channels with pool against "
        "float64, relative to that of the numbers (where rounding changes which of "
        "four pixels a pool takes, a gradient goes elsewhere):",
        as_table([heads, *of_forms]),
        f"Validation accuracy on mnist_5k, per cent, mean of {SEEDS} seeds; and what "
        "is lost against float32 of the same seeds, in points, with its 95 % interval:",
    ]
    table = [["network", "float32", "tf32", "lost", "bfloat16", "lost"]]
    for name, accuracies in measured["accuracies"].items():
        of = {key: 100 * np.array(values) for key, values in accuracies.items()}
        cells = [name, f"{of['float32'].mean():.2f}"]
        for precision in ("tf32", "bfloat16"):
            lost = mean_interval(of["float32"] - of[precision])
            half = lost.high - lost.mean
            cells += [f"{of[precision].mean():.2f}", f"{lost.mean:.2f} ± {half:.2f}"]
        table.append(cells)
    return "\n\n".join([*lines, as_table(table)]) + "\n"
