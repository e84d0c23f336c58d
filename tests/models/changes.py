"""Changes of a user's module: 30 compute something else, 10 do not.

A table for a file, a notebook's cell and Python's own prompt: each change replaces one
text of `FILES` by another.
"""

import ast
import code
import json
import sys
import types

NETS = """
import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen import relu as activation

import own_helpers
import mnistopt

SIZES = [6, 5]
SCALES = {"in": 2.0, "out": 1.5}
WEIGHTS = np.linspace(0.5, 1.5, 4, dtype=np.float32)
DTYPE = jnp.float32
DEFAULT = 0.5
UNUSED = 3
BLOCKS = {}


def register(name):
    def keep(block):
        BLOCKS[name] = block
        return block

    return keep


def logged(function):
    @functools.wraps(function)
    def called(*arguments):
        return function(*arguments) * 1.25

    return called


@logged
def decorated(x):
    return x + 0.1


@jax.jit
def jitted(x):
    return jnp.tanh(x) * 0.75


def of_property():
    return 3


def defaulted(x, rate=DEFAULT):
    return x * rate


@jax.custom_vjp
def own_gradient(x):
    return x * x


own_gradient.defvjp(lambda x: (x * x, x), lambda x, g: (2.0 * x * g,))

start = nn.initializers.normal(0.2)


@register("dense")
class Block(nn.Module):
    units: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.units, kernel_init=start)(x)


class Base(nn.Module):
    def common(self, x):
        return x + 0.25


class Net(Base):
    width: int = 4
    sizes: Sequence[int] = (3, 2)
    block: type = Block

    @property
    def features(self):
        return self.width + of_property()

    @nn.compact
    def __call__(self, images, dropout=None):
        x = images.reshape(len(images), -1).astype(DTYPE) * SCALES["in"]
        for size in SIZES:
            x = activation(self.block(size)(x))  # a remark
        x = own_helpers.scaled(decorated(x))
        x = jitted(defaulted(x)) + own_gradient(x)
        x = nn.LayerNorm()(self.common(x))
        x = mnistopt.Dropout()(nn.Dense(self.features)(x), dropout)
        x = BLOCKS["dense"](len(WEIGHTS))(x) * WEIGHTS
        return nn.Dense(4)(own_helpers.TABLE[0] * x)
"""
HELPERS = """
TABLE = [1.0, 2.0]


def _inner(x):
    return x - 0.5


def scaled(x):
    return 3 * _inner(x)
"""
FILES = {"own_helpers": HELPERS, "own_nets": NETS}

# By which words a change is known: the file, what is there, and what comes instead.
OTHER = {
    "a list": ("own_nets", "SIZES = [6, 5]", "SIZES = [6, 7]"),
    "a dict": ("own_nets", '"in": 2.0', '"in": 2.5'),
    "an array": ("own_nets", "linspace(0.5, 1.5", "linspace(0.5, 1.6"),
    "one number of an array": ("own_nets", "dtype=np.float32)\nD",
                               "dtype=np.float32) + np.float32([0, 0, 1e-3, 0])\nD"),
    "a dtype": ("own_nets", "DTYPE = jnp.float32", "DTYPE = jnp.bfloat16"),
    "a renamed import": ("own_nets", "relu as activation", "gelu as activation"),
    "a helper by attribute": ("own_helpers", "return 3 * _inner", "return 4 * _inner"),
    "a helper's helper": ("own_helpers", "x - 0.5", "x - 0.25"),
    "a list by attribute": ("own_helpers", "TABLE = [1.0", "TABLE = [1.5"),
    "a decorated helper": ("own_nets", "return x + 0.1", "return x + 0.2"),
    "a decorator": ("own_nets", "* 1.25", "* 1.5"),
    "a jitted helper": ("own_nets", "* 0.75", "* 0.7"),
    "a jitted function's operation": ("own_nets", "jnp.tanh", "jnp.sin"),
    "a property's helper": ("own_nets", "return 3\n", "return 2\n"),
    "a property": ("own_nets", "self.width + of", "self.width * of"),
    "a default from a constant": ("own_nets", "DEFAULT = 0.5", "DEFAULT = 0.6"),
    "a default": ("own_nets", "rate=DEFAULT", "rate=0.7"),
    "an initializer": ("own_nets", "normal(0.2)", "normal(0.3)"),
    "another initializer": ("own_nets", "initializers.normal(0.2)",
                            "initializers.uniform(0.2)"),
    "a registry": ("own_nets", '@register("dense")\nclass Block(nn.Module):\n',
                   '@register("dense")\nclass Other(nn.Module):\n    units: int\n\n'
                   "    @nn.compact\n    def __call__(self, x):\n"
                   "        return nn.Dense(self.units, use_bias=False)(x)\n\n\n"
                   "class Block(nn.Module):\n"),
    "a class as a field": ("own_nets", "nn.Dense(self.units, kernel_init=start)(x)",
                           "nn.Dense(self.units, kernel_init=start)(2 * x)"),
    "a base's method": ("own_nets", "x + 0.25", "x + 0.5"),
    "a gradient": ("own_nets", "(2.0 * x * g,)", "(3.0 * x * g,)"),
    "a field's default": ("own_nets", "width: int = 4", "width: int = 5"),
    "a layer's name": ("own_nets", "nn.Dense(4)(own", 'nn.Dense(4, name="out")(own'),
    "a layer": ("own_nets", "nn.LayerNorm()", "nn.RMSNorm()"),
    "a layer's setting": ("own_nets", "nn.LayerNorm()", "nn.LayerNorm(epsilon=1e-3)"),
    "dropout": ("own_nets", "(self.features)(x), dropout)",
                "(self.features)(x), None if dropout is None else dropout / 2)"),
    "training only": ("own_nets", "        x = BLOCKS",
                      "        x *= 1 if dropout is None else 2\n        x = BLOCKS"),
    "the order of layers": ("own_nets", "own_helpers.scaled(decorated(x))",
                            "decorated(own_helpers.scaled(x))"),
}  # fmt: skip
SAME = {
    "a remark": ("own_nets", "# a remark", "# another remark"),
    "a docstring": ("own_nets", "Net(Base):\n", 'Net(Base):\n    """A net."""\n\n'),
    "an unused constant": ("own_nets", "UNUSED = 3", "UNUSED = 4"),
    "a variable's name": ("own_nets", "x = images.reshape(len(images)", "seen = images"
                          "\n        x = seen.reshape(len(seen)"),
    "a helper's name": ("own_helpers", "_inner", "_shifted"),
    "a helper that is jitted": ("own_helpers", "def _inner", "@__import__('jax').jit\n"
                                "def _inner"),
    "a constant put differently": ("own_nets", "SIZES = [6, 5]", "SIZES = (2 * 3, 5)"),
    "an annotation": ("own_nets", "def of_property():", "def of_property() -> int:"),
    "the order of definitions": ("own_nets", "UNUSED = 3\nBLOCKS = {}",
                                 "BLOCKS = {}\nUNUSED = 3"),
    "a helper taken apart": ("own_helpers", "return 3 * _inner(x)",
                             "y = _inner(x)\n    unused = 7 * y\n    return 3 * y"),
}  # fmt: skip


def changed(change: tuple[str, str, str] | None = None) -> dict[str, str]:
    """Returns the files with a change, by their names."""
    files = dict(FILES)
    if change:
        name, old, new = change
        assert files[name].count(old) >= 1, change
        files[name] = files[name].replace(old, new)
    return files


def hashes(surroundings: str, every: int) -> dict[str, str]:
    """Returns Net's hash by change, "" for none, as a prompt or a notebook has it.

    Args:
        surroundings: "prompt" or "notebook".
        every: 1 for all changes, 2 for every other one.
    """
    import __main__
    from mnistopt.models.program import trace

    run = _prompt() if surroundings == "prompt" else _notebook()
    found = {}
    for name, change in list({"": None, **OTHER, **SAME}.items())[::every]:
        files = changed(change)
        helpers = types.ModuleType("own_helpers")
        exec(files["own_helpers"], vars(helpers))
        sys.modules["own_helpers"] = helpers
        run(files["own_nets"])
        found[name] = trace(vars(__main__)["Net"](), (5, 4, 1), 4)[0]
    return found


def _prompt():
    import __main__

    console = code.InteractiveConsole(vars(__main__))

    def run(text):
        for block in ast.parse(text).body:
            source = ast.get_source_segment(text, block, padded=True)
            for decorator in getattr(block, "decorator_list", ())[:1]:
                first, last = decorator.lineno - 1, block.end_lineno
                source = "\n".join(text.splitlines()[first:last])
            console.runcode(compile(f"{source}\n", "<stdin>", "exec"))

    return run


def _notebook():
    from IPython.core.interactiveshell import InteractiveShell

    import __main__

    shell = InteractiveShell.instance(user_module=__main__)

    def run(text):
        shell.run_cell(text).raise_error()

    return run


if __name__ == "__main__":
    print(json.dumps(hashes(sys.argv[1], int(sys.argv[2]))))
