import functools
from collections import Counter

import cv2
import keras
import numpy as np
import pytest
from keras import layers

from common.data import augment

WARPS = (augment.flip_and_shift, augment.flip_shift_and_rotate, augment.flip_shift_and_zoom)
CROP = functools.partial(augment.flip_and_crop, padding=4)
AUGMENTATIONS = (*WARPS, CROP, augment.in_turn(CROP, functools.partial(augment.cut_out, size=6)))


@pytest.fixture
def bright_on_the_left():
    """200 equal images, 32x32, whose left half is bright."""
    image = np.full((32, 32, 3), 40, np.uint8)
    image[:, :16] = 200
    return np.repeat(image[None], 200, axis=0)


@pytest.mark.parametrize("augmentation", WARPS)
def test_random_per_image_and_never_upside_down(augmentation, bright_on_the_left):
    copies = augment.augment(bright_on_the_left, augmentation, 0).astype(float)
    assert copies.shape == bright_on_the_left.shape and len(np.unique(copies, axis=0)) > 150
    flipped = copies[:, :, 16:].mean((1, 2, 3)) > copies[:, :, :16].mean((1, 2, 3))
    assert 0.35 < flipped.mean() < 0.65  # not all, not none
    bright_at_the_top = bright_on_the_left.transpose(0, 2, 1, 3)
    copies = augment.augment(np.ascontiguousarray(bright_at_the_top), augmentation, 0).astype(float)
    assert (copies[:, :16].mean((1, 2, 3)) > copies[:, 16:].mean((1, 2, 3))).all()


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_same_seed_same_copies(augmentation, bright_on_the_left):
    one, same, other = (augment.augment(bright_on_the_left, augmentation, seed) for seed in ([0, 1], [0, 1], [0, 2]))
    assert one.dtype == np.uint8
    assert np.array_equal(one, same) and not np.array_equal(one, other)


KERAS_LAYERS = {  # the same change, by a Keras layer
    "shift": ({"shifts": (3.2, -1.6)}, layers.RandomTranslation((-0.05, -0.05), (0.1, 0.1), fill_mode="nearest")),
    "turn": ({"degrees": 12}, layers.RandomRotation((12 / 360, 12 / 360), fill_mode="nearest")),
    "zoom in": ({"zooms": 1.25}, layers.RandomZoom((-0.2, -0.2), fill_mode="nearest")),
    "zoom out": ({"zooms": 1 / 1.1}, layers.RandomZoom((0.1, 0.1), fill_mode="nearest")),
}


def warp(images, **changes):
    count, as_it_is = len(images), {"flipped": False, "degrees": 0, "zooms": 1, "shifts": (0, 0)}
    return augment.warp(images, **{name: np.stack([value] * count) for name, value in (as_it_is | changes).items()})


@pytest.fixture
def smooth():
    """Eight smooth random images, 32x32."""
    small = np.random.default_rng(0).integers(40, 215, (8, 5, 5, 3)).astype(np.uint8)
    return np.stack([cv2.resize(image, (32, 32), interpolation=cv2.INTER_CUBIC) for image in small])


RANGES = {  # degrees, zoom, share of the size that a image is shifted by
    augment.flip_and_shift: (0, 0, 0.1),
    augment.flip_shift_and_rotate: (15, 0, 0.1),
    augment.flip_shift_and_zoom: (0, 0.1, 0.1),
}


@pytest.mark.parametrize("augmentation", WARPS)
def test_changes_reach_as_far_as_they_should_and_no_further(augmentation, monkeypatch):
    monkeypatch.setattr(augment, "warp", lambda images, **changes: changes)
    changes = augment.augment(np.zeros((5000, 20, 40, 3), np.uint8), augmentation, 0)
    turn, zoom, shift = RANGES[augmentation]
    width, height = 40, 20
    for drawn, middle, most in (
        (changes["degrees"], 0, turn),
        (changes["zooms"], 1, zoom),
        (changes["shifts"][:, 0], 0, shift * width),
        (changes["shifts"][:, 1], 0, shift * height),
    ):
        assert drawn.shape == (5000,)
        assert drawn.min() == pytest.approx(middle - most, abs=0.01 * most) and drawn.min() >= middle - most
        assert drawn.max() == pytest.approx(middle + most, abs=0.01 * most) and drawn.max() <= middle + most


@pytest.mark.parametrize("change", KERAS_LAYERS)
def test_changes_are_those_of_keras(change, smooth):
    changes, layer = KERAS_LAYERS[change]
    expected = keras.ops.convert_to_numpy(layer(smooth.astype("float32"), training=True))
    assert np.abs(expected - smooth).mean() > 5
    np.testing.assert_allclose(warp(smooth, **changes), expected, atol=1.5)  # a 32nd of a pixel, and rounding


def test_flipped_first_then_rotated_and_zoomed_then_shifted(smooth):
    np.testing.assert_array_equal(warp(smooth, flipped=True), smooth[:, :, ::-1])
    expected = smooth[:, :, ::-1].astype("float32")
    for change in ("turn", "zoom in", "shift"):
        expected = KERAS_LAYERS[change][1](expected, training=True)
    copies = warp(smooth, flipped=True, degrees=12, zooms=1.25, shifts=(3.2, -1.6))
    inner = np.s_[:, 6:-6, 6:-6]  # where no edge was repeated between two steps
    np.testing.assert_allclose(copies[inner], keras.ops.convert_to_numpy(expected)[inner], atol=8)  # bilinear once, not thrice


def test_a_crop_is_a_window_of_the_mirrored_image_anywhere_in_the_padding():
    image = np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    windows = {}
    for flip in (1, -1):
        padded = cv2.copyMakeBorder(np.ascontiguousarray(image[:, ::flip]), 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
        for top in range(5):
            for left in range(5):
                windows[padded[top : top + 9, left : left + 12].tobytes()] = flip, top, left
    images = np.repeat(image[None], 2000, axis=0)
    copies = augment.augment(images, functools.partial(augment.flip_and_crop, padding=2), 0)
    assert copies.shape == images.shape and copies.dtype == np.uint8
    counts = Counter(windows[copy.tobytes()] for copy in copies)  # a KeyError if it is none of them
    assert len(counts) == 50 and min(counts.values()) >= 15 and max(counts.values()) <= 70  # 40 on average


def test_a_square_is_cut_out_anywhere_in_the_image():
    images = np.zeros((3000, 8, 11, 3), np.uint8)
    copies = augment.augment(images, functools.partial(augment.cut_out, size=4), 0)
    assert not images.any() and set(np.unique(copies)) == {0, augment.GREY}
    squares = set()
    for top in range(-2, 6):  # its middle is a pixel of the image
        for left in range(-2, 9):
            square = np.zeros((8, 11, 3), np.uint8)
            square[max(top, 0) : top + 4, max(left, 0) : left + 4] = augment.GREY
            squares.add(square.tobytes())
    counts = Counter(copy.tobytes() for copy in copies)
    assert counts.keys() == squares and len(squares) == 88 and max(counts.values()) <= 70  # 34 on average
