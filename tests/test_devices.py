"""Several devices and several processes: the numbers of one device, every image once, and one line where it can't be."""

import contextlib
import functools
import re
import signal
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support import make_args

from benchmarks.devices import differences, finish, kill_one, start
from benchmarks.kill_and_resume import numbers, resuming, run_folder
from common import backend, cli, devices, files, hosts
from common.data.batches import whole_batches
from common.data.dataset import Samples

SMALL_RUN = Path(__file__).with_name("small_run.py")
# 114 train and 13 val images.
FLAGS = ("--class-weight", "balanced", "--max-train-samples", "127", "--views", "2", "--epochs", "2", "--name", "x")
# On JAX three devices do not divide a batch, and dropout draws the same masks on any number of them.
BACKEND_FLAGS = {"jax": ("--batch-size", "23", "--dropout", "0.2"), "tensorflow": ("--batch-size", "24", "--dropout", "0")}


@pytest.fixture
def several(monkeypatch):
    """`several(backend, devices, processes, process)`: as if there were so many, and this were one of the processes."""

    def pretend(name, num_devices, processes=1, process=0):
        monkeypatch.setattr(backend, "name", lambda: name)
        monkeypatch.setattr(devices, "num_replicas", lambda: num_devices)
        monkeypatch.setattr(hosts, "num_processes", lambda: processes)
        monkeypatch.setattr(hosts, "process_index", lambda: process)

    return pretend


@pytest.mark.parametrize("batch_size, num_devices", [(7, 2), (5, 4), (1, 4), (8, 4)])
def test_every_image_of_a_batch_goes_to_one_device(several, batch_size, num_devices):
    several("jax", num_devices)
    rows = devices.rows(batch_size)
    sent = np.arange(batch_size) if rows is None else rows
    assert len(sent) % num_devices == 0 and len(sent) < batch_size + num_devices
    assert sent[:batch_size].tolist() == list(range(batch_size))  # what the step keeps


def test_processes_send_the_batch_in_their_order(several):
    sent = []
    for process in range(2):
        several("jax", num_devices=4, processes=2, process=process)
        sent.append(devices.rows(7))
    assert np.concatenate(sent)[:7].tolist() == list(range(7)) and [len(rows) for rows in sent] == [4, 4]


@pytest.mark.parametrize("processes", [1, 2])
def test_val_is_whole_over_devices_and_processes(several, processes):
    samples, seen, weights = Samples(np.arange(11), np.arange(11)), [], []
    for process in range(processes):
        several("jax", num_devices=4, processes=processes, process=process)
        (x, y, weight), batch_size, factor = whole_batches(samples, 5)
        assert batch_size * processes == 8 and factor == 16 / 11 and (x == y).all() and len(x) * processes == 16
        seen.append(x.reshape(-1, batch_size))
        weights.append(weight.reshape(-1, batch_size))
    seen, weights = np.concatenate(seen, axis=1).ravel(), np.concatenate(weights, axis=1).ravel()
    assert seen[weights == 1].tolist() == list(range(11)) and weights.sum() == 11


@pytest.mark.parametrize(
    "wanted, environment, backend_name, complaint",
    [
        (3, {}, None, "--devices 3: this machine has 1 (CPU"),
        (1, {"JAX_COORDINATOR_ADDRESS": "a:1"}, None, "--devices 1: this is one of several processes, says"),
        ("all", {"SLURM_STEP_NUM_TASKS": "2"}, "tensorflow", "--devices all: several processes work on JAX only, not on tens"),
        (2, {}, "torch", "--devices 2: Keras uses one device on torch"),
    ],
)
def test_what_can_not_be_had_is_refused(monkeypatch, tmp_path, wanted, environment, backend_name, complaint):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if backend_name:
        monkeypatch.setattr(backend, "name", lambda: backend_name)
    if backend_name == "torch":
        monkeypatch.setattr(backend, "devices", lambda: ["GPU", "GPU"])
    with pytest.raises(cli.InputError) as error:
        devices.start(make_args(tmp_path, devices=wanted, cache_dir=None))
    assert complaint in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "size, devices_there, way_out", [(23, 2, "22 or 24"), (1, 4, "4"), (250, 3, "249 or 252"), (24, 3, None)]
)
def test_a_batch_that_replicas_of_tensorflow_can_not_share_is_refused(monkeypatch, tmp_path, size, devices_there, way_out):
    monkeypatch.setattr(backend, "name", lambda: "tensorflow")
    monkeypatch.setattr(backend, "devices", lambda: ["GPU"] * devices_there)
    complaint = f"--batch-size {size}: {devices_there} devices share a batch evenly; give {way_out}, or --devices 1"
    with pytest.raises(cli.InputError, match=f"^{complaint}$") if way_out else contextlib.nullcontext():
        devices.start(make_args(tmp_path, devices="all", batch_size=size))


@pytest.mark.parametrize(
    "environment, reason", [({}, "Number of processes must be defined"), ({"JAX_NUM_PROCESSES": "x"}, "'x'")]
)
def test_processes_that_do_not_know_each_other_are_refused(monkeypatch, environment, reason):
    for name, value in {"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1", **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(cli.InputError, match="can't be connected") as error:
        hosts.join()
    assert reason in str(error.value) and "check JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID" in str(error.value)
    assert hosts.num_processes() == 1 and hosts.is_main()


@pytest.fixture(scope="session")
def begin(tmp_path_factory):
    """`begin(backend, devices=1, processes=1)`: the processes of a small run on so many devices, and their folder."""

    def begin(name, *flags, folder=None, **where):
        folder = folder or tmp_path_factory.mktemp(name)
        flags = flags or (*FLAGS, *BACKEND_FLAGS[name])
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_BACKEND", name)
            patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "compiled"))
            return start(SMALL_RUN, flags, folder, **where), folder

    return begin


@pytest.fixture(scope="session")
def finished(begin):
    """`finished(backend, devices=1, processes=1)`: the folder in which a small run did its work on so many, each once."""

    @functools.cache
    def finished(name, **where):
        processes, folder = begin(name, **where)
        finish(processes, folder)
        return folder

    return finished


def assert_same(folder, other):
    """Rounding is all that tells the runs apart; batch norm, whose statistics are young, makes it larger."""
    found = differences(numbers(run_folder(folder)), numbers(run_folder(other)))
    # An image is 1e-3 or more of an accuracy, also of a weighted one.
    assert found["accuracy"] < 1e-6 and found["loss"] < 5e-4 and found["weights"] < 5e-4, found
    key = lambda folder: sorted(path.name for path in (folder / "cache" / "features").glob("*.npy"))  # noqa: E731
    assert key(folder) == key(other) and len(key(folder)) == 3  # the cache serves any number of devices
    for name in key(folder):
        ours, theirs = (np.load(where / "cache" / "features" / name) for where in (folder, other))
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_several_devices_end_with_the_numbers_of_one(finished):
    folder = finished("tensorflow", devices=2)
    assert_same(finished("tensorflow"), folder)
    environment = files.read_json(run_folder(folder) / "environment.json")
    assert environment["devices"] == [f"CPU ({backend.num_cores()} cores)"] * 2 and environment["processes"] == 1
    told = (folder / "0.log").read_text()
    assert told.count(" per device)") == 2 and f"2 x CPU ({backend.num_cores()} cores), Keras on tensorflow" in told
    with zipfile.ZipFile(run_folder(folder) / "model.keras") as model:  # else it could not be loaded on JAX
        assert b'"synchronized": true' not in model.read("config.json")


def test_a_process_that_dies_ends_the_others_and_the_run_resumes_as_on_several_devices(begin, finished):
    processes, folder = begin("jax", processes=2)
    seconds, codes, lines = kill_one(processes, folder, victim=1)
    assert seconds < 60 and codes == [cli.EXIT_FAILED, -signal.SIGKILL], lines
    assert "another process has ended or can't be reached (" in lines[0] and "--resume runs/small/" in lines[0]
    environment = files.read_json(run_folder(folder) / "environment.json")
    assert environment["processes"] == 2 and len(environment["devices"]) == 2

    processes, folder = begin("jax", *resuming(folder), folder=folder, processes=2)
    finish(processes, folder)
    assert_same(finished("jax", devices=3), folder)  # which do not divide a batch
    assert len(list((folder / "runs" / "small").iterdir())) == 1
    assert "in 2 processes" in (folder / "0.log").read_text() and not _from_python((folder / "1.log").read_text())


def _from_python(log):
    """The lines of a log that are not TensorFlow's or JAX's own."""
    return [line for line in log.splitlines() if not re.match(r"\[Gloo\]|WARNING: All log messages|[IWE]\d{4} ", line)]
