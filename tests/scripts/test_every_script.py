"""Every script on a small backbone, few digits: what its run leaves, and that killed and resumed it leaves the same."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from support import BASE, SCRIPTS, check_evaluation

import train_ab_split
import train_vgg19
from benchmarks import kill_and_resume
from common import files
from common.data import rows
from common.figures import scores
from common.results import finished_runs
from common.training import checkpoints
from common.training.run import load_data

FIGURES = {"curves.png", "examples.png", "feature_map.png", "mistakes.png", "reliability.png"}
TEXTS = {"args.json", "environment.json", "history.csv", "results.json", "report.html"}
OF_MODEL = {"confusion_matrix.csv", "predictions.csv", "model.keras"}
# What a run leaves besides, in its folder and in plots/.
MORE = {
    "vgg19": (set(), {"confusion_matrix.png", "learning_rate.png", "pipeline.png"}),
    "vgg19_finetune": (set(), {"confusion_matrix.png", "learning_rate.png"}),
    "efficientnetb7": ({"cifar10.h5", "sweep.csv"}, {"confusion_matrix.png", "learning_rate.png", "pipeline.png", "sweep.png"}),
    "resnet152v2": (set(), {"confusion_matrix.png", "learning_rate.png", "pipeline.png"}),
}  # fmt: skip
PHASES = {  # whose epochs are compared with other runs, of the kept model; what was trained
    "vgg19": ({"head"}, "head"),
    "vgg19_finetune": ({"head", "finetune"}, "head, then all layers"),
    "resnet152v2": ({"head"}, "head"),
    "efficientnetb7": ({"lr={learning_rate} dropout={dropout}"}, "head and last 1 layers of the backbone"),
}


@pytest.mark.parametrize("name", MORE)
def test_a_run_leaves_every_file_and_its_page_shows_every_figure(finished, name):
    run, (more, figures) = finished(name).folder, MORE[name]
    assert {path.name for path in run.iterdir()} == TEXTS | OF_MODEL | more | {"plots", "checkpoint"}
    assert {path.name for path in (run / "plots").iterdir()} == FIGURES | figures
    results, page = files.read_json(run / "results.json"), (run / "report.html").read_text()
    assert results["weights"] == "none" and not results["comparable"] and results["documented_accuracy"] is None
    assert results["status"] == "finished" and results["total_seconds"] > 0
    assert page.count("<img ") == len(FIGURES | figures) and f">{results['test_accuracy']:.4f}<" in page


@pytest.mark.parametrize("name", MORE)
def test_evaluating_a_run_gives_its_own_numbers(finished, tmp_path, name):
    run = finished(name)
    check_evaluation(run.folder, run.cache)
    if name == "vgg19":
        check_evaluation(run.folder, tmp_path)  # features that are computed again are the same


@pytest.mark.parametrize("name", MORE)
def test_the_kept_weights_have_the_val_scores_of_the_best_epoch(finished, tmp_path, name):
    run = finished(name)
    results, rows = files.read_json(run.folder / "results.json"), files.read_csv(run.folder / "history.csv")
    monitor = "val_balanced_accuracy" if name == "resnet152v2" else "val_accuracy"
    score = (lambda row: row["val_loss"]) if name == "vgg19_finetune" else lambda row: (-row[monitor], row["val_loss"])
    best = min(rows, key=score)  # of the few images of val: there are ties
    assert (results["best_epoch"], results["val_loss"]) == (best["epoch"], best["val_loss"])
    val = load_data(run.script.parse_args([*run.flags, "--cache-dir", str(tmp_path)])).val
    model = keras.models.load_model(run.folder / "model.keras")
    labels = val.labels if "sparse" in str(model.loss) else np.eye(10)[val.labels]
    scores = model.evaluate(val.images, labels, verbose=0, return_dict=True)
    assert (scores["loss"], scores["accuracy"]) == pytest.approx((best["val_loss"], best["val_accuracy"]), rel=1e-4)


@pytest.mark.parametrize("name", MORE)
def test_compare_knows_what_was_trained_and_the_epochs_of_the_kept_model(finished, name):
    ((record,), (phases, trained)) = finished_runs.read_run(finished(name).folder), PHASES[name]
    assert {row["phase"] for row in record.curve} == {phase.format(**record.results) for phase in phases}
    assert record.results["trained"] == trained


def test_images_that_stay_on_disk_give_the_numbers_of_those_in_memory(tmp_path, monkeypatch, quick, image_folder):
    data, runs = image_folder({"cat": 40, "dog": 40}), []
    for limit in (rows.IN_MEMORY, 0):
        monkeypatch.setattr(rows, "IN_MEMORY", limit)
        folders = ("--output-dir", str(tmp_path / str(limit)), "--cache-dir", str(tmp_path / f"cache {limit}"))
        train_vgg19.main([*BASE, "--no-cache", "--epochs", "2", "--data", str(data), *folders])
        runs += (tmp_path / str(limit)).glob("*/*")
    differing, total = kill_and_resume.count_differences(*map(kill_and_resume.numbers, runs))
    assert differing == 0 and total > 1000


class KilledError(BaseException):
    """What stands for SIGKILL within one process."""


@pytest.mark.parametrize("name", SCRIPTS)
def test_killed_after_any_epoch_and_in_the_report(finished, tmp_path, monkeypatch, capsys, quick, name):
    expected = kill_and_resume.numbers(finished(name).folder)
    script, flags = SCRIPTS[name]
    monkeypatch.chdir(tmp_path)
    calls = kills = 0

    def deadly(function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls in (2, 5, 12):
                raise KilledError
            return function(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoint, "_write", deadly(checkpoints.Checkpoint._write))
        patch.setattr(scores, "confusion_matrix", deadly(scores.confusion_matrix))
        patch.setattr(train_ab_split, "extract", deadly(train_ab_split.extract))
        patch.setattr(LogisticRegression, "fit", deadly(LogisticRegression.fit))
        while True:
            keras.utils.clear_session()
            try:
                script.main(list(flags))
                break
            except KilledError:
                flags, kills = ("--resume", str(kill_and_resume.run_folder(Path()))), kills + 1
    told = capsys.readouterr().out
    assert kills >= 2 and told.count("Resuming ") == kills
    if name != "linear_probe":  # its fits begin again
        assert "resuming at epoch 2" in told and "already done" in told
    differing, total = kill_and_resume.count_differences(expected, kill_and_resume.numbers(kill_and_resume.run_folder(Path())))
    assert differing == 0 and total > 1000


USING = (Path(__file__).parents[2] / "docs" / "using.md").read_text(encoding="utf-8")
(FURTHER,) = (code for code in re.findall(r"```python\n(.*?)```", USING, re.DOTALL) if "model.fit" in code)
MODEL_FILE = re.search(r'load_model\("(.*)"\)', FURTHER)[1]


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "linear_probe"])
def test_the_code_of_the_page_trains_a_saved_model_further(finished, tmp_path, monkeypatch, quick, name):
    monkeypatch.chdir(tmp_path)
    path = finished(name).folder / ("b-last-fc" if name == "ab_split" else "") / "model.keras"
    num_classes = keras.models.load_model(path).output_shape[-1]
    size = keras.models.load_model(path).input_shape[1]
    images = np.random.default_rng(0).uniform(0, 8, (8, size, size, 3))  # dark: of bright ones small models are too sure
    names = {"images": images, "labels": np.arange(8) % num_classes}
    exec(FURTHER.replace(MODEL_FILE, str(path)), names)
    base, before = names["base"], keras.models.load_model(path).get_layer(names["base"].name)
    moved = [new.path for old, new in zip(before.weights, base.weights, strict=True) if not np.array_equal(old, new)]
    assert [path for path in moved if "kernel" in path] == [new.path for new in base.weights if "kernel" in new.path]


def test_a_difference_is_counted():
    assert kill_and_resume.count_differences({"a": 1.0, "b": [1, 2, 3]}, {"a": 1.0, "b": [1, 2, 4]}) == (1, 4)
    assert kill_and_resume.count_differences({"a": 1.0}, {"a": 1.0, "b": "x"}) == (1, 2)
    assert kill_and_resume.count_differences({"a": [1, 2]}, {"a": [1]}) == (2, 2)
