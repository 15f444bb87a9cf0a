"""A run that is killed and resumed ends as one that never was: small models here, every script at the end."""

import argparse
import itertools
import json
import os
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers
from support import DATASET, EXPERIMENT, SAMPLES, make_args, make_run

from common import cli, files, flags
from common.data.dataset import Dataset, Samples
from common.models import weights
from common.training import checkpoints, fit, resume
from common.training.run import Run

EPOCHS = 5
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(45, 6)).astype("float32")
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


def kill_in(monkeypatch, place):
    """Have the process killed at a place: `(what, number)`, at the number-th time that it happens."""
    what, number = place
    count = 0

    def die():
        nonlocal count
        count += 1
        if count == number:
            raise KilledError

    if what == "batch":
        return [keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: die())]
    if what == "epoch end":
        return [keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: die())]
    if what == "training's end":
        return [keras.callbacks.LambdaCallback(on_train_end=lambda logs: die())]
    if what == "writing":

        def half(file, **arrays):
            savez(file, **arrays)
            file.truncate(file.tell() // 2)
            die()
            file.seek(0)
            savez(file, **arrays)

        savez = np.savez
        monkeypatch.setattr(np, "savez", half)
    if what == "renaming":

        def replace(source, target):
            if str(target).endswith(".npz"):
                die()
            return os_replace(source, target)

        os_replace = os.replace
        monkeypatch.setattr(os, "replace", replace)
    return []


@pytest.fixture(autouse=True)
def a_checkpoint_after_every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints, "SHARE", np.inf)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return numbers(*train(make_args(tmp_path_factory.mktemp("unbroken"))))


MOMENTS = [("batch", 1), ("batch", 7), ("epoch end", 1), ("epoch end", 4), ("training's end", 1), ("training's end", 2)]
MOMENTS += [("writing", 1), ("writing", 3), ("renaming", 1), ("renaming", 2), ("renaming", 7)]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
def test_killed_at_any_moment_it_ends_with_the_same_numbers(tmp_path, monkeypatch, capsys, unbroken, moment):
    folder, again = killed_after(tmp_path, monkeypatch, moment)
    whole = list((folder / "checkpoint").glob("*.npz"))
    assert numbers(*train(again)) == unbroken
    told = capsys.readouterr().out
    assert told.count("epochs done") + told.count("already done") == len(whole)
    assert told.count("no checkpoint, starting at epoch 1") == 2 - len(whole)


def test_what_a_killed_process_was_writing_is_removed(tmp_path, monkeypatch):
    folder, again = killed_after(tmp_path, monkeypatch, ("epoch end", 2))
    for place in (".", "checkpoint", "plots", "a/plots"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / ".123-model.keras").touch()
    (folder / "a" / ".123-saved_model" / ".4-inside").mkdir(parents=True)
    train(again)
    assert not list(folder.rglob(".*"))


@pytest.fixture
def sigterm(signals):
    return lambda: signal.raise_signal(signal.SIGTERM)


# What happens for the number-th time, and how many steps are in an execution.
STEPS = [("batch", 3, 1), ("batch", 4, 1), ("batch", 8, 1), ("batch", 22, 1), ("batch", 3, 2)]
STEPS += [("epoch end", 1, 1), ("epoch end", 4, 3), ("val", 2, 1), ("epoch begin", 3, 1), ("epoch begin", 9, 3)]


@pytest.mark.parametrize("moment", STEPS, ids=str)
def test_sigterm_ends_after_the_step_and_a_whole_epoch_is_gone_on_from(tmp_path, monkeypatch, unbroken, sigterm, moment):
    what, number, fused = moment
    monkeypatch.setattr(fit, "num_steps", lambda model, train: fused)
    count = itertools.count(1)
    hook = {
        "batch": "on_train_batch_end",
        "epoch begin": "on_epoch_begin",
        "epoch end": "on_epoch_end",
        "val": "on_test_begin",
    }[what]
    terminate = keras.callbacks.LambdaCallback()
    setattr(terminate, hook, lambda *_, **__: next(count) == number and sigterm())
    args = make_args(tmp_path)
    with pytest.raises(cli.Terminated):
        train(args, callbacks=[terminate])
    (folder,) = (tmp_path / "runs" / "experiment").iterdir()
    assert cli.run_folder == folder
    assert numbers(*train(argparse.Namespace(**vars(args) | {"resume": folder}))) == unbroken


# Where in its hooks Ctrl-C comes for the number-th time, and how many epochs are whole then.
PRESSES = [("on_train_batch_end", 5, 1), ("on_epoch_begin", 3, 2), ("on_test_batch_begin", 5, 1), ("on_test_batch_end", 9, 3)]
PRESSES += [("on_epoch_end", 2, 2), ("on_train_end", 1, EPOCHS)]


@pytest.mark.parametrize("press", PRESSES, ids=str)
def test_ctrl_c_ends_training_after_whole_epochs_and_resumes_as_if_unbroken(tmp_path, monkeypatch, unbroken, signals, press):
    hook, number, epochs = press
    monkeypatch.setattr(fit, "num_steps", lambda model, train: 1)
    count, ctrl_c, args = itertools.count(1), keras.callbacks.LambdaCallback(), make_args(tmp_path)
    setattr(ctrl_c, hook, lambda *_, **__: next(count) == number and signal.raise_signal(signal.SIGINT))
    run, model = train(args, callbacks=[ctrl_c])
    rows = [row for row in unbroken[0] if row["phase"] == "first"][:epochs]
    assert numbers(run, model)[0] == rows and not (run.folder / "checkpoint" / "finished.json").exists()
    assert model.evaluate(X, Y, verbose=0)[1] == pytest.approx(max(row["val_accuracy"] for row in rows))
    assert numbers(*train(argparse.Namespace(**vars(args) | {"resume": run.folder}))) == unbroken


class KilledWaiting(keras.callbacks.Callback):
    """Val losses as they are written down; the process is killed after epoch 3, after epoch 4 and at the end."""

    losses = (1.0, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6)
    is_trained = False

    def on_epoch_begin(self, epoch, logs=None):
        if self.is_trained and epoch in (3, 4):  # counted from 0
            raise KilledError

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = self.losses[epoch]
        self.is_trained = True

    def on_train_end(self, logs=None):
        if self.is_trained:
            raise KilledError


def train_waiting(args):
    """What a process adds to a run whose callbacks wait, cool down and stop; gives the rows of history.csv."""
    with Run(EXPERIMENT, args, DATASET) as run:
        reduce = keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=2, cooldown=2)
        stop = keras.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True, verbose=1)
        samples, callbacks = Samples(X, Y), [KilledWaiting(), reduce, stop]
        run.fit("head", build_model(), run.batches(samples), samples, epochs=10, callbacks=callbacks)
    return files.read_csv(run.folder / "history.csv")


def test_killed_while_callbacks_wait_or_cool_down_they_decide_as_ever(tmp_path, capsys):
    # Epoch 2 is the best. Two epochs later the rate is halved; then two are not counted, and two more halve it after epoch 7.
    # By then five were no better than epoch 2: that is the end.
    args = make_args(tmp_path)
    for _ in range(3):
        with pytest.raises(KilledError):
            train_waiting(args)
        (folder,) = (tmp_path / "runs" / "experiment").iterdir()
        args = argparse.Namespace(**vars(args) | {"resume": folder})
    rows = train_waiting(args)
    assert [row["learning_rate"] for row in rows] == [0.03, 0.03, 0.03, 0.03, 0.015, 0.015, 0.015]
    told = capsys.readouterr().out
    assert "Epoch 7: early stopping" in told and "from the end of the best epoch: 2." in told


def test_sigterm_before_the_first_step_leaves_no_folder(tmp_path, sigterm):
    with pytest.raises(cli.Terminated):
        train(make_args(tmp_path), callbacks=[keras.callbacks.LambdaCallback(on_train_begin=lambda logs: sigterm())])
    assert not list((tmp_path / "runs" / "experiment").iterdir()) and cli.run_folder is None


def killed_after(tmp_path, monkeypatch, moment, **changes):
    """A run that was killed: its folder, and the arguments that resume it."""
    args = make_args(tmp_path, **changes)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        train(args, callbacks=kill_in(patch, moment))
    (folder,) = (tmp_path / "runs" / "experiment").iterdir()
    return folder, argparse.Namespace(**vars(args) | {"resume": folder})


EMPTY_ZIP = b"PK\5\6" + bytes(18)


@pytest.mark.parametrize("content", [b"", b"no zip", EMPTY_ZIP, None], ids=["empty", "foreign", "no arrays", "half"])
def test_without_a_whole_checkpoint_the_phase_begins_again(tmp_path, monkeypatch, capsys, unbroken, content):
    folder, again = killed_after(tmp_path, monkeypatch, ("epoch end", 5))
    for path in (folder / "checkpoint").glob("first*.npz"):
        path.write_bytes(path.read_bytes()[:3000] if content is None else content)
    assert numbers(*train(again)) == unbroken
    assert "training this phase again from its first epoch" in capsys.readouterr().out


@pytest.mark.parametrize("name, array", [("model/1", None), ("model/1", np.zeros(9)), ("best/1/0", np.zeros(9))])
def test_arrays_of_another_model_do_not_fit(tmp_path, monkeypatch, name, array):
    folder, again = killed_after(tmp_path, monkeypatch, ("epoch end", 5))
    path = folder / "checkpoint" / "first.npz"
    arrays = files.read_arrays(path) | {name: np.zeros(9)}
    if array is None:
        arrays["model/999"] = arrays.pop(name)
    state = json.loads(str(arrays.pop("state"))) | {"arrays": len(arrays)}
    np.savez(path, state=json.dumps(state), **arrays)
    with pytest.raises(cli.InputError, match="does not fit the model"):
        train(again)


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
    run, _ = train(make_args(tmp_path), epochs=3, patience=20)
    (tmp_path / "whole").mkdir()
    # Only the last phase can be longer, as in a script: the first one is over and stays as it is.
    args = make_args(tmp_path, resume=run.folder)
    longer = numbers(*train_last_longer(args))
    assert longer == numbers(*train_last_longer(make_args(tmp_path / "whole")))


def train_last_longer(args):
    run = Run(EXPERIMENT, args, DATASET)
    with run:
        model = build_model()
        for phase, epochs in (("first", 3), ("second phase", 6)):
            fit_phase(run, model, phase, epochs, 20)
    return run, model


def test_a_run_of_other_things_is_refused(tmp_path, monkeypatch):
    folder, again = killed_after(tmp_path, monkeypatch, ("epoch end", 2))
    resume.check(again)
    other = Dataset("two", ("no", "yes"), SAMPLES, SAMPLES, Samples(SAMPLES.images + 1, SAMPLES.labels))
    with pytest.raises(cli.InputError, match=f"{folder}: the run was started with other data"):
        Run(EXPERIMENT, again, other)
    (tmp_path / "weights.h5").write_text("other")
    with pytest.raises(cli.InputError, match="started with other weights"):
        Run(EXPERIMENT, again, DATASET, weights.Weights(tmp_path / "weights.h5", False, ""))
    made_of = files.read_json(folder / "checkpoint" / "made_of.json")
    files.write_json(folder / "checkpoint" / "made_of.json", made_of | {"backend": "abacus"})
    with pytest.raises(cli.InputError, match="started with KERAS_BACKEND=abacus"):
        Run(EXPERIMENT, again, DATASET)


def test_a_run_of_another_version_of_the_script_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "ROOT", tmp_path)
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "shared.py").write_text("rate = 1")
    (tmp_path / "train_experiment.py").write_text("epochs = 1")
    folder, again = killed_after(tmp_path, monkeypatch, ("epoch end", 2))
    resume.check(again)
    for path in (tmp_path / "common" / "shared.py", tmp_path / "train_experiment.py"):
        text = path.read_text()
        path.write_text(text + "0")
        with pytest.raises(cli.InputError, match=r"train_experiment.py or common/ has changed since.* start a new one"):
            resume.check(again)
        path.write_text(text)
    for folder in ("results", "figures"):  # tables and figures change no number of a run
        (tmp_path / "common" / folder).mkdir()
        (tmp_path / "common" / folder / "readme.py").write_text("row = 1")
    resume.check(again)


def test_a_finished_run_says_so_whatever_has_changed_since(tmp_path, monkeypatch):
    run, _ = train(make_args(tmp_path), epochs=1)
    again = make_args(tmp_path, resume=run.folder)
    resume.check(again)  # it holds no results that could be told of
    for damaged in ("{", "{}", "[]", '{"test_accuracy": null, "epochs": 7}'):
        (run.folder / "results.json").write_text(damaged)
        resume.check(again)  # training ends it again
    files.write_json(run.folder / "results.json", {"test_accuracy": 0.5, "epochs": 7})
    monkeypatch.setattr(resume, "ROOT", tmp_path)
    with pytest.raises(cli.Finished, match="is finished: test accuracy 0.5000, 7 epochs"):
        resume.check(again)
    with pytest.raises(cli.InputError, match="has changed"):
        resume.check(argparse.Namespace(**vars(again) | {"seed": 1}))


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '"x"', "1"])
@pytest.mark.parametrize("name", ["checkpoint/made_of.json", "environment.json"])
def test_a_damaged_folder_is_refused_in_one_line(tmp_path, name, content):
    run = make_run(tmp_path)
    (run.folder / name).unlink()
    if content:
        (run.folder / name).write_text(content)
    if name == "environment.json" and content == "{}":
        resume.check(make_args(tmp_path, resume=run.folder))  # nothing in it is needed
        return
    with pytest.raises(cli.InputError, match=f"{Path(name).name} can't be read"):
        resume.check(make_args(tmp_path, resume=run.folder))


def test_a_damaged_result_of_a_phase_is_found_out_again(tmp_path, capsys):
    run = make_run(tmp_path)
    assert run.result("one phase") is None
    run.keep_result("one phase", {"x": 0.1})
    row = {"epoch": 1, "phase": "one phase", "seconds": 0.1}
    assert run.result("one phase", ["x"]) == {"x": 0.1}
    for content in (
        "{",
        {"result": {"x": 0.1}},
        {"rows": [row], "result": []},
        {"rows": [row], "result": {"y": 0.1}},
    ):
        (run.folder / "checkpoint" / "one_phase.json").write_text(content if content == "{" else json.dumps(content))
        assert run.result("one phase", ["x"]) is None and "is damaged" in capsys.readouterr().out
        assert len(run.history) == 0
    (run.folder / "checkpoint" / "one_phase.json").unlink()
    (run.folder / "checkpoint" / "one_phase.json").mkdir()  # what can't be read need not be damaged
    with pytest.raises(OSError, match="not a regular file"):
        run.result("one phase")


def test_a_full_disk_does_not_end_training(tmp_path, monkeypatch, capsys, unbroken):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert numbers(*train(make_args(tmp_path))) == unbroken
    assert "no checkpoint could be written" in capsys.readouterr().out


def test_a_folder_in_use_is_refused(tmp_path, monkeypatch):
    args = make_args(tmp_path)
    with Run(EXPERIMENT, args, DATASET) as run, pytest.raises(cli.InputError, match="another process is training"):
        Run(EXPERIMENT, argparse.Namespace(**vars(args) | {"resume": run.folder}), DATASET)


def test_a_folder_that_cant_be_written_to_is_refused(tmp_path, monkeypatch):
    folder, again = killed_after(tmp_path, monkeypatch, ("epoch end", 2))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "checkpoint")
    with pytest.raises(cli.InputError, match=f"{folder}: you may not write into it"):
        resume.check(again)


def test_another_working_directory_is_told_of(tmp_path, monkeypatch, capsys):
    folder, again = killed_after(tmp_path, monkeypatch, ("epoch end", 2))
    again.cache_dir = Path("cache")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    before = Path.cwd().parent
    made_of = files.read_json(folder / "checkpoint" / "made_of.json")
    files.write_json(folder / "checkpoint" / "made_of.json", made_of | {"started_in": str(before)})
    Run(EXPERIMENT, again, DATASET)
    assert f"Started in {before}: paths like cache are now relative to {before / 'elsewhere'}." in capsys.readouterr().out


def test_ctrl_c_before_the_weights_of_a_phase_are_back_leaves_its_epochs_out(tmp_path, monkeypatch):
    folder, again = killed_after(tmp_path, monkeypatch, ("epoch end", 4))
    run = Run(EXPERIMENT, again, DATASET)
    model = build_model()

    def interrupted(*args, **kwargs):
        assert len(run.history.rows("first")) == 3
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_phase(run, model, "first", EPOCHS, 3)
    assert not run.history.rows("first") and (folder / "checkpoint" / "first.npz").exists()


def test_ctrl_c_in_a_resumed_run_never_removes_its_folder(tmp_path, monkeypatch):
    folder, again = killed_after(tmp_path, monkeypatch, ("batch", 1))
    with pytest.raises(KeyboardInterrupt), Run(EXPERIMENT, again, DATASET):
        raise KeyboardInterrupt
    assert (folder / "args.json").exists()


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


@pytest.mark.parametrize(
    "flags, complaint",
    [
        (
            ["--lr", "0.2"],
            r"--lr: --resume uses the run's own arguments \(here 0.1\); allowed beside it: a larger --epochs",
        ),
        (["--epochs", "4"], r"--epochs: .*\(here 5\)"),
        (["--augment"], r"--augment: .*\(here False\)"),
        (["--name", "other"], r"--name: .*\(here None\)"),
    ],
)
def test_other_flags_beside_resume_are_refused(tmp_path, capsys, flags, complaint):
    files.write_json(tmp_path / "args.json", resume.stored_form(parse(tmp_path, "--no-augment")))
    with pytest.raises(SystemExit) as ended:
        parse(tmp_path, "--resume", str(tmp_path), *flags)
    assert ended.value.code == cli.EXIT_BAD_INPUT
    told = capsys.readouterr().err
    assert re.search(complaint, told) and told.count("\n") == 1


WRONG = [{"epochs": None}, {"epochs": [3]}, {"lr": 0.1}, {"amp": 1}, {"cache_dir": None}, {"interpolation": "x"}]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"epochs": 3}', "\udcff", *WRONG], ids=ascii)
def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path, capsys, content):
    if isinstance(content, dict):
        content = json.dumps(resume.stored_form(parse(tmp_path)) | content)
    if content:
        (tmp_path / "args.json").write_text(content, errors="surrogateescape")
    with pytest.raises(SystemExit) as ended:
        parse(tmp_path, "--resume", str(tmp_path), "--epochs", "9")
    told = capsys.readouterr().err
    assert ended.value.code == cli.EXIT_BAD_INPUT and told.count("\n") == 1 and "--resume" in told


def test_on_torch_dropout_depends_on_phase_seed_of_the_model_and_epoch_alone(tmp_path, monkeypatch):
    drawn, model, run, samples = [], build_model(), make_run(tmp_path), Samples(X, Y)
    torch = SimpleNamespace(backend=lambda: "torch")  # alone in checkpoints.py
    monkeypatch.setattr(checkpoints, "keras", SimpleNamespace(**vars(keras) | {"backend": torch}))
    monkeypatch.setattr(keras.utils, "set_random_seed", drawn.append)
    for phase, seed in itertools.product("ab", (0, 1)):
        run.fit(f"{phase} {seed}", model, run.batches(samples, seed=seed), samples, epochs=3)
    run.fit("a", model, run.batches(samples, seed=1), samples, epochs=3)
    assert len(set(drawn)) == 15
    make_run(tmp_path).fit("a", model, run.batches(samples, seed=1), samples, epochs=3, initial_epoch=1)
    assert drawn[15:] == drawn[13:15]
