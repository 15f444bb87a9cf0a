"""The bases at their smallest size: preprocessing, weights from every kind of file, what is frozen."""

import os
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import applications, layers
from keras.src.legacy.saving import legacy_h5_format

from common import cli
from common.models import backbones, inference, weights

pytestmark = pytest.mark.filterwarnings("ignore:The structure of `inputs`")  # Keras, of its own applications


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype("float32")


def build(name, path=None, seed=0, is_imagenet=False, **options):
    return backbones.build(name, 32, weights.Weights(path, is_imagenet, ""), seed=seed, **options)


def call(model, images):
    """What a model predicts, without the time that tracing takes."""
    return keras.ops.convert_to_numpy(model(images, training=False))


def write_legacy(model, path):
    """A weights-only .h5, as Keras's own files are."""
    import h5py

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def have_equal_weights(one, other):
    ours, theirs = one.get_weights(), other.get_weights()
    return len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))


@pytest.fixture
def small_networks(monkeypatch):
    """EfficientNetB0 in place of B7, and ResNet50V2 in place of ResNet152V2."""
    for name, application in (("efficientnetb7", applications.EfficientNetB0), ("resnet152v2", applications.ResNet50V2)):
        monkeypatch.setitem(backbones.NETWORKS, name, replace(backbones.NETWORKS[name], application=application))


MEAN, STDDEV = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SCALINGS = {  # what becomes of an RGB pixel, 0 to 255, by hand
    "caffe": lambda rgb: rgb[::-1] - (103.939, 116.779, 123.68),
    "torch": lambda rgb: (rgb / 255 - MEAN) / STDDEV,
    "-1 to 1": lambda rgb: rgb / 127.5 - 1,
    "by 128": lambda rgb: rgb / 128 - 1,
    "0 to 1": lambda rgb: rgb / 255,
}
FAMILIES = {  # the smallest network of each
    **dict.fromkeys(("resnet50", "vgg16"), "caffe"),
    **dict.fromkeys(("convnexttiny", "densenet121", "efficientnetv2b0"), "torch"),
    **dict.fromkeys(("inceptionresnetv2", "inceptionv3", "mobilenet", "mobilenetv2", "mobilenetv3small"), "-1 to 1"),
    **dict.fromkeys(("nasnetmobile", "resnet50v2", "xception"), "-1 to 1"),
    "efficientnetv2s": "by 128",
    "efficientnetb0": "0 to 1",
}
QUICK = ("convnexttiny", "mobilenet", "mobilenetv3small", "resnet50v2", "vgg16", "efficientnetb0")


@pytest.mark.parametrize(("name", "scaling"), FAMILIES.items())
def test_a_saved_network_is_keras_s_on_its_own_preprocessing_and_frozen(name, scaling, tmp_path, monkeypatch):
    if name not in QUICK and not os.environ.get("ALL_NETWORKS"):
        pytest.skip("ALL_NETWORKS=1 tests them all, in two minutes")
    monkeypatch.setattr(backbones.initialise, "give_scale", lambda *_: None)  # takes time
    network = backbones.NETWORKS[name]
    shape = (network.min_size, network.min_size, 3)
    images = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype("float32")
    base, inputs = backbones.build(name, network.min_size, weights.Weights(None, False, ""), seed=0), keras.Input(shape)
    theirs = network.application(include_top=False, weights=None, input_shape=shape, pooling="avg")
    theirs.set_weights(base.get_weights())
    expected = call(theirs, network.preprocess_input(images.copy()))
    model = keras.Model(inputs, base(inputs))
    seen = backbones.stages(model, images)["preprocessed"]
    np.testing.assert_allclose(seen[0, 5, 7], SCALINGS[scaling](images[0, 5, 7]), atol=1e-4)
    model.save(tmp_path / "model.keras")
    outputs = keras.ops.convert_to_numpy(inference.load_model(tmp_path / "model.keras")(images, training=True))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert np.abs(outputs[0] - outputs[1]).max() > 0 and np.isfinite(outputs).all()


@pytest.mark.parametrize(
    ("kind", "with_top"), [("legacy.h5", False), ("own.weights.h5", True), ("whole.h5", False), ("whole.keras", True)]
)
def test_every_kind_of_file_gives_vgg19_its_weights(tmp_path, kind, with_top):
    keras.utils.set_random_seed(3)
    # With its classifier a file is Keras's own at 224x224; here a smaller one does, since the convolutions are the same.
    source = applications.VGG19(weights=None, input_shape=(32, 32, 3), include_top=with_top, classes=7)
    path = tmp_path / kind
    if kind == "legacy.h5":
        write_legacy(source, path)
    elif kind == "own.weights.h5":
        source.save_weights(path)
    else:
        source.save(path)
    if with_top:
        base, cut = build("vgg19-fc2", path), source.get_layer("fc2").output
        assert have_equal_weights(base, keras.Model(source.input, cut))
    else:
        assert have_equal_weights(build("vgg19", path), source)


@pytest.mark.parametrize("name", ["convnexttiny", "mobilenetv3small"])  # with Dense layers below the classifier; without any
def test_every_classifier_is_told_from_what_is_below_it(tmp_path, name):
    keras.utils.set_random_seed(3)
    source = backbones.NETWORKS[name].application(weights=None, input_shape=(32, 32, 3), include_top=True, classes=7)
    base = build(name, write_legacy(source, tmp_path / "legacy.h5"))
    assert len(base.get_weights()) > 50 and all(map(np.array_equal, base.get_weights(), source.get_weights()))
    source.save(tmp_path / "whole.keras")
    assert have_equal_weights(build(name, tmp_path / "whole.keras"), base)


def test_the_trained_base_of_a_run_is_taken(tmp_path):
    base = build("vgg19", seed=5)
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(base(inputs))))
    model.save(tmp_path / "model.keras")
    path = weights.find(str(tmp_path), "vgg19", 32).path
    assert have_equal_weights(build("vgg19", path), base)
    with pytest.raises(cli.InputError, match="no resnet152v2 in the model"):
        build("resnet152v2", path)


@pytest.mark.usefixtures("small_networks")
def test_imagenets_efficientnet_is_scaled_as_keras_scales_it(tmp_path, monkeypatch, images):
    keras.utils.set_random_seed(0)
    official = applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    normalization = next(layer for layer in official.layers if isinstance(layer, layers.Normalization))
    normalization.set_weights([np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]), np.int64(0)])
    for layer in official.layers:  # else what comes out, about 1e-5, would be equal for any input
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(layer.moving_variance * 0.1)
    path = write_legacy(official, tmp_path / "notop.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: str(path))
    theirs = applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3), pooling="avg")
    expected = call(theirs, images)
    ours = call(build("efficientnetb7", path), images)  # known by its normalization
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())

    # A whole model, which holds the scaling as a layer of its own.
    monkeypatch.setattr(backbones.inference, "load_model", lambda path: theirs)
    again = call(build("efficientnetb7", tmp_path / "whole.keras"), images)
    np.testing.assert_allclose(again, ours, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_files_that_are_no_weights_of_this_base_are_refused_in_one_line(tmp_path):
    vgg16 = applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    vgg16.save_weights(tmp_path / "vgg16.weights.h5")
    vgg16.save(tmp_path / "vgg16.keras")
    write_legacy(vgg16, tmp_path / "vgg16.h5")
    write_legacy(build("vgg19"), tmp_path / "cut.h5")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "cut.h5").read_bytes()[:1_000_000])
    (tmp_path / "cut.keras").write_bytes((tmp_path / "vgg16.keras").read_bytes()[:1_000_000])
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "empty.weights.h5").write_bytes(b"")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(cli.InputError, match=path.name) as failed:
            build("vgg19", path)
        assert "\n" not in str(failed.value) and "vgg19" in str(failed.value)
    write_legacy(build("vgg19"), tmp_path / "notop.h5")
    with pytest.raises(cli.InputError, match="no fully connected layers.*with the classifier on top"):
        build("vgg19-fc2", tmp_path / "notop.h5")


def trainable(base):
    return [number for number, layer in enumerate(base.layers) if layer.trainable and layer.trainable_weights]


@pytest.mark.usefixtures("small_networks")
def test_what_is_frozen_and_what_unfreeze_last_frees():
    base = build("resnet152v2")
    assert not base.trainable_weights and not base.trainable  # the flag too, or a user's True would be no change
    base = build("resnet152v2", unfreeze_last=15)
    free = trainable(base)
    assert free and min(free) >= len(base.layers) - 1 - 15  # pooling isn't one of them
    assert not any(isinstance(base.layers[number], layers.BatchNormalization) for number in free)
    is_batch_norm = [isinstance(layer, layers.BatchNormalization) for layer in base.layers]
    random_base = trainable(build("resnet152v2", unfreeze_last="all"))
    assert sum(is_batch_norm[number] for number in random_base) == sum(is_batch_norm) > 40  # from scratch, all of it
    backbones._freeze(base, "all", is_random=False)
    assert trainable(base) == [number for number in random_base if not is_batch_norm[number]]


@pytest.mark.usefixtures("small_networks")
def test_stays_exact_under_mixed_precision(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        stages = {}
        for name in ("vgg19", "efficientnetb7", "convnexttiny"):
            inputs = keras.Input((32, 32, 3))
            stages[name] = backbones.stages(keras.Model(inputs, build(name)(inputs)), images)["preprocessed"]
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(stages["vgg19"], applications.vgg19.preprocess_input(images.copy()), atol=1e-4)
    np.testing.assert_allclose(stages["efficientnetb7"], images / 255, atol=1e-6)
    np.testing.assert_allclose(stages["convnexttiny"], SCALINGS["torch"](images), atol=1e-5)
