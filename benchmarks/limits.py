"""The least that a device needs, for `speed.py`: compiled functions on data that stay on it. All return a function to time."""

import importlib.util
import itertools

from common import backend


def forward(model, batch, count):
    """Run a model `count` times on one batch of images."""
    if backend.name() == "jax":
        import jax

        run = jax.jit(lambda *args: model.stateless_call(*args, training=False)[0])
        kinds = model.trainable_variables, model.non_trainable_variables
        args = [*([variable.value for variable in kind] for kind in kinds), jax.device_put(batch)]
        return lambda: jax.block_until_ready([run(*args) for _ in range(count)])
    if backend.name() == "tensorflow":
        import tensorflow as tf

        run, batch = (
            tf.function(lambda images: model(images, training=False), jit_compile=model.jit_compile),
            tf.constant(batch),
        )
        return lambda: [run(batch) for _ in range(count)][-1].numpy()
    return lambda: [model.predict_on_batch(batch) for _ in range(count)]


def torch_forward(name, shape, amp, count):
    """The same with torchvision's or timm's model and torch.compile, or None where they are not installed."""
    if not all(map(importlib.util.find_spec, ("torch", "torchvision", "timm"))):
        return None
    import timm
    import torch
    import torchvision

    options = {"device": "cuda" if torch.cuda.is_available() else "cpu", "dtype": torch.bfloat16 if amp else torch.float32}
    if name == "vgg19":
        model = torchvision.models.vgg19()
        model.classifier = model.classifier[:4]  # to the second fully connected layer
    else:
        model = timm.create_model(name, num_classes=0)
    model = torch.compile(model.eval().to(**options, memory_format=torch.channels_last))
    batch = torch.rand(shape).to(**options, memory_format=torch.channels_last)

    def run():
        with torch.inference_mode():
            for _ in range(count):
                outputs = model(batch)
            outputs.float().cpu()  # waits for it

    return run


def step(model, batch, num_steps, count):
    """Train a compiled model for `count` steps on one batch, `num_steps` in an execution."""
    from common.training.fit import set_steps_per_execution

    model.train_on_batch(*batch)  # builds optimizer and metrics
    set_steps_per_execution(model, num_steps)
    model.make_train_function()
    executions = range(-(-count // num_steps))
    if backend.name() == "jax":
        import jax

        kinds = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables
        state = tuple([variable.value for variable in kind] for kind in kinds)
        batches = itertools.repeat(jax.device_put(batch))

        def run():
            nonlocal state
            for _ in executions:
                _, state = model.train_function(state, batches)
            jax.block_until_ready(state)

        return run
    if backend.name() == "tensorflow":
        import tensorflow as tf

        batches = iter(tf.data.Dataset.from_tensors(batch).repeat().prefetch(2))
        return lambda: [model.train_function(batches) for _ in executions]
    return lambda: [model.train_on_batch(*batch) for _ in executions]
