"""Small real data, one finished run of each script for all tests that look at one, a way to call a script as the shell does."""

import contextlib
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

from common import backend  # isort: skip

backend.import_keras()  # quietly, before others do: the last line that is printed is pytest's

import keras
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits
from support import SCRIPTS, small_backbone

import train_ab_split
from common import cli
from common.models import backbones
from common.training import checkpoints

# As in the background of a shell, or under nohup: the tests send them.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


@pytest.fixture
def image_folder(tmp_path):
    """`make(counts, root=..., parts=...)`: a folder with some of scikit-learn's digits as PNG, `counts` by class name."""
    import cv2  # after `common`, which sets the bound on an image's pixels

    digits = load_digits()

    def make(counts, root="pictures", parts=("train", "test")):
        for part in parts:
            for number, (name, count) in enumerate(counts.items()):
                folder = tmp_path / root / part / name
                folder.mkdir(parents=True, exist_ok=True)
                for index, image in enumerate(digits.images[digits.target == number % 10][:count]):
                    cv2.imwrite(str(folder / f"{index:03}.png"), cv2.resize(image * 15, (32, 32)))
        return tmp_path / root

    return make


@pytest.fixture
def empty_figures(monkeypatch):
    """Figures are files without content: a run of several models draws thirty, which takes seconds."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: path.touch())


@pytest.fixture
def signals():
    """Signals as `cli.run` handles them."""
    before = cli.catch_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def call(monkeypatch, capsys):
    """`call(main, *arguments)`: run a script as the shell does; returns its exit code, stdout and stderr."""

    def run(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
        monkeypatch.setattr(cli, "leave_at_once", sys.exit)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.run(main)
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def quick(monkeypatch, empty_figures):
    """A small backbone, eager TensorFlow, since tracing takes longer than these steps, few of them; a checkpoint each epoch."""
    with eagerly():
        make_quick(monkeypatch)
        yield


def make_quick(monkeypatch):
    monkeypatch.setattr(backbones, "build", small_backbone)
    monkeypatch.setattr(train_ab_split, "MIN_STEPS", 8)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))


@contextlib.contextmanager
def eagerly():
    """Inside, TensorFlow traces nothing; on other backends nothing is different."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(before)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """`finished(name)`: a script's finished run, `quick`, which no test changes: its script, flags, folder, cache."""
    made = {}

    def make(name):
        script, flags = SCRIPTS[name]
        workplace, before = tmp_path_factory.mktemp(name), Path.cwd()
        with pytest.MonkeyPatch.context() as patch, eagerly():
            make_quick(patch)
            patch.setattr(Figure, "savefig", lambda figure, path, **options: Image.new("RGB", (4, 4)).save(path, "png"))
            os.chdir(workplace)
            keras.utils.clear_session()  # layers are numbered anew, as in a process of its own
            script.main(list(flags))
            os.chdir(before)
        (folder,) = (workplace / "runs" / name).iterdir()
        return SimpleNamespace(script=script, flags=flags, folder=folder, cache=workplace / "cache")

    def get(name):
        if name not in made:
            made[name] = make(name)
        return made[name]

    return get
