"""Reads a network's program as the layers of a graph.

A network is traced with its variables, which are known numbers; whatever depends on
them alone is computed. What only moves numbers (reshape, split, shuffle) is followed by
the places that numbers come from. The rest has to be one of the layers that can be
exported. So a user's module of flax's layers is read as ours are.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from mnistopt.ambient import fixed
from mnistopt.errors import InputError
from mnistopt.models import forms
from mnistopt.models.evaluating import evaluate
from mnistopt.models.fusing import Step, fuse
from mnistopt.models.graph import Add, Conv, Graph, Shape, Window
from mnistopt.models.networks import apply, bare
from mnistopt.models.places import BATCH, From, Places, in_three
from mnistopt.models.program import CALLS, inner

# What passes numbers on as they are.
_SAME = {"convert_element_type", "reduce_precision", "stop_gradient", "copy", "copy_p"}
_MOVES = {"reshape", "transpose", "squeeze", "expand_dims", "slice", "dynamic_slice"}
_MOVES |= {"rev", "split", "concatenate", "broadcast_in_dim", "gather"}


@fixed()
def read_graph(model: Any, variables: Any, shape: Sequence[int]) -> Graph:
    """Returns what a network computes in evaluation.

    Args:
        model: The network.
        variables: Its parameters, and running statistics if it has any.
        shape: The shape of an image, (H, W, C).

    Raises:
        InputError: If it does something that no layer of a graph does; names the
            module that does.
    """
    images = jax.ShapeDtypeStruct((BATCH, *shape), jnp.float32)
    with forms.laid_out(forms.PLAIN):
        program = jax.make_jaxpr(lambda x: apply(model, variables, x))(images)
    height, width, channels = shape
    name = type(bare(model)).__name__
    return _Reader(name, (height, width, channels)).read(program)


class _Reader(Places):
    """Reads one network."""

    def read(self, program: jex.ClosedJaxpr) -> Graph:
        image = self.places(0, self.shape)
        (logits,) = self._run(program.jaxpr, program.consts, [image], "")
        if not isinstance(logits, From):
            raise InputError(f"{self.name} cannot be exported: it ignores its images")
        last, seen = self.seen(logits)
        # What the last layer makes is the logits, in their order, and nothing else.
        if last != len(self.layers) or not isinstance(self.layers[-1], Conv):
            self._step(logits, logits.shape)
            last = len(self.layers)
        return Graph(self.shape, fuse(self.layers[:last]))

    # --- Programs ---

    def _run(self, jaxpr: Any, consts: Any, inputs: Any, where: str) -> list[Any]:
        """Returns what a program makes of numbers or places."""
        values = dict(zip(jaxpr.constvars, map(np.asarray, consts)))
        values |= dict(zip(jaxpr.invars, inputs))

        def get(atom: Any) -> Any:
            if not isinstance(atom, jex.Literal):
                return values[atom]
            kind: Any = atom.aval
            return np.asarray(atom.val, kind.dtype)

        for equation in jaxpr.eqns:
            given = list(map(get, equation.invars))
            inside = "/".join(
                filter(None, (where, str(equation.source_info.name_stack)))
            )
            made = self._equation(equation, given, inside)
            values |= dict(zip(equation.outvars, made))
        return list(map(get, jaxpr.outvars))

    def _equation(self, equation: Any, given: list[Any], where: str) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        if name in CALLS and (called := inner(equation)) is not None:
            closed = isinstance(called, jex.ClosedJaxpr)
            jaxpr, consts = (called.jaxpr, called.consts) if closed else (called, ())
            return self._run(jaxpr, consts, given, where)
        parts = [part for part in where.split("/") if part]
        # The first is the network itself.
        self.where = "/".join(parts[1:]) or "".join(parts)
        if not any(isinstance(value, From) for value in given):
            return evaluate(equation, given)
        shapes = [variable.aval.shape for variable in equation.outvars]
        if name in _SAME or name == "optimization_barrier":
            return given
        if name in _MOVES:
            return self._moved(equation, given)
        reader: Callable[..., Any] | None = getattr(self, f"_read_{name}", None)
        if reader is None:
            self.refuse(f"it computes `{name}`")
        return [reader(given, params, shapes[0])]

    def _moved(self, equation: Any, given: list[Any]) -> list[Any]:
        name = equation.primitive.name
        known = [value for value in given if not isinstance(value, From)]
        if known and (name == "concatenate" or not isinstance(given[0], From)):
            self.refuse(f"it joins what it computes with fixed numbers (`{name}`)")
        operands = [g.place if isinstance(g, From) else g for g in given]
        return [From(one.astype(np.int32)) for one in evaluate(equation, operands)]

    def _step(self, places: From, shape: Sequence[int], **changes: Any) -> From:
        """Adds a step of each channel by itself."""
        pool = changes.get("pool")
        alike = all(np.size(value) == 1 for value in changes.values())
        if pool is None and alike and (number := self.only_source(places)) is not None:
            # What is done to all numbers alike may as well be done before they moved.
            made = self._shapes[number]
            step = Step(self.where, (number,), made, seen=made, **changes)
            moved = self.add(step, (BATCH, *made)).place.flat[0] - self._starts[number]
            return From(places.place + moved)
        number, seen = self.seen(places)
        made = seen if pool is None else (*pool.over(seen), seen[2])
        step = Step(self.where, (number,), made, seen=seen, **changes)
        return self.add(step, shape)

    # --- Layers, by the names of JAX's operations ---

    def _read_conv_general_dilated(self, given: Any, params: Any, shape: Any) -> From:
        x, kernel = given
        if not isinstance(x, From) or isinstance(kernel, From):
            self.refuse("it convolves by what it has computed")
        if len(x.shape) != 4 or params["batch_group_count"] != 1:
            self.refuse("it convolves in other than two dimensions, or by images")
        if set(params["lhs_dilation"]) != {1}:
            self.refuse("it has a transposed convolution")
        numbers = params["dimension_numbers"]
        images, features, *sides = numbers.lhs_spec
        number, seen = self.seen(
            From(np.transpose(x.place, (images, *sides, features)))
        )
        made, inside, *sides = numbers.rhs_spec
        kernel = _dilated(
            np.transpose(kernel, (*sides, inside, made)), params["rhs_dilation"]
        )
        strides = tuple(params["window_strides"])
        padding: Any = tuple(tuple(map(int, side)) for side in params["padding"])
        if min(min(side) for side in padding) < 0:
            self.refuse("it cuts off what it convolves")
        window = Window(kernel.shape[:2], strides, padding)
        layer = Conv(
            name=self.where,
            inputs=(number,),
            shape=(*window.over(seen), kernel.shape[-1]),
            seen=seen,
            kernel=kernel.astype(np.float32),
            bias=np.zeros(kernel.shape[-1], np.float32),
            window=window,
            groups=params["feature_group_count"],
        )
        found = self.add(layer, (BATCH, *layer.shape))
        order = np.argsort([numbers.out_spec[i] for i in (0, 2, 3, 1)])
        return From(np.transpose(found.place, order))

    def _read_dot_general(self, given: Any, params: Any, shape: Any) -> From:
        x, kernel = given
        (contracted, rows), (batch, _) = params["dimension_numbers"]
        if not isinstance(x, From) or isinstance(kernel, From) or len(batch):
            self.refuse("it multiplies what it has computed with each other")
        rest = [axis for axis in range(kernel.ndim) if axis not in rows]
        kernel = np.transpose(kernel, (*rows, *rest)).astype(np.float32)
        kernel = kernel.reshape(-1, math.prod(kernel.shape[len(rows) :]))
        inside = len(x.shape) - 1
        if sorted(contracted) == list(range(1, inside + 1)):
            order = (0, *contracted)
            return self._dense(From(np.transpose(x.place, order)), kernel, shape)
        if list(contracted) != [inside]:
            self.refuse("it multiplies along an axis that is not the last")
        number, seen = self.seen(x)
        return self._product(number, seen, kernel[None, None], shape)

    def _dense(self, x: From, kernel: np.ndarray, shape: Any) -> From:
        """Adds a dense layer, whatever the order of what it takes."""
        index, number = self.first(x).ravel(), self.only_source(x)
        if number is None:
            number, seen = self.seen(From(x.place.reshape(BATCH, -1)))
            return self._product(number, seen, kernel[None, None], shape)
        seen = self._shapes[number]
        ordered = np.zeros((math.prod(seen), kernel.shape[-1]), np.float32)
        np.add.at(ordered, index - self._starts[number], kernel)
        return self._product(number, seen, ordered.reshape(*seen, -1), shape)

    def _product(
        self, number: int, seen: Shape, kernel: np.ndarray, shape: Any
    ) -> From:
        window = Window(kernel.shape[:2])
        made = (*window.over(seen), kernel.shape[-1])
        bias = np.zeros(kernel.shape[-1], np.float32)
        layer = Conv(self.where, (number,), made, seen, kernel, bias, window)
        return self.add(layer, shape)

    def _reduced(self, x: From, axes: Any, shape: Any, pool: bool) -> From:
        """Adds a maximum or a sum over all pixels."""
        if list(axes) != list(range(1, len(x.shape) - 1)):
            self.refuse(f"it reduces the axes {list(axes)}, which are not the pixels")
        window = Window(in_three(x.shape)[:2])
        return self._windowed(x, window, shape, pool)

    def _windowed(self, x: From, window: Window, shape: Any, pool: bool) -> From:
        if pool:
            return self._step(x, shape, pool=window)
        number, seen = self.seen(x)
        kernel = np.ones((*window.size, 1, seen[2]), np.float32)
        bias = np.zeros(seen[2], np.float32)
        made = (*window.over(seen), seen[2])
        layer = Conv(
            self.where, (number,), made, seen, kernel, bias, window, groups=seen[2]
        )
        return self.add(layer, shape)

    def _read_reduce_max(self, given: Any, params: Any, shape: Any) -> From:
        return self._reduced(given[0], params["axes"], shape, pool=True)

    def _read_reduce_sum(self, given: Any, params: Any, shape: Any) -> From:
        return self._reduced(given[0], params["axes"], shape, pool=False)

    def _read_reduce_window_max(self, given: Any, params: Any, shape: Any) -> From:
        return self._windowed(given[0], self._window(params), shape, pool=True)

    def _read_reduce_window_sum(self, given: Any, params: Any, shape: Any) -> From:
        return self._windowed(given[0], self._window(params), shape, pool=False)

    def _window(self, params: Mapping[str, Any]) -> Window:
        size, stride = params["window_dimensions"], params["window_strides"]
        padding = params["padding"]
        dilated = (*params["base_dilation"], *params["window_dilation"])
        outside = (size[0], size[-1], stride[0], stride[-1], *padding[0], *padding[-1])
        if len(size) != 4 or set(dilated) != {1} or outside != (1, 1, 1, 1, 0, 0, 0, 0):
            self.refuse("it pools over more than rows and columns")
        return Window(tuple(size[1:3]), tuple(stride[1:3]), tuple(padding[1:3]))

    def _read_add(self, given: Any, params: Any, shape: Any) -> From:
        places = [value for value in given if isinstance(value, From)]
        if len(places) < 2:
            return self._affine(given, shape, lambda a, b: a + b)
        if places[0].shape != places[1].shape:
            self.refuse("it adds what has other shapes")
        # Places are looked up before the layer that needs them is added.
        (one, seen), (other, _) = map(self.seen, places)
        return self.add(Add(self.where, (one, other), seen), shape)

    _read_add_any = _read_add

    def _read_sub(self, given: Any, params: Any, shape: Any) -> From:
        return self._affine(given, shape, lambda a, b: a - b)

    def _read_mul(self, given: Any, params: Any, shape: Any) -> From:
        return self._affine(given, shape, lambda a, b: a * b)

    def _read_div(self, given: Any, params: Any, shape: Any) -> From:
        if isinstance(given[1], From):
            self.refuse("it divides by what it has computed")
        return self._affine(given, shape, lambda a, b: a / b)

    def _read_neg(self, given: Any, params: Any, shape: Any) -> From:
        return self._affine(given, shape, lambda a: -a)

    def _affine(self, given: Any, shape: Any, function: Any) -> From:
        """Adds a step that is a line for each number: what it is at 0 and at 1."""
        places = [value for value in given if isinstance(value, From)]
        if len(places) > 1:
            self.refuse("it multiplies or subtracts what it has computed")

        def at(number: float) -> np.ndarray:
            values = [number if isinstance(v, From) else v for v in given]
            return np.broadcast_to(np.asarray(function(*values), np.float64), shape)

        shift = at(0.0)
        scale = at(1.0) - shift
        x = From(np.broadcast_to(places[0].place, shape))
        for values in (scale, shift):
            if (values != values[:1]).any():
                self.refuse("it treats the images of a batch differently")
        scale, shift = scale[0], shift[0]
        if (scale == scale.reshape(-1, scale.shape[-1])[0]).all() and (
            shift == shift.reshape(-1, shift.shape[-1])[0]
        ).all():
            scale, shift = (a.reshape(-1, a.shape[-1])[0] for a in (scale, shift))
            if (scale == scale[0]).all() and (shift == shift[0]).all():
                scale, shift = scale[0], shift[0]
            return self._step(x, shape, scale=scale, shift=shift)
        # Different in each place: as if each were a channel.
        number, seen = self.seen(x)
        flat = (1, 1, math.prod(seen))
        each = {"scale": scale.ravel(), "shift": shift.ravel()}
        return self.add(Step(self.where, (number,), flat, seen=flat, **each), shape)

    def _read_max(self, given: Any, params: Any, shape: Any) -> From:
        x, limit = self._limited(given)
        return self._step(x, shape, low=limit)

    def _read_min(self, given: Any, params: Any, shape: Any) -> From:
        x, limit = self._limited(given)
        return self._step(x, shape, high=limit)

    def _read_clamp(self, given: Any, params: Any, shape: Any) -> From:
        low, x, high = given
        x, least = self._limited([x, low])
        x, most = self._limited([x, high])
        return self._step(x, shape, low=least, high=most)

    def _limited(self, given: Sequence[Any]) -> tuple[From, float]:
        """Returns what is limited, and the one number that limits it."""
        places = [value for value in given if isinstance(value, From)]
        known = [value for value in given if not isinstance(value, From)]
        limits = {float(number) for one in known for number in np.unique(one)}
        if len(places) != 1 or len(limits) != 1:
            self.refuse("it takes the maximum of what it has computed")
        return places[0], limits.pop()


def _dilated(kernel: np.ndarray, dilation: Sequence[int]) -> np.ndarray:
    """Returns a kernel [h, w, C, O] with zeros between its rows and columns."""
    height, width, *rest = kernel.shape
    down, across = dilation
    shape = (height - 1) * down + 1, (width - 1) * across + 1, *rest
    spread = np.zeros(shape, kernel.dtype)
    spread[::down, ::across] = kernel
    return spread
