"""The three scripts on a frozen base, on digits at 32x32: few images, a small base where the real one is not needed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import applications, layers
from support import small_backbone

import train_efficientnetb7
import train_resnet152v2
import train_vgg19
from common import files
from common.data import SCENES
from common.models import backbones, efficientnet_lite, weights
from common.training.run import Run, load_data

RANDOM = weights.find("none", "vgg19", 32)
pytestmark = pytest.mark.filterwarnings("ignore:The structure of `inputs`")
ROOT = Path(__file__).parents[2]
SMALL = ("--data", "digits", "--weights", "none", "--image-size", "32", "--max-train-samples", "120")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)


@pytest.fixture
def train(tmp_path):
    """`train(script, *flags)`: run a script; returns its run folder."""

    def train(script, *flags):
        before = set((tmp_path / "runs").glob("*/*"))
        script.main([*SMALL, *flags, "--output-dir", str(tmp_path / "runs"), "--cache-dir", str(tmp_path / "cache")])
        (run,) = set((tmp_path / "runs").glob("*/*")) - before
        return run

    return train


def test_efficientnet_lite0_runs_on_the_weights_of_its_package(train, empty_figures):
    flags = ("--base", "efficientnet-lite0", "--weights", "imagenet", "--epochs", "1", "--no-augment")
    run = train(train_efficientnetb7, *flags)
    results = files.read_json(run / "results.json")
    assert results["model"] == "frozen EfficientNet-Lite0, ImageNet weights" and not results["comparable"]
    model = keras.models.load_model(run / "cifar10.h5")
    base = model.get_layer("efficientnet-lite0")
    assert model.layers[1].name == "resize" and base.output_shape[-1] == 1280
    stem = efficientnet_lite.read_torch(weights.find("imagenet", "efficientnet-lite0", 32).path)["_conv_stem.weight"]
    np.testing.assert_array_equal(base.get_layer("stem_conv").get_weights()[0], stem.transpose(2, 3, 1, 0))


def history(run, *columns):
    return np.array([[row[column] for column in columns] for row in files.read_csv(run / "history.csv")])


def test_the_cache_and_the_base_in_every_epoch_train_the_same(train, quick):
    flags = ("--epochs", "2", "--batch-size", "25", "--samples-per-epoch", "60", "--lr", "0.001")
    runs = train(train_vgg19, *flags), train(train_vgg19, *flags, "--no-cache")
    cached, through_base = (history(run, "loss", "accuracy", "val_loss", "val_accuracy") for run in runs)
    np.testing.assert_allclose(cached, through_base, rtol=1e-4, atol=1e-4)
    assert cached[-1, 0] < cached[0, 0]
    one, other = (keras.models.load_model(run / "model.keras") for run in runs)
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    extraction = files.read_json(runs[0] / "results.json")["extraction"]
    assert extraction["computed"] == extraction["images"] == 120 + 367  # train and val, test: each once


def weights_by_layer(base):
    return [layer.get_weights() for layer in base.layers]


def moved(before, base):
    """The numbers of the layers of a base whose weights are no longer what they were."""
    now = weights_by_layer(base)
    return [number for number, pair in enumerate(zip(before, now, strict=True)) if not all(map(np.array_equal, *pair))]


@pytest.fixture
def model_of(monkeypatch):
    """`model_of(script, width, *flags)`: the compiled model of a script on EfficientNetB0 or ResNet50V2, and its base."""
    for name, application in (("efficientnetb7", applications.EfficientNetB0), ("resnet152v2", applications.ResNet50V2)):
        monkeypatch.setitem(backbones.NETWORKS, name, replace(backbones.NETWORKS[name], application=application))

    def build(script, width, *flags):
        args = script.parse_args(["--image-size", "32", *flags])
        extractor = script.build_extractor(args, RANDOM, (32, 32, 3))
        model = keras.Model(extractor.input, script.build_head(width, 10, 0.25)(extractor.output))
        script.compile_model(model, 1e-3)
        model.run_eagerly = True  # tracing would take longer
        return model, next(layer for layer in model.layers if isinstance(layer, keras.Model) and layer.name != "head")

    return build


def test_nothing_in_a_frozen_base_moves_or_is_random_in_fit(model_of):
    model, base = model_of(train_efficientnetb7, 1280)
    assert {layers.BatchNormalization, layers.Dropout} <= set(map(type, base.layers))
    before, head = weights_by_layer(base), model.get_layer("head").get_weights()
    model.fit(IMAGES, np.eye(10)[:6], batch_size=3, verbose=0)
    assert not moved(before, base)
    assert not all(map(np.array_equal, head, model.get_layer("head").get_weights()))
    images = IMAGES.astype("float32")
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(base(images, training=flag)) for flag in (True, False)))


def test_unfreeze_last_moves_the_last_layers_but_their_batch_norm(model_of):
    model, base = model_of(train_resnet152v2, 2048, "--unfreeze-last", "6")
    before = weights_by_layer(base)
    model.fit(IMAGES[:4], np.eye(10)[:4], verbose=0)
    last = range(len(base.layers) - 6, len(base.layers))
    expected = [number for number in last if before[number] and not isinstance(base.layers[number], layers.BatchNormalization)]
    assert moved(before, base) == expected != []


def test_heads_are_the_documents():
    for script, features, weights_of_head in (
        (train_vgg19, 4096, 4097 * 10),  # the document's 40,970
        (train_resnet152v2, 2048, 2049 * 512 + 513 * 512 + 513 * 10),
        (train_efficientnetb7, 2560, 2 * 2560 + 2561 * 256 + 257 * 10),
    ):
        head = script.build_head(features, 10, 0.5)
        assert sum(np.prod(weight.shape) for weight in head.trainable_weights) == weights_of_head


def test_the_learning_rate_falls_when_val_accuracy_stands_still(train, quick):
    run = train(train_resnet152v2, "--epochs", "9", "--lr", "1e-12", "--min-lr", "3e-13", "--lr-patience", "2")
    rates = history(run, "learning_rate")[:, 0]
    np.testing.assert_allclose(rates, [1e-12] * 3 + [4e-13] * 2 + [3e-13] * 4, rtol=1e-5)


@pytest.fixture
def sweep(train, quick):
    return lambda *flags: train(train_efficientnetb7, "--no-augment", "--batch-size", "30", *flags)


def test_the_sweep_trains_every_combination_and_scores_the_chosen_one_only(sweep):
    run = sweep("--epochs", "3", "--lr", "1e-9", "1e-8", "1e-2", "--dropout", "0.25", "0.35")
    rows = files.read_csv(run / "sweep.csv")
    combinations = {(lr, rate) for lr in (1e-9, 1e-8, 1e-2) for rate in (0.25, 0.35)}
    assert {(row["lr"], row["dropout"]) for row in rows} == combinations and len(rows) == 6
    accuracies = [row["val accuracy"] for row in rows]
    assert accuracies == sorted(accuracies, reverse=True) and accuracies[0] > accuracies[-1]
    results = files.read_json(run / "results.json")
    assert (results["learning_rate"], results["dropout"]) == (rows[0]["lr"], rows[0]["dropout"])
    assert results["val_accuracy"] == pytest.approx(accuracies[0], abs=1e-4)
    assert not any("test" in column for row in rows for column in row)
    phases = {f"lr={lr} dropout={rate}" for lr, rate in combinations}
    assert {row["phase"] for row in files.read_csv(run / "history.csv")} == phases
    assert results["extraction"]["images"] == 120 + 367  # one pass


FRESH = """
import keras, numpy as np
from train_efficientnetb7 import preprocess_data
with np.load("test.npz") as test:
    x, y = test["x"], test["y"]
model = keras.models.load_model("cifar10.h5")
loss, accuracy = model.evaluate(*preprocess_data(x, y), batch_size=128, verbose=0)
print("accuracy", accuracy, type(model.layers[1]).__name__)
model.fit(*preprocess_data(x[:16], y[:16]), batch_size=8, verbose=0)
"""


def test_cifar10_h5_in_a_fresh_process(finished, tmp_path):
    run = finished("efficientnetb7")
    test = load_data(train_efficientnetb7.parse_args([*run.flags]), upscaled_later=True).test
    np.savez(tmp_path / "test.npz", x=test.images, y=test.labels[:, None])
    (tmp_path / "cifar10.h5").symlink_to(run.folder / "cifar10.h5")
    environment = {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", FRESH], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (said,) = (line.split() for line in ended.stdout.splitlines() if line.startswith("accuracy"))
    assert float(said[1]) == pytest.approx(files.read_json(run.folder / "results.json")["test_accuracy"], abs=1e-6)
    assert said[2] == "Lambda"


def test_a_sweep_survives_a_rate_that_diverges_and_stops_early(sweep, capsys):
    run = sweep("--epochs", "9", "--patience", "2", "--lr", "1e38", "1e-12", "1e-12")
    assert "try a lower learning rate" in capsys.readouterr().out
    (row,) = files.read_csv(run / "sweep.csv")  # one diverged, one was given twice
    assert row["lr"] == 1e-12 and 3 <= row["epochs"] < 9
    assert files.read_json(run / "results.json")["status"] == "early-stopped"


def test_a_diverged_rate_leaves_the_base_of_the_next_one_alone(sweep):
    flags = ("--epochs", "2", "--unfreeze-last", "1", "--lr")
    after_another, alone = (sweep(*flags, *rates) for rates in (("1e38", "1e-3"), ("1e-3",)))
    ours, theirs = (
        [row for row in files.read_csv(run / "history.csv") if row["phase"] == "lr=0.001 dropout=0.25" and row.pop("seconds")]
        for run in (after_another, alone)
    )
    assert ours == theirs and len(ours) == 2


def test_ctrl_c_in_a_sweep_keeps_what_is_finished(sweep, monkeypatch):
    fit, calls = Run.fit, []

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr(Run, "fit", interrupted)
    run = sweep("--epochs", "1", "--lr", "1e-3", "2e-3", "3e-3", "4e-3")
    assert len(files.read_csv(run / "sweep.csv")) == 2 and len(calls) == 3
    assert files.read_json(run / "results.json")["status"] == "interrupted"
    assert (run / "cifar10.h5").is_file()
    calls[:] = [None, None]
    with pytest.raises(KeyboardInterrupt):
        sweep("--epochs", "1")


def test_only_cifar10_h5_has_the_lambda_and_no_resize_leaves_it_out(monkeypatch):
    monkeypatch.setattr(backbones, "build", small_backbone)
    for flags, expected, size in (((), ["Lambda"], 224), (("--no-resize",), [], 32)):
        args = train_efficientnetb7.parse_args(flags)
        extractor = train_efficientnetb7.build_extractor(args, None, (32, 32, 3))
        head = train_efficientnetb7.build_head(extractor.output_shape[-1], 10, 0.25)
        model = keras.Model(extractor.input, head(extractor.output))
        document = train_efficientnetb7.with_lambda(args, model)
        assert not [layer for layer in model.layers if isinstance(layer, layers.Lambda)]
        assert [type(layer).__name__ for layer in document.layers if layer.name == "resize"] == expected
        assert extractor.get_layer("efficientnetb7").input_shape[1] == size
        np.testing.assert_allclose(*(part.predict(IMAGES[:2], verbose=0) for part in (model, document)), atol=1e-5)


@pytest.mark.parametrize("edge, is_refused", [(300, True), (48, False)])
def test_no_resize_refuses_what_would_be_resized(tmp_path, call, image_folder, quick, edge, is_refused):
    for path in image_folder({"cat": 20, "dog": 20}).rglob("*.png"):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (edge, edge)))
    flags = ("--data", tmp_path / "pictures", "--weights", "none", "--no-resize", "--dry-run")
    places = ("--output-dir", tmp_path / "runs", "--cache-dir", tmp_path / "cache")
    code, _, err = call(train_efficientnetb7.main, *flags, *places)
    assert (code, "--no-resize: the images are not squares of one size below 224" in err) == (2 * is_refused, is_refused), err


def test_the_scenes_of_resnet152v2s_document_are_recognised(tmp_path):
    random = np.random.default_rng(0)
    for part, count in (("train", 75), ("val", 25)):  # as the document's repository has them
        for name in SCENES:
            folder = tmp_path / "scenes" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 256, (8, 8), np.uint8))
    flags = ["--data", str(tmp_path / "scenes"), "--cache-dir", str(tmp_path / "cache")]
    scenes = load_data(train_resnet152v2.parse_args(flags), upscaled_later=True)
    assert train_resnet152v2.is_scenes(scenes)
    for other in (
        replace(scenes, test=scenes.test.take(range(374))),
        replace(scenes, train=scenes.train.take(range(800))),
        replace(scenes, class_names=scenes.class_names[::-1]),
    ):
        assert not train_resnet152v2.is_scenes(other)


@pytest.mark.parametrize(
    "is_scenes, is_imagenet, base", [(1, 1, "ResNet152V2"), (1, 0, "ResNet152V2"), (0, 1, "ResNet152V2"), (1, 1, "VGG16")]
)
def test_resnet152v2s_number_is_comparable_on_scenes_with_its_own_imagenet_weights(
    tmp_path, monkeypatch, is_scenes, is_imagenet, base
):
    def start(experiment, *_):
        assert experiment.comparable == bool(is_scenes and is_imagenet and base == "ResNet152V2")
        assert experiment.title == f"frozen {base}, weights"
        raise KeyboardInterrupt  # nothing is trained

    monkeypatch.setattr(train_resnet152v2, "is_scenes", lambda dataset: is_scenes)
    monkeypatch.setattr(train_resnet152v2.pretrained, "find", lambda *_: weights.Weights(None, is_imagenet, "weights"))
    monkeypatch.setattr(train_resnet152v2, "Run", start)
    with pytest.raises(KeyboardInterrupt):
        train_resnet152v2.main(
            ["--data", "digits", "--base", base, "--output-dir", str(tmp_path), "--cache-dir", str(tmp_path)]
        )
