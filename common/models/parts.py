"""The parts of a whole model: the feature extractor, the head, what the last layer sees. Importing this imports Keras.

A model of this collection is a feature extractor and a head, or one chain of layers (the A/B split's).
"""

import keras


def split(model):
    """The feature extractor and the head of a model whose last layer is a head: images to features, features to probabilities.

    Raises ValueError for a model without such a head.
    """
    head = model.layers[-1]
    if not isinstance(head, keras.Sequential):
        raise ValueError("its last layer is not a head, which is a Sequential")
    before, *earlier = model.operations[-2::-1]
    # A backbone's own output belongs to its own graph: call it on what comes before it.
    output = before(earlier[0].output) if isinstance(before, keras.Model) else before.output
    return keras.Model(model.input, output), head


def before_last_layer(model):
    """The part of a model that ends before its last layer, which turns features into probabilities.

    Raises ValueError for a model that ends otherwise.
    """
    if isinstance(model, keras.Sequential):
        inputs = keras.Input(model.input_shape[1:])
        return keras.Sequential([inputs, *model.layers[:-1]]) if len(model.layers) > 1 else keras.Model(inputs, inputs)
    if isinstance(model.layers[-1], keras.Sequential):
        extractor, head = split(model)
        return keras.Model(extractor.input, before_last_layer(head)(extractor.output))
    before = model.layers[-1].input if not isinstance(model.layers[-1], keras.Model) else None
    if isinstance(before, list) or before is None:
        raise ValueError(f"its last layer, {model.layers[-1].name}, is not one that turns features into probabilities")
    return keras.Model(model.input, before)
