"""A model's forward pass gives what `predict` gives; taken apart it gives what the whole gives."""

import keras
import numpy as np
import pytest
from keras import layers

from common.models.features import identity
from common.models.inference import ForwardPass, before_last_layer, split_model
from common.models.upscale import upscale


def make_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten()])
    model.add(layers.Dropout(0.5))  # does nothing in inference
    model.add(layers.Dense(5, activation="softmax"))
    model.layers[1].moving_mean.assign(np.arange(4.0))
    return model


def make_images(count):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("count", [1, 20])
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


def test_weights_that_change_between_passes_are_seen():
    model, images = make_model(), make_images(4)
    forward = ForwardPass(model, 4)
    before = forward(images)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images, np.arange(4), verbose=0)
    assert not np.allclose(forward(images), before)
    np.testing.assert_allclose(forward(images), model.predict(images, verbose=0), atol=1e-6)


# Taken apart

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)


def backbone(flat):
    inputs = keras.Input((16, 16, 3))
    outputs = layers.Conv2D(4, 4, strides=4)(inputs)
    return keras.Model(inputs, layers.Flatten()(outputs) if flat else outputs, name="backbone")


def extractors():
    """As the scripts build them: the backbone on upscaled images, with pooling after it, on the images themselves."""
    inputs = keras.Input((8, 8, 3))
    upscaled = upscale(inputs, 16)
    yield keras.Model(inputs, backbone(flat=True)(upscaled))
    yield keras.Model(inputs, layers.GlobalAveragePooling2D()(backbone(flat=False)(upscaled)))
    small = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 8)], name="backbone")
    yield keras.Model(inputs, layers.Flatten()(small(inputs)))
    yield keras.Model(inputs, keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten()])(inputs))


def with_head(extractor):
    head = keras.Sequential([keras.Input(extractor.output_shape[1:]), layers.Dense(7, activation="relu"), layers.Dropout(0.5)])
    head.add(layers.Dense(3, activation="softmax"))
    return keras.Model(extractor.input, head(extractor.output))


@pytest.mark.parametrize("number", range(4))
def test_a_saved_model_comes_apart_at_its_head(tmp_path, number):
    extractor = list(extractors())[number]
    model = with_head(extractor)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again, head = split_model(loaded)
    features = extractor.predict(IMAGES, verbose=0)
    np.testing.assert_array_equal(again.predict(IMAGES, verbose=0), features)
    np.testing.assert_allclose(head.predict(features, verbose=0), model.predict(IMAGES, verbose=0), rtol=1e-5)
    assert identity(extractor, 4) == identity(again, 4)  # so that its features are found in the cache
    last = loaded.layers[-1].layers[-1]
    seen = before_last_layer(loaded).predict(IMAGES, verbose=0)
    np.testing.assert_allclose(last(seen), model.predict(IMAGES, verbose=0), rtol=1e-5)


def test_a_last_layer_that_is_alone_sees_the_features():
    for head in (keras.Sequential([keras.Input((3,)), layers.Dense(2)]), with_linear_head()):
        before = before_last_layer(head)
        features = np.random.default_rng(0).normal(size=(4, *head.input_shape[1:])).astype(np.float32)
        expected = features if len(head.input_shape) == 2 else features.reshape(4, -1)
        np.testing.assert_array_equal(before.predict(features, verbose=0), expected)


def with_linear_head():
    extractor = list(extractors())[3]
    head = keras.Sequential([keras.Input(extractor.output_shape[1:]), layers.Dense(2)])
    return keras.Model(extractor.input, head(extractor.output))


def test_one_chain_of_layers_has_no_head_but_a_last_layer():
    chain = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5), layers.Dense(2)])
    inputs = keras.Input((8, 8, 3))
    graph = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(inputs)))
    for model, width in ((chain, 5), (graph, 192)):
        seen = before_last_layer(model).predict(IMAGES, verbose=0)
        assert seen.shape == (5, width)
        np.testing.assert_allclose(model.layers[-1](seen), model.predict(IMAGES, verbose=0), rtol=1e-4, atol=1e-4)
        with pytest.raises(ValueError, match="not a head"):
            split_model(model)


def test_a_model_without_a_last_layer_of_its_own_is_refused():
    inputs = keras.Input((8, 8, 3))
    small = keras.Input((8, 8, 3))
    classifier = keras.Model(small, layers.Dense(2)(layers.Flatten()(small)))
    flat = layers.Flatten()(inputs)
    for outputs in (
        classifier(layers.Rescaling(1 / 255)(inputs)),
        layers.Average()([layers.Dense(2)(flat), layers.Dense(2)(flat)]),
    ):
        with pytest.raises(ValueError, match="is not one that turns features into probabilities"):
            before_last_layer(keras.Model(inputs, outputs))
