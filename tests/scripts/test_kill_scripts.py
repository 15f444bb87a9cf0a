"""Every script, killed and resumed, against its unbroken twin: once by a real SIGKILL, and between any two of its stages."""

import signal
import time
from pathlib import Path

import keras
import pytest
from support import small_backbone

import train_ab_split
import train_efficientnetb7
import train_resnet152v2
import train_vgg19
import train_vgg19_finetune
from benchmarks import kill_and_resume
from common.figures import confusion
from common.models import backbones
from common.training import checkpoints

SMALL = ("--data", "digits", "--max-train-samples", "120", "--batch-size", "32", "--name", "x")
BASE = (*SMALL, "--weights", "none", "--image-size", "32")
REGULARIZED = ("--weight-decay", ".1", "--smoothing", ".1", "--crop-padding", "4")
SCHEDULED = ("--schedule", "cosine", "--warmup-epochs", "1", "--optimizer", "sgd", "--momentum", ".9")
SCRIPTS = {
    train_vgg19: (*BASE, "--epochs", "4", "--augment", "--views", "2"),
    train_vgg19_finetune: (*BASE, "--head-epochs", "2", "--finetune-epochs", "2", *REGULARIZED, "--cutout", "8"),
    train_resnet152v2: (*BASE, "--epochs", "4", "--no-augment", "--lr-patience", "1"),
    train_efficientnetb7: (*BASE, "--epochs", "2", "--lr", "1e-3", "2e-3", "--unfreeze-last", "1", *SCHEDULED),
    train_ab_split: (*SMALL, "--image-size", "8", "--epochs", "2", "--b-samples", "20", "all"),
}


class KilledError(BaseException):
    """What stands for SIGKILL within one process."""


@pytest.fixture
def quick(monkeypatch, empty_figures):
    """Eager TensorFlow, since tracing takes longer than all these steps, and fewer steps for A/B models."""
    monkeypatch.setattr(train_ab_split, "MIN_STEPS", 8)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)
    else:
        yield


def run(script, *flags):
    keras.utils.clear_session()  # layers are numbered anew, as in a process of its own
    script.main(list(flags))


def run_folder():
    return kill_and_resume.run_folder(Path())


@pytest.mark.filterwarnings("ignore:Even though the `tf.config")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_killed_after_any_epoch_and_in_the_report(tmp_path, monkeypatch, capsys, quick, script):
    monkeypatch.setattr(backbones, "build", small_backbone)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))  # after every epoch, else the last one only
    for place in ("unbroken", "killed"):
        (tmp_path / place).mkdir()
    monkeypatch.chdir(tmp_path / "unbroken")
    run(script, *SCRIPTS[script])
    expected = kill_and_resume.numbers(run_folder())

    monkeypatch.chdir(tmp_path / "killed")
    calls = 0

    def deadly(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls in (2, 6, 12, 21):
                raise KilledError
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoint, "_write", deadly(checkpoints.Checkpoint._write))
        patch.setattr(confusion, "confusion_matrix", deadly(confusion.confusion_matrix))
        patch.setattr(train_ab_split, "extract", deadly(train_ab_split.extract))
        flags, kills = SCRIPTS[script], 0
        while True:
            try:
                run(script, *flags)
                break
            except KilledError:
                flags, kills = ("--resume", str(run_folder())), kills + 1
    told = capsys.readouterr().out
    assert kills >= 2 and told.count("Resuming ") == kills and "resuming at epoch 2" in told and "already done" in told
    differing, total = kill_and_resume.count_differences(expected, kill_and_resume.numbers(run_folder()))
    assert differing == 0 and total > 1000


def test_a_real_sigkill(tmp_path):
    flags = (*SMALL, "--image-size", "8", "--dry-run")
    kill_and_resume.finish(kill_and_resume.start("ab_split", flags, tmp_path / "unbroken"))
    folder = tmp_path / "killed"
    process = kill_and_resume.start("ab_split", flags, folder)
    while process.poll() is None and len(list(folder.glob("runs/*/*/checkpoint/*.npz"))) < 3:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    output = kill_and_resume.finish(kill_and_resume.start("ab_split", kill_and_resume.resuming(folder), folder))
    assert "a: already done, 1 epochs" in output and "no checkpoint, starting at epoch 1" in output
    ours, theirs = (kill_and_resume.numbers(kill_and_resume.run_folder(tmp_path / name)) for name in ("unbroken", "killed"))
    differing, total = kill_and_resume.count_differences(ours, theirs)
    assert differing == 0 and total > 10_000


def test_a_difference_is_counted():
    assert kill_and_resume.count_differences({"a": 1.0, "b": [1, 2, 3]}, {"a": 1.0, "b": [1, 2, 4]}) == (1, 4)
    assert kill_and_resume.count_differences({"a": 1.0}, {"a": 1.0, "b": "x"}) == (1, 2)
    assert kill_and_resume.count_differences({"a": [1, 2]}, {"a": [1]}) == (2, 2)
