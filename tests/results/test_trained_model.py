"""Which model a RUN_DIR of the command line means."""

import keras
import pytest
from keras import layers

from common import files
from common.cli import InputError
from common.results import trained_model

RESULTS = {
    "experiment": "ab_split", "data": "digits", "weights": "none", "seed": 0, "class_names": ["0", "7"], "train_size": 4,
    "val_size": 2, "test_size": 2, "image_size": 8, "test_accuracy": 1.0, "epochs": 1, "best_epoch": 1, "seconds": 1.0,
    "trained_weights": 3, "frozen_weights": 0, "documented_accuracy": None, "comparable": False, "dry_run": False,
    "status": "finished", "trained": "all layers", "model": "B, both FC layers",
}  # fmt: skip


def save(folder, **changes):
    folder.mkdir(parents=True)
    files.write_json(folder / "results.json", RESULTS | changes)
    (folder / "model.keras").touch()


@pytest.fixture
def run(tmp_path):
    """A run of two models, one of which stands for the run."""
    save(tmp_path / "run" / "a", model="A from scratch", class_names=["1", "2", "3"])
    save(tmp_path / "run" / "b-both-fc", model="B, both FC layers")
    several = {"models": ["a", "b-both-fc"], "main_model": "b-both-fc"}
    files.write_json(tmp_path / "run" / "results.json", RESULTS | several)
    files.write_json(tmp_path / "run" / "args.json", {"data": "digits", "seed": 0})
    return tmp_path / "run"


def test_each_of_several_models_is_found_by_its_name(run):
    assert trained_model.find_model(run / "a").class_names == ("1", "2", "3")
    for path in (run, run / "b-both-fc"):
        assert trained_model.find_model(path).path == run / "b-both-fc" / "model.keras"


def test_a_model_whose_folder_is_gone_is_none(run):
    (run / "a").rename(run / "elsewhere")
    with pytest.raises(InputError, match="holds no results.json with a model.keras"):
        trained_model.find_model(run / "a")
    with pytest.raises(InputError, match="holds no results.json"):
        trained_model.find_model(run / "c")


def test_a_model_of_other_shapes_is_refused_in_one_line(tmp_path):
    images, nothing = keras.Input((8, 8, 3)), keras.Input(())
    flat = layers.Flatten()(images)
    others = {
        "two outputs": keras.Model(images, [layers.Dense(3)(flat), layers.Dense(2)(flat)]),
        "a map": keras.Model(images, layers.Conv2D(2, 3)(images)),
        "numbers": keras.Model(nothing, layers.Dense(2)(layers.Reshape((1,))(nothing))),
        "too many": keras.Model(images, layers.Dense(3)(flat)),
    }
    for number, (name, model) in enumerate(others.items()):
        model.save(tmp_path / f"{number}.keras")
        with pytest.raises(InputError, match=r"\.keras (turns|has 3 outputs)"):
            trained_model.find_model(tmp_path / f"{number}.keras", ["a", "b"]).load()
            pytest.fail(name)
