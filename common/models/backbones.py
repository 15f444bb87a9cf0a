"""The pretrained backbones, each with its own preprocessing inside: images RGB 0..255 in, features out.

Frozen means that nothing in a backbone changes or is random: batch norm is in inference mode, and there is no dropout (Keras
leaves the 48 drop-connect layers of a frozen EfficientNetB7 active in training). Importing this imports Keras.
"""

import warnings

import h5py
import keras
import numpy as np
from keras import layers

from common import backend
from common.cli import InputError, is_out_of_memory, reason
from common.models import efficientnet_lite, saved
from common.models.inference import ForwardPass
from common.models.upscale import upscale
from common.models.weights import OFFICIAL

IMAGENET_STDDEV = np.array([0.229, 0.224, 0.225], np.float32)  # of RGB in 0..1, as in keras.applications.efficientnet
TOP_IMAGE_SIZE = 224  # of the backbones with their classifier


def build(name, image_size, weights, *, seed, unfreeze_last=0):
    """A backbone that turns images `(n, image_size, image_size, 3)`, RGB 0..255, into features.

    vgg19-fc2           `(n, 4096)`, VGG19 without its softmax
    vgg19               `(n, h, w, 512)`, VGG19 without its fully connected layers
    resnet152v2         `(n, h, w, 2048)`
    efficientnetb7      `(n, h, w, 2560)`
    efficientnet-lite0  `(n, h, w, 1280)`

    `weights` are `Weights`; random ones are drawn from `seed`. The backbone is frozen except for its last `unfreeze_last`
    layers, a number or `all`. Batch norm stays in inference mode, unless all of a random backbone is trained. Raises InputError
    for a file that is damaged, holds no weights, or holds those of another architecture.
    """
    backend.set_seed(seed, "base")
    inputs = keras.Input((image_size, image_size, 3))
    base = _application(name, inputs, include_top=name == "vgg19-fc2")
    if name == "vgg19-fc2":
        base = keras.Model(base.input, base.get_layer("fc2").output, name="vgg19")
    if weights.path:
        _load(base, name, weights)
    elif name.startswith("efficientnet"):
        _give_scale(base, seed)
    _freeze(base, unfreeze_last, is_random=weights.path is None)
    return base


def stages(extractor, images):
    """What images uint8 `(n, h, w, 3)` become on their way into the backbone of an extractor: a dict by stage."""
    backbone = next(layer for layer in extractor.layers if isinstance(layer, keras.Model))
    first = next(layer for layer in backbone.layers if isinstance(layer, (layers.ZeroPadding2D, layers.Conv2D)))
    previous = extractor.operations[extractor.operations.index(backbone) - 1]  # the last step of upscaling, or the input layer
    upscaled_images = ForwardPass(keras.Model(extractor.input, previous.output), len(images))(images)
    preprocessed = ForwardPass(keras.Model(backbone.input, first.input), len(images))(upscaled_images)
    height, width = upscaled_images.shape[1:3]
    return {
        f"upscaled,\n{width}x{height}": np.clip(np.rint(upscaled_images), 0, 255).astype(np.uint8),
        "preprocessed": preprocessed,
    }


def _application(name, inputs, include_top, classes=1000):
    """The model, as in `keras.applications` where that has it, on its own `preprocess_input`, with random weights."""
    if name == "efficientnet-lite0":
        return efficientnet_lite.efficientnet_lite0(inputs, include_top, classes)
    applications, options = keras.applications, {"weights": None, "include_top": include_top, "classes": classes}
    if name.startswith("vgg19"):
        return applications.VGG19(input_tensor=applications.vgg19.preprocess_input(inputs), **options)
    if name == "resnet152v2":
        return applications.ResNet152V2(input_tensor=applications.resnet_v2.preprocess_input(inputs), **options)
    base = applications.EfficientNetB7(input_tensor=applications.efficientnet.preprocess_input(inputs), **options)
    for layer in base.layers:  # preprocessing: bfloat16 can't tell 256 grey levels apart
        if isinstance(layer, (layers.Rescaling, layers.Normalization)):
            layer.dtype_policy = "float32"
    return base


def _give_scale(base, seed):
    """Scale a random EfficientNet's output, about 1e-5 with Keras's initial weights of B7, to the order of 1.

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
    mean, variance = outputs.mean((0, 1, 2)), outputs.var((0, 1, 2))
    last.moving_mean.assign(mean)
    last.moving_variance.assign(variance)
    last.gamma.assign(np.sqrt((variance + last.epsilon) / variance))


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
            if (model := saved.load(path)) is not None:
                source = _find(model, base.name)
                is_scaled = sum(isinstance(layer, layers.Rescaling) for layer in source.layers) > 1
            else:
                source = _load_weights(base, name, path)
                is_scaled = weights.is_imagenet or _has_imagenets_normalization(source)
            _copy(source, base)
    except Exception as error:  # a damaged file can raise anything
        if is_out_of_memory(error):
            raise
        raise InputError(f"--weights {path} is damaged, or does not hold weights of {base.name}: {reason(error)}") from error
    if name == "efficientnetb7" and is_scaled:
        # For weights="imagenet" Keras adds a layer after EfficientNetB7's normalization that divides by sqrt(stddev) once more.
        # Here this is part of the normalization's variance.
        normalization = next(layer for layer in base.layers if isinstance(layer, layers.Normalization))
        mean, variance, *count = normalization.get_weights()
        normalization.set_weights([mean, variance * IMAGENET_STDDEV, *count])
        normalization.finalize_state()


def _find(model, name):
    """The model of this name inside a model, at any depth. Raises ValueError if there is none."""
    if model.name == name:
        return model
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            try:
                return _find(layer, name)
            except ValueError:
                continue
    raise ValueError(f"no {name} in the model {model.name} of {', '.join(layer.name for layer in model.layers[:8])} ...")


def _load_weights(base, name, path):
    """A model with the weights of a checked weights-only file: `base`, or its architecture with the classifier on top."""
    matrices = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: matrices.append(item.shape) if len(getattr(item, "shape", ())) == 2 else None)
    source = base
    if matrices:  # fully connected layers: the file includes the classifier
        size, classes = base.input_shape[1] if name == "vgg19-fc2" else TOP_IMAGE_SIZE, matrices[-1][1]
        with saved.limited_by(path):
            source = _application(name, keras.Input((size, size, 3)), include_top=True, classes=classes)
    elif name == "vgg19-fc2":
        raise ValueError("it has no fully connected layers; use the file with them, " + OFFICIAL[name].name)
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
        expected, shapes = ([weight.shape for weight in item.weights] for item in (layer, source_layer))
        if shapes != expected:
            raise ValueError(f"{source_layer.name} has weights of shapes {shapes}, where {base.name} has {expected}")
        layer.set_weights(source_layer.get_weights())
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
