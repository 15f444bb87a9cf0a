"""Fused steps: the same bits as single ones, one compilation for a phase, and the callbacks that a run relies on."""

import keras
import numpy as np
import pytest
from keras import layers
from support import make_run

from common import backend
from common.data.batches import Batches
from common.data.dataset import Samples
from common.training import fit as fitting

pytestmark = pytest.mark.skipif(keras.backend.backend() == "torch", reason="steps stay single on torch")
WAYS = ("none", "balanced")
RANDOM = np.random.default_rng(0)
SAMPLES = Samples(RANDOM.normal(size=(107, 12)).astype("float32"), RANDOM.integers(0, 3, 107))
VAL = Samples(RANDOM.normal(size=(37, 12)).astype("float32"), RANDOM.integers(0, 3, 37))
IMAGES = Samples(RANDOM.integers(0, 256, (50, 8, 8, 3), np.uint8), RANDOM.integers(0, 3, 50))


def make_head(rate=0.01):
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((12,)), layers.Dense(8, activation="relu"), layers.BatchNormalization()])
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(3, activation="softmax"))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


def make_cnn():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3), layers.Flatten()])
    model.add(layers.Dropout(0.3))
    model.add(layers.Dense(3, activation="softmax"))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    return model


def train(run, model, monkeypatch, steps, samples=SAMPLES, val=VAL, callbacks=(), epochs=3, phase="head"):
    monkeypatch.setattr(fitting, "num_steps", lambda model, train: steps)
    run.fit(phase, model, run.batches(samples), val, epochs=epochs, callbacks=callbacks)
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in run.history.rows(phase)]
    return rows, model.get_weights()


@pytest.mark.parametrize(
    "make, samples, val, given",
    [(make_head, SAMPLES, VAL, "none"), (make_head, SAMPLES, VAL, "balanced"), (make_cnn, IMAGES, IMAGES, "none")],
)
def test_weights_and_history_are_equal_to_the_last_bit(tmp_path, monkeypatch, make, samples, val, given):
    # 7 and 3 batches an epoch, 3 and 4 of val: 3 leaves a rest, 64 is more than there are.
    rows, weights = train(make_run(tmp_path / "1", class_weight=given), make(), monkeypatch, 1, samples, val)
    for steps in (3, 64):
        run = make_run(tmp_path / str(steps), class_weight=given)
        fused_rows, fused_weights = train(run, make(), monkeypatch, steps, samples, val)
        if make is make_cnn and keras.backend.backend() == "jax":  # in a loop, XLA computes a CPU's convolutions on one core
            for weight, fused_weight in zip(weights, fused_weights, strict=True):
                np.testing.assert_allclose(weight, fused_weight, atol=1e-6)
        else:
            assert len(rows) == 3 and rows == fused_rows
            assert all(map(np.array_equal, weights, fused_weights))


@pytest.mark.parametrize("one_hot", [False, True])
def test_a_step_on_weighted_samples_by_hand(tmp_path, monkeypatch, one_hot):
    samples, eye = Samples(SAMPLES.images[:6], np.array([0, 0, 0, 0, 1, 1])), np.eye(2)
    model = keras.Sequential([keras.Input((12,)), layers.Dense(2, activation="softmax", use_bias=False)])
    loss = "categorical_crossentropy" if one_hot else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.5), loss, weighted_metrics=["accuracy"])
    (weights,), train_samples = model.get_weights(), samples.one_hot(2) if one_hot else samples
    scores = np.exp(samples.images @ weights)
    errors = scores / scores.sum(axis=1, keepdims=True) - eye[samples.labels]
    gradient = samples.images.T @ (errors * np.array([0.75] * 4 + [1.5] * 2)[:, None]) / 6
    run = make_run(tmp_path, class_weight="balanced")
    _, (after,) = train(run, model, monkeypatch, 1, train_samples, train_samples, epochs=1)
    np.testing.assert_allclose(after, weights - 0.5 * gradient, atol=1e-6)


def test_callbacks_see_executions_and_the_model_is_left_as_it_was(tmp_path, monkeypatch):
    ends, model = [], make_head()
    spy = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ends.append(batch))
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1))
    stop = keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=100)
    run = make_run(tmp_path)
    rows, _ = train(run, model, monkeypatch, 3, callbacks=[spy, schedule, stop], epochs=5)
    assert ends == [2, 5, 8] * 2  # 7 batches, two epochs: early stopping
    assert [row["learning_rate"] for row in rows] == [0.01, 0.005]
    assert int(model.optimizer.iterations) == 14
    assert model.steps_per_execution == 1 and model.train_function is None


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="counts JAX's compilations")
@pytest.mark.parametrize("steps, name", [(1, "_step"), (3, "jit(run)")])
def test_a_phase_compiles_one_program_to_train_and_one_to_validate(tmp_path, monkeypatch, caplog, steps, name):
    """Though batches do not divide the samples, and executions not the batches, of train and of val."""
    import jax

    if steps > 1 and fitting.KERAS_FUSES:
        pytest.skip("Keras fuses the steps")
    with jax.log_compiles(), caplog.at_level("WARNING"):
        train(make_run(tmp_path), make_head(), monkeypatch, steps)
    messages = [record.getMessage() for record in caplog.records]
    compiled = [message for message in messages if message.startswith("Compiling") and name in message.split(" with ")[0]]
    assert len(compiled) == 2, messages


def test_the_number_of_steps_follows_from_their_size(monkeypatch):
    def steps(model, batch_size, shape, kind, count=10_000):
        monkeypatch.setattr(backend, "kind", lambda: kind)
        x = np.broadcast_to(np.zeros((), np.uint8 if len(shape) == 3 else np.float32), (count, *shape))
        return fitting.num_steps(model, Batches(x, np.zeros(count), batch_size, 0))

    head = keras.Sequential([keras.Input((4096,)), layers.Dense(2)])
    small = keras.Sequential([keras.Input((32, 32, 3)), layers.GlobalAveragePooling2D()])
    inputs = keras.Input((32, 32, 3))
    upscaled = layers.UpSampling2D(7)(inputs)
    large = keras.Model(inputs, keras.Sequential([keras.Input((224, 224, 3)), layers.GlobalAveragePooling2D()])(upscaled))
    assert steps(head, 250, (4096,), "cpu") == steps(head, 250, (4096,), "gpu") == 16  # 4 MB a batch
    assert steps(head, 250, (4096,), "gpu", count=1000) == 4  # all of an epoch
    assert steps(small, 64, (32, 32, 3), "gpu") == 64 and steps(small, 64, (32, 32, 3), "cpu") == 1
    assert steps(large, 128, (32, 32, 3), "gpu") == 1
    monkeypatch.setattr(backend, "name", lambda: "torch")
    assert steps(small, 64, (32, 32, 3), "gpu") == 1
