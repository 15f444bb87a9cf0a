"""EfficientNet-Lite, which `keras.applications` lacks, and its ImageNet weights in the files that PyTorch wrote.

Tan and Le, EfficientNet, 2019 (https://arxiv.org/abs/1905.11946), table 1 and section 3.3, without squeeze-and-excite and with
ReLU6 for swish: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. Importing this imports Keras.
"""

import collections
import math
import pickle

import keras
import numpy as np
from keras import layers

STAGES = (  # kernel size, stride, expansion, filters, blocks
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip
VARIANTS = {  # how width and depth are scaled, and the image size
    "efficientnet-lite0": (1.0, 1.0, 224),
    "efficientnet-lite1": (1.0, 1.1, 240),
    "efficientnet-lite2": (1.1, 1.2, 260),
}
DROP_CONNECT = 0.2  # of the last block; it rises evenly from 0
INITIALIZER = {"class_name": "VarianceScaling", "config": {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"}}


def efficientnet_lite(name, input_tensor, include_top=False, classes=1000, pooling=None, weights=None):
    """The network `name` of `VARIANTS`, as a function of `keras.applications` builds it: images RGB 0..255 to features.

    They are `(n, h/32, w/32, 1280)`, or `(n, 1280)` with `pooling`; or classes. Its preprocessing is inside: `(images - 127) /
    128`. Stem and top are not scaled, first and last stage not deepened. `weights` must be None, which is random ones: `load`
    reads ImageNet's.
    """
    width, depth, _ = VARIANTS[name]
    blocks = [
        (
            f"block{stage}{chr(ord('a') + repeat)}",
            expansion,
            8 * round(width * filters / 8),
            kernel_size,
            1 if repeat else strides,
        )
        for stage, (kernel_size, strides, expansion, filters, repeats) in enumerate(STAGES, start=1)
        for repeat in range(repeats if stage in (1, len(STAGES)) else math.ceil(depth * repeats))
    ]
    x = layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32", name="rescaling")(input_tensor)
    x = _convolve(x, "stem", 32, 3, strides=2)
    for number, block in enumerate(blocks):
        x = _inverted_residual(x, *block, drop_rate=DROP_CONNECT * number / len(blocks))
    x = _convolve(x, "top", 1280, 1)
    if include_top or pooling:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if include_top:
        x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(input_tensor, x, name=name)


def load(model, path):
    """Give a model without classifier the weights of its `efficientnet-lite<n>-<hash>.pth`.

    The file, whose hash was checked, has them in the model's order. Raises ValueError for one with more layers.
    """
    arrays = (array for name, array in read_torch(path).items() if not name.endswith("num_batches_tracked"))
    for layer in model.layers:
        if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
            kernel = next(arrays)  # (out, in, height, width)
            layer.set_weights([kernel.transpose((2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0))])
        elif isinstance(layer, layers.BatchNormalization):
            layer.set_weights([next(arrays) for _ in range(4)])  # gamma, beta, mean, variance
    if len(list(arrays)) != 2:  # the classifier's
        raise ValueError(f"it holds other layers than {model.name}")


def read_torch(path):
    """The arrays by name in a file of tensors that PyTorch wrote before 1.6: pickles, then the numbers of each storage.

    PyTorch is not needed. Nothing in the file is executed: a pickle that asks for more than tensors in a dict raises KeyError.
    """
    storages = {}
    with path.open("rb") as file:
        unpickler = _TensorUnpickler(file)
        *_, tensors, keys = [unpickler.load() for _ in range(5)]  # the first three: magic number, version, the writer's system
        for key in keys:
            (size,) = np.fromfile(file, "<i8", 1)
            storages[key] = np.fromfile(file, unpickler.dtypes[key], size)
    return {name: _view(storages[key], *place) for name, (key, *place) in tensors.items()}


def _view(storage, start, shape, strides):
    """The tensor that begins at `start` in a storage; `strides` count elements."""
    return np.lib.stride_tricks.as_strided(storage[start:], shape, [storage.itemsize * stride for stride in strides])


class _TensorUnpickler(pickle.Unpickler):
    """Makes `(key of its storage, start, shape, strides)` of a tensor, and collects the dtype of each storage."""

    ALLOWED = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): lambda key, *place: (key, *place[:3]),
        ("torch", "FloatStorage"): "<f4",
        ("torch", "LongStorage"): "<i8",
    }

    def __init__(self, file):
        super().__init__(file)
        self.dtypes = {}

    def find_class(self, module, name):
        return self.ALLOWED[module, name]

    def persistent_load(self, saved):
        _, dtype, key, *_ = saved
        self.dtypes[key] = dtype
        return key


def _convolve(x, name, filters, kernel_size, *, strides=1, activates=True):
    """A convolution without bias, batch norm, and ReLU6 unless it is the last of a block."""
    x = layers.Conv2D(
        filters, kernel_size, strides, padding="same", use_bias=False, kernel_initializer=INITIALIZER, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6, name=f"{name}_activation")(x) if activates else x


def _inverted_residual(inputs, name, expansion, filters, kernel_size, strides, drop_rate):
    """Expand, filter each channel by itself, project; added to the input where the shapes are equal."""
    x = inputs
    if expansion > 1:
        x = _convolve(x, f"{name}_expand", expansion * inputs.shape[-1], 1)
    x = layers.DepthwiseConv2D(
        kernel_size, strides, padding="same", use_bias=False, depthwise_initializer=INITIALIZER, name=f"{name}_dwconv"
    )(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    x = layers.ReLU(6, name=f"{name}_activation")(x)
    x = _convolve(x, f"{name}_project", filters, 1, activates=False)
    if strides > 1 or inputs.shape[-1] != filters:
        return x
    if drop_rate:
        x = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
    return layers.Add(name=f"{name}_add")([x, inputs])
