#!/usr/bin/env python3
"""EfficientNetB7 behind a Lambda resize layer: learning rates and dropout rates compared on one pass through the backbone.

    python train_efficientnetb7.py --data digits --weights none --image-size 64 --no-augment     # offline, no pretraining
    python train_efficientnetb7.py                                                               # CIFAR-10, ImageNet weights
    python train_efficientnetb7.py --lr .0005 .0007 .001 .0015 --dropout .25 .35                 # the document's comparison
    python train_efficientnetb7.py --base efficientnet-lite2 --image-size 260                    # a laptop's: ImageNet from pip
    python train_efficientnetb7.py --no-resize                                                   # the document's collapse

Images are flipped, rotated and shifted, resized to 224x224, and go through frozen EfficientNetB7 once. Its pooled features
train BatchNorm, Dropout 0.25, Dense 256 and softmax. Adam 5e-4, 27 epochs, stopped when val accuracy has not risen for 9; the
best epoch's weights are kept. Every combination of --lr and --dropout is trained; val accuracy chooses one, which is scored on
test and saved, also as the document's cifar10.h5, whose first layer is the Lambda:

    model = keras.models.load_model("cifar10.h5")
    model.evaluate(*preprocess_data(x, y), batch_size=128)   # from train_efficientnetb7 import preprocess_data

  documented  at least .85 with the resize layer, .32 without; test images chose the epoch there
  measured    .9116 with it, .5326 without: EfficientNet-Lite0, ImageNet weights (--no-augment, seed 0, 2 CPU cores)
"""

import functools

from common import backend, cli, flags
from common.data import augment
from common.models import weights as pretrained
from common.training import folder, resume
from common.training.run import Experiment, Run, load_data

keras = backend.lazy("keras")
backbones = backend.lazy("common.models.backbones")
callbacks = backend.lazy("common.training.callbacks")
features = backend.lazy("common.models.features")
report = backend.lazy("common.results.report")
sweep = backend.lazy("common.results.sweep")
np = backend.lazy("numpy")
upscale = backend.lazy("common.models.upscale")


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    flags.add_data_arguments(parser, image_size=224)
    backbone = flags.add_base_arguments(parser, "efficientnetb7", augment=True, unfreeze=True)
    training = flags.add_training_arguments(parser, epochs=27, batch_size=256, learning_rate=[5e-4], dropout=[0.25])
    flags.add_optimizer_arguments(training, optimizer="adam")
    flags.add_schedule_arguments(training, schedule="constant")
    flags.add_smoothing(training)
    flags.add_run_arguments(parser)
    backbone.add_argument("--no-resize", action="store_true", help="leave out the resize layer: the backbone gets 32x32")
    training.add_argument(
        "--patience", type=flags.positive_int, default=9, metavar="N", help="stop after N epochs without a better val accuracy"
    )
    may_grow = lambda stored: ["epochs"] * (stored["schedule"] == "constant")  # noqa: E731  a cosine ends where it was to end
    return resume.parse_args(parser, argv, "efficientnetb7", may_grow)


def preprocess_data(X, Y):  # noqa: N803  the document's names
    """CIFAR-10 for the saved model: images `(m, 32, 32, 3)`, 0 to 255, to float32; labels `(m,)` or `(m, 1)` to one-hot."""
    return np.asarray(X, np.float32), keras.utils.to_categorical(Y, 10)


def build_extractor(args, weights, image_shape):
    """Images of `image_shape`, 0 to 255, to 2,560 features: resized, then EfficientNetB7 with average pooling."""
    x = images = keras.Input(image_shape)
    image_size = image_shape[0] if args.no_resize else args.image_size
    if not args.no_resize:
        x = upscale.upscale(images, image_size, args.interpolation)
    backbone = backbones.build(args.base, image_size, weights, seed=args.seed, unfreeze_last=args.unfreeze_last)
    return keras.Model(images, backbone(x))


def build_head(num_features, num_classes, dropout_rate):
    """The document's new top: features to class probabilities."""
    layers = [
        keras.Input((num_features,)),
        keras.layers.BatchNormalization(momentum=0.9),  # with .99 its statistics lag behind for hundreds of steps
        keras.layers.Dropout(dropout_rate),
        keras.layers.Dense(256, activation="relu"),
        keras.layers.Dense(num_classes, activation="softmax", dtype="float32"),
    ]
    return keras.Sequential(layers, name="head")


def compile_model(model, learning_rate, optimizer="adam", momentum=0.0, weight_decay=0.0):
    build = functools.partial(keras.optimizers.SGD, momentum=momentum) if optimizer == "sgd" else keras.optimizers.Adam
    optimizer = build(learning_rate, weight_decay=weight_decay or None)
    model.compile(optimizer, loss="categorical_crossentropy", weighted_metrics=["accuracy"])


def with_lambda(args, model):
    """The document's model: the same layers with a Lambda in front that resizes, as cifar10.h5 has it."""
    if args.no_resize:
        return model
    x = images = keras.Input(model.input_shape[1:])
    size = {"size": args.image_size, "interpolation": args.interpolation}
    resize = keras.layers.Lambda(upscale.upscale, arguments=size, dtype="float32", name="resize")
    for layer in (resize, *model.layers[-2:]):  # and the backbone, the head
        x = layer(x)
    return keras.Model(images, x)


def train(run, dataset, weights):
    args, image_shape, num_classes = run.args, dataset.test.images.shape[1:], len(dataset.class_names)
    augmentation, epochs = augment.flip_shift_and_rotate if args.augment else None, run.capped(args.epochs)
    cache_dir = None if args.no_cache or args.unfreeze_last else args.cache_dir
    extractor = build_extractor(args, weights, image_shape)
    report.draw_pipeline(run, extractor, dataset.train.images, augmentation)
    inputs = features.Inputs(extractor, dataset, cache_dir, augmentation, args.views, args.seed)  # one pass for all
    train_samples, val = inputs.train.one_hot(num_classes, args.smoothing), inputs.val.one_hot(num_classes)

    combinations = sweep.Sweep(run)
    for learning_rate, dropout in combinations.points(args.lr, args.dropout):
        with combinations.trying(learning_rate, dropout) as phase:
            if args.unfreeze_last:
                inputs.extractor = build_extractor(args, weights, image_shape)  # training changes it
            backend.set_seed(args.seed, "head")  # every combination starts from the same weights
            model, trained = inputs.join(build_head(extractor.output_shape[-1], num_classes, dropout))
            batches = run.batches(train_samples, augmentation=inputs.augmentation)
            rate, steps = learning_rate, len(batches)
            if args.schedule == "cosine":
                rate = callbacks.cosine(learning_rate, epochs * steps, args.warmup_epochs * steps)
            compile_model(trained, rate, args.optimizer, args.momentum, args.weight_decay)
            keep_best = callbacks.BestEpoch(args.patience, args.monitor)
            run.fit(phase, trained, batches, val, epochs=epochs, callbacks=[keep_best])
            combinations.keep(phase, model)

    phase, model, chosen = combinations.best()  # by val accuracy
    for saved in (model, document := with_lambda(args, model)):
        compile_model(saved, chosen["learning_rate"], args.optimizer, args.momentum, args.weight_decay)
    h5 = (document, "cifar10.h5") if args.base.startswith("efficientnet") else None  # Keras can't load others' preprocessing
    return report.finish(run, model, dataset, [phase], inputs=inputs, extra=chosen, h5=h5)


def main(argv=None):
    args = parse_args(argv)
    folder.check(args)
    with cli.blaming(f"--base {args.base} --weights {args.weights} at --image-size {args.image_size}"):
        weights = pretrained.find(args.weights, args.base, 32 if args.no_resize else args.image_size)
    dataset = load_data(args, upscaled_later=True)
    size = dataset.test.images.shape[1]
    if args.no_resize and size == args.image_size > 32:
        raise cli.InputError(f"--no-resize: the images are not squares of one size below {size}; leave it out")
    is_documents = (args.base, args.unfreeze_last) == ("efficientnetb7", 0)
    kind, resized = "fine-tuned" if args.unfreeze_last else "frozen", ", not resized" * args.no_resize
    experiment = Experiment(
        name="efficientnetb7",
        title=f"{kind} {pretrained.network(args.base).title}, {weights.label}{resized}",
        weights=args.weights,
        documented=0.85 if not args.no_resize else 0.32 if size == 32 else None,
        remark="CIFAR-10, ImageNet weights, the epoch chosen by test images",
        comparable=dataset.is_cifar10 and weights.is_imagenet and is_documents,
        monitor=args.monitor,
        trained=weights.trained(args.unfreeze_last),
    )
    with Run(experiment, args, dataset, weights) as run:
        return train(run, dataset, weights)


if __name__ == "__main__":
    cli.run(main)
else:
    upscale.upscale  # noqa: B018  registers the resize with Keras, so that load_model finds it in cifar10.h5
