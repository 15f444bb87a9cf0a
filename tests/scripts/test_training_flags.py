"""Weight decay, label smoothing, schedules, crops: each flag reaches training, and is off unless it is given.

On a small backbone and digits; what training gets is compared with a calculation by hand.
"""

import keras
import numpy as np
import pytest
from support import small_backbone

import train_efficientnetb7
import train_resnet152v2
import train_vgg19_finetune
from common import cli, files
from common.data import augment
from common.models import backbones, initialise
from common.training import resume, run

AUGMENTATIONS = {
    train_vgg19_finetune: augment.flip_and_shift,
    train_resnet152v2: augment.flip_shift_and_zoom,
    train_efficientnetb7: augment.flip_shift_and_rotate,
}
SCRIPTS = tuple(AUGMENTATIONS)
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
    assert train.augmentation is AUGMENTATIONS[script]


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
