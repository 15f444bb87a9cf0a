"""The pretrained bases of the experiments, each with its own preprocessing inside: pictures RGB 0..255 in, features out.

Frozen means that nothing in a base moves or is random: batch norm in inference mode, and no dropout (Keras leaves the 48
drop-connect layers of a frozen EfficientNetB7 active in training). Importing this imports Keras.
"""

import warnings

import h5py
import keras
import numpy as np
from keras import layers

from common import backend
from common.cli import InputError
from common.models.upscale import upscale
from common.models.weights import OFFICIAL

IMAGENET_STDDEV = np.array([0.229, 0.224, 0.225], np.float32)  # of RGB in 0..1, as in keras.applications.efficientnet
PICTURES_STDDEV = 64  # of RGB in 0..255 after VGG19's preprocessing, roughly
TOP_IMAGE_SIZE = 224  # of the bases with their classifier


def build(name, image_size, weights, *, seed, unfreeze_last=0):
    """A base that takes pictures `(n, image_size, image_size, 3)`, RGB 0..255, and gives what its last layer gives.

    vgg19-fc2        `(n, 4096)`, VGG19 without its softmax
    vgg19            `(n, h, w, 512)`, VGG19 without its fully connected layers
    resnet152v2      `(n, h, w, 2048)`
    efficientnetb7   `(n, h, w, 2560)`

    `weights` is what `weights.find` returned; random weights are drawn from `seed`. The base is frozen but for its last
    `unfreeze_last` layers (a number, or `all`); batch norm stays in inference mode, unless all of a random base is trained.
    Raises InputError for a file that is damaged, holds no weights or those of another architecture.
    """
    backend.set_seed(seed, "base")
    inputs = keras.Input((image_size, image_size, 3))
    base = _application(name, inputs, include_top=name == "vgg19-fc2")
    if name == "vgg19-fc2":
        base = keras.Model(base.input, base.get_layer("fc2").output, name="vgg19")
    if weights.path:
        _load(base, name, weights)
    elif name == "efficientnetb7":
        _give_scale(base, seed)
    _freeze(base, unfreeze_last, is_random=weights.path is None)
    return base


def initialise_from_images(base, images):
    """Make a random VGG19 one that can be trained from scratch, without batch norm, by pictures uint8 `(n, h, w, 3)`.

    As Keras draws it, all pictures look alike after its 16 layers. Here a layer with as many channels as the one before passes
    them on, plus a tenth of what Keras drew (as in DiracNets, https://arxiv.org/abs/1706.00388); weights and biases of the
    others are set so that on these pictures every channel has mean 0 and one variance before its relu (Salimans & Kingma 2016,
    https://arxiv.org/abs/1602.07868, section 3). The pictures' deviation of about 64 is halved or so by each of those, to 2.
    """
    convolutions = [layer for layer in base.layers if isinstance(layer, layers.Conv2D)]
    deviation = PICTURES_STDDEV
    x = keras.Model(base.input, convolutions[0].input).predict_on_batch(images)
    for layer in base.layers[base.layers.index(convolutions[0]) :]:
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


def stages(extractor, images):
    """What pictures become on their way into the base of a feature extractor, by the name of the stage."""
    base = next(layer for layer in extractor.layers if isinstance(layer, keras.Model))
    first = next(layer for layer in base.layers if isinstance(layer, (layers.ZeroPadding2D, layers.Conv2D)))
    before_base = extractor.operations[extractor.operations.index(base) - 1]  # the last step of upscaling, or the input layer
    upscaled = keras.Model(extractor.input, before_base.output)
    pictures = np.asarray(upscaled.predict_on_batch(images))
    preprocessed = keras.Model(base.input, first.input).predict_on_batch(pictures)
    return {
        f"upscaled,\n{pictures.shape[2]}x{pictures.shape[1]}": np.clip(np.rint(pictures), 0, 255).astype(np.uint8),
        "as the base\nsees it": np.asarray(preprocessed, np.float32),
    }


def _application(name, inputs, include_top, classes=1000):
    """The model of `keras.applications` on its own `preprocess_input`, with random weights."""
    applications, options = keras.applications, {"weights": None, "include_top": include_top, "classes": classes}
    if name.startswith("vgg19"):
        return applications.VGG19(input_tensor=applications.vgg19.preprocess_input(inputs), **options)
    if name == "resnet152v2":
        return applications.ResNet152V2(input_tensor=applications.resnet_v2.preprocess_input(inputs), **options)
    base = applications.EfficientNetB7(input_tensor=applications.efficientnet.preprocess_input(inputs), **options)
    for layer in base.layers:  # its preprocessing: bfloat16 has no bits for 256 grey levels
        if isinstance(layer, (layers.Rescaling, layers.Normalization)):
            layer.dtype_policy = "float32"
    return base


def _give_scale(base, seed):
    """Bring a random EfficientNetB7's output, about 1e-5 as Keras initialises it, to the order of 1: its last batch norm is
    set to give mean 0 and variance 1 on a few random pictures.
    """
    last = next(layer for layer in reversed(base.layers) if isinstance(layer, layers.BatchNormalization))
    coarse = np.random.default_rng(seed).integers(0, 256, (16, 8, 8, 3), np.uint8)
    pictures = upscale(coarse, base.input_shape[1:3])
    outputs = keras.ops.convert_to_numpy(keras.Model(base.input, last.input)([pictures], training=False)).astype(np.float32)
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


def _load(base, name, weights):
    """Bring a file's weights into the base: of a model or weights alone, with or without the classifier on top."""
    path = weights.path
    try:
        with warnings.catch_warnings(action="ignore"):  # what is wrong is said once, below
            if path.suffix == ".keras" or _is_whole_model(path):
                source = _find(keras.models.load_model(path, compile=False), base.name)
                is_scaled = sum(isinstance(layer, layers.Rescaling) for layer in source.layers) > 1
            else:
                source = _load_weights(base, name, path)
                is_scaled = weights.is_imagenet or _has_imagenets_normalization(source)
            _copy(source, base)
    except Exception as error:  # every reader raises what it likes
        reason = " ".join(str(error).split())[:240]
        raise InputError(f"--weights {path} is damaged, or does not hold weights of {base.name}: {reason}") from error
    if name == "efficientnetb7" and is_scaled:
        # ImageNet's EfficientNetB7 divides by sqrt(stddev) once more after its normalization, in a layer that Keras adds for
        # weights="imagenet" only. Here that is part of the normalization's variance.
        normalization = next(layer for layer in base.layers if isinstance(layer, layers.Normalization))
        mean, variance, *count = normalization.get_weights()
        normalization.set_weights([mean, variance * IMAGENET_STDDEV, *count])
        normalization.finalize_state()


def _is_whole_model(path):
    with h5py.File(path) as file:
        return "model_config" in file.attrs


def _find(model, name):
    """The model of this name in a model, at any depth. Raises ValueError if there is none."""
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
    """A model with the weights of a file that holds weights only: `base`, or one of its kind with the classifier on top."""
    matrices = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: matrices.append(item.shape) if len(getattr(item, "shape", ())) == 2 else None)
    source = base
    if matrices:  # fully connected layers, which no base has but with its classifier
        size = base.input_shape[1] if name == "vgg19-fc2" else TOP_IMAGE_SIZE
        source = _application(name, keras.Input((size, size, 3)), include_top=True, classes=matrices[-1][1])
    elif name == "vgg19-fc2":
        raise ValueError("it has no fully connected layers; needed is the file with them, " + OFFICIAL[name].name)
    source.load_weights(path)
    return source


def _has_imagenets_normalization(source):
    """Whether these are weights of ImageNet's EfficientNetB7: its normalization holds the stddev where others have 1."""
    normalization = next((layer for layer in source.layers if isinstance(layer, layers.Normalization)), None)
    return normalization is not None and np.allclose(normalization.get_weights()[1], IMAGENET_STDDEV, rtol=1e-2)


def _copy(source, base):
    """Weights layer by layer; what `source` has beyond the base is its classifier. Raises ValueError for another shape."""
    if source is base:
        return
    theirs, ours = ([layer for layer in model.layers if layer.weights] for model in (source, base))
    rest = theirs[len(ours) :]
    if len(theirs) < len(ours) or not all(isinstance(layer, layers.Dense) for layer in rest):
        raise ValueError(f"{len(theirs)} layers with weights, where {base.name} has {len(ours)}")
    for layer, other in zip(ours, theirs, strict=False):
        shapes, others = ([weight.shape for weight in each.weights] for each in (layer, other))
        if shapes != others:
            raise ValueError(f"{other.name} has weights of shapes {others}, where {base.name} has {shapes}")
        layer.set_weights(other.get_weights())
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()
