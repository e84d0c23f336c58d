"""Where what is between layers lies: in one array, in which places are used again."""

import math

from mnistopt.models.graph import Graph


def arrange(graph: Graph) -> tuple[dict[int, int], int]:
    """Returns where what each layer makes begins, and the length of the array.

    A layer's place is free again when the last that takes it has been computed. The
    first place is taken that is large enough. Neither the image nor the logits lie
    there.

    Args:
        graph: The network; what lies there has a byte a number.
    """
    last = {n: i for i, layer in enumerate(graph.layers, 1) for n in layer.inputs}
    held: dict[int, tuple[int, int]] = {}
    starts, length = {}, 0
    for number, layer in enumerate(graph.layers[:-1], 1):
        size, start = math.prod(layer.shape), 0
        for begin, end in sorted(held.values()):
            if start + size <= begin:
                break
            start = max(start, end)
        held[number] = start, start + size
        starts[number], length = start, max(length, start + size)
        held = {n: place for n, place in held.items() if last.get(n, 0) > number}
    return starts, length
