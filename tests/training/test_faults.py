"""Every write of a run fails once: the message is one line, nothing is lost, `--resume` ends with the same bits."""

import argparse
import builtins
import errno
import hashlib
import io
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from support import EXPERIMENT, make_args

import train_ab_split
import train_efficientnetb7
import train_vgg19
from benchmarks.kill_and_resume import count_differences, numbers
from common import backend, files
from common.data.dataset import Dataset, Samples
from common.figures import curves, galleries, scores
from common.models import features
from common.results import report
from common.training import checkpoints, fit, history
from common.training.run import Run

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
EVERY = 1 if os.environ.get("ALL_FAULTS") else 7  # so many of the writes, each with one of these errors
FIGURES = [
    (curves, "learning_curves"), (curves, "learning_rate"), (scores, "confusion_matrix"), (galleries, "examples"),
    (scores, "reliability"), (scores, "feature_maps"),
]  # fmt: skip
RANDOM = np.random.default_rng(0)


def samples(count):
    return Samples(RANDOM.integers(0, 256, (count, 4, 4, 3), np.uint8), np.arange(count) % 3)


DATA = Dataset("three", ("red", "green", "blue"), samples(12), samples(6), samples(6))


def train(args, callbacks=()):
    """A whole run: cached features, two epochs, everything that is written at the end."""
    with Run(EXPERIMENT, args, DATA) as run:
        images = keras.Input((4, 4, 3))
        extractor = keras.Model(images, layers.Flatten()(layers.Rescaling(1 / 255)(images)))
        backend.set_seed(0, "head")
        head = keras.Sequential([keras.Input((48,)), layers.Dropout(0.5), layers.Dense(3, "softmax")])
        fed = features.Inputs(extractor, DATA, args.cache_dir)
        model, head = fed.join(head)
        for compiled in (head, model):
            loss = "sparse_categorical_crossentropy"
            compiled.compile("adam", loss=loss, weighted_metrics=["accuracy"], run_eagerly=True)
        run.fit("head", head, run.batches(fed.train), fed.val, epochs=2, callbacks=callbacks)
        return report.finish(run, model, DATA, ["head"], inputs=fed)


class Faults:
    """Counts what is done to the files under `root`, and lets the `number`-th of these fail: opening, writing, renaming ..."""

    def __init__(self, monkeypatch, root, number=None, error=0):
        self.root, self.number, self.error, self.done = root, number, error, []
        self.open = io.open
        for module in (io, builtins):
            monkeypatch.setattr(module, "open", self.open_file)
        for name in ("mkdir", "replace", "rename", "unlink"):
            monkeypatch.setattr(os, name, self.counted(name, getattr(os, name)))

    def count(self, what, path):
        """Whether this is the one that fails."""
        self.done.append((what, str(path)))
        return len(self.done) == self.number

    def failure(self, path):
        return OSError(self.error, os.strerror(self.error), str(path))

    def counted(self, what, function):
        def call(path, *args, **kwargs):
            if str(path).startswith(str(self.root)) and self.count(what, path):
                raise self.failure(path)
            return function(path, *args, **kwargs)

        return call

    def open_file(self, file, mode="r", *args, **kwargs):
        if not str(file).startswith(str(self.root)) or not set(mode) & set("wax+"):
            return self.open(file, mode, *args, **kwargs)
        if self.count("open", file):
            raise self.failure(file)
        opened = self.open(file, mode, *args, **kwargs)
        return FaultyFile(opened, self.failure(file)) if self.count("write", file) else opened


class FaultyFile:
    """A file with room for half of what is first written to it."""

    def __init__(self, file, failure):
        self.file, self.failure = file, failure

    def write(self, content):
        self.file.write(content[: len(content) // 2])
        raise self.failure

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()


def make_fast(monkeypatch):
    """Figures are written, but not drawn; steps are single; each epoch has a checkpoint, and its row in history.csv."""

    def write(*args, **options):
        (path,) = (arg for arg in args if isinstance(arg, Path))
        with files.atomic_write(path) as part:
            part.write_bytes(b"a figure")

    for module, name in FIGURES:
        monkeypatch.setattr(module, name, write)
    monkeypatch.setattr(fit, "num_steps", lambda model, train: 1)
    monkeypatch.setattr(checkpoints, "SHARE", np.inf)
    monkeypatch.setattr(history, "FLUSH_SECONDS", 0)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    make_fast(monkeypatch)


def args_for(root):
    return make_args(root, batch_size=4, no_cache=False, augment=False, views=1)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What a run without faults does to its files, and its numbers."""
    root = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as monkeypatch:
        make_fast(monkeypatch)
        faults = Faults(monkeypatch, root)
        train(args_for(root))
    return len(faults.done), numbers(run_folder(root)), root


def run_folder(root):
    return next((root / "runs" / "experiment").iterdir(), None) if (root / "runs" / "experiment").exists() else None


def content(root):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


@pytest.mark.skipif(backend.name() != "tensorflow", reason="writing does not depend on the backend")
def test_every_write_may_fail(tmp_path, unbroken, call):
    count, expected, finished = unbroken
    before, lost, codes = content(finished), [], set()
    assert count > 60
    for number in range(1, count + 1, EVERY):
        root, error = tmp_path / str(number), ERRORS[number // EVERY % len(ERRORS)]
        root.mkdir()
        with pytest.MonkeyPatch.context() as monkeypatch:
            faults = Faults(monkeypatch, root, number, error)
            code, out, err = call(lambda root=root: train(args_for(root)))
        what = faults.done[number - 1]
        assert err.count("\n") == (code != 0) and "Traceback" not in out + err, (what, err)
        assert code in (0, 1, 2) and (code == 0 or os.strerror(error) in err or what[1].split("-")[-1] in err), (what, err)
        codes.add(code)
        made = run_folder(root)
        assert not list(root.rglob(".[0-9]*-*")), what
        resumed = args_for(root) if made is None else argparse.Namespace(**vars(args_for(root)) | {"resume": made})
        assert made is None or code == 0 or "--resume" in err, (what, err)
        if code:
            assert call(lambda args=resumed: train(args))[0] == 0, what
        assert (run_folder(root) / "report.html").is_file(), what
        differing, total = count_differences(expected, numbers(run_folder(root)))
        lost += [what] * bool(differing or total < 100)
    assert lost == [] and codes == {0, 1, 2}
    assert content(finished) == before


LARGE = [(train_ab_split, [f"{name}/model.keras" for name in train_ab_split.MODELS])]
LARGE += [(train_efficientnetb7, ["model.keras", "cifar10.h5"])]


@pytest.mark.parametrize("script, names", LARGE, ids=lambda value: getattr(value, "__name__", ""))
def test_a_disk_that_is_full_at_a_model_costs_no_score(tmp_path, monkeypatch, call, quick, script, names):
    """It is full once at each: the next `--resume` comes to the next one, and the last one to the end."""
    save, begun = keras.Model.save, []

    def fill_the_disk(model, path):
        if (whole := path.with_name(path.name.split("-", 1)[1])) in begun:
            return save(model, path)
        begun.append(whole)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(keras.Model, "save", fill_the_disk)
    folders = ("--output-dir", tmp_path / "runs", "--cache-dir", tmp_path / "cache")
    of_script = ("--image-size", "8") if script is train_ab_split else ("--weights", "none", "--image-size", "32")
    flags = ("--data", "digits", *of_script, "--dry-run")
    for name in names:
        code, out, err = call(script.main, *flags, *folders)
        (run,) = (tmp_path / "runs").glob("*/*")
        assert code == 1 and err.count("\n") == 1 and f"--resume {run}" in err, err
        results = files.read_json((run / name).with_name("results.json"))
        assert f"test accuracy {results['test_accuracy']:.4f}" in out and begun[-1] == run / name
        flags = ("--resume", run)
    assert call(script.main, *flags, *folders)[0] == 0 and all(path.is_file() for path in begun)


def test_a_cache_that_vanishes_in_the_middle_of_a_run_costs_nothing(tmp_path, unbroken, call):
    remove = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: shutil.rmtree(tmp_path / "cache"))
    code, _, err = call(lambda: train(args_for(tmp_path), [remove]))
    assert (code, err) == (0, "")
    assert count_differences(unbroken[1], numbers(run_folder(tmp_path)))[0] == 0


def test_a_cache_that_vanishes_while_it_is_filled_is_one_line(tmp_path, monkeypatch, call):
    def vanishing(outputs, *_):
        shutil.rmtree(tmp_path / "cache")
        yield from outputs

    monkeypatch.setattr(features, "_with_progress", vanishing)
    code, _, err = call(lambda: train(args_for(tmp_path)))
    assert code == 2 and err.count("\n") == 1 and "another cache folder" in err and run_folder(tmp_path) is None


def allocate():
    """The backend's own error: no machine has so much."""
    keras.ops.zeros((2**45,)) + 1


def test_memory_that_runs_out_is_one_line(call):
    train_vgg19.parse_args([])
    code, _, err = call(allocate)
    assert code == 1 and err.count("\n") == 1 and "out of memory" in err and "--batch-size or --image-size" in err
