import keras
import numpy as np
import pytest

from common import augment
from common.batches import Batches

PRESETS = (augment.mirrored_and_shifted, augment.mirrored_shifted_and_turned, augment.mirrored_shifted_and_zoomed)


@pytest.fixture
def bright_on_the_left():
    """200 equal pictures, 32x32, whose left half is bright."""
    picture = np.full((32, 32, 3), 40, np.uint8)
    picture[:, :16] = 200
    return np.repeat(picture[None], 200, axis=0)


@pytest.mark.parametrize("preset", PRESETS)
def test_random_per_picture_and_never_upside_down(preset, bright_on_the_left):
    copies = augment.augmented(bright_on_the_left, preset, 0).astype(float)
    assert copies.shape == bright_on_the_left.shape and len(np.unique(copies, axis=0)) > 150
    flipped = copies[:, :, 16:].mean((1, 2, 3)) > copies[:, :, :16].mean((1, 2, 3))
    assert 0.35 < flipped.mean() < 0.65  # not all, not none
    bright_at_the_top = bright_on_the_left.transpose(0, 2, 1, 3)
    copies = augment.augmented(np.ascontiguousarray(bright_at_the_top), preset, 0).astype(float)
    assert (copies[:, :16].mean((1, 2, 3)) > copies[:, 16:].mean((1, 2, 3))).all()


@pytest.mark.parametrize("preset", PRESETS)
def test_same_seed_same_copies(preset, bright_on_the_left):
    one, same, other = (augment.augmented(bright_on_the_left, preset, seed) for seed in ([0, 1], [0, 1], [0, 2]))
    assert one.dtype == np.uint8
    assert np.array_equal(one, same) and not np.array_equal(one, other)


def test_a_shift_is_at_most_a_tenth():
    dot = np.zeros((300, 31, 31, 3), np.uint8)
    dot[:, 15, 15] = 255
    copies = augment.augmented(dot, augment.mirrored_and_shifted, 0).astype(float).sum(-1)
    rows = (copies * np.arange(31)[:, None]).sum((1, 2)) / copies.sum((1, 2))
    assert 2.5 < abs(rows - 15).max() <= 3.11  # a tenth of 31
    assert (rows < 14).any() and (rows > 16).any()


def test_off_at_inference_on_in_training(bright_on_the_left):
    model = augment.mirrored_shifted_and_turned(0)
    images = bright_on_the_left.astype("float32")
    np.testing.assert_array_equal(model.predict(images, verbose=0), images)
    assert np.abs(keras.ops.convert_to_numpy(model(images, training=True)) - images).mean() > 10


def test_batches_are_augmented_anew_in_every_epoch_the_same_for_the_same_seed(bright_on_the_left):
    def epoch(number, seed=0):
        batches = Batches(bright_on_the_left, np.arange(200), 64, seed, preset=augment.mirrored_and_shifted)
        batches.epoch = number
        return np.concatenate([batches[index][0] for index in range(len(batches))])

    assert np.array_equal(epoch(0), epoch(0))
    assert not np.array_equal(epoch(0), epoch(1)) and not np.array_equal(epoch(0), epoch(0, seed=1))


def test_in_float32_under_mixed_precision(bright_on_the_left):
    expected = augment.augmented(bright_on_the_left, augment.mirrored_shifted_and_turned, 0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        copies = augment.augmented(bright_on_the_left, augment.mirrored_shifted_and_turned, 0)
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(copies, expected)
