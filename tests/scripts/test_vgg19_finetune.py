"""train_vgg19_finetune.py on digits at 32x32: a small backbone in place of VGG19, both phases, few images."""

import keras
import numpy as np
import pytest
from keras import layers
from matplotlib.figure import Figure
from support import small_backbone

import train_vgg19_finetune as script
from common import files
from common.models import backbones, initialise, weights
from common.training.run import Run, load_data

build_real = backbones.build
SMALL = ("--data", "digits", "--max-train-samples", "100", "--batch-size", "30")
pytestmark = pytest.mark.filterwarnings("ignore:The structure of `inputs`")  # Keras, of its own applications


def build_backbone(name, image_size, weights, **options):
    """A small one, with the weights of a run's where it is given one."""
    backbone = small_backbone(name, image_size, weights, **options)
    if weights.path:
        backbone.set_weights(keras.models.load_model(weights.path).get_layer(name).get_weights())
    return backbone


@pytest.fixture(scope="module", autouse=True)
def workplace(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "build", build_backbone)
        patch.setattr(Figure, "savefig", lambda figure, path, **options: path.touch())
        yield tmp_path_factory.mktemp("finetune")


def train(folder, *flags):
    before = set((folder / "runs").glob("*/*"))
    results = script.main([*SMALL, *flags, "--output-dir", str(folder / "runs"), "--cache-dir", str(folder / "cache")])
    (run,) = set((folder / "runs").glob("*/*")) - before
    return run, results


@pytest.fixture(scope="module")
def trained(workplace):
    flags = ("--weights", "none", "--head-epochs", "3", "--finetune-epochs", "2", "--finetune-lr", "0.001", "--dropout", "0")
    return train(workplace, *flags)


@pytest.fixture(scope="module")
def spoiled(workplace, trained):
    """From the weights of the first run, with a second phase that makes everything worse."""
    # At 3 val loss goes from 2.5 to hundreds; at 500 it is no number on some processors.
    return train(workplace, "--weights", str(trained[0]), "--head-epochs", "2", "--finetune-epochs", "1", "--finetune-lr", "3")


def digits(workplace):
    flags = [*SMALL, "--weights", "none", "--cache-dir", str(workplace / "cache")]
    return load_data(script.parse_args(flags))


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


def test_a_random_vgg19_tells_images_apart_once_it_is_initialised(workplace):
    images = digits(workplace).train.images[:64]
    base = build_real("vgg19", 32, weights.find("none", "vgg19", 32), seed=0)

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
    rows = files.read_csv(trained[0] / "history.csv")
    assert [(row["epoch"], row["phase"]) for row in rows] == [
        *((n, "head") for n in (1, 2, 3)),
        (4, "finetune"),
        (5, "finetune"),
    ]
    assert [row["learning_rate"] for row in rows] == pytest.approx([0.003] * 3 + [0.0001, 0.001])
    assert all(row[column] is not None for row in rows for column in ("mse", "val_mse", "val_loss", "val_accuracy"))
    results = files.read_json(trained[0] / "results.json")
    assert results["best_epoch"] == min(rows, key=lambda row: row["val_loss"])["epoch"]
    assert results["documented_accuracy"] is None and not results["comparable"] and results["epochs"] == 5


def test_the_first_phase_leaves_the_base_alone_and_the_second_does_not(workplace, trained):
    drawn = script.build_extractor(script.parse_args([*SMALL, "--weights", "none"]), weights.find("none", "vgg19", 32), digits(
        workplace).train.images).get_layer("vgg19").get_weights()  # fmt: skip
    learned = keras.models.load_model(trained[0] / "model.keras").get_layer("vgg19").get_weights()
    changed = [not np.array_equal(one, other) for one, other in zip(drawn, learned, strict=True)]
    assert all(changed) and len(changed) == 2
    with (
        np.load(trained[0] / "checkpoint" / "head.npz") as of_head,
        np.load(trained[0] / "checkpoint" / "finetune.npz") as of_all,
    ):
        shapes, all_shapes = ([stored[name].shape for name in stored.files] for stored in (of_head, of_all))
    assert (8, 8, 3, 4) not in shapes and (8, 8, 3, 4) in all_shapes


def test_the_best_epoch_of_both_phases_is_kept(workplace, spoiled):
    run, results = spoiled
    rows = files.read_csv(run / "history.csv")
    best = min(rows, key=lambda row: row["val_loss"])
    assert best["phase"] == "head" and rows[-1]["phase"] == "finetune" and results["best_epoch"] == best["epoch"]
    model, val = keras.models.load_model(run / "model.keras"), digits(workplace).val
    scores = model.evaluate(val.images, keras.utils.to_categorical(val.labels, 10), verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(best["val_loss"], rel=1e-4)
    assert scores["mse"] == pytest.approx(best["val_mse"], rel=1e-4)


def test_the_second_phase_slows_down_stops_and_keeps_its_best_epoch(tmp_path):
    flags = ("--weights", "none", "--batch-size", "16", "--finetune-epochs", "20", "--finetune-lr", "0.03")
    run, results = train(tmp_path, *flags, "--head-epochs", "1", "--head-lr", "1e-6", "--lr-patience", "1", "--patience", "2")
    rows = files.read_csv(run / "history.csv")
    best = min(rows, key=lambda row: row["val_loss"])
    assert results["status"] == "early-stopped" and results["best_epoch"] == best["epoch"]
    assert best["phase"] == "finetune" and best["epoch"] == rows[-1]["epoch"] - 2
    losses, rates = ([row[column] for row in rows[2:]] for column in ("val_loss", "learning_rate"))
    assert rows[1]["learning_rate"] == pytest.approx(0.003) and rates[0] == pytest.approx(0.03)
    for number in range(1, len(losses)):  # times 0.3 after an epoch that is worse than the best before
        fell = losses[number - 1] < min([row["val_loss"] for row in rows[1 : number + 1]])
        assert rates[number] == pytest.approx(rates[number - 1] * (1 if fell else 0.3), rel=1e-5)
    model, val = keras.models.load_model(run / "model.keras"), digits(tmp_path).val
    scores = model.evaluate(val.images, keras.utils.to_categorical(val.labels, 10), verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(best["val_loss"], rel=1e-4)


def test_a_second_phase_that_diverges_leaves_the_first_ones_weights(tmp_path, capsys):
    flags = ("--weights", "none", "--batch-size", "16", "--head-epochs", "1", "--finetune-lr", "1e30")
    run, results = train(tmp_path, *flags)
    assert "the best weights so far are kept" in capsys.readouterr().out
    assert results["best_epoch"] == 1 and results["status"] == "early-stopped"
    model, val = keras.models.load_model(run / "model.keras"), digits(tmp_path).val
    scores = model.evaluate(val.images, keras.utils.to_categorical(val.labels, 10), verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(files.read_csv(run / "history.csv")[0]["val_loss"], rel=1e-4)


def test_a_runs_base_is_where_the_next_one_begins(trained, spoiled):
    first, second = (keras.models.load_model(run / "model.keras") for run, _ in (trained, spoiled))
    for one, other in zip(first.get_layer("vgg19").get_weights(), second.get_layer("vgg19").get_weights(), strict=True):
        assert np.array_equal(one, other)  # the second phase was not kept, the first one froze it
    assert "weights of " in spoiled[1]["model"] and not spoiled[1]["comparable"]


def test_after_ctrl_c_before_an_epoch_of_all_layers_only_the_head_counts_as_trained(workplace, monkeypatch):
    fit = Run.fit

    def interrupt(run, phase, *words, **options):
        if phase == "finetune":
            raise KeyboardInterrupt
        fit(run, phase, *words, **options)

    monkeypatch.setattr(Run, "fit", interrupt)
    _, results = train(workplace, "--weights", "none", "--head-epochs", "1", "--finetune-epochs", "1")
    head = script.build_head(64, 10, 0.25)
    assert results["status"] == "interrupted" and results["trained_weights"] == sum(map(np.size, head.trainable_weights))
