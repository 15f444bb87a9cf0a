"""A run that is killed and resumed ends as one that never was: small models here, every script at the end."""

import argparse
import contextlib
import itertools
import os
import signal
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers
from support import DATASET, EXPERIMENT, SAMPLES, make_args, make_run

from common import cli, files, flags
from common.data.dataset import Dataset, Samples
from common.models import weights
from common.training import checkpoints, fit, folder, resume
from common.training.run import Run

EPOCHS = 3
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(32, 6)).astype("float32")
Y = (X[:, 0] + X[:, 1] ** 2 > 0.8).astype("int64")


class KilledError(BaseException):
    """What stands for SIGKILL within one process: nothing in the code catches it, though what is `finally` done is done."""


def build_model():
    """Everything that has a state: dropout, batch norm, momentum, a frozen layer."""
    keras.utils.set_random_seed(3)
    frozen = keras.Sequential([keras.Input((6,)), layers.Dense(500)], name="frozen")
    frozen.trainable = False
    model = keras.Sequential(
        [frozen, layers.Dense(8, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Eagerly: tracing would take longer than all the steps.
    model.compile(keras.optimizers.Adam(0.03), loss=loss, weighted_metrics=["accuracy"], run_eagerly=True)
    return model


def fit_phase(run, model, phase, epochs, patience, callbacks=()):
    reduce = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, cooldown=1)
    keep_best = keras.callbacks.EarlyStopping("val_accuracy", patience=patience, restore_best_weights=True)
    samples = Samples(X, Y)
    run.fit(phase, model, run.batches(samples), samples, epochs=epochs, callbacks=[*callbacks, reduce, keep_best])


def train(args, epochs=EPOCHS, patience=3, callbacks=()):
    """A run of two phases on one model, the second from where the first ended; gives the run and the model."""
    run = Run(EXPERIMENT, args, DATASET)
    with run:
        model = build_model()
        for phase in ("first", "second phase"):
            fit_phase(run, model, phase, epochs, patience, callbacks)
            if run.status == "interrupted":
                break
    return run, model


def numbers(run, model):
    """All that must be equal: history but for its seconds, and weights."""
    rows = [
        {name: value for name, value in row.items() if name != "seconds"} for row in files.read_csv(run.folder / "history.csv")
    ]
    return rows, [weight.tolist() for weight in model.get_weights()]


def resuming(args):
    """The arguments that resume the only run of these."""
    (run,) = (args.output_dir / "experiment").iterdir()
    return argparse.Namespace(**vars(args) | {"resume": run})


def stop_at(monkeypatch, place, number, stop):
    """Call `stop` at the number-th time that a hook of a callback is called, or a checkpoint is half written or renamed."""
    count = itertools.count(1)

    def meet(*_, **__):
        if next(count) == number:
            stop()

    def half(file, **arrays):
        savez(file, **arrays)
        file.truncate(file.tell() // 2)
        meet()
        file.seek(0)
        savez(file, **arrays)

    def replace(source, target):
        if str(target).endswith(".npz"):
            meet()
        return os_replace(source, target)

    callback, savez, os_replace = keras.callbacks.LambdaCallback(), np.savez, os.replace
    if place == "writing":
        monkeypatch.setattr(np, "savez", half)
    elif place == "renaming":
        monkeypatch.setattr(os, "replace", replace)
    else:
        setattr(callback, f"on_{place}", meet)
    return [callback]


def kill():
    raise KilledError


@pytest.fixture(autouse=True)
def a_checkpoint_after_every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints, "SHARE", np.inf)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return numbers(*train(make_args(tmp_path_factory.mktemp("unbroken"))))


# What stops it, where, for the number-th time there, how many steps are in an execution, and whole epochs after Ctrl-C.
STOPS = [
    ("KILL", "train_batch_end", 1, 1, None), ("KILL", "train_batch_end", 5, 1, None), ("KILL", "epoch_end", 4, 1, None),
    ("KILL", "train_end", 1, 1, None), ("KILL", "writing", 3, 1, None), ("KILL", "renaming", 2, 1, None),
    ("TERM", "train_batch_end", 3, 1, None), ("TERM", "train_batch_end", 2, 2, None), ("TERM", "epoch_end", 3, 2, None),
    ("TERM", "test_begin", 2, 1, None), ("TERM", "epoch_begin", 3, 1, None),
    ("INT", "train_batch_end", 3, 1, 1), ("INT", "epoch_begin", 3, 1, 2), ("INT", "test_batch_begin", 3, 1, 1),
    ("INT", "test_batch_end", 4, 1, 2), ("INT", "epoch_end", 2, 2, 2), ("INT", "train_end", 1, 1, EPOCHS),
]  # fmt: skip
RAISED = {"KILL": pytest.raises(KilledError), "TERM": pytest.raises(cli.Terminated), "INT": contextlib.nullcontext()}


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: " ".join(map(str, stop[:3])))
def test_stopped_anywhere_it_ends_with_the_same_numbers(tmp_path, monkeypatch, capsys, unbroken, signals, stop):
    how, place, number, fused, epochs = stop
    monkeypatch.setattr(fit, "num_steps", lambda model, train: fused)
    args, function = make_args(tmp_path), kill if how == "KILL" else lambda: signal.raise_signal(getattr(signal, f"SIG{how}"))
    with monkeypatch.context() as patch, RAISED[how]:
        run, model = train(args, callbacks=stop_at(patch, place, number, function))
    again = resuming(args)
    whole = list((again.resume / "checkpoint").glob("*.npz"))
    assert how != "TERM" or cli.run_folder == again.resume
    if how == "INT":
        rows = [row for row in unbroken[0] if row["phase"] == "first"][:epochs]
        assert numbers(run, model)[0] == rows and not (run.folder / "checkpoint" / "finished.json").exists()
        assert model.evaluate(X, Y, verbose=0)[1] == pytest.approx(max(row["val_accuracy"] for row in rows))
    capsys.readouterr()
    assert numbers(*train(again)) == unbroken
    told = capsys.readouterr().out
    assert told.count("epochs done") + told.count("already done") == len(whole)
    assert told.count("no checkpoint, starting at epoch 1") == 2 - len(whole)


def test_what_a_killed_process_was_writing_is_removed(tmp_path, monkeypatch):
    run, again = killed_after(tmp_path, monkeypatch, 2)
    (run / "checkpoint" / ".123-model.keras").touch()
    (run / "a" / ".123-saved_model" / ".4-inside").mkdir(parents=True)
    train(again)
    assert not list(run.rglob(".*"))


def test_sigterm_before_the_first_step_leaves_no_folder(tmp_path, monkeypatch, signals):
    terminate = stop_at(monkeypatch, "train_begin", 1, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(cli.Terminated):
        train(make_args(tmp_path), callbacks=terminate)
    assert not list((tmp_path / "runs" / "experiment").iterdir()) and cli.run_folder is None


def killed_after(tmp_path, monkeypatch, epochs):
    """A run that was killed: its folder, and the arguments that resume it."""
    args = make_args(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        train(args, callbacks=stop_at(patch, "epoch_end", epochs, kill))
    return (again := resuming(args)).resume, again


def test_without_a_whole_checkpoint_the_phase_begins_again(tmp_path, monkeypatch, capsys, unbroken):
    run, again = killed_after(tmp_path, monkeypatch, 4)
    for path in (run / "checkpoint").glob("first*.npz"):
        path.write_bytes(path.read_bytes()[:3000])
    assert numbers(*train(again)) == unbroken
    assert "training this phase again from its first epoch" in capsys.readouterr().out


def test_a_frozen_layer_is_not_written(tmp_path):
    run, model = train(make_args(tmp_path), epochs=1)
    with np.load(run.folder / "checkpoint" / "first.npz") as stored:
        shapes = [stored[name].shape for name in stored.files]
    assert (500, 8) in shapes and (6, 500) not in shapes


def test_a_checkpoint_is_left_out_where_it_would_cost_too_much(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoints, "SHARE", 0.005)
    monkeypatch.setattr(checkpoints.Checkpoint, "_write", lambda self, epochs: written.append(epochs) or time.sleep(0.2))
    train(make_args(tmp_path), epochs=6, patience=6)
    assert written == [1, 6, 1, 6], "the first, and the last: after 0.2 s of writing none for 40 s"


def test_resuming_with_more_epochs_is_having_asked_for_them(tmp_path):
    run, _ = train(make_args(tmp_path), epochs=2, patience=20)
    (tmp_path / "whole").mkdir()
    # Only the last phase can be longer, as in a script: the first one is over and stays as it is.
    args = make_args(tmp_path, resume=run.folder)
    longer = numbers(*train_last_longer(args))
    assert longer == numbers(*train_last_longer(make_args(tmp_path / "whole")))


def train_last_longer(args):
    run = Run(EXPERIMENT, args, DATASET)
    with run:
        model = build_model()
        for phase, epochs in (("first", 2), ("second phase", 3)):
            fit_phase(run, model, phase, epochs, 20)
    return run, model


def test_a_run_of_other_things_is_refused(tmp_path, monkeypatch):
    run, again = killed_after(tmp_path, monkeypatch, 2)
    folder.check_resumed(again)
    other = Dataset("two", ("no", "yes"), SAMPLES, SAMPLES, Samples(SAMPLES.images + 1, SAMPLES.labels))
    with pytest.raises(cli.InputError, match=f"{run}: the run was started with other data"):
        Run(EXPERIMENT, again, other)
    (tmp_path / "weights.h5").write_text("other")
    with pytest.raises(cli.InputError, match="started with other weights"):
        Run(EXPERIMENT, again, DATASET, weights.Weights(tmp_path / "weights.h5", False, ""))
    made_of = files.read_json(run / "checkpoint" / "made_of.json")
    files.write_json(run / "checkpoint" / "made_of.json", made_of | {"backend": "abacus"})
    with pytest.raises(cli.InputError, match="started with KERAS_BACKEND=abacus"):
        Run(EXPERIMENT, again, DATASET)


def test_a_run_of_another_version_of_the_script_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "ROOT", tmp_path)
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "shared.py").write_text("rate = 1")
    (tmp_path / "train_experiment.py").write_text("epochs = 1")
    run, again = killed_after(tmp_path, monkeypatch, 2)
    folder.check_resumed(again)
    for path in (tmp_path / "common" / "shared.py", tmp_path / "train_experiment.py"):
        text = path.read_text()
        path.write_text(text + "0")
        with pytest.raises(cli.InputError, match=r"train_experiment.py or common/ has changed since.* start a new one"):
            folder.check_resumed(again)
        path.write_text(text)
    for room in ("results", "figures"):  # tables and figures change no number of a run
        (tmp_path / "common" / room).mkdir()
        (tmp_path / "common" / room / "readme.py").write_text("row = 1")
    folder.check_resumed(again)


def test_a_finished_run_says_so_whatever_has_changed_since(tmp_path, monkeypatch):
    run, _ = train(make_args(tmp_path), epochs=1)
    again = make_args(tmp_path, resume=run.folder)
    folder.check_resumed(again)  # it holds no results that could be told of
    (run.folder / "results.json").write_text("{")
    folder.check_resumed(again)  # training ends it again
    files.write_json(run.folder / "results.json", {"test_accuracy": 0.5, "epochs": 7})
    monkeypatch.setattr(folder, "ROOT", tmp_path)
    with pytest.raises(cli.Finished, match="is finished: test accuracy 0.5000, 7 epochs"):
        folder.check_resumed(again)
    with pytest.raises(cli.InputError, match="has changed"):
        folder.check_resumed(argparse.Namespace(**vars(again) | {"seed": 1}))


def test_a_folder_in_use_is_refused(tmp_path, monkeypatch):
    args = make_args(tmp_path)
    with Run(EXPERIMENT, args, DATASET), pytest.raises(cli.InputError, match="another process is training"):
        Run(EXPERIMENT, resuming(args), DATASET)


def test_ctrl_c_before_the_weights_of_a_phase_are_back_leaves_its_epochs_out(tmp_path, monkeypatch):
    path, again = killed_after(tmp_path, monkeypatch, 3)
    run = Run(EXPERIMENT, again, DATASET)
    model = build_model()

    def interrupted(*args, **kwargs):
        assert len(run.history.rows("first")) == 2
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_phase(run, model, "first", EPOCHS, 3)
    assert not run.history.rows("first") and (path / "checkpoint" / "first.npz").exists()


def parse(folder, *argv):
    """As a script's parse_args: flags of every kind."""
    parser = flags.build_parser("")
    flags.add_data_arguments(parser, image_size=32)
    training = flags.add_training_arguments(parser, epochs=5, batch_size=8, learning_rate=[0.1], dropout=[0.5])
    flags.add_base_arguments(parser, augment=True)
    flags.add_run_arguments(parser)
    training.add_argument("--b-samples", nargs="+", type=flags.positive_int_or_all, default=["all"])
    return resume.parse_args(parser, [*argv], "experiment", may_grow=["epochs"])


def test_resume_brings_back_the_arguments_as_they_were_given(tmp_path):
    flags = ("--lr", ".1", ".30000000000000004", "--no-augment", "--b-samples", "20", "all", "--cache-dir", "c/d", "--amp")
    args = parse(tmp_path, *flags, "--name", "1e3", "--seed", "7")
    files.write_json(tmp_path / "args.json", resume.stored_form(args))
    again = parse(tmp_path, "--resume", str(tmp_path))
    assert vars(again) == vars(args) | {"resume": tmp_path}
    assert type(again.cache_dir) is type(args.cache_dir) and again.b_samples == [20, "all"]
    assert parse(tmp_path, "--resume", str(tmp_path), "--epochs", "9", "--seed", "7").epochs == 9


def test_on_torch_dropout_depends_on_phase_seed_of_the_model_and_epoch_alone(tmp_path, monkeypatch):
    drawn, model, run, samples = [], build_model(), make_run(tmp_path), Samples(X, Y)
    torch = SimpleNamespace(backend=lambda: "torch")  # alone in checkpoints.py
    monkeypatch.setattr(checkpoints, "keras", SimpleNamespace(**vars(keras) | {"backend": torch}))
    monkeypatch.setattr(keras.utils, "set_random_seed", drawn.append)
    for phase, run.args.seed in itertools.product("ab", (0, 1)):
        run.fit(f"{phase} {run.args.seed}", model, run.batches(samples), samples, epochs=2)
    run.fit("a", model, run.batches(samples), samples, epochs=2)
    assert len(set(drawn)) == 10
    make_run(tmp_path).fit("a", model, run.batches(samples), samples, epochs=2, initial_epoch=1)
    assert drawn[10:] == drawn[9:10]
