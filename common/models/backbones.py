"""The pretrained backbones, each with its own preprocessing inside: images RGB 0..255 in, features out.

Frozen means that nothing in a backbone changes or is random: batch norm is in inference mode, and there is no dropout (Keras
leaves the 48 drop-connect layers of a frozen EfficientNetB7 active in training). Importing this imports Keras.
"""

import contextlib
import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from unittest import mock

import h5py
import keras
import numpy as np
from keras import applications, layers

from common import backend
from common.cli import InputError, is_out_of_memory, reason
from common.models import efficientnet_lite, inference, initialise

IMAGENET_STDDEV = np.array([0.229, 0.224, 0.225], np.float32)  # of RGB in 0..1, as in keras.applications.efficientnet
PREPROCESSING = layers.Rescaling, layers.Normalization
TOP_IMAGE_SIZE = 224  # of the backbones with their classifier


@dataclass(frozen=True)
class Network:
    """A function of `keras.applications`, or like one of them, and its preprocessing of images RGB 0..255.

    Features are what comes before the classifier, pooled, or the output of the classifier's `last_layer`. `image_size` is the
    network's own, `min_size` the smallest that it takes.
    """

    title: str
    application: Callable
    preprocess_input: Callable
    image_size: int = 224
    min_size: int = 32
    last_layer: str | None = None


def _asked(function, application, **options):
    """How a function of `keras.applications` calls a function of Keras, which is not carried out; None if it doesn't."""
    asked = mock.Mock(side_effect=InterruptedError)
    with (
        mock.patch(f"keras.src.{function}", asked),
        contextlib.suppress(InterruptedError, ValueError),
        warnings.catch_warnings(action="ignore"),
    ):
        application(**options)
    return asked.call_args


def _sizes(application):
    """The image size that is the default, and the smallest one. MobileNetV3 has 224 and 32 in its own code: none here."""
    asked = _asked("applications.imagenet_utils.obtain_input_shape", application, weights=None, input_shape=(1, 1, 3))
    return (asked.kwargs["default_size"], asked.kwargs["min_size"]) if asked else ()


NETWORKS = {  # by the function's name in lower case
    name.lower(): Network(name, application, sys.modules[application.__module__].preprocess_input, *_sizes(application))
    for name, application in vars(applications).items()
    if inspect.isfunction(application)
}
NETWORKS["vgg19-fc2"] = replace(NETWORKS["vgg19"], last_layer="fc2")
NETWORKS["vgg19"] = replace(NETWORKS["vgg19"], title="VGG19's convolutions")
for _name, (*_, _size) in efficientnet_lite.VARIANTS.items():
    _network = functools.partial(efficientnet_lite.efficientnet_lite, _name)
    NETWORKS[_name] = Network(_name.replace("efficientnet-l", "EfficientNet-L"), _network, lambda images: images, _size)


def build(name, image_size, weights, *, seed, unfreeze_last=0, pooling="avg"):
    """The backbone `name` of `NETWORKS`: images `(n, image_size, image_size, 3)`, RGB 0..255, to features `(n, width)`.

    Without `pooling` to the feature map `(n, h, w, channels)`. `weights` are `Weights`; random ones are drawn from `seed`. The
    backbone is frozen except for its last `unfreeze_last` layers before the pooling, a number or `all`. Batch norm stays in
    inference mode, unless all of a random backbone is trained. Raises InputError for a file that is damaged, holds no weights,
    or holds those of another architecture.
    """
    backend.set_seed(seed, "base")
    last_layer = NETWORKS[name].last_layer
    base = _build(name, image_size, include_top=bool(last_layer), pooling=pooling)
    if last_layer:
        base = keras.Model(base.input, base.get_layer(last_layer).output, name=base.name)
    if weights.path:
        _load(base, name, weights)
    elif name.startswith(("efficientnet", "mobilenet", "xception")):
        initialise.give_scale(base, seed)
    _freeze(base, unfreeze_last, is_random=weights.path is None)
    return base


def imagenet_file(name):
    """Name, address and hash of the ImageNet weights that Keras itself would download for a network of `NETWORKS`.

    Keras has no hash for MobileNet and MobileNetV2: None.
    """
    network = NETWORKS[name]
    asked = _asked("utils.file_utils.get_file", network.application, weights="imagenet", include_top=bool(network.last_layer))
    return *asked.args, asked.kwargs.get("file_hash")


def stages(extractor, images):
    """What images uint8 `(n, h, w, 3)` become on their way into the backbone of an extractor: a dict by stage."""
    backbone = next(layer for layer in extractor.layers if isinstance(layer, keras.Model))
    first = next(layer for layer in backbone.layers if not isinstance(layer, (layers.InputLayer, *PREPROCESSING)))
    upscaled_images = inference.ForwardPass(_before(extractor, backbone), len(images))(images)
    preprocessed = inference.ForwardPass(_before(backbone, first), len(images))(upscaled_images)
    height, width = upscaled_images.shape[1:3]
    return {
        f"upscaled,\n{width}x{height}": np.clip(np.rint(upscaled_images), 0, 255).astype(np.uint8),
        "preprocessed": preprocessed,
    }


def _before(model, layer):
    """The part of a model that ends where this layer, a link of its chain, begins."""
    return keras.Model(model.input, model.operations[model.operations.index(layer) - 1].output)


def _build(name, image_size, **options):
    """The network on its own preprocessing, with random weights; `options` are those of `keras.applications`."""
    network, images = NETWORKS[name], keras.Input((image_size, image_size, 3))
    base = network.application(input_tensor=network.preprocess_input(images), weights=None, **options)
    for layer in base.layers:
        if isinstance(layer, PREPROCESSING):
            layer.dtype_policy = "float32"  # bfloat16 can't tell 256 grey levels apart
            if getattr(layer, "input_mean", None) is not None:
                layer.build(layer.input.shape)  # its constants too
    return base


def _freeze(base, unfreeze_last, is_random):
    from_scratch = is_random and unfreeze_last == "all"
    num_layers = len(base.layers) - isinstance(base.layers[-1], layers.GlobalAveragePooling2D)
    first = 0 if unfreeze_last == "all" else num_layers - unfreeze_last
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
                start = base.name.removesuffix("_None")  # of MobileNet's name, which ends with the image size
                source = next((inner for inner in _models_in(model) if inner.name.startswith(start)), None)
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
    if name.startswith("efficientnetb") and is_scaled:
        # For weights="imagenet" Keras adds a layer after the normalization that divides by sqrt(stddev) once more.
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
    try:
        base.load_weights(path)
        return base
    except ValueError:
        with h5py.File(path) as file:
            shapes = _legacy_shapes(file)
        if not shapes:
            raise
    if NETWORKS[name].last_layer and len(shapes[-2]) != 2:
        raise ValueError("it has no fully connected layers; use a file with the classifier on top")
    size = base.input_shape[1] if NETWORKS[name].last_layer else TOP_IMAGE_SIZE
    source = _build(name, size, include_top=True, classes=shapes[-1][-1])
    source.load_weights(path)
    return source


def _legacy_shapes(file):
    """The shapes of all weights in a file of Keras before version 3, in the model's order, none in another file."""
    groups = (file[name] for name in file.attrs.get("layer_names", ()))
    return [group[name].shape for group in groups for name in group.attrs["weight_names"]]


def _has_imagenets_normalization(source):
    """Whether these are ImageNet weights of an EfficientNetB, whose normalization holds the stddev instead of 1."""
    normalization = next((layer for layer in source.layers if isinstance(layer, layers.Normalization) and layer.weights), None)
    return normalization is not None and np.allclose(normalization.get_weights()[1], IMAGENET_STDDEV, rtol=1e-2)


def _copy(source, base):
    """Copy weights by layer, without the classifier that `source` may have. Raises ValueError for another architecture."""
    if source is base:
        return
    source_layers, base_layers = ([layer for layer in model.layers if layer.weights] for model in (source, base))
    classifier = source_layers[len(base_layers) :]
    if len(source_layers) < len(base_layers) or not all(
        isinstance(layer, (layers.Dense, layers.Conv2D)) for layer in classifier
    ):
        raise ValueError(f"{len(source_layers)} layers with weights, where {base.name} has {len(base_layers)}")
    for layer, source_layer in zip(base_layers, source_layers, strict=False):
        layer.set_weights(source_layer.get_weights())
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
