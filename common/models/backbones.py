"""The pretrained backbones, each with its own preprocessing inside: images RGB 0..255 in, features out.

Frozen means that nothing in a backbone changes or is random: batch norm is in inference mode, and there is no dropout (Keras
leaves the 48 drop-connect layers of a frozen EfficientNetB7 active in training). Importing this imports Keras.
"""

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from unittest import mock

import h5py
import keras
import numpy as np
from keras import applications, layers

from common import backend
from common.cli import InputError, is_out_of_memory, reason
from common.models import efficientnet_lite, inference, initialise

IMAGENET_STDDEV = np.array([0.229, 0.224, 0.225], np.float32)  # of RGB in 0..1, as in keras.applications.efficientnet
TOP_IMAGE_SIZE = 224  # of the backbones with their classifier


@dataclass(frozen=True)
class Network:
    """A function of `keras.applications`, or like one of them, and its preprocessing of images RGB 0..255.

    Features are what comes before the classifier's pooling, or the output of the classifier's `last_layer`.
    """

    application: Callable
    preprocess_input: Callable
    last_layer: str | None = None


NETWORKS = {  # by image size, features are
    "vgg19-fc2": Network(applications.VGG19, applications.vgg19.preprocess_input, "fc2"),  # (n, 4096)
    "vgg19": Network(applications.VGG19, applications.vgg19.preprocess_input),  # (n, h, w, 512)
    "resnet152v2": Network(applications.ResNet152V2, applications.resnet_v2.preprocess_input),  # (n, h, w, 2048)
    "efficientnetb7": Network(applications.EfficientNetB7, applications.efficientnet.preprocess_input),  # (n, h, w, 2560)
    "efficientnet-lite0": Network(efficientnet_lite.efficientnet_lite0, lambda images: images),  # (n, h, w, 1280)
}


def build(name, image_size, weights, *, seed, unfreeze_last=0):
    """The backbone `name` of `NETWORKS`: images `(n, image_size, image_size, 3)`, RGB 0..255, to features.

    `weights` are `Weights`; random ones are drawn from `seed`. The backbone is frozen except for its last `unfreeze_last`
    layers, a number or `all`. Batch norm stays in inference mode, unless all of a random backbone is trained. Raises InputError
    for a file that is damaged, holds no weights, or holds those of another architecture.
    """
    backend.set_seed(seed, "base")
    last_layer = NETWORKS[name].last_layer
    base = _application(name, keras.Input((image_size, image_size, 3)), include_top=bool(last_layer))
    if last_layer:
        base = keras.Model(base.input, base.get_layer(last_layer).output, name=base.name)
    if weights.path:
        _load(base, name, weights)
    elif name.startswith("efficientnet"):
        initialise.give_scale(base, seed)
    _freeze(base, unfreeze_last, is_random=weights.path is None)
    return base


def imagenet_file(name):
    """Name, address and hash of the ImageNet weights that Keras itself would download for a network of `NETWORKS`."""
    get_file = mock.Mock(side_effect=InterruptedError)
    with mock.patch("keras.src.utils.file_utils.get_file", get_file), contextlib.suppress(InterruptedError):
        NETWORKS[name].application(weights="imagenet", include_top=bool(NETWORKS[name].last_layer))
    (file_name, origin), options = get_file.call_args
    return file_name, origin, options["file_hash"]


def stages(extractor, images):
    """What images uint8 `(n, h, w, 3)` become on their way into the backbone of an extractor: a dict by stage."""
    backbone = next(layer for layer in extractor.layers if isinstance(layer, keras.Model))
    first = next(layer for layer in backbone.layers if isinstance(layer, (layers.ZeroPadding2D, layers.Conv2D)))
    previous = extractor.operations[extractor.operations.index(backbone) - 1]  # the last step of upscaling, or the input layer
    upscaled_images = inference.ForwardPass(keras.Model(extractor.input, previous.output), len(images))(images)
    preprocessed = inference.ForwardPass(keras.Model(backbone.input, first.input), len(images))(upscaled_images)
    height, width = upscaled_images.shape[1:3]
    return {
        f"upscaled,\n{width}x{height}": np.clip(np.rint(upscaled_images), 0, 255).astype(np.uint8),
        "preprocessed": preprocessed,
    }


def _application(name, inputs, include_top, classes=1000):
    """The network on its own preprocessing, with random weights."""
    network = NETWORKS[name]
    images = network.preprocess_input(inputs)
    base = network.application(input_tensor=images, weights=None, include_top=include_top, classes=classes)
    for layer in base.layers:  # preprocessing: bfloat16 can't tell 256 grey levels apart
        if isinstance(layer, (layers.Rescaling, layers.Normalization)):
            layer.dtype_policy = "float32"
    return base


def _freeze(base, unfreeze_last, is_random):
    from_scratch = is_random and unfreeze_last == "all"
    first = 0 if unfreeze_last == "all" else len(base.layers) - unfreeze_last
    for number, layer in enumerate(base.layers):
        layer.trainable = number >= first and (from_scratch or not isinstance(layer, layers.BatchNormalization))
        if isinstance(layer, layers.Dropout) and number < first:
            layer.rate = 0
    if unfreeze_last == 0:  # its own flag too, or Keras on TensorFlow drops a user's `base.trainable = True` as no change
        base.trainable = False


def _load(base, name, weights):
    """Load a file's weights into the backbone: a whole model or weights alone, with or without the classifier on top."""
    path = weights.path
    if path.suffix == ".pth":  # of a package, its hash was checked
        efficientnet_lite.load(base, path)
        return
    try:
        with warnings.catch_warnings(action="ignore"):  # what is wrong is reported once, below
            if (model := inference.load_model(path)) is not None:
                source = next((inner for inner in _models_in(model) if inner.name == base.name), None)
                if source is None:
                    raise ValueError(f"no {base.name} in the model {model.name}")
                is_scaled = sum(isinstance(layer, layers.Rescaling) for layer in source.layers) > 1
            else:
                source = _load_weights(base, name, path)
                is_scaled = weights.is_imagenet or _has_imagenets_normalization(source)
            _copy(source, base)
    except Exception as error:  # a damaged file can raise anything
        if is_out_of_memory(error):
            raise
        raise InputError(f"{path} is damaged, or does not hold weights of {base.name}: {reason(error)}") from error
    if name == "efficientnetb7" and is_scaled:
        # For weights="imagenet" Keras adds a layer after EfficientNetB7's normalization that divides by sqrt(stddev) once more.
        # Here this is part of the normalization's variance.
        normalization = next(layer for layer in base.layers if isinstance(layer, layers.Normalization))
        mean, variance, *count = normalization.get_weights()
        normalization.set_weights([mean, variance * IMAGENET_STDDEV, *count])
        normalization.finalize_state()


def _models_in(model):
    yield model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _models_in(layer)


def _load_weights(base, name, path):
    """A model with the weights of a checked weights-only file: `base`, or its architecture with the classifier on top."""
    matrices = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: matrices.append(item.shape) if len(getattr(item, "shape", ())) == 2 else None)
    source = base
    if matrices:  # fully connected layers: the file includes the classifier
        size, classes = base.input_shape[1] if NETWORKS[name].last_layer else TOP_IMAGE_SIZE, matrices[-1][1]
        source = _application(name, keras.Input((size, size, 3)), include_top=True, classes=classes)
    elif NETWORKS[name].last_layer:
        raise ValueError("it has no fully connected layers; use a file with the classifier on top")
    source.load_weights(path)
    return source


def _has_imagenets_normalization(source):
    """Whether these are ImageNet weights of EfficientNetB7, whose normalization holds the stddev instead of 1."""
    normalization = next((layer for layer in source.layers if isinstance(layer, layers.Normalization)), None)
    return normalization is not None and np.allclose(normalization.get_weights()[1], IMAGENET_STDDEV, rtol=1e-2)


def _copy(source, base):
    """Copy weights by layer, without the classifier that `source` may have. Raises ValueError for another architecture."""
    if source is base:
        return
    source_layers, base_layers = ([layer for layer in model.layers if layer.weights] for model in (source, base))
    classifier = source_layers[len(base_layers) :]
    if len(source_layers) < len(base_layers) or not all(isinstance(layer, layers.Dense) for layer in classifier):
        raise ValueError(f"{len(source_layers)} layers with weights, where {base.name} has {len(base_layers)}")
    for layer, source_layer in zip(base_layers, source_layers, strict=False):
        layer.set_weights(source_layer.get_weights())
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
