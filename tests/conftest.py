"""Small real data for the tests, and a way to call a script as the shell does."""

import signal
import sys

import pytest
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

from common import cli

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell: the tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
