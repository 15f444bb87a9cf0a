"""Trained models in other formats, written by Keras and tf2onnx, and run without Keras. Importing this imports Keras.

An exported model takes raw images `(n, size, size, 3)`, RGB, 0 to 255, any number of them, and returns float32 probabilities.
"""

import json
import zipfile

import keras
import numpy as np

from common import backend
from common.cli import printable

INPUT = "images"  # what an exported model calls its input


def compute_exactly():
    """Let TensorFlow on a GPU compute float32 in full: it rounds products to TF32 where it may, and the exports don't."""
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)


def is_float32(model):
    """Whether all layers of a model, those of models in it too, compute in float32."""
    return "float16" not in model.to_json()


def in_float32(model):
    """A model of the same layers and weights, trained in mixed precision, that computes in float32.

    The layers of the given model are changed.
    """

    def float32(layer):
        layer.dtype_policy = "float32"
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # its mean and variance were rounded
        return layer

    return keras.models.clone_model(model, clone_function=float32, recursive=True)


def write(model, path, file_format, input_dtype, class_names=(), resize=None):
    """Write a float32 model as `onnx`, `saved_model` (a folder) or `litert`; `input_dtype` is float32 or uint8.

    `class_names`, and `resize`, which says how images became squares, are in ONNX's metadata; a SavedModel has labels.txt and
    resize.txt in assets.extra/, and LiteRT in a zip archive at the end of the file, as its own metadata has labels. What is
    empty is left out. Needs Keras on TensorFlow. What the converters raise can be anything.
    """
    if file_format == "onnx":
        notes = {"class_names": json.dumps(class_names) if class_names else None, "resize": resize}
        _write_onnx(model, path, input_dtype, {name: text for name, text in notes.items() if text})
        return
    signature = [keras.InputSpec(input_dtype, (None, *model.input_shape[1:]), name=INPUT)]
    name = {"saved_model": "tf_saved_model"}.get(file_format, file_format)
    model.export(str(path), name, verbose=False, input_signature=signature)
    lines = {"labels.txt": class_names, "resize.txt": [resize] if resize else []}
    notes = {name: "".join(f"{printable(line)}\n" for line in content) for name, content in lines.items() if content}
    if notes and file_format == "saved_model":
        (path / "assets.extra").mkdir()
        for name, text in notes.items():
            (path / "assets.extra" / name).write_text(text, encoding="utf-8")
    elif notes:
        with zipfile.ZipFile(path, "a") as archive:
            for name, text in notes.items():
                archive.writestr(name, text)


def open_exported(path, file_format):
    """A function from images, of the exported model's dtype, to probabilities, by what runs that format elsewhere."""
    return {"onnx": _onnx, "saved_model": _saved_model, "litert": _litert}[file_format](str(path))


def _write_onnx(model, path, input_dtype, notes):
    """As `model.export` does it, but tf2onnx sees weights as inputs of the graph, whose values are filled in at the end.

    It copies constants forty times: VGG19 with its fully connected layers, 0.56 GB, would take over 22 GB of memory. And it
    makes inputs of other tensors, such as the means that VGG19 subtracts, and leaves them without a value.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    trainable, frozen = model.trainable_variables, model.non_trainable_variables

    def forward(images, *values):
        return model.stateless_call(values[: len(trainable)], values[len(trainable) :], images, training=False)[0]

    values = {f"weight_{index}": variable for index, variable in enumerate((*trainable, *frozen))}
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), input_dtype, INPUT)]
    signature += [tf.TensorSpec(value.shape, value.dtype, name) for name, value in values.items()]
    function = tf.function(forward)
    concrete = function.get_concrete_function(*signature)
    others = [tensor.name for tensor in concrete.inputs[len(signature) :]]
    values |= dict(zip(others, concrete.captured_inputs, strict=True))
    proto, _ = tf2onnx.convert.from_function(function, signature)
    used = {name for node in proto.graph.node for name in node.input}
    for name in sorted(used & values.keys()):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(keras.ops.convert_to_numpy(values[name]), name))
    del proto.graph.input[1:]
    onnx.helper.set_model_props(proto, notes)
    onnx.save(proto, str(path))


def _onnx(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = backend.num_cores()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {INPUT: images})[0]


def _saved_model(path):
    import tensorflow as tf

    model = tf.saved_model.load(path)
    return lambda images: model.serve(tf.constant(images)).numpy()


def _litert(path):
    from ai_edge_litert.interpreter import Interpreter  # tf.lite's is deprecated in its favour

    interpreter = Interpreter(path, num_threads=backend.num_cores())
    (images_at,), (probabilities_at,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images):
        interpreter.resize_tensor_input(images_at["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(images_at["index"], np.ascontiguousarray(images))
        interpreter.invoke()
        return interpreter.get_tensor(probabilities_at["index"])

    return run
