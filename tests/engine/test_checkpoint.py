"""The store of replicas: what is read is what was saved, and no more than asked for."""

import json
import math
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tensorstore

from mnistopt.engine import writer as writing
from mnistopt.engine.checkpoint import Damaged, Store
from mnistopt.engine.writer import Part, Writer
from mnistopt.models.mlp_cnn import CNN, MLP
from mnistopt.models.networks import variable_shapes
from mnistopt.training.cohort import Cohort, init_state

CNN_ADAM = Cohort(CNN((2,), 3), "adam", 8)
NAMES = ("aa11", "bb22", "cc33")
GROUP, A, B = "0123456789", "aaaaaaaaaa", "bbbbbbbbbb"


def make_state(cohort, seed):
    """A replica's state with random bits in all of its arrays."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        content = rng.bytes(leaf.size * leaf.dtype.itemsize)
        return np.frombuffer(content, leaf.dtype).reshape(leaf.shape).copy()

    return jax.tree.map(draw, jax.eval_shape(lambda: init_state(cohort, 0)))


def filled(state, value):
    return jax.tree.map(lambda leaf: np.full_like(leaf, value), state)


@pytest.fixture(scope="module")
def saved_states():
    return {name: make_state(CNN_ADAM, i) for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def folder(saved_states, tmp_path_factory):
    """A store with one group of these three after 4 epochs; not to be changed."""
    folder = tmp_path_factory.mktemp("store") / "checkpoints"
    with Writer(Store(folder).group(GROUP)) as writer:
        about = {"records": [], "odd": [0.1 + 0.2, math.nan, math.inf], "word": "é"}
        writer.save(4, [Part(saved_states, about)], keep=True)
    return folder


def assert_same_bits(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted)):
        assert type(one) is np.ndarray
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()


def save_epochs(store, epochs, keep, group=GROUP, cohort="aa11"):
    """Saves a checkpoint per epoch, whose numbers tell the epoch."""
    contents = make_state(CNN_ADAM, 0)
    with Writer(store.group(group)) as writer:
        for epoch in epochs:
            marked = filled(contents, epoch)
            writer.save(epoch, [Part({cohort: marked}, {"records": []})], epoch in keep)


def places(store):
    return [(saved.group, saved.epoch) for saved in store.saved()]


# --- There and back ---


def test_what_is_saved_is_loaded_to_the_bit(folder, saved_states):
    """With Adam's state, whose structure is optax's own."""
    store = Store(folder)
    (saved,) = store.saved()
    like = filled(saved_states["aa11"], 0)
    loaded = store.load(saved, NAMES, like)
    assert list(loaded) == list(NAMES)
    for name in NAMES:
        assert_same_bits(loaded[name], saved_states[name])
    some = store.load(saved, ["cc33", "aa11"], like)
    assert list(some) == ["cc33", "aa11"]
    for name, contents in some.items():
        assert_same_bits(contents, saved_states[name])


def test_training_on_while_a_save_is_written_changes_nothing_in_it(tmp_path):
    store = Store(tmp_path / "checkpoints")
    contents = make_state(CNN_ADAM, 0)
    with Writer(store.group(GROUP)) as writer:
        # The first is waited for, the second is written in the background.
        for epoch in (1, 2):
            mine = filled(contents, epoch)
            writer.save(epoch, [Part({"aa11": mine}, {"records": []})], keep=True)
            # As the device does, whose memory the contents are.
            jax.tree.map(lambda leaf: leaf.fill(7), mine)
    for saved in store.saved():
        found = store.load(saved, ["aa11"], contents)["aa11"]
        assert_same_bits(found, filled(contents, saved.epoch))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_every_optimizer_s_state_comes_back(tmp_path, optimizer):
    cohort = Cohort(MLP((3,)), optimizer, 8)
    contents = {name: make_state(cohort, i) for i, name in enumerate(NAMES)}
    store = Store(tmp_path)
    with Writer(store.group(GROUP)) as writer:
        writer.save(1, [Part(contents, {"records": []})], keep=True)
    loaded = store.load(store.saved()[0], NAMES, filled(contents["aa11"], 0))
    for name in NAMES:
        assert_same_bits(loaded[name], contents[name])


def test_what_it_is_about_comes_back_with_the_replicas(folder):
    (saved,) = Store(folder).saved()
    assert (saved.group, saved.epoch) == (GROUP, 4)
    wanted = {"records": [], "odd": [0.1 + 0.2, math.nan, math.inf], "word": "é"}
    found = {name: saved.about[name] for name in (*wanted, "replicas")}
    assert repr(found) == repr({**wanted, "replicas": list(NAMES)})
    assert set(saved.about) - set(found) == {*("checksums", "checksum", "format")}
    assert json.loads(json.dumps(saved.about))["replicas"] == list(NAMES)


@pytest.mark.parametrize("which", ["last", "best"])
def test_parameters_of_one_replica_are_loaded_to_the_bit(folder, saved_states, which):
    store = Store(folder)
    for name in NAMES:
        params = store.load_part(store.saved()[0], [name], f"weights/{which}")[name]
        state = saved_states[name]
        assert_same_bits(params, state.best if which == "best" else state.variables)


def test_loading_one_replica_reads_no_other_s_chunks(
    folder, saved_states, tmp_path, monkeypatch
):
    """Every array is in chunks of a replica each, and one's are all that is fetched."""
    fetched = []
    original = tensorstore.open

    class Spy:
        def __init__(self, opening):
            self.array = opening.result()
            assert self.array.chunk_layout.read_chunk.shape[0] == 1

        def result(self):
            return self

        def __getitem__(self, rows):
            fetched.append(rows)
            return self.array[rows]

    monkeypatch.setattr(tensorstore, "open", lambda *a, **k: Spy(original(*a, **k)))
    store = Store(folder)
    (saved,) = store.saved()
    assert fetched == [], "listing reads no array"
    params = store.load_part(saved, ["bb22"], "weights/best")["bb22"]
    assert_same_bits(params, saved_states["bb22"].best)
    assert fetched == [[1]] * len(
        jax.tree.leaves(variable_shapes(CNN_ADAM.model)["params"])
    )
    store.load(saved, ["bb22"], filled(make_state(CNN_ADAM, 0), 0))
    assert set(map(tuple, fetched)) == {(1,)}


def test_a_thousand_replicas_are_as_few_arrays_as_one(tmp_path):
    one = make_state(Cohort(MLP((3,)), "adam", 8), 0)
    store = Store(tmp_path)
    arrays = []
    for group, count in ((A, 1), (B, 1000)):
        with Writer(store.group(group)) as writer:
            some = {f"r{i}": one for i in range(count)}
            writer.save(1, [Part(some, {"records": []})], keep=True)
        metadata = (tmp_path / group / "1" / "state" / "_METADATA").read_text()
        arrays.append(len(json.loads(metadata)["tree_metadata"]))
    assert arrays[0] == arrays[1]
    few, many = store.saved()
    found = store.load_part(many, ["r999", "r0"], "weights/last")
    assert list(found) == ["r999", "r0"]
    for params in found.values():
        assert_same_bits(params, one.variables)


def test_a_store_that_was_moved_is_read_all_the_same(folder, saved_states, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    store = Store(moved)
    params = store.load_part(store.saved()[0], ["cc33"], "weights/last")["cc33"]
    assert_same_bits(params, saved_states["cc33"].variables)


# --- What is kept ---


def test_milestones_stay_and_of_the_others_only_the_newest(tmp_path):
    store = Store(tmp_path)
    save_epochs(store, [1, 2, 3, 4, 5], keep=[2, 4])
    assert places(store) == [(GROUP, 2), (GROUP, 4), (GROUP, 5)]
    like = filled(make_state(CNN_ADAM, 0), 0)
    for saved in store.saved():
        loaded = store.load(saved, ["aa11"], like)["aa11"]
        assert_same_bits(loaded, filled(like, saved.epoch))


def test_a_newer_checkpoint_replaces_an_older_one(tmp_path):
    store = Store(tmp_path)
    save_epochs(store, [1, 2, 3], keep=[])
    assert places(store) == [(GROUP, 3)]
    names = [path.name for path in (tmp_path / GROUP).iterdir()]
    assert names == ["3"]


def test_what_is_there_when_a_writer_begins_stays(tmp_path):
    store = Store(tmp_path)
    save_epochs(store, [1, 2], keep=[1])
    save_epochs(store, [3, 4], keep=[])
    assert places(store) == [(GROUP, 1), (GROUP, 2), (f"{GROUP}-1", 4)]


def test_groups_do_not_touch_each_other(tmp_path):
    store = Store(tmp_path)
    save_epochs(store, [1, 2], keep=[1, 2], group=B)
    save_epochs(store, [1, 5], keep=[5], group=A, cohort="bb22")
    assert places(store) == [(A, 5), (B, 1), (B, 2)]
    assert store.saved()[0].about["replicas"] == ["bb22"]


def test_an_empty_store_has_nothing_and_looking_makes_nothing(tmp_path):
    assert Store(tmp_path / "absent").saved() == []
    assert not (tmp_path / "absent").exists()
    assert Store(tmp_path).saved() == []


def test_what_a_killed_run_left_half_written_is_ignored(folder, tmp_path):
    """Orbax writes to a folder of another name, and renames it when it is whole."""
    mine = tmp_path / "checkpoints"
    shutil.copytree(folder, mine)
    half = mine / GROUP / "5.orbax-checkpoint-tmp-1700000000000000"
    shutil.copytree(mine / GROUP / "4", half)
    (half / "commit_success.txt").unlink(missing_ok=True)
    (mine / "other" / "7.orbax-checkpoint-tmp").mkdir(parents=True)
    (mine / "empty").mkdir()
    (mine / "notes.txt").write_text("mine")
    store = Store(mine)
    assert places(store) == [(GROUP, 4)]
    assert half.exists(), "a reader removed what a running writer may be writing"
    # The run that goes on clears it away, and keeps what is whole.
    save_epochs(store, [6], keep=[4, 6])
    store.tidy()
    assert places(store) == [(GROUP, 4), (f"{GROUP}-1", 6)]
    assert not half.exists()


# --- When to save ---


def test_a_checkpoint_is_due_when_time_allows(tmp_path, monkeypatch):
    clock = [100.0]
    time = SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setattr(writing, "time", time)
    contents = {"aa11": make_state(CNN_ADAM, 0)}
    with Writer(Store(tmp_path).group(GROUP)) as writer:
        write = writer._write

        def slow(*args):
            clock[0] += 2.0
            write(*args)

        monkeypatch.setattr(writer, "_write", slow)
        assert not writer.due(), "a short study saves its end only"
        clock[0] += writing.FIRST_SAVE
        assert writer.due()
        writer.save(1, [Part(contents, {"records": []})], keep=False)
        # It took 2 s: to spend 5 % on saving, the next waits for 40 s.
        pause = 2.0 / writing.SAVE_SHARE
        assert not writer.due()
        clock[0] += pause - 0.1
        assert not writer.due()
        clock[0] += 0.2
        assert writer.due()
        writer.save(2, [Part(contents, {"records": []})], keep=False)
        assert not writer.due()


# --- Damage ---


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


@pytest.mark.filterwarnings("ignore:the checkpoint .* is damaged")
def test_no_flipped_bit_changes_what_is_restored(folder, saved_states, tmp_path):
    """At 50 places: it does nothing, or the checkpoint is refused or left out."""
    rng = np.random.default_rng(0)
    like = filled(saved_states["aa11"], 0)
    (told,) = Store(folder).saved()
    found = {"harmless": 0, "refused": 0, "left out": 0}
    for turn in range(50):
        copy = shutil.copytree(folder, tmp_path / str(turn))
        files = [path for path in copy.rglob("*") if path.is_file()]
        sizes = np.array([path.stat().st_size for path in files])
        # Small files as often as large ones.
        path = files[rng.choice(np.flatnonzero(sizes))]
        flip(path, int(rng.integers(8 * path.stat().st_size)))
        store = Store(copy)
        if not (saved := store.saved()):
            found["left out"] += 1
            continue
        assert repr(saved) == repr([told])
        try:
            loaded = store.load(saved[0], NAMES, like)
        except Damaged:
            found["refused"] += 1
            continue
        for name in NAMES:
            assert_same_bits(loaded[name], saved_states[name])
        found["harmless"] += 1
    assert min(found.values()) > 0, found


def test_a_flipped_bit_of_a_weight_is_noticed(folder, saved_states, tmp_path):
    """Uncompressed data are found in the file by their bytes."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    (saved,) = Store(copy).saved()
    largest = max(
        (path for path in copy.rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    flip(largest, 4 * largest.stat().st_size)  # In the middle.
    with pytest.raises(Damaged, match="is damaged .*: the grid's command trains"):
        Store(copy).load(saved, NAMES, filled(saved_states["aa11"], 0))


def test_arrays_of_another_network_are_not_taken_for_one_s_own(folder, saved_states):
    store = Store(folder)
    (saved,) = store.saved()
    like = saved_states["aa11"]
    first, *others = jax.tree.leaves(like.opt_state)
    wider = jax.tree.unflatten(
        jax.tree.structure(like.opt_state), [np.zeros((2, *first.shape)), *others]
    )
    with pytest.raises(Damaged, match="other names or shapes"):
        store.load(saved, NAMES, like._replace(opt_state=wider))
    with pytest.raises(Damaged, match="other names or shapes"):
        store.load(saved, NAMES, like._replace(variables={"params": {}}))
