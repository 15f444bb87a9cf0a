"""Weight decay, label smoothing, schedules, crops: each flag reaches training, and is off unless it is given.

On a small backbone and digits; what training gets is compared with a calculation by hand.
"""

import keras
import numpy as np
import pytest
from keras import layers
from support import small_backbone

import train_efficientnetb7
import train_resnet152v2
import train_vgg19_finetune
from common import cli, files
from common.data import augment
from common.models import backbones, initialise
from common.training import resume, run

SCRIPTS = (train_vgg19_finetune, train_resnet152v2, train_efficientnetb7)
SMALL = ("--data", "digits", "--weights", "none", "--image-size", "32", "--max-train-samples", "120", "--no-cache")


class BeforeTraining(Exception):  # noqa: N818  not an error
    """Ends a script before its first `fit`."""


@pytest.fixture
def fit_of(tmp_path, monkeypatch):
    """`fit_of(script, *flags)`: what the script would train, `(model, train, val)`."""
    monkeypatch.setattr(backbones, "build", small_backbone)
    monkeypatch.setattr(initialise, "fit_to_images", lambda backbone, images: None)

    def stop(self, phase, model, train, val, **options):
        raise BeforeTraining(model, train, val)

    monkeypatch.setattr(run.Run, "fit", stop)

    def start(script, *flags):
        with pytest.raises(BeforeTraining) as ended:
            script.main([*SMALL, *flags, "--output-dir", str(tmp_path / "runs"), "--cache-dir", str(tmp_path / "cache")])
        return ended.value.args

    return start


def one_step(script, *options):
    """The weights of a Dense layer before and after a step on an image of zeros, whose gradient is zero."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax", use_bias=False)])
    script.compile_model(model, *options)
    before = model.get_weights()[0]
    model.fit(np.zeros((2, 4)), np.eye(3)[:2], verbose=0)
    return before, model.get_weights()[0]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_weight_decay_takes_its_share_times_the_rate(script):
    own = ("adam", 0.0) if script is not train_vgg19_finetune else ()
    before, after = one_step(script, 0.5, *own, 0.1)
    np.testing.assert_allclose(after, before * (1 - 0.5 * 0.1), rtol=1e-6)
    before, after = one_step(script, 0.5)
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("script", (train_resnet152v2, train_efficientnetb7), ids=lambda script: script.__name__)
def test_sgd_with_momentum(script):
    x = np.array([[1.0, 2.0]], "float32")
    y = np.array([[1.0, 0.0]], "float32")
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, activation="softmax", use_bias=False)])
    script.compile_model(model, 0.1, "sgd", 0.9, 0.2)
    weights, velocity = model.get_weights()[0].astype(float), 0
    for _ in range(3):
        scores = np.exp(x @ weights)
        gradient = x.T @ (scores / scores.sum() - y)
        velocity = 0.9 * velocity - 0.1 * gradient
        weights = weights * (1 - 0.1 * 0.2) + velocity
        model.fit(x, y, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], weights, atol=1e-6)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_every_flag_reaches_training_and_only_train_labels_are_smoothed(script, fit_of):
    own = ("--optimizer", "sgd", "--momentum", ".7") if script is not train_vgg19_finetune else ()
    flags = ("--weight-decay", ".2", "--smoothing", ".3", "--schedule", "cosine", *own)
    model, train, val = fit_of(script, *flags)
    optimizer = model.optimizer.get_config()
    assert type(model.optimizer).__name__ == "SGD" and optimizer["weight_decay"] == 0.2
    assert optimizer["momentum"] == (0.7 if own else 0.9)
    assert optimizer["learning_rate"]["class_name"] == "CosineDecay"
    np.testing.assert_allclose(np.unique(train.y), [0.03, 0.73], atol=1e-6)
    assert set(np.unique(val.labels)) == {0, 1}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_without_the_flags_the_recipe_is_what_it_was(script, fit_of):
    model, train, _ = fit_of(script)
    optimizer = model.optimizer.get_config()
    assert optimizer["weight_decay"] is None and isinstance(optimizer["learning_rate"], float)
    assert type(model.optimizer).__name__ == ("SGD" if script is train_vgg19_finetune else "Adam")
    assert set(np.unique(train.y)) == {0, 1}
    assert (
        train.augmentation
        is {
            train_vgg19_finetune: augment.flip_and_shift,
            train_resnet152v2: augment.flip_shift_and_zoom,
            train_efficientnetb7: augment.flip_shift_and_rotate,
        }[script]
    )


@pytest.mark.parametrize("script", (train_resnet152v2, train_efficientnetb7), ids=lambda script: script.__name__)
def test_a_warm_up_is_as_long_as_it_says(script, fit_of):
    flags = ("--epochs", "5", "--warmup-epochs", "2", "--lr", ".01", "--schedule", "cosine", "-b", "30")
    model, train, _ = fit_of(script, *flags)
    schedule = model.optimizer._learning_rate
    rates = [float(keras.ops.convert_to_numpy(schedule(epoch * len(train)))) for epoch in range(6)]
    assert rates == pytest.approx([0.001, 0.0055, 0.01, 0.0075, 0.0025, 0], abs=1e-7)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_a_cosine_can_t_be_made_longer(script, tmp_path, call):
    epochs = "--finetune-epochs" if script is train_vgg19_finetune else "--epochs"
    files.write_json(tmp_path / "args.json", resume.stored_form(script.parse_args([])))
    again = script.parse_args(["--resume", str(tmp_path), epochs, "199"])
    assert vars(again)[epochs.strip("-").replace("-", "_")] == 199
    files.write_json(tmp_path / "args.json", resume.stored_form(script.parse_args(["--schedule", "cosine"])))
    code, _, told = call(script.main, "--resume", tmp_path, epochs, "199")
    assert code == cli.EXIT_BAD_INPUT and "allowed beside it: --devices, --data (moved images) (see" in told


def test_crop_and_cutout_are_what_training_sees(fit_of):
    _, train, _ = fit_of(train_vgg19_finetune, "--crop-padding", "3", "--cutout", "8")
    images = np.full((50, 32, 32, 3), 5, np.uint8)
    images[:, 15, 16] = 90
    copies = train.augmentation(images, np.random.default_rng(0))
    grey = (copies == augment.GREY).all(-1).sum((1, 2))
    assert grey.max() == 64 and grey.min() >= 16
    dots = np.argwhere((copies == 90).all(-1))
    assert len(dots) > 30 and set(dots[:, 1]) == set(range(12, 19))
