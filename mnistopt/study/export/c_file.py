"""A classifier as one C99 file: no malloc, no float, no library."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from mnistopt.models.graph import Add, Conv, Select, Window
from mnistopt.study.export.card import sentences
from mnistopt.study.export.classifier import Classifier
from mnistopt.study.export.integers import ENTRIES, ENTRY, POWERS, Network, Whole
from mnistopt.study.export.memory import arrange

_STRUCTS = """
struct conv {
  int h, w, c;                 /* its input */
  int rows, columns, features; /* its output */
  int height, width, down, across, top, left, groups;
  int places_down, places_across; /* before the pool */
  int pool_height, pool_width, pool_down, pool_across, pool_top, pool_left;
  int zero; /* the byte that stands for 0 in its input */
  int32_t low, high;
  const int8_t *kernel; /* [features][height][width][c / groups] */
  const int16_t *multiplier;
  const int64_t *offset;
  const uint8_t *shift;
};
"""
_SUM = """
struct sum {
  int zero[2];
  int16_t multiplier[2];
  int64_t offset;
  int shift;
  int32_t low, high;
};
"""
_CHOICE = """
struct choice {
  int32_t pixels;
  int features;
  const int16_t *source, *channel, *channels, *zero, *multiplier;
  const int64_t *offset;
  const uint8_t *shift;
};
"""


def c_source(classifier: Classifier) -> str:
    """Returns the text of the file, ASCII."""
    parts = [_head(classifier), _declarations(classifier), _STRUCTS]
    kinds = {type(w.layer) for net in classifier.members for w in net.layers}
    parts += [_SUM] * (Add in kinds) + [_CHOICE] * (Select in kinds)
    parts += [
        f"#define SUMS {int(Add in kinds)}",
        f"#define CHOICES {int(Select in kinds)}",
    ]
    parts.append(_array("uint16_t", "POWER", POWERS))
    weights = []
    for m, network in enumerate(classifier.members):
        for number, whole in enumerate(network.layers, 1):
            name = f"{m}_{number}"
            parts += _LAYERS[type(whole.layer)](name, network, whole)
            if whole.kernel is not None:
                weights.append((f"KERNEL_{name}", whole.flat_kernel))
    rows = ", ".join(f"{{{name}, {flat.size}}}" for name, flat in weights)
    checksum = fnv1a(b"".join(flat.tobytes() for _, flat in weights))
    parts.append(
        "#ifndef DIGIT_NO_MAIN\n"
        "static const struct { const int8_t *kernel; int32_t size; } WEIGHTS[] = "
        f"{{{rows}}};\n#define WEIGHTS_CHECKSUM {checksum}u\n#endif"
    )
    text = resources.files(__package__).joinpath("classify.c").read_text("utf-8")
    before, mark, after = text.partition("/* Adds a network's shares")
    runs = _runs(classifier)
    return "\n".join([*parts, "", before + runs + "\n" + mark + after])


def fnv1a(content: bytes) -> int:
    """Returns the 32-bit FNV-1a hash, which a few lines of any language make."""
    value = 2166136261
    for byte in content:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def _head(classifier: Classifier) -> str:
    """Returns the comment that says what it is, and what it takes."""
    lines = [*_wrapped(classifier.card), "", *costs_table(classifier.members)]
    ram = max(arrange(network.graph)[1] for network in classifier.members)
    lines += [
        "",
        f"RAM: {ram:,} bytes between layers (static), and some hundred of stack.",
        "int digit_classify(const uint8_t image[], uint8_t confidence[]) returns the",
        "class, or -1 where it sees none of them; it is not reentrant. Confidences are",
        "255ths. With -DDIGIT_NO_MAIN there is no main, which reads a PGM or raw bytes",
        "(a picture, or several in a row):",
        "  cc -std=c99 -O2 digit.c -o digit && ./digit picture.pgm",
    ]
    body = "\n".join(f" * {line}".rstrip() for line in lines)
    return _ascii(f"/* A classifier of pictures, in whole numbers.\n *\n{body}\n */")


def _wrapped(card: Mapping[str, Any]) -> list[str]:
    return [line for text in sentences(card) for line in textwrap.wrap(text, 85)]


def costs_table(networks: Sequence[Network]) -> list[str]:
    """Returns lines: for each layer its output, bytes, and multiply-adds."""
    lines = [f"{'layer':<28}{'makes':>14}{'ROM, bytes':>14}{'multiply-adds':>16}"]
    total, work = 0, 0
    for network in networks:
        for whole in network.layers:
            layer, size = whole.layer, whole.bytes
            adds = layer.multiply_adds if isinstance(layer, Conv) else 0
            made = "x".join(map(str, layer.shape))
            lines.append(f"{layer.name:<28.28}{made:>14}{size:>14,}{adds:>16,}")
            total, work = total + size, work + adds
    lines.append(f"{'all':<28}{'':>14}{total:>14,}{work:>16,}")
    return lines


def _declarations(classifier: Classifier) -> str:
    height, width, channels = classifier.members[0].graph.shape
    names = ", ".join(_quoted(name) for name in classifier.class_names)
    refusal = classifier.refusal
    return textwrap.dedent(
        f"""\
        #include <stdint.h>

        #define DIGIT_HEIGHT {height}
        #define DIGIT_WIDTH {width}
        #define DIGIT_PIXELS {height * width * channels}
        #define DIGIT_CLASSES {len(classifier.class_names)}
        int digit_classify(const uint8_t image[DIGIT_PIXELS],
                           uint8_t confidence[DIGIT_CLASSES]);

        #define CLASSES DIGIT_CLASSES
        #define NETWORKS {len(classifier.members)}
        #define INK_IS_DARK {int(classifier.dark_on_light)}
        #define LEAST_INK {max(1, refusal.least_ink)}u
        #define MOST_INK {refusal.most_ink}u
        #define LEAST_SHARE {refusal.least_share * len(classifier.members)}u
        #define POWERS {ENTRIES}
        #define POWER_STEP {ENTRY}
        #ifndef DIGIT_NO_MAIN
        static const char *const NAMES[DIGIT_CLASSES] = {{{names}}};
        #endif"""
    )


def _runs(classifier: Classifier) -> str:
    """Returns the functions that run the networks, and their list."""
    plans = [arrange(network.graph) for network in classifier.members]
    longest = max(length for _, length in plans)
    parts = [f"static uint8_t between[{max(1, longest)}];\n"]
    for m, (network, (starts, _)) in enumerate(zip(classifier.members, plans)):
        lines = []
        at = {0: "image"} | {n: f"between + {start}" for n, start in starts.items()}
        for number, whole in enumerate(network.layers, 1):
            name, layer = f"{m}_{number}", whole.layer
            inputs = ", ".join(at[i] for i in layer.inputs)
            last = number == len(network.layers)
            out = at.get(number, "(uint8_t *)0")
            if isinstance(layer, Conv):
                logits = "logits" if last else "(int32_t *)0"
                lines.append(f"convolve(&CONV_{name}, {inputs}, {out}, {logits});")
            elif isinstance(layer, Add):
                size = math.prod(layer.shape)
                lines.append(f"add(&SUM_{name}, {size}, {inputs}, {out});")
            else:
                lines.append(f"const uint8_t *from_{number}[] = {{{inputs}}};")
                lines.append(f"choose(&CHOICE_{name}, from_{number}, {out});")
        body = textwrap.indent("\n".join(lines), "  ")
        head = f"static void run_{m}(const uint8_t *image, int32_t *logits)"
        parts.append(f"{head} {{\n{body}\n}}\n")
    names = ", ".join(f"run_{m}" for m in range(len(plans)))
    kind = "static void (*const RUN[NETWORKS])(const uint8_t *, int32_t *)"
    return "\n".join([*parts, f"{kind} = {{{names}}};\n"])


# --- Layers ---


def _conv(name: str, network: Network, whole: Whole) -> list[str]:
    layer: Any = whole.layer
    pool = layer.pool or Window((1, 1))
    places = layer.window.over(layer.seen)
    low, high = (
        "INT32_MIN" if limit < -(2**30) else "INT32_MAX" if limit > 2**30 else limit
        for limit in (whole.low, whole.high)
    )
    (top, _), (left, _) = layer.window.padding
    (pool_top, _), (pool_left, _) = pool.padding
    numbers = [
        [*layer.seen, *layer.shape, *layer.window.size, *layer.window.stride],
        [top, left, layer.groups, *places, *pool.size, *pool.stride],
        [pool_top, pool_left, *whole.zeros, low, high],
        [f"{kind}_{name}" for kind in ("KERNEL", "MULTIPLIER", "OFFSET", "SHIFT")],
    ]
    rows = ",\n  ".join(", ".join(map(str, row)) for row in numbers)
    return [
        f"/* {layer.name} */",
        _array("int8_t", f"KERNEL_{name}", whole.flat_kernel),
        *_rescaling(name, whole),
        f"static const struct conv CONV_{name} = {{\n  {rows}}};",
    ]


def _rescaling(name: str, whole: Whole) -> list[str]:
    return [
        _array("int16_t", f"MULTIPLIER_{name}", whole.multiplier),
        _array("int64_t", f"OFFSET_{name}", whole.offset),
        _array("uint8_t", f"SHIFT_{name}", whole.shift),
    ]


def _sum(name: str, network: Network, whole: Whole) -> list[str]:
    zeros, multipliers = (
        ", ".join(map(str, values)) for values in (whole.zeros, whole.multiplier)
    )
    return [
        f"static const struct sum SUM_{name} = {{{{{zeros}}}, {{{multipliers}}}, "
        f"INT64_C({whole.offset[0]}), {whole.shift[0]}, {whole.low}, {whole.high}}};"
    ]


def _choice(name: str, network: Network, whole: Whole) -> list[str]:
    layer: Any = whole.layer
    channels = [network.graph.shapes[number][2] for number in layer.inputs]
    parts = {
        "SOURCE": layer.source,
        "CHANNEL": layer.channel,
        "CHANNELS": channels,
        "ZERO": whole.zeros,
    }
    pixels = layer.shape[0] * layer.shape[1]
    names = [f"{kind}_{name}" for kind in (*parts, "MULTIPLIER", "OFFSET", "SHIFT")]
    return [
        *(_array("int16_t", f"{kind}_{name}", some) for kind, some in parts.items()),
        *_rescaling(name, whole),
        f"static const struct choice CHOICE_{name} = {{\n"
        f"  {pixels}, {layer.shape[2]}, {', '.join(names)}}};",
    ]


_LAYERS = {Conv: _conv, Add: _sum, Select: _choice}


def _array(kind: str, name: str, values: Iterable[Any]) -> str:
    numbers = [int(value) for value in values]
    wide = kind == "int64_t"
    texts = [f"INT64_C({n})" if wide else str(n) for n in numbers]
    row = 3 if wide else 20
    rows = (", ".join(texts[i : i + row]) for i in range(0, len(texts), row))
    body = ",\n  ".join(rows)
    return f"static const {kind} {name}[{len(numbers)}] = {{\n  {body}}};"


def _quoted(text: str) -> str:
    """Returns a text as C has it: other letters as the bytes of UTF-8."""
    parts = []
    for byte in text.encode():
        letter = chr(byte)
        plain = letter.isascii() and letter.isalnum() or letter in " -_.,"
        parts.append(letter if plain else f"\\{byte:03o}")
    return f'"{"".join(parts)}"'


def _ascii(text: str) -> str:
    """Returns a comment's text: nothing in it ends it, and all of it is ASCII."""
    body = text[2:-2].replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
    return f"/*{body.encode('ascii', 'replace').decode()}*/"
