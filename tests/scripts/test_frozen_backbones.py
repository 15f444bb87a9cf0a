"""The three scripts on a frozen base, on digits at 32x32: real layers, every stage, few images."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers
from support import small_backbone

import train_efficientnetb7
import train_resnet152v2
import train_vgg19
from common import cli, files
from common.data import SCENES
from common.models import backbones, efficientnet_lite, upscale, weights
from common.training.run import Run, load_data

RANDOM = weights.find("none", "vgg19", 32)
pytestmark = pytest.mark.filterwarnings("ignore:The structure of `inputs`")  # Keras, of its own applications
ROOT = Path(__file__).parents[2]
SMALL = ("--data", "digits", "--weights", "none", "--image-size", "32", "--max-train-samples", "120")


def train(script, folder, *flags):
    """Run a script; returns its run folder."""
    before = set((folder / "runs").glob("*/*"))
    script.main([*SMALL, *flags, "--output-dir", str(folder / "runs"), "--cache-dir", str(folder / "cache")])
    (run,) = set((folder / "runs").glob("*/*")) - before
    return run


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return tmp_path_factory.mktemp("frozen")


@pytest.fixture(scope="module")
def vgg19(workplace):
    flags = ("--epochs", "2", "--batch-size", "25", "--samples-per-epoch", "60", "--lr", "0.01")
    return train(train_vgg19, workplace, *flags), train(train_vgg19, workplace, *flags, "--no-cache")


def test_efficientnet_lite0_runs_on_the_weights_of_its_package(workplace):
    flags = ("--base", "efficientnet-lite0", "--weights", "imagenet", "--epochs", "1", "--no-augment")
    run = train(train_efficientnetb7, workplace, *flags)
    results = files.read_json(run / "results.json")
    assert results["model"] == "frozen EfficientNet-Lite0, ImageNet weights" and not results["comparable"]
    model = keras.models.load_model(run / "cifar10.h5")
    base = model.get_layer("efficientnet-lite0")
    assert model.layers[1].name == "resize" and base.output_shape[-1] == 1280
    stem = efficientnet_lite.read_torch(weights.find("imagenet", "efficientnet-lite0", 32).path)["_conv_stem.weight"]
    np.testing.assert_array_equal(base.get_layer("stem_conv").get_weights()[0], stem.transpose(2, 3, 1, 0))


def history(run, *columns):
    return np.array([[row[column] for column in columns] for row in files.read_csv(run / "history.csv")])


def test_the_cache_and_the_base_in_every_epoch_train_the_same(vgg19):
    cached, through_base = (history(run, "loss", "accuracy", "val_loss", "val_accuracy") for run in vgg19)
    np.testing.assert_allclose(cached, through_base, atol=1e-4)
    assert cached[-1, 0] < cached[0, 0]
    one, other = (keras.models.load_model(run / "model.keras") for run in vgg19)
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    extraction = files.read_json(vgg19[0] / "results.json")["extraction"]
    assert extraction["computed"] == extraction["pictures"] == 120 + 367  # train and val, test: each once


def weights_by_layer(base):
    return [layer.get_weights() for layer in base.layers]


def moved(before, base):
    """The numbers of the layers of a base whose weights are no longer what they were."""
    now = weights_by_layer(base)
    return [number for number, pair in enumerate(zip(before, now, strict=True)) if not all(map(np.array_equal, *pair))]


def test_nothing_in_a_frozen_base_moves_or_is_random_in_fit(vgg19):
    trained_through = keras.models.load_model(vgg19[1] / "model.keras").get_layer("vgg19")
    assert not moved(weights_by_layer(backbones.build("vgg19-fc2", 32, RANDOM, seed=0)), trained_through)
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    args = train_efficientnetb7.parse_args(["--image-size", "32"])
    extractor = train_efficientnetb7.build_extractor(args, RANDOM, (32, 32, 3))  # 163 batch norms and 48 dropouts
    model = keras.Model(extractor.input, train_efficientnetb7.build_head(2560, 10, 0.25)(extractor.output))
    train_efficientnetb7.compile_model(model, 1e-3)
    base = model.get_layer("efficientnetb7")
    before, head = weights_by_layer(base), model.get_layer("head").get_weights()
    model.run_eagerly = True  # tracing would take longer
    model.fit(images, np.eye(10)[:6], batch_size=3, verbose=0)
    assert not moved(before, base)
    assert not all(map(np.array_equal, head, model.get_layer("head").get_weights()))
    images = images.astype("float32")
    np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(base(images, training=flag)) for flag in (True, False)))


def test_unfreeze_last_moves_the_last_layers_but_their_batch_norm():
    args = train_resnet152v2.parse_args(["--image-size", "32", "--unfreeze-last", "6"])
    extractor = train_resnet152v2.build_extractor(args, RANDOM, (32, 32, 3))
    model = keras.Model(extractor.input, train_resnet152v2.build_head(2048, 10, 0.3)(extractor.output))
    train_resnet152v2.compile_model(model, 1e-3)
    model.run_eagerly = True
    base = model.get_layer("resnet152v2")
    before = weights_by_layer(base)
    model.fit(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8), np.eye(10)[:4], verbose=0)
    last = range(len(base.layers) - 6, len(base.layers))
    expected = [number for number in last if before[number] and not isinstance(base.layers[number], layers.BatchNormalization)]
    assert moved(before, base) == expected != []


def test_heads_are_the_documents():
    shape = {"vgg19": 4096, "resnet152v2": 2048, "efficientnetb7": 2560}
    trained = {
        "vgg19": 4097 * 10,  # the document's 40,970
        "resnet152v2": 2049 * 512 + 513 * 512 + 513 * 10,
        "efficientnetb7": 2 * 2560 + 2561 * 256 + 257 * 10,
    }
    for name, script in (("vgg19", train_vgg19), ("resnet152v2", train_resnet152v2), ("efficientnetb7", train_efficientnetb7)):
        head = script.build_head(shape[name], 10, 0.5)
        assert sum(np.prod(weight.shape) for weight in head.trainable_weights) == trained[name]


def test_the_learning_rate_falls_when_val_accuracy_stands_still(workplace, monkeypatch, empty_figures):
    monkeypatch.setattr(backbones, "build", small_backbone)
    run = train(train_resnet152v2, workplace, "--epochs", "9", "--lr", "1e-12", "--min-lr", "3e-13", "--lr-patience", "2")
    rates = history(run, "learning_rate")[:, 0]
    np.testing.assert_allclose(rates, [1e-12] * 3 + [4e-13] * 2 + [3e-13] * 4, rtol=1e-5)


def sweep(workplace, *flags):
    return train(train_efficientnetb7, workplace, "--no-augment", "--batch-size", "30", *flags)


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


@pytest.fixture(scope="module")
def swept(workplace):
    """A run of eight combinations on a small base, with one augmented copy of each training image."""
    flags = ("--epochs", "3", "--batch-size", "30", "--views", "2", "--lr", "1e-9", "1e-8", "1e-3", "1e-2")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backbones, "build", small_backbone)
        return train(train_efficientnetb7, workplace, *flags, "--dropout", "0.25", "0.35")


def test_the_sweep_trains_every_combination_and_scores_the_chosen_one_only(swept):
    rows = files.read_csv(swept / "sweep.csv")
    combinations = {(lr, rate) for lr in (1e-9, 1e-8, 1e-3, 1e-2) for rate in (0.25, 0.35)}
    assert {(row["lr"], row["dropout"]) for row in rows} == combinations and len(rows) == 8
    accuracies = [row["val accuracy"] for row in rows]
    assert accuracies == sorted(accuracies, reverse=True) and accuracies[0] > accuracies[-1]
    results = files.read_json(swept / "results.json")
    assert (results["learning_rate"], results["dropout"]) == (rows[0]["lr"], rows[0]["dropout"])
    assert results["val_accuracy"] == pytest.approx(accuracies[0], abs=1e-4)
    assert not any("test" in column for row in rows for column in row)
    phases = {f"lr={lr} dropout={rate}" for lr, rate in combinations}
    assert {row["phase"] for row in files.read_csv(swept / "history.csv")} == phases
    extraction = results["extraction"]  # one pass: train, val and test once, and one augmented copy of train
    assert extraction["pictures"] == 120 + 367 + results["train_size"]


def test_cifar10_h5_in_a_fresh_process(swept, tmp_path):
    flags = [*SMALL, "--cache-dir", str(tmp_path / "cache")]
    dataset = load_data(train_efficientnetb7.parse_args(flags), upscaled_later=True)
    np.savez(tmp_path / "test.npz", x=dataset.test.images, y=dataset.test.labels[:, None])
    (tmp_path / "cifar10.h5").symlink_to(swept / "cifar10.h5")
    ended = subprocess.run(
        [sys.executable, "-c", FRESH], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    (said,) = (line.split() for line in ended.stdout.splitlines() if line.startswith("accuracy"))
    assert float(said[1]) == pytest.approx(files.read_json(swept / "results.json")["test_accuracy"], abs=1e-6)
    assert said[2] == "Lambda"


def test_a_sweep_survives_a_rate_that_diverges_and_stops_early(workplace, monkeypatch, empty_figures, capsys):
    monkeypatch.setattr(backbones, "build", small_backbone)
    run = sweep(workplace, "--epochs", "9", "--patience", "2", "--lr", "1e38", "1e-12", "1e-12")
    assert "try a lower learning rate" in capsys.readouterr().out
    (row,) = files.read_csv(run / "sweep.csv")  # one diverged, one was given twice
    assert row["lr"] == 1e-12 and 3 <= row["epochs"] < 9
    assert files.read_json(run / "results.json")["status"] == "early-stopped"


def test_a_diverged_rate_leaves_the_base_of_the_next_one_alone(workplace, monkeypatch, empty_figures):
    monkeypatch.setattr(backbones, "build", small_backbone)
    flags = ("--epochs", "2", "--unfreeze-last", "1", "--lr")
    after_another, alone = (sweep(workplace, *flags, *rates) for rates in (("1e38", "1e-3"), ("1e-3",)))
    ours, theirs = (
        [row for row in files.read_csv(run / "history.csv") if row["phase"] == "lr=0.001 dropout=0.25" and row.pop("seconds")]
        for run in (after_another, alone)
    )
    assert ours == theirs and len(ours) == 2


def test_ctrl_c_in_a_sweep_keeps_what_is_finished(workplace, monkeypatch, empty_figures):
    monkeypatch.setattr(backbones, "build", small_backbone)
    fit, calls = Run.fit, []

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr(Run, "fit", interrupted)
    run = sweep(workplace, "--epochs", "1", "--lr", "1e-3", "2e-3", "3e-3", "4e-3")
    assert len(files.read_csv(run / "sweep.csv")) == 2 and len(calls) == 3
    assert files.read_json(run / "results.json")["status"] == "interrupted"
    assert (run / "cifar10.h5").is_file()
    calls[:] = [None, None]
    with pytest.raises(KeyboardInterrupt):
        sweep(workplace, "--epochs", "1")


def test_preprocess_data_takes_what_cifar10_load_data_gives():
    x, y = train_efficientnetb7.preprocess_data(np.full((3, 32, 32, 3), 255, np.uint8), np.array([[1], [9], [0]]))
    assert x.dtype == np.float32 and x.shape == (3, 32, 32, 3) and x.max() == 255
    np.testing.assert_array_equal(y, np.eye(10)[[1, 9, 0]])


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
        images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
        np.testing.assert_allclose(*(part.predict(images, verbose=0) for part in (model, document)), atol=1e-5)


@pytest.mark.parametrize("edge, is_refused", [(300, True), (48, False)])
def test_no_resize_refuses_what_would_be_resized(tmp_path, call, image_folder, monkeypatch, empty_figures, edge, is_refused):
    monkeypatch.setattr(backbones, "build", small_backbone)
    for path in image_folder({"cat": 20, "dog": 20}).rglob("*.png"):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (edge, edge)))
    flags = (
        "--data",
        tmp_path / "pictures",
        "--weights",
        "none",
        "--no-resize",
        "--dry-run",
        "--output-dir",
        tmp_path / "runs",
    )
    code, _, err = call(train_efficientnetb7.main, *flags, "--cache-dir", tmp_path / "cache")
    assert (code, "--no-resize: the images are not squares of one size below 224" in err) == (2 * is_refused, is_refused), err


def test_the_lambda_resizes_as_opencv_does():
    args = train_efficientnetb7.parse_args(["--image-size", "100", "--interpolation", "lanczos4"])
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    layer = layers.Lambda(upscale.upscale, arguments={"size": [100, 100], "interpolation": args.interpolation}, dtype="float32")
    expected = [cv2.resize(image.astype("float32"), (100, 100), interpolation=cv2.INTER_LANCZOS4) for image in images]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(images)), expected, atol=1e-3)


def test_a_run_hands_its_base_to_the_next(vgg19):
    base_weights = weights.find(str(vgg19[0]), "vgg19-fc2", 32)
    assert vgg19[0].name in base_weights.label
    flags = train_vgg19.parse_args(["--image-size", "32", "--seed", "3"])
    base = train_vgg19.build_extractor(flags, base_weights, (32, 32, 3)).get_layer("vgg19")
    assert all(map(np.array_equal, base.get_weights(), backbones.build("vgg19-fc2", 32, RANDOM, seed=0).get_weights()))


@pytest.mark.parametrize("script", [train_vgg19, train_resnet152v2, train_efficientnetb7])
def test_mistakes_are_one_line_and_leave_nothing(script, tmp_path, call, monkeypatch):
    (tmp_path / "text.h5").write_text("hello")
    monkeypatch.setattr(weights, "_imagenet", lambda official: (_ for _ in ()).throw(cli.InputError("offline")))
    for flags in (
        ("--weights", "none", "--image-size", "16"),
        ("--weights", tmp_path / "absent.h5"),
        ("--weights", tmp_path / "text.h5", "--image-size", "32"),
        ("--weights", "none", "--augment", "--views", "1"),
        (),
    ):
        code, _, err = call(script.main, "--data", "digits", *flags, "--output-dir", tmp_path / "runs")
        assert code == 2 and err.count("\n") == 1, err
        assert not list((tmp_path / "runs").glob("*/*"))


def test_images_keep_their_size_up_to_the_upscaling(image_folder, tmp_path, capsys):
    def load(root, size):
        flags = ("--data", str(root), "--image-size", str(size), "--cache-dir", str(tmp_path / "cache"))
        return load_data(train_vgg19.parse_args(flags), upscaled_later=True).train.images.shape[1:3]

    folder = image_folder({"one": 12, "two": 12})
    assert load(folder, 64) == (32, 32)
    assert load(folder, 24) == (24, 24)
    first, *_, last = sorted((folder / "train" / "one").iterdir())
    cv2.imwrite(str(last), np.zeros((40, 50, 3), np.uint8))
    assert load(folder, 64) == (64, 64)  # not all of one size
    cv2.imwrite(str(first), np.zeros((40, 50, 3), np.uint8))
    assert load(folder, 64) == (64, 64)


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
