"""A damaged entry of JAX's compile cache costs one compile."""

import jax
import numpy as np
import pytest

from mnistopt.engine.replicas import mending


@pytest.fixture
def compile_one(tmp_path):
    """A function that compiles one program as a new process would; and its cache."""
    names = ("dir", "min_compile_time_secs", "min_entry_size_bytes")
    values = (str(tmp_path), 0.0, -1)
    settings = ["jax_compilation_cache_dir"]
    settings += [f"jax_persistent_cache_{name}" for name in names[1:]]
    before = [getattr(jax.config, name) for name in settings]

    def compile_it(with_mending):
        from jax.experimental.compilation_cache import compilation_cache

        compilation_cache.reset_cache()
        jax.clear_caches()

        def triple(x):
            return 3 * x

        lowered = jax.jit(triple).lower(np.float32(1))
        if with_mending:
            with mending():
                return lowered.compile()
        return lowered.compile()

    for name, value in zip(settings, values):
        jax.config.update(name, value)
    yield compile_it, tmp_path
    for name, value in zip(settings, before):
        jax.config.update(name, value)


@pytest.mark.parametrize("damage", ["cut off", "flipped", "empty"])
def test_a_damaged_entry_is_written_anew(compile_one, damage):
    compile_it, cache = compile_one
    compile_it(True)
    (entry,) = cache.glob("jit_triple-*-cache")
    whole = entry.read_bytes()
    middle = len(whole) // 2
    entry.write_bytes(
        {
            "cut off": whole[:middle],
            "flipped": whole[:middle]
            + bytes([whole[middle] ^ 1])
            + whole[middle + 1 :],
            "empty": b"",
        }[damage]
    )
    # As JAX has it: warned of, and left as it is.
    with pytest.warns(UserWarning, match="Error reading persistent"):
        compile_it(False)
    assert entry.read_bytes() != whole
    # Without a word, and whole again; warnings are errors here.
    assert compile_it(True)(np.float32(2)) == 6
    assert len(entry.read_bytes()) > middle
    compile_it(False)
