"""Workers of a Ray cluster train as this machine does, whatever befalls them."""

import contextlib
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from unittest import mock

import jax
import numpy as np
import pandas as pd
import pytest

import mnistopt
from mnistopt.data.dataset import Dataset
from mnistopt.data.splits import Split
from mnistopt.engine.devices import Lanes
from mnistopt.engine.pool import LocalPool, Lost
from mnistopt.engine.queue import Queue
from mnistopt.engine.replicas import state_bytes
from mnistopt.engine.rounds import Member, make_rounds
from mnistopt.errors import InputError
from mnistopt.hparams import Hparams
from mnistopt.models.mlp_cnn import MLP
from mnistopt.training.cohort import Cohort
from tests import programs

ray = pytest.importorskip("ray", reason="Ray is not installed: it has no build for all")
import psutil  # noqa: E402
from ray._private import ray_constants, services  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from mnistopt.engine.cluster import join as joining  # noqa: E402
from mnistopt.engine.cluster import pool as pools  # noqa: E402
from mnistopt.engine.cluster.join import join  # noqa: E402
from mnistopt.engine.cluster.pool import RayPool  # noqa: E402

# Seconds that nothing takes here.
LONGEST = 90
NODE = {"node_ip_address": "127.0.0.1", "num_cpus": 1}
# A dead node is known to be one after five seconds, not after fifteen and more.
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000}
SMALL = Cohort(MLP((16,)), "adam", 32)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of a head that computes nothing and two nodes of one core, loopback."""
    with mock.patch.object(ray_constants, "ENABLE_RAY_CLUSTER", False):
        with warnings.catch_warnings(action="ignore"):
            head = {**NODE, "num_cpus": 0, "_system_config": SOON}
            found = Cluster(True, head_node_args=head)
            found.add_node(**NODE)
            found.add_node(**NODE)
            assert join(found.address)
        yield found
        with warnings.catch_warnings(action="ignore"):
            ray.shutdown()
            found.shutdown()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Looks at workers more often than a network bears."""
    monkeypatch.setattr(pools, "PERIOD", 0.2)


@pytest.fixture
def pool(cluster, tmp_path):
    with RayPool("auto", None, tmp_path / "cache") as found:
        yield found


@pytest.fixture
def seen(monkeypatch):
    """The pools that are made."""
    made = []
    original = RayPool.__init__

    def init(self, *arguments):
        original(self, *arguments)
        made.append(self)

    monkeypatch.setattr(RayPool, "__init__", init)
    return made


def wait_for(what):
    until = time.monotonic() + LONGEST
    while not what():
        assert time.monotonic() < until
        time.sleep(0.1)


def assert_same(ours, theirs):
    for name in ("trials", "curves"):
        drop = ["seconds", "latency_1_ms", "latency_256_ms", "machine"]
        frames = [
            getattr(one, name).drop(columns=drop, errors="ignore")
            for one in (ours, theirs)
        ]
        keys = [c for c in ("replica", "trial", "epoch") if c in frames[0]]
        frames = [one.sort_values(keys, ignore_index=True) for one in frames]
        pd.testing.assert_frame_equal(*frames, check_exact=True)
    for trial in ours.trials["trial"]:
        for which in ("last", "best"):
            jax.tree.map(
                np.testing.assert_array_equal,
                ours.variables(trial, which),
                theirs.variables(trial, which),
            )


GRID = {
    "train_examples": 160,
    "lr": [1e-3, 1e-2],
    "model": ["mlp", "cnn"],
    "hidden": (16,),
    "channels": (2,),
    "dense": 4,
    "dropout": 0.3,
    "seeds": 3,
    "epochs": [3, 16],
}


@pytest.mark.parametrize("model", ["mlp", pytest.param("cnn", marks=pytest.mark.full)])
def test_replicas_that_lose_a_node_and_gain_another_are_the_same(
    cluster, seen, tmp_path, model
):
    """The node dies in the middle; training goes on when another has joined."""
    grid = {**GRID, "model": model}
    for name in ("channels", "dense") if model == "mlp" else ("hidden",):
        del grid[name]
    local = mnistopt.run(**grid, workdir=tmp_path / "local")
    trained_on = set()

    def disturb(frame):
        (pool,) = seen
        if frame["epoch"].iloc[0] == 8 and not trained_on:
            trained_on.update(map(str, pool.devices))
            where = ray.get([one.actor.ask.remote(node_of) for one in pool.devices])
            dying = next(n for n in cluster.worker_nodes if n.node_id == where[0])
            with warnings.catch_warnings(action="ignore"):
                cluster.remove_node(dying, allow_graceful=False)
            wait_for(lambda: len(pool.devices) == 1)
            with warnings.catch_warnings(action="ignore"):
                cluster.add_node(**NODE)
            wait_for(lambda: len(pool.devices) == 2)

    calls = []
    original = pools.RemoteProgram.train

    def train(self, one, device, *rest):
        calls.append(str(device))
        return original(self, one, device, *rest)

    with (
        mock.patch.object(pools.RemoteProgram, "train", train),
        pytest.warns(
            UserWarning, match="is gone: its replicas continue on other devices"
        ),
    ):
        study = mnistopt.run(
            **grid,
            workdir=tmp_path / "disturbed",
            cluster=cluster.address,
            on_epoch=disturb,
        )
    assert len(trained_on) == 2 and set(calls) - trained_on, "the new node was idle"
    assert_same(study, local)


@pytest.mark.full
def test_twelve_replicas_that_nobody_disturbs_are_the_same(cluster, tmp_path):
    local = mnistopt.run(**GRID, workdir=tmp_path / "local")
    away = mnistopt.run(**GRID, workdir=tmp_path / "away", cluster=cluster.address)
    assert len(away.config.devices) == 2
    assert_same(away, local)


@pytest.mark.full
def test_a_search_is_the_same_there(cluster, tmp_path):
    """Whose batches have networks and batch sizes of several kinds."""
    asked = {
        **GRID,
        "hidden": [(8,), (4,)],
        "batch_size": [32, 50],
        "lr": mnistopt.log(1e-3, 1e-1),
        "epochs": 3,
        "trials": 4,
        "seeds": 2,
        "confirm": 1,
    }
    local = mnistopt.search(**asked, workdir=tmp_path / "local")
    away = mnistopt.search(**asked, workdir=tmp_path / "away", cluster=cluster.address)
    assert_same(away, local)
    columns = ["lr", "state", "epochs", "accuracy"]
    assert away.search[columns].equals(local.search[columns])


def node_of(_):
    import ray

    return ray.get_runtime_context().get_node_id()


def train(pool, digits, epochs, harm=lambda: None, settings=range(6)):
    """Trains replicas of some seeds; returns their states and what was told of them.

    Calls `harm` in the middle.
    """
    pool.load(digits)
    program = pool.compile(SMALL, Lanes(1, 1), 2)
    numbers = Hparams(1e-3, 0.0, 0.0, 0.0)
    members = [Member(str(seed), seed, numbers) for seed in settings]
    queue = Queue(program, dict.fromkeys(make_rounds(program.lanes, members), 0))
    told = []
    for done in queue.train(epochs):
        for name, result in done.results.items():
            told.append((name, done.epoch, *(np.asarray(x).tobytes() for x in result)))
        if len(told) == epochs:
            harm()
    return queue.states(), sorted(told)


# What else may befall a worker: its process is stopped, or waits for ever.
OTHERS = ("frozen", "still")


@pytest.fixture(scope="module")
def digits():
    return mnistopt.load("mnist_5k", train_examples=160)


@pytest.fixture(scope="module")
def expected(digits):
    return train(LocalPool(None, None), digits, 200)


def assert_equal(ours, theirs):
    assert ours[1] == theirs[1]
    jax.tree.map(np.testing.assert_array_equal, ours[0], theirs[0])


def pid(_):
    import os

    return os.getpid()


def sleep(_, seconds):
    import time

    time.sleep(seconds)


@pytest.mark.full
@pytest.mark.parametrize("what", ["killed", *OTHERS])
def test_a_worker_that_does_nothing_more_is_replaced(
    pool, digits, expected, monkeypatch, what
):
    first = pool.devices[0]
    process = first.ask(pid).result()

    def harm():
        monkeypatch.setattr(pools, "SILENCE", 5.0)
        if what == "still":
            first.ask(sleep, 600)
        else:
            os.kill(process, signal.SIGKILL if what == "killed" else signal.SIGSTOP)

    with pytest.warns(UserWarning, match="its replicas continue on other devices"):
        found = train(pool, digits, 200, harm)
    assert_equal(found, expected)
    assert first not in pool.devices


@pytest.mark.full
def test_a_worker_that_dies_before_its_states_are_read_takes_none_along(
    pool, digits, expected, monkeypatch
):
    original, harmed = pools.RemoteProgram.read, []

    def read(self, rounds):
        if not harmed:
            harmed.append(pool.devices[0])
            os.kill(harmed[0].ask(pid).result(), signal.SIGKILL)
            time.sleep(0.5)
        return original(self, rounds)

    monkeypatch.setattr(pools.RemoteProgram, "read", read)
    found = train(pool, digits, 200)
    assert_equal(found, expected)
    assert harmed


OWN = """
import os
import flax.linen as nn
from their_units import units

class Mine(nn.Module):
    survivor: int = 0

    @nn.compact
    def __call__(self, x):
        if self.survivor not in (0, os.getpid()):
            os.kill(os.getpid(), 9)
        x = nn.relu(nn.Dense(units())(x.reshape(x.shape[0], -1)))
        return nn.Dense(10)(x)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A network of one's own, of files that the workers do not have."""
    (tmp_path / "my_file.py").write_text(OWN)
    (tmp_path / "their_units.py").write_text("def units():\n    return 16\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("my_file").Mine
    for name in ("my_file", "their_units"):
        del sys.modules[name]


@pytest.mark.full
def test_a_network_of_one_s_own_goes_to_the_workers(cluster, mine, tmp_path):
    asked = {"train_examples": 160, "model": mine, "epochs": 2, "seeds": 2}
    local = mnistopt.run(**asked, workdir=tmp_path / "local")
    away = mnistopt.run(**asked, workdir=tmp_path / "away", cluster=cluster.address)
    assert_same(away, local)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:.*continue on other devices")
def test_what_kills_each_of_its_workers_ends_the_run(pool, digits, mine):
    pool.load(digits)
    with pytest.raises(Lost, match="4 times in a row while they compiled"):
        pool.compile(Cohort(mine(os.getpid()), "adam", 32), Lanes(1, 1), 2)


@pytest.mark.full
def test_bytes_that_cross_the_network_are_counted(pool, digits):
    train(pool, digits, 7, settings=range(4))
    size = state_bytes(SMALL)
    data = sum(leaf.nbytes for leaf in jax.tree.leaves(digits))
    found = dict(pool.traffic)
    wanted = pool.crossing(data, 4, 4 * size)
    assert found["results"] == 7 * wanted["results"]
    assert (found["data"], found["states"]) == (wanted["data"], wanted["states"])
    assert found["data"] == 2 * data  # a node each
    # Twelve counts and five losses per epoch of a replica, and a state of each.
    assert found["results"] == 4 * 7 * (12 + 5) * 4
    assert found["states"] == 4 * size
    assert found["rounds"] < 4 * 200 and found.get("moved", 0) % size == 0


# --- What cannot work ends before anything is trained ---


def test_other_versions_are_told(cluster, tmp_path, monkeypatch):
    ours = {**pools.versions(), "jax": "0.1"}
    monkeypatch.setattr(pools, "versions", lambda: ours)
    with pytest.raises(InputError, match=r"has jax .* and here 0\.1: install the same"):
        RayPool("auto", None, tmp_path)
    # Nothing of it stays.
    wait_for(lambda: ray.available_resources().get("CPU") == 2)


def test_a_kind_of_device_that_is_not_there_is_told(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(joining, "_asked_platform", lambda: "cuda")
    with pytest.raises(
        InputError, match=r"no GPU \(JAX_PLATFORMS=cuda\): it has .*CPU"
    ):
        RayPool("auto", None, tmp_path)


def test_more_devices_than_there_are_are_told(cluster, tmp_path):
    with pytest.raises(InputError, match="devices=3, but of the cluster's 2 CPU 2 are"):
        RayPool("auto", 3, tmp_path)


def test_data_that_the_object_store_cannot_hold_are_told(pool):
    split = Split(np.zeros((250_000, 28, 28, 1), np.uint8), np.zeros(250_000, np.int32))
    with pytest.raises(
        InputError, match=r"data take 59\d MB, .* has 15\d MB: start Ray"
    ):
        pool.load(
            Dataset(
                "large", *[split] * 3, fingerprint="0", class_names=tuple("0123456789")
            )
        )


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1:1", ("cluster=127.0.0.1:1 cannot be reached", "ray start --head")),
        ("nowhere", ("cluster=nowhere is not allowed", "local, auto or HOST:PORT")),
        ("ray://there:1", ("cluster=ray://there:1 is not allowed",)),
    ],
)
def test_a_cluster_that_is_not_there_is_told(address, words, tmp_path):
    found = programs.run("grid", f"--cluster={address}", f"--workdir={tmp_path / 'w'}")
    programs.assert_refused(found, *words)
    assert not (tmp_path / "w").exists()


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No cluster that this process has joined, and no folder of Ray's."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: [])
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(("address", "words"), [
    ("127.0.0.1:1", "cannot be reached .*refused"),
    ("127.0.0.1:99999", "cannot be reached"),
    ("ray://there:10001", "is not allowed: expected local, auto or HOST:PORT"),
    ("local", "is not allowed"),
])  # fmt: skip
def test_what_auto_stands_for_is_asked_first(alone, monkeypatch, address, words):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match=rf"=auto \(RAY_ADDRESS={address}\) {words}"):
        join("auto")


def test_a_head_that_has_died_is_not_waited_for(alone, tmp_path):
    with pytest.raises(InputError, match="no Ray runs on this machine"):
        join("auto")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    with pytest.raises(InputError, match=r"by Ray's records 127.* cannot be reached"):
        join("auto")


@pytest.mark.parametrize("error", [
    ray.exceptions.AuthenticationError("InvalidAuthToken"),
    ray.exceptions.RpcError("timed out"),
], ids=["token", "another service"])  # fmt: skip
def test_a_head_that_lets_nobody_in_is_told_from_none(alone, monkeypatch, error):
    monkeypatch.setattr(ray._raylet, "GcsClient", mock.Mock(side_effect=error))
    words = "RAY_AUTH_TOKEN as on" if "Token" in str(error) else "reached .*timed out"
    refused = pytest.raises(InputError, match=f"^cluster=127.* {words}")
    with socket.create_server(("127.0.0.1", 0)) as server, refused:
        join(f"127.0.0.1:{server.getsockname()[1]}")


TOKENLESS = """
import socket
from mnistopt.engine.cluster.join import join
with socket.create_server(("127.0.0.1", 0)) as server:
    join(f"127.0.0.1:{server.getsockname()[1]}")
"""


def test_without_a_token_none_is_sent(tmp_path):
    """In a process of its own: Ray's client ends a process that has none."""
    env = {**os.environ, "RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}
    env = {name: value for name, value in env.items() if "AUTH_TOKEN" not in name}
    found = subprocess.run(
        [sys.executable, "-c", TOKENLESS], env=env, capture_output=True, text=True,
        timeout=LONGEST, check=False,
    )  # fmt: skip
    assert found.returncode == 1, "it was killed"
    assert "asks for a token, and that of this process is missing" in found.stderr


LONG_FOLDERS = """
import os, tempfile
from mnistopt.engine.cluster.join import join
for name, letters in (("TMPDIR", 60), ("TMPDIR", 107), ("RAY_TMPDIR", 200)):
    os.environ[name] = (tempfile.gettempdir() + "/").ljust(letters, "t")
    try:
        join("local")
    except ValueError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Ray takes TMPDIR on Linux")
def test_a_folder_too_long_for_sockets_is_told(monkeypatch):
    """In a process of its own: in this one Ray may be running."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    told = subprocess.check_output(
        [sys.executable, "-c", LONG_FOLDERS], text=True, timeout=LONGEST
    )
    words = "^cluster=local .* (.*)t, from TMPDIR or RAY_TMPDIR, is too long .*TMPDIR=/"
    folders = re.findall(words, told, re.M)
    assert [len(folder) + 1 for folder in folders] == [60, 107, 200], told


def test_without_ray_one_is_told_how_to_get_it(tmp_path, monkeypatch):
    for name in [
        one for one in sys.modules if one.startswith("mnistopt.engine.cluster")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'mnistopt\[ray\]'"):
        mnistopt.run(**GRID, workdir=tmp_path, cluster="local")


# --- A cluster of this machine, for one run ---

ALONE = ("--model=mlp", "--hidden=16", "--epochs=60", "--seeds=2", "--lr=1e-3,1e-2")


def start_grid(workdir):
    command = [sys.executable, "-m", "experiments.grid", "--cluster=local"]
    command += [*ALONE, f"--workdir={workdir}"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT)


def alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


# Of what XLA shapes by the threads that there are.
WIDE = {"model": "cnn", "channels": (8, 16), "norm": "batch", "elastic": 0.5}
WIDE |= {"train_examples": 320, "average": 0.3, "epochs": 3, "seeds": 2}


@pytest.mark.full
def test_any_network_is_that_of_a_machine_of_one_core(cluster, tmp_path):
    code = f"import mnistopt; mnistopt.run(**{WIDE}, workdir={str(tmp_path / 'one')!r})"
    env = {**os.environ, "NPROC": "1"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=LONGEST)
    away = mnistopt.run(**WIDE, workdir=tmp_path / "away", cluster=cluster.address)
    assert_same(away, mnistopt.Study(tmp_path / "one"))
    (about,) = away.config.machines.values()
    assert about["cores"] == 1


@pytest.mark.full
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_driver_that_ends_leaves_nobody_behind_and_goes_on(number, code, tmp_path):
    """Nothing of it listens where others could reach it, either."""
    whole = mnistopt.run(
        model="mlp",
        hidden=(16,),
        epochs=60,
        seeds=2,
        lr=[1e-3, 1e-2],
        workdir=tmp_path / "whole",
    )
    process = start_grid(tmp_path / "w")
    told = b""
    while b"epoch" not in told.rpartition(b"compiling")[2]:
        told += process.stdout.read1()
    others = psutil.Process(process.pid).children(recursive=True)
    assert sum("ray::Worker" in " ".join(one.cmdline()) for one in others) >= 2
    for one in [psutil.Process(process.pid), *others]:
        for at in one.net_connections(kind="tcp"):
            if at.status == psutil.CONN_LISTEN:
                assert at.laddr.ip.removeprefix("::ffff:") in ("127.0.0.1", "::1"), one
    os.kill(process.pid, number)
    told += process.communicate(timeout=LONGEST)[0]
    assert process.returncode == code, told.decode()
    wait_for(lambda: not any(map(alive, others)))
    again = start_grid(tmp_path / "w")
    assert again.communicate(timeout=LONGEST) and again.returncode == 0
    assert_same(mnistopt.Study(tmp_path / "w"), whole)
