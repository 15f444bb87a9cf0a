"""Which model a RUN_DIR of the command line means."""

import pytest

from common import files
from common.cli import InputError
from common.results import finished

RESULTS = {
    "experiment": "ab_split", "data": "digits", "weights": "none", "seed": 0, "class_names": ["0", "7"], "train_size": 4,
    "val_size": 2, "test_size": 2, "image_size": 8, "test_accuracy": 1.0, "epochs": 1, "best_epoch": 1, "seconds": 1.0,
    "trained_weights": 3, "frozen_weights": 0, "documented_accuracy": None, "comparable": False, "dry_run": False,
    "status": "finished",
}  # fmt: skip


def save(folder, **changes):
    folder.mkdir(parents=True)
    files.write_json(folder / "results.json", RESULTS | changes)
    (folder / "model.keras").touch()


@pytest.fixture
def run(tmp_path):
    """A run of two models, of which one lies at the top."""
    models = {"a": {"model": "A from scratch"}, "b-both-fc": {"model": "B, both FC layers"}}
    save(tmp_path / "run", model="B, both FC layers", models=models)
    save(tmp_path / "run" / "a", model="A from scratch", class_names=["1", "2", "3"])
    return tmp_path / "run"


def test_each_of_several_models_is_found_by_its_name(run):
    assert finished.find(run / "a").class_names == ("1", "2", "3")
    for path in (run, run / "b-both-fc"):
        assert finished.find(path).path == run / "model.keras"


def test_a_model_whose_folder_is_gone_is_not_the_one_at_the_top(run):
    (run / "a").rename(run / "elsewhere")
    with pytest.raises(InputError, match="holds no results.json with a model.keras"):
        finished.find(run / "a")
    with pytest.raises(InputError, match="holds no results.json"):
        finished.find(run / "c")


def test_what_the_run_was_started_with_is_known_of_each_model(run):
    files.write_json(run / "args.json", {"data": "digits", "seed": 0})
    for path in (run, run / "a"):
        assert finished.find(path).recorded("args.json", "data") == "digits"
        assert finished.find(path).recorded("args.json", "seed") is None  # no text
        assert finished.find(path).recorded("environment.json", "precision") is None
