"""train_vgg19_finetune.py on digits at 32x32: a small backbone in place of VGG19, both phases, few images."""

import keras
import numpy as np
import pytest
from keras import layers
from support import BASE

import train_vgg19_finetune as script
from common import files
from common.models import backbones, initialise, weights
from common.training.run import Run, load_data

pytestmark = pytest.mark.filterwarnings("ignore:The structure of `inputs`")


@pytest.fixture
def trained(finished):
    return finished("vgg19_finetune").folder


@pytest.fixture
def train(tmp_path, quick):
    """`train(*flags)`: run the script; returns its run folder and results."""

    def train(*flags):
        before = set((tmp_path / "runs").glob("*/*"))
        results = script.main([*BASE, *flags, "--output-dir", str(tmp_path / "runs"), "--cache-dir", str(tmp_path / "cache")])
        (run,) = set((tmp_path / "runs").glob("*/*")) - before
        return run, results

    return train


@pytest.fixture
def digits(tmp_path):
    return load_data(script.parse_args([*BASE, "--cache-dir", str(tmp_path / "cache")]))


def has_the_scores_of(run, row, val):
    """Whether the saved model has the val scores of a row of history.csv."""
    model = keras.models.load_model(run / "model.keras")
    scores = model.evaluate(val.images, keras.utils.to_categorical(val.labels, 10), verbose=0, return_dict=True)
    return (scores["loss"], scores["mse"]) == pytest.approx((row["val_loss"], row["val_mse"]), rel=1e-4)


def test_the_head_is_the_documents():
    head = script.build_head(512, 10, 0.25)
    short_names = {layers.Dropout: "drop", layers.BatchNormalization: "BN"}
    described = [short_names.get(type(layer)) or f"{layer.units} {layer.activation.__name__}" for layer in head.layers]
    assert ", ".join(described) == (
        "1024 relu, drop, 512 relu, drop, BN, 512 relu, drop, 256 relu, drop, BN, 256 relu, drop, 128 relu, drop, BN, "
        "128 relu, drop, 64 relu, drop, BN, 64 relu, drop, 64 relu, drop, BN, 10 softmax"
    )
    assert {layer.rate for layer in head.layers if isinstance(layer, layers.Dropout)} == {0.25}


def test_the_head_begins_as_a_linear_map():
    head = script.build_head(512, 10, 0)
    below = keras.Model(head.inputs, head.layers[-1].input)
    one, other = np.random.default_rng(0).normal(size=(2, 8, 512)).astype("float32")

    def twins_apart(features):
        outputs = below.predict_on_batch(features)
        return outputs[:, :32] - outputs[:, 32:]

    np.testing.assert_allclose(twins_apart(one + other), twins_apart(one) + twins_apart(other), atol=1e-5)
    assert twins_apart(one).std() > 0.1


def test_defaults_depend_on_what_the_weights_are():
    for source, expected in (("imagenet", (50, 0.25, 0.001)), ("some/run", (50, 0.25, 0.001)), ("none", (0, 0.0, 0.003))):
        args = script.parse_args(["--weights", source])
        assert (args.head_epochs, args.dropout, args.finetune_lr) == expected
    given = script.parse_args(["--weights", "none", "--head-epochs", "4", "--dropout", ".5", "--finetune-lr", "1"])
    assert (given.head_epochs, given.dropout, given.finetune_lr, given.finetune_epochs) == (4, 0.5, 1, 150)


def test_a_random_vgg19_tells_images_apart_once_it_is_initialised(digits):
    images = digits.train.images[:64]
    base = backbones.build("vgg19", 32, weights.find("none", "vgg19", 32), seed=0)

    def likeness():
        """Mean correlation of two images' features."""
        return np.corrcoef(base.predict(images, verbose=0).reshape(len(images), -1))[np.triu_indices(64, 1)].mean()

    drawn = likeness()
    before = [layer.get_weights()[0] for layer in base.layers if isinstance(layer, layers.Conv2D)]
    initialise.fit_to_images(base, images)
    assert drawn > 0.9 and likeness() < 0.7
    convolutions = [layer for layer in base.layers if isinstance(layer, layers.Conv2D)]
    for number, expected in ((0, 16), (2, 8), (4, 4), (8, 2)):  # 64 channels, 128, 256, 512
        inputs = keras.Model(base.input, convolutions[number].input).predict(images, verbose=0)
        kernel, bias = convolutions[number].get_weights()
        before_relu = np.asarray(keras.ops.conv(inputs, kernel, padding="same")) + bias
        assert before_relu.mean((0, 1, 2)) == pytest.approx(0, abs=0.02 * expected)
        assert before_relu.std((0, 1, 2)) == pytest.approx(expected, rel=0.01)
    for number in (1, 3, 7, 15):  # the others pass on what they get, and add a tenth of what was drawn
        kernel, bias = convolutions[number].get_weights()
        passed_on = kernel - 0.1 * before[number]
        np.testing.assert_allclose(passed_on[1, 1], np.eye(kernel.shape[2]), atol=1e-6)
        assert not bias.any() and np.abs(passed_on).sum() == pytest.approx(kernel.shape[2], rel=1e-4)


def test_both_phases_are_in_the_history(trained):
    rows, results = files.read_csv(trained / "history.csv"), files.read_json(trained / "results.json")
    assert [(row["epoch"], row["phase"]) for row in rows] == [(1, "head"), (2, "head"), (3, "finetune"), (4, "finetune")]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.003] * 2 + [0.0003, 0.003])
    assert all(row[column] is not None for row in rows for column in ("mse", "val_mse", "val_loss", "val_accuracy"))
    assert results["best_epoch"] == min(rows, key=lambda row: row["val_loss"])["epoch"] and results["epochs"] == 4


def test_the_first_phase_leaves_the_base_alone_and_the_second_does_not(trained):
    with np.load(trained / "checkpoint" / "head.npz") as of_head, np.load(trained / "checkpoint" / "finetune.npz") as of_all:
        shapes, all_shapes = ([stored[name].shape for name in stored.files] for stored in (of_head, of_all))
    assert (8, 8, 3, 4) not in shapes and (8, 8, 3, 4) in all_shapes


def test_the_best_epoch_of_both_phases_is_kept_and_a_runs_base_is_where_the_next_one_begins(train, trained, digits):
    """A second phase that makes everything worse."""
    # At 3 val loss goes from 2.5 to hundreds; at 500 it is no number on some processors.
    flags = ("--head-epochs", "2", "--finetune-epochs", "1", "--finetune-lr", "3")
    run, results = train("--weights", str(trained), *flags)
    rows = files.read_csv(run / "history.csv")
    best = min(rows, key=lambda row: row["val_loss"])
    assert best["phase"] == "head" and rows[-1]["phase"] == "finetune" and results["best_epoch"] == best["epoch"]
    assert has_the_scores_of(run, best, digits.val)
    assert "weights of " in results["model"] and not results["comparable"]
    bases = (keras.models.load_model(folder / "model.keras").get_layer("vgg19").get_weights() for folder in (trained, run))
    assert all(map(np.array_equal, *bases))  # the second phase was not kept, the first one froze it


def test_the_second_phase_slows_down_stops_and_keeps_its_best_epoch(train, digits):
    flags = ("--batch-size", "16", "--finetune-epochs", "20", "--finetune-lr", "0.03")
    run, results = train(*flags, "--head-epochs", "1", "--head-lr", "1e-6", "--lr-patience", "1", "--patience", "2")
    rows = files.read_csv(run / "history.csv")
    best = min(rows, key=lambda row: row["val_loss"])
    assert results["status"] == "early-stopped" and results["best_epoch"] == best["epoch"]
    assert best["phase"] == "finetune" and best["epoch"] == rows[-1]["epoch"] - 2
    losses, rates = ([row[column] for row in rows[2:]] for column in ("val_loss", "learning_rate"))
    assert rows[1]["learning_rate"] == pytest.approx(0.003) and rates[0] == pytest.approx(0.03)
    for number in range(1, len(losses)):  # times 0.3 after an epoch that is worse than the best before
        fell = losses[number - 1] < min([row["val_loss"] for row in rows[1 : number + 1]])
        assert rates[number] == pytest.approx(rates[number - 1] * (1 if fell else 0.3), rel=1e-5)
    assert has_the_scores_of(run, best, digits.val)


def test_a_second_phase_that_diverges_leaves_the_first_ones_weights(train, digits, capsys):
    run, results = train("--batch-size", "16", "--head-epochs", "1", "--finetune-lr", "1e30")
    assert "the best weights so far are kept" in capsys.readouterr().out
    assert results["best_epoch"] == 1 and results["status"] == "early-stopped"
    assert has_the_scores_of(run, files.read_csv(run / "history.csv")[0], digits.val)


def test_after_ctrl_c_before_an_epoch_of_all_layers_only_the_head_counts_as_trained(train, monkeypatch):
    fit = Run.fit

    def interrupt(run, phase, *words, **options):
        if phase == "finetune":
            raise KeyboardInterrupt
        fit(run, phase, *words, **options)

    monkeypatch.setattr(Run, "fit", interrupt)
    _, results = train("--head-epochs", "1", "--finetune-epochs", "1")
    head = script.build_head(64, 10, 0.25)
    assert results["status"] == "interrupted" and results["trained_weights"] == sum(map(np.size, head.trainable_weights))
