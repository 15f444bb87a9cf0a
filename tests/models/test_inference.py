"""The compiled forward pass: what `predict` gives, whatever the number of images, in one compilation."""

import keras
import numpy as np
import pytest
from keras import layers

from common.models.inference import ForwardPass


def make_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten()])
    model.add(layers.Dropout(0.5))  # does nothing in inference
    model.add(layers.Dense(5, activation="softmax"))
    model.layers[1].moving_mean.assign(np.arange(4.0))
    return model


def make_images(count):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("count", [1, 6, 7, 8, 20])
def test_equals_predict_for_any_number_of_images(count):
    model, images = make_model(), make_images(count)
    outputs = ForwardPass(model, 7)(images)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, model.predict(images, verbose=0), atol=1e-6)


def test_batches_of_any_size_come_back_in_order_and_are_computed_in_one_shape(monkeypatch):
    model, images = make_model(), make_images(15)
    forward, shapes = ForwardPass(model, 7), []
    run = forward._start()

    def noted(batch):
        shapes.append(batch.shape)
        return run(batch)

    monkeypatch.setattr(forward, "_start", lambda: noted)
    outputs = list(forward.over([images[:7], images[7:9], images[9:]]))
    assert list(map(len, outputs)) == [7, 2, 6] and set(shapes) == {(7, 8, 8, 3)}
    np.testing.assert_allclose(np.concatenate(outputs), model.predict(images, verbose=0), atol=1e-6)


def test_the_next_batch_is_sent_before_the_first_is_fetched():
    sent = []

    def batches():
        for number in range(3):
            sent.append(number)
            yield make_images(2)

    outputs = ForwardPass(make_model(), 2).over(batches())
    next(outputs)
    assert sent == [0, 1]


def test_weights_that_change_between_passes_are_seen():
    model, images = make_model(), make_images(4)
    forward = ForwardPass(model, 4)
    before = forward(images)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images, np.arange(4), verbose=0)
    assert not np.allclose(forward(images), before)
    np.testing.assert_allclose(forward(images), model.predict(images, verbose=0), atol=1e-6)
