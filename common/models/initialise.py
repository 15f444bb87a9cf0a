"""Initial weights from which deep networks learn. Importing this imports Keras."""

import keras
import numpy as np
from keras import layers

from common.models.inference import ForwardPass
from common.models.upscale import upscale

IMAGES_STDDEV = 64  # of RGB in 0..255 after VGG19's preprocessing, roughly


def as_linear_twins(layer, has_twins):
    """Give a Dense relu layer a kernel with which it passes on a linear map of its inputs.

    Each unit gets a twin of the opposite sign, and what relu cuts off in one remains in the other (Balduzzi et al. 2017,
    https://arxiv.org/abs/1702.08591, section 4). `has_twins` says whether the layer's inputs are twins, from such a layer.
    """
    num_inputs, num_units = layer.kernel.shape
    half = keras.initializers.Orthogonal()((num_inputs // (2 if has_twins else 1), num_units // 2))
    half = keras.ops.convert_to_numpy(half)
    layer.kernel.assign(np.block([[half, -half], [-half, half]] if has_twins else [[half, -half]]))


def fit_to_images(backbone, images):
    """Give a random VGG19, which has no batch norm, weights with which it can be trained from scratch.

    With Keras's initial weights all images look alike after 16 layers. Here a layer with as many channels as the one before
    passes them on and adds a tenth of its initial weights (as in DiracNets, https://arxiv.org/abs/1706.00388). Weights and
    biases of the other layers are scaled so that on these images, uint8 `(n, h, w, 3)`, every channel has mean 0 and the same
    deviation before its relu (Salimans & Kingma 2016, https://arxiv.org/abs/1602.07868, section 3): about half of that in the
    layer before, and at least 2.
    """
    convolutions = [layer for layer in backbone.layers if isinstance(layer, layers.Conv2D)]
    deviation = IMAGES_STDDEV
    x = ForwardPass(keras.Model(backbone.input, convolutions[0].input), len(images))(images)
    for layer in backbone.layers[backbone.layers.index(convolutions[0]) :]:
        if isinstance(layer, layers.Conv2D):
            kernel, bias = layer.get_weights()
            if kernel.shape[2] == kernel.shape[3]:
                kernel *= 0.1
                kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] += np.eye(kernel.shape[2], dtype=kernel.dtype)
            else:
                deviation = max(2, deviation / (4 if layer is convolutions[0] else 2))
                outputs = keras.ops.convert_to_numpy(keras.ops.conv(keras.ops.cast(x, "float32"), kernel, padding="same"))
                scale = deviation / (outputs.std((0, 1, 2)) + 1e-6)
                kernel, bias = kernel * scale, -outputs.mean((0, 1, 2)) * scale
            layer.set_weights([kernel, bias])
        x = layer(x)


def give_scale(base, seed):
    """Scale a random network's output, about 1e-5 with Keras's initial weights of EfficientNetB7, to the order of 1.

    Its last batch norm is set to give mean 0 and variance 1 on a few random images.
    """
    last = next(layer for layer in reversed(base.layers) if isinstance(layer, layers.BatchNormalization))
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 8, 8, 3), np.uint8)
    images = keras.ops.convert_to_numpy(upscale(coarse, base.input_shape[1:3]))
    before_last = keras.Model(base.inputs[0], last.input)
    if base.input_shape[1] > 64:  # at 224x224 eager layers take 18 s, compiled ones 6; at 32x32 1 and 6
        outputs = ForwardPass(before_last, len(images))(images)
    else:
        outputs = keras.ops.convert_to_numpy(before_last(images, training=False)).astype(np.float32)
    mean, variance = outputs.mean((0, 1, 2)), outputs.var((0, 1, 2), np.float64)  # MobileNet's is about 1e-40
    last.moving_mean.assign(mean)
    last.moving_variance.assign(variance)
    last.gamma.assign(np.sqrt((variance + last.epsilon) / variance))
