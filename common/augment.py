"""Augmentation for small pictures of objects, by Keras layers: random per picture, seeded, for training pictures only.

It is no part of a model: several of its layers would keep the whole model from being compiled on JAX.

Presets for CIFAR-10 are upright objects that fill the picture: mirrored, shifted by a few pixels and turned a little, but not
upside down. What a shift or a turn lays open repeats the edge. Importing this imports Keras.
"""

import keras
import numpy as np
from keras import layers

CHUNK = 1024  # pictures of 32x32 that are augmented in one go, fewer larger ones


def mirrored_and_shifted(seed):
    """Horizontal flip, shift by up to a tenth in both directions (3 pixels of 32)."""
    return _sequence(
        layers.RandomFlip("horizontal", seed=seed),
        layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=seed + 1),
    )


def mirrored_shifted_and_turned(seed):
    """Horizontal flip, rotation by up to 15 degrees either way, shift by up to a tenth: the EfficientNetB7 document's."""
    return _sequence(
        layers.RandomFlip("horizontal", seed=seed),
        layers.RandomRotation(15 / 360, fill_mode="nearest", seed=seed + 1),
        layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=seed + 2),
    )


def mirrored_shifted_and_zoomed(seed):
    """Horizontal flip, shift by up to a tenth, zoom by up to a tenth either way: what is left of the ResNet152V2 document's
    augmentation of scenes (rotation by 50 degrees, shift .2, zoom .3, both flips) for objects that stand upright.
    """
    return _sequence(
        layers.RandomFlip("horizontal", seed=seed),
        layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=seed + 1),
        layers.RandomZoom((-0.1, 0.1), fill_mode="nearest", seed=seed + 2),
    )


def augmented(images, preset, seed):
    """An augmented copy of every picture: uint8 `(n, h, w, 3)` in and out, the same for the same seed on one backend.

    `seed` is a whole number or a list of them, as for `numpy.random.default_rng`.
    """
    augmentation, copy = preset(int(np.random.default_rng(seed).integers(2**30))), np.empty_like(images)
    count = max(1, CHUNK * 32 * 32 // (images.shape[1] * images.shape[2]))
    for start in range(0, len(images), count):
        chunk = keras.ops.convert_to_numpy(augmentation(images[start : start + count], training=True))
        copy[start : start + count] = np.clip(np.rint(chunk), 0, 255)
    return copy


def _sequence(*augmentations):
    """In float32 also under mixed precision, which has no bits for 256 grey levels between two of them."""
    for layer in augmentations:
        layer.dtype_policy = "float32"
    return keras.Sequential([layers.Rescaling(1.0, dtype="float32"), *augmentations], name="augmentation")
