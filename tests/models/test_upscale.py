import cv2
import keras
import numpy as np
import pytest

from common import cli
from common.models.upscale import INTERPOLATIONS, Upscale

SHAPES = [
    ((32, 32), (224, 224)),
    ((32, 32), (200, 200)),
    ((32, 32), (96, 160)),
    ((32, 32), (32, 32)),
    ((40, 24), (17, 63)),  # one side shrinks, the other grows
    ((24, 40), (63, 17)),
    ((64, 48), (32, 16)),  # both shrink, by whole factors
    ((50, 70), (33, 41)),
    ((5, 3), (11, 1)),
]


def pictures(shape, channels=3, dtype="uint8"):
    return np.random.default_rng(0).integers(0, 256, (3, *shape, channels)).astype(dtype)


def with_opencv(images, size, interpolation):
    flag = INTERPOLATIONS[interpolation]
    return np.stack([cv2.resize(image.astype("float32"), size[::-1], interpolation=flag) for image in images])


@pytest.mark.parametrize("source, target", SHAPES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_equals_opencv_on_float32(source, target, interpolation):
    images = pictures(source)
    resized = keras.ops.convert_to_numpy(Upscale(target, interpolation)(images))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, with_opencv(images, target, interpolation), atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float16", "int64"])
def test_dtype_of_the_input_is_no_matter(dtype):
    resized = keras.ops.convert_to_numpy(Upscale(80)(pictures((32, 32), dtype=dtype)))
    np.testing.assert_allclose(resized, with_opencv(pictures((32, 32)), (80, 80), "bicubic"), atol=1e-3)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_in_a_compiled_model_with_and_without_xla(interpolation, jit_compile):
    # 96, 160 and 224 are the sizes at which XLA on TensorFlow resizes wrongly by itself.
    inputs = keras.Input((32, 32, 1))
    model = keras.Model(inputs, [Upscale(size, interpolation)(inputs) for size in (96, 160, 224)])
    model.compile(jit_compile=jit_compile)
    images = pictures((32, 32), channels=1)
    for resized in model.predict(images, verbose=0):
        expected = with_opencv(images, resized.shape[1:3], interpolation)[..., None]
        np.testing.assert_allclose(resized, expected, atol=1e-3)


def test_stays_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((32, 32, 3))
        model = keras.Model(inputs, Upscale(100)(inputs))
        resized = model.predict(pictures((32, 32)), verbose=0)
    finally:
        keras.config.set_dtype_policy(before)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, with_opencv(pictures((32, 32)), (100, 100), "bicubic"), atol=1e-3)


@pytest.mark.parametrize("extension", [".keras", ".h5"])
def test_saved_and_loaded(tmp_path, extension):
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, Upscale((48, 64), "lanczos4")(inputs))
    model.save(tmp_path / f"model{extension}")
    loaded = keras.models.load_model(tmp_path / f"model{extension}")
    images = pictures((32, 32))
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))


def test_the_flag_names_every_interpolation():
    assert tuple(INTERPOLATIONS) == cli.INTERPOLATIONS


def test_unknown_interpolation_is_refused():
    with pytest.raises(ValueError, match="bicubik.*nearest, bilinear"):
        Upscale(224, "bicubik")
