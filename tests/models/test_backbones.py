"""The bases at their smallest size: preprocessing, weights from every kind of file, what is frozen."""

import hashlib
import socket

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

from common import cli
from common.models import backbones, weights

pytestmark = pytest.mark.filterwarnings("ignore:The structure of `inputs`")  # Keras, of its own applications
APPLICATIONS = {
    "vgg19": (keras.applications.VGG19, keras.applications.vgg19.preprocess_input),
    "resnet152v2": (keras.applications.ResNet152V2, keras.applications.resnet_v2.preprocess_input),
    "efficientnetb7": (keras.applications.EfficientNetB7, keras.applications.efficientnet.preprocess_input),
}


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


@pytest.mark.parametrize("name", ["vgg19", "resnet152v2"])
def test_equals_keras_on_its_own_preprocessing(name, images):
    application, preprocess_input = APPLICATIONS[name]
    base, theirs = build(name), application(include_top=False, weights=None, input_shape=(32, 32, 3))
    theirs.set_weights(base.get_weights())
    expected = call(theirs, preprocess_input(images.copy()))
    np.testing.assert_allclose(call(base, images), expected, rtol=1e-4, atol=1e-5)
    inputs = keras.Input((32, 32, 3))
    stages = backbones.stages(keras.Model(inputs, base(inputs)), images)
    seen = stages["preprocessed"]
    np.testing.assert_allclose(seen, preprocess_input(images.copy()), atol=1e-4)
    red, green, blue = images[0, 5, 7]
    by_hand = {"vgg19": (blue - 103.939, green - 116.779, red - 123.68), "resnet152v2": images[0, 5, 7] / 127.5 - 1}
    np.testing.assert_allclose(seen[0, 5, 7], by_hand[name], atol=1e-4)


def test_a_random_base_depends_on_the_seed_alone():
    one, same, other = build("vgg19"), build("vgg19"), build("vgg19", seed=1)
    assert have_equal_weights(one, same) and not have_equal_weights(one, other)


@pytest.mark.parametrize("kind", ["legacy.h5", "own.weights.h5", "whole.h5", "whole.keras"])
@pytest.mark.parametrize("with_top", [False, True])
def test_every_kind_of_file_gives_vgg19_its_weights(tmp_path, kind, with_top):
    keras.utils.set_random_seed(3)
    # With its classifier a file is Keras's own at 224x224; here a smaller one does, since the convolutions are the same.
    source = keras.applications.VGG19(weights=None, input_shape=(32, 32, 3), include_top=with_top, classes=7)
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


def test_convolutions_out_of_a_file_with_the_classifier(tmp_path, monkeypatch):
    monkeypatch.setattr(backbones, "TOP_IMAGE_SIZE", 32)
    source = keras.applications.VGG19(weights=None, input_shape=(32, 32, 3), include_top=True, classes=7)
    base = build("vgg19", write_legacy(source, tmp_path / "top.h5"))
    assert have_equal_weights(base, keras.Model(source.input, source.get_layer("block5_pool").output))


def test_the_trained_base_of_a_run_is_taken(tmp_path):
    base = build("vgg19", seed=5)
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(base(inputs))))
    model.save(tmp_path / "model.keras")
    path = weights.find(str(tmp_path), "vgg19", 32).path
    assert have_equal_weights(build("vgg19", path), base)
    with pytest.raises(cli.InputError, match="no resnet152v2 in the model"):
        build("resnet152v2", path)


def test_imagenets_efficientnetb7_is_scaled_as_keras_scales_it(tmp_path, monkeypatch, images):
    keras.utils.set_random_seed(0)
    official = keras.applications.EfficientNetB7(include_top=False, weights=None, input_shape=(32, 32, 3))
    normalization = next(layer for layer in official.layers if isinstance(layer, layers.Normalization))
    normalization.set_weights([np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225]), np.int64(0)])
    for layer in official.layers:  # else what comes out, about 1e-5, would be equal for any input
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_variance.assign(layer.moving_variance * 0.1)
    path = write_legacy(official, tmp_path / "efficientnetb7_notop.h5")
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: str(path))
    theirs = keras.applications.EfficientNetB7(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    expected = call(theirs, images)
    ours = call(build("efficientnetb7", path), images)  # known by its normalization
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())

    # A whole model, which holds the scaling as a layer of its own.
    monkeypatch.setattr(backbones.saved, "load", lambda path: theirs)
    again = call(build("efficientnetb7", tmp_path / "whole.keras"), images)
    np.testing.assert_allclose(again, ours, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_files_that_are_no_weights_of_this_base_are_refused_in_one_line(tmp_path):
    vgg16 = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
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
    with pytest.raises(cli.InputError, match="no fully connected layers.*tf_kernels.h5"):
        build("vgg19-fc2", tmp_path / "notop.h5")


def test_paths_are_checked_before_anything_is_built(tmp_path):
    (tmp_path / "weights.ckpt").write_text("")
    for source, message in (
        (tmp_path / "absent.h5", "no such file.*imagenet, none"),
        (tmp_path, "no model.keras"),
        (tmp_path / "weights.ckpt", "must end in .h5 or .keras"),
    ):
        with pytest.raises(cli.InputError, match=message):
            weights.find(str(source), "vgg19", 32)
    with pytest.raises(cli.InputError, match="at least 32"):
        weights.find("none", "vgg19", 31)
    with pytest.raises(cli.InputError, match="need 224"):
        weights.find("imagenet", "vgg19-fc2", 200)
    assert weights.find("none", "vgg19-fc2", 64).path is None


def test_imagenet_is_found_checked_and_never_costs_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "upstream").mkdir()
    path = write_legacy(build("vgg19", seed=9), tmp_path / "upstream" / weights.OFFICIAL["vgg19"].name)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    upstream = (tmp_path / "upstream").as_uri()

    def official(folder, md5):
        monkeypatch.setitem(weights.OFFICIAL, "vgg19", weights.Official(path.name, folder, md5))

    cached = tmp_path / "keras" / "models" / path.name
    cached.parent.mkdir(parents=True)
    cached.write_text("a user's file")

    def refused(url, *args, **kwargs):
        raise socket.gaierror("Name or service not known")

    official("https://example.invalid", md5)
    with monkeypatch.context() as offline:
        offline.setattr(socket, "create_connection", refused)
        with pytest.raises(cli.InputError, match="--weights PATH.*--weights none") as failed:
            weights.find("imagenet", "vgg19", 32)
    assert str(cached) in str(failed.value) and path.name in str(failed.value) and "\n" not in str(failed.value)
    official(upstream, "0" * 32)
    with pytest.raises(cli.InputError, match="hash"):
        weights.find("imagenet", "vgg19", 32)
    assert [file.name for file in cached.parent.iterdir()] == [cached.name] and cached.read_text() == "a user's file"

    official(upstream, md5)
    assert weights.find("imagenet", "vgg19", 32).path == cached
    by_path = weights.find(str(path), "vgg19", 32)
    assert by_path.is_imagenet and by_path.label == "ImageNet weights"
    assert have_equal_weights(build("vgg19", cached), build("vgg19", seed=9))
    official("file:///nowhere", md5)  # from now on it is there
    assert weights.find("imagenet", "vgg19", 32).path == cached


def trainable(base):
    return [number for number, layer in enumerate(base.layers) if layer.trainable and layer.trainable_weights]


def test_what_is_frozen_and_what_unfreeze_last_frees():
    base = build("resnet152v2")
    assert not base.trainable_weights and not base.trainable  # the flag too, or a user's True would be no change
    base = build("resnet152v2", unfreeze_last=15)
    free = trainable(base)
    assert free and min(free) >= len(base.layers) - 15
    assert not any(isinstance(base.layers[number], layers.BatchNormalization) for number in free)
    is_batch_norm = [isinstance(layer, layers.BatchNormalization) for layer in base.layers]
    random_base = trainable(build("resnet152v2", unfreeze_last="all"))
    assert sum(is_batch_norm[number] for number in random_base) == 151  # from scratch, all of it
    backbones._freeze(base, "all", is_random=False)
    assert not any(is_batch_norm[number] for number in trainable(base)) and len(trainable(base)) == len(random_base) - 151


def test_stays_exact_under_mixed_precision(images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        stages = {}
        for name in ("vgg19", "efficientnetb7"):
            inputs = keras.Input((32, 32, 3))
            stages[name] = backbones.stages(keras.Model(inputs, build(name)(inputs)), images)["preprocessed"]
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(stages["vgg19"], APPLICATIONS["vgg19"][1](images.copy()), atol=1e-4)
    np.testing.assert_allclose(stages["efficientnetb7"], images / 255, atol=1e-6)
