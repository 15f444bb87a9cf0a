"""The pretrained bases of the experiments, each with its own preprocessing inside: pictures RGB 0..255 in, features out.

Frozen means that nothing in a base moves or is random: batch norm in inference mode, and no dropout (Keras leaves the 48
drop-connect layers of a frozen EfficientNetB7 active in training). Importing this imports Keras.
"""

import keras
from keras import layers

from common import session


def build(name, image_size, weights, *, seed):
    """A frozen base: pictures `(n, image_size, image_size, 3)` RGB 0..255 to what its last layer gives.

    vgg19-fc2              `(n, 4096)`, VGG19 without its last softmax; with ImageNet weights at 224x224 only
    vgg19                  `(n, h, w, 512)`
    resnet152v2            `(n, h, w, 2048)`
    efficientnetb7         `(n, h, w, 2560)`

    `weights` is `none` (random, from `seed`).
    """
    session.set_seed(seed, "base")
    inputs = keras.Input((image_size, image_size, 3))
    options = {"weights": None, "include_top": name == "vgg19-fc2"}
    if name.startswith("vgg19"):
        inputs_of_base = keras.applications.vgg19.preprocess_input(inputs)
        base = keras.applications.VGG19(input_tensor=inputs_of_base, **options)
    elif name == "resnet152v2":
        base = keras.applications.ResNet152V2(input_tensor=keras.applications.resnet_v2.preprocess_input(inputs), **options)
    else:
        base = keras.applications.EfficientNetB7(input_tensor=inputs, **options)
    if name == "vgg19-fc2":
        base = keras.Model(base.input, base.get_layer("fc2").output, name="vgg19")
    for layer in base.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate = 0
    base.trainable = False
    return base
