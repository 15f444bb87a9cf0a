import cv2
import keras
import numpy as np
import pytest

from common import flags
from common.models.upscale import INTERPOLATIONS, upscale

SHAPES = [
    ((32, 32), (224, 224)),
    ((32, 32), (200, 200)),
    ((32, 32), (32, 32)),
    ((40, 24), (17, 63)),  # one side shrinks, the other grows
    ((64, 48), (32, 16)),  # both shrink, by whole factors
    ((5, 3), (11, 1)),
]


def random_images(shape, channels=3, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, (3, *shape, channels)).astype(dtype)


def with_opencv(images, size, interpolation):
    flag = INTERPOLATIONS[interpolation]
    return np.stack([cv2.resize(image.astype("float32"), size[::-1], interpolation=flag) for image in images])


@pytest.mark.parametrize("source, target", SHAPES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_equals_opencv_on_float32(source, target, interpolation):
    images = random_images(source)
    resized = keras.ops.convert_to_numpy(upscale(images, target, interpolation))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, with_opencv(images, target, interpolation), atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_dtype_of_the_input_is_no_matter(dtype):
    resized = keras.ops.convert_to_numpy(upscale(random_images((32, 32), dtype=dtype), 80))
    np.testing.assert_allclose(resized, with_opencv(random_images((32, 32)), (80, 80), "bicubic"), atol=1e-3)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_in_a_compiled_model_with_and_without_xla(interpolation, jit_compile):
    # 96, 160 and 224 are the sizes at which XLA on TensorFlow resizes wrongly by itself.
    inputs = keras.Input((32, 32, 1))
    model = keras.Model(inputs, [upscale(inputs, size, interpolation) for size in (96, 160, 224)])
    model.compile(jit_compile=jit_compile)
    images = random_images((32, 32), channels=1)
    for resized in model.predict(images, verbose=0):
        expected = with_opencv(images, resized.shape[1:3], interpolation)[..., None]
        np.testing.assert_allclose(resized, expected, atol=1e-3)


def test_stays_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((32, 32, 3))
        model = keras.Model(inputs, upscale(inputs, 100))
        resized = model.predict(random_images((32, 32)), verbose=0)
    finally:
        keras.config.set_dtype_policy(before)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, with_opencv(random_images((32, 32)), (100, 100), "bicubic"), atol=1e-3)


def save(folder, source=(32, 32), target=(48, 64), interpolation="lanczos4"):
    """A saved model that upscales."""
    inputs = keras.Input((*source, 3))
    model = keras.Model(inputs, upscale(inputs, target, interpolation))
    model.save(folder / "model.keras")
    return model


@pytest.mark.parametrize("size", [24, 48])
def test_an_image_of_another_size_is_refused(tmp_path, size):
    save(tmp_path)
    model, wrong = keras.models.load_model(tmp_path / "model.keras"), random_images((size, size))
    # Each backend has its own words, and TensorFlow its own class once the model is compiled.
    with pytest.raises(ValueError, match="32, 32, 3"):
        model.predict(wrong, verbose=0)
    model.predict(random_images((32, 32)), verbose=0)
    with pytest.raises(Exception, match="reshape|expected shape|32, 32, 3"):
        model.predict(wrong, verbose=0)


def test_the_flag_names_every_interpolation_and_others_are_refused():
    assert tuple(INTERPOLATIONS) == flags.INTERPOLATIONS
    with pytest.raises(ValueError, match="bicubik.*nearest, bilinear"):
        upscale(random_images((32, 32)), 224, "bicubik")
