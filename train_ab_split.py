#!/usr/bin/env python3
"""Classes split in A and B: what does a CNN trained on A give to one for B?

    python train_ab_split.py --data digits                                  # offline, a minute and a half
    python train_ab_split.py                                                # CIFAR-10
    python train_ab_split.py --b-samples 50                                 # with few images of B, transfer pays
    python train_ab_split.py --optimizer sgd --lr 1e-4 -b 32 --validation-split 0 --new-fc1     # the original's settings

Four models of one architecture: A from scratch; B from scratch; B on A's convolutions and first fully connected layer (FC1)
with only the last FC layer trained; B on A's convolutions with both FC layers trained, FC1 starting from A's. Adam, 20 epochs;
the weights of the epoch with the best val accuracy are kept. With fewer than all of B's images (--b-samples), and with
--validation-split 0, there is no val part to choose by, and the last weights are kept. Each model has a subfolder of the run's
folder; the run's own results are those of the last one.

Test accuracies on CIFAR-10, B = airplane and horse:
  documented  A .2914, B from scratch .6785, last FC .7490, both FC .8100 (SGD at 1e-4, which leaves all under-trained)
  measured    A .7749, B from scratch .9620, last FC .9135, both FC .9665 (seed 0, 2 CPU cores, 54 s an epoch of A)
"""

import functools
import math
from dataclasses import replace

from common import backend, cli, flags
from common.data import dataset as data
from common.training import folder, resume
from common.training.run import Experiment, Run, load_data

keras = backend.lazy("keras")
np = backend.lazy("numpy")
callbacks = backend.lazy("common.training.callbacks")
curves = backend.lazy("common.figures.curves")
inference = backend.lazy("common.models.inference")
report = backend.lazy("common.results.report")

MODELS = {  # title, what is trained, documented accuracy
    "a": ("A from scratch", "all layers", 0.2914),
    "b-scratch": ("B from scratch", "all layers", 0.6785),
    "b-last-fc": ("B, last FC layer", "last FC layer", 0.7490),
    "b-both-fc": ("B, both FC layers", "both FC layers", 0.8100),
}
DOCUMENTED_CLASSES_B = (0, 7)  # airplane and horse: the last two digits of a student's number
MIN_STEPS = 150  # a pass over 20 images is one step: with few images an epoch has several passes, to reach this many steps


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    flags.add_data_arguments(parser, image_size=32, needs_val=False)
    training = flags.add_training_arguments(parser, epochs=20, batch_size=128, learning_rate=1e-3, dropout=0.4)
    flags.add_optimizer_arguments(training, optimizer="adam")
    flags.add_run_arguments(parser)
    add = training.add_argument
    add("--new-fc1", action="store_true", help='draw FC1 anew in "both FC layers", as the original\'s code did')
    add("--classes-b", nargs="+", default=DOCUMENTED_CLASSES_B, metavar="CLASS", help="classes of B, by number or name")
    add("--b-samples", type=flags.positive_int_or_all, default="all", metavar="N", help="train images of B; all is every one")
    return resume.parse_args(parser, argv, "ab_split", may_grow=[])  # an epoch's passes depend on --epochs


def passes(args, num_images):
    """Passes over the train images in an epoch, so that all epochs together have at least `MIN_STEPS` steps."""
    images = math.ceil(MIN_STEPS / args.epochs) * min(args.batch_size, num_images)
    return 1 if args.dry_run else math.ceil(images / num_images)


def build_convolutions(image_size):
    """The document's four convolutions: images `(image_size, image_size, 3)`, 0 to 255, to flat features."""
    model = keras.Sequential([keras.Input((image_size, image_size, 3)), keras.layers.Rescaling(1 / 255)], name="convolutions")
    for _ in range(2):
        model.add(keras.layers.Conv2D(32, 3, padding="same", activation="relu"))
        model.add(keras.layers.Conv2D(64, 3, padding="same", activation="relu"))
        model.add(keras.layers.MaxPooling2D())
    model.add(keras.layers.Flatten())
    return model


def build_head(num_features, num_classes, dropout_rate):
    """The document's two fully connected layers: flat features to class probabilities."""
    return keras.Sequential(
        [
            keras.Input((num_features,)),
            keras.layers.Dense(128, activation="relu", name="fc1"),
            keras.layers.Dropout(dropout_rate),
            keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="last_fc"),
        ],
        name="head",
    )


def join(convolutions, head):
    """The whole CNN: images to class probabilities."""
    return keras.Sequential([keras.Input(convolutions.input_shape[1:]), convolutions, *head.layers])


def extract(convolutions, dataset):
    """The data set with the convolutions' features `(n, num_features)` in place of its images."""
    forward = inference.ForwardPass(convolutions, batch_size=256)
    parts = {name: part for name in ("train", "val", "test") if len(part := getattr(dataset, name))}  # val may be empty
    return replace(dataset, **{name: data.Samples(forward(part.images), part.labels) for name, part in parts.items()})


def compile_model(model, learning_rate, optimizer="adam", momentum=0.0, weight_decay=0.0):
    """Optimizer, cross-entropy, accuracy. Keras's jit_compile="auto" is right: off on a CPU, where it is slower, else on."""
    build = functools.partial(keras.optimizers.SGD, momentum=momentum) if optimizer == "sgd" else keras.optimizers.Adam
    optimizer = build(learning_rate, weight_decay=weight_decay or None)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])


def train_model(run, name, dataset, cnn_a=None, fc_layers=()):
    """Train one of `MODELS` from scratch, or only its `fc_layers` on the convolutions and FC1 of `cnn_a`. Returns it compiled.

    With val images the weights of the epoch with the best val accuracy are kept, else the last ones. Test is scored after every
    epoch, for the document's curves: nothing is chosen by it.
    """
    args, epochs, size = run.args, run.capped(run.args.epochs), len(dataset.train)
    cli.tell("", f"{MODELS[name][0]}, {size:,} images")
    backend.set_seed(args.seed, name)
    convolutions = cnn_a.get_layer("convolutions") if cnn_a else build_convolutions(args.image_size)
    head = build_head(convolutions.output_shape[-1], len(dataset.class_names), args.dropout)
    model = trained = join(convolutions, head)
    if cnn_a:
        if not (args.new_fc1 and "fc1" in fc_layers):
            head.get_layer("fc1").set_weights(cnn_a.get_layer("fc1").get_weights())
        convolutions.trainable, head.get_layer("fc1").trainable = False, "fc1" in fc_layers
        trained, dataset = head, extract(convolutions, dataset)  # frozen: once, not in every epoch

    def score_test(epoch, logs):
        logs.update({f"test_{metric}": value for metric, value in run.evaluate(trained, dataset.test).items()})

    for compiled in (model, trained):
        compile_model(compiled, args.lr, args.optimizer, args.momentum, args.weight_decay)
    chosen, val = [keras.callbacks.LambdaCallback(on_epoch_end=score_test)], dataset.val if len(dataset.val) else None
    if val:
        chosen.append(callbacks.BestEpoch(epochs, args.monitor))
    batches = run.batches(dataset.train, passes=passes(args, size))
    run.fit(name, trained, batches, val, epochs=epochs, callbacks=chosen)
    return model


def train_models(run, a, b):
    """The document's idea: yields the name of each of `MODELS`, the trained model, its data."""
    yield "a", (cnn_a := train_model(run, "a", a)), a
    yield "b-scratch", train_model(run, "b-scratch", b), b
    yield "b-last-fc", train_model(run, "b-last-fc", b, cnn_a, ["last_fc"]), b
    yield "b-both-fc", train_model(run, "b-both-fc", b, cnn_a, ["fc1", "last_fc"]), b


def train(run, a, b):
    trained = (report.Trained(describe(run, name), *trained, [name]) for name, *trained in train_models(run, a, b))
    return report.finish_models(run, trained, lambda scored: compare(run, scored))


def compare(run, scored):
    """Draw the curves of all models and the features of B. Returns the name of the last model, which stands for the run."""
    titles, plots = {name: one.results["model"] for name, one in scored.items()}, run.folder / "plots"
    curves.overview_of_all({title: run.history.rows(name) for name, title in titles.items()}, plots / "overview.png")
    last = [*scored][-1]
    predictions = scored[last].predictions
    of_b = {titles[name]: one.points for name, one in scored.items() if one.predictions.class_names == predictions.class_names}
    predictions.draw_maps_of_models(of_b, plots / "features_of_b.png")
    return last, {}


def describe(run, name):
    """The `Experiment` of one of `MODELS`."""
    title, trained, documented = MODELS[name]
    has_all = name == "a" or run.args.b_samples == "all"
    return replace(
        run.experiment,
        title=run.titled(title),
        weights="none" if name in ("a", "b-scratch") else "model A",
        trained=trained,
        documented=run.experiment.documented and documented,
        comparable=run.experiment.comparable and has_all,
        folder=name,
    )


def find_classes(args):
    """The class numbers of A and of B, two lists. Raises InputError for classes that `--data` lacks, or too many of them."""
    with cli.blaming(f"--data {args.data}"):
        names = data.class_names(args.data)
    flag = "--classes-b, by default" if args.classes_b is DOCUMENTED_CLASSES_B else "--classes-b"
    numbers = {str(number): number for number in range(len(names))} | {name: number for number, name in enumerate(names)}
    for word in map(str, args.classes_b):
        if word not in numbers:
            known = ", ".join(f"{number} {name}" for number, name in enumerate(names))
            raise cli.InputError(f"{flag} {cli.shortened(word)}: no such class; allowed are, by number or name: {known}")
    classes_b = sorted({numbers[str(word)] for word in args.classes_b})
    classes_a = [number for number in range(len(names)) if number not in classes_b]
    if len(classes_a) < 2:
        raise cli.InputError(f"--classes-b takes {len(classes_b)} of {len(names)} classes: A needs at least two")
    return classes_a, classes_b


def only_classes(dataset, classes):
    """The samples of these class numbers only, relabelled from 0 in this order. Raises InputError where a part has none."""
    names = tuple(dataset.class_names[number] for number in classes)
    labels, parts = np.full(len(dataset.class_names), -1), {}
    labels[list(classes)] = range(len(classes))
    for name in ("train", "val", "test"):
        samples = getattr(dataset, name)
        samples = replace(samples, labels=labels[samples.labels])
        parts[name] = samples.take(samples.labels >= 0)
        if len(samples) and not len(parts[name]):
            raise cli.InputError(
                f"--classes-b: {name} has no image of {', '.join(names)}; more images or other classes are needed"
            )
    return replace(dataset, class_names=names, **parts)


def take(b, num_samples, seed):
    """B with a choice of its train images and no val part, or with all of both. Raises InputError."""
    if num_samples == "all":
        return b
    with cli.blaming("--b-samples"):
        chosen = data.choose_samples(b.train.labels, num_samples, seed)
    return replace(b, train=b.train.take(chosen), val=b.val.take([]))


def main(argv=None):
    args = parse_args(argv)
    folder.check(args)
    if args.image_size < 4:
        raise cli.InputError(f"--image-size {args.image_size}: two poolings of 2 x 2 need at least 4")
    classes_a, classes_b = find_classes(args)
    if len(classes_b) == 1:
        cli.tell("B has one class only: a model of one class is always right, so B's accuracies say nothing.")
    dataset = load_data(args)
    a, b = (only_classes(dataset, classes) for classes in (classes_a, classes_b))
    b = take(b, "all" if args.dry_run else args.b_samples, args.seed)
    experiment = Experiment(
        name="ab_split",
        title="A/B split",
        weights="none",
        documented=MODELS["b-both-fc"][-1],
        remark="CIFAR-10 with B = airplane and horse, SGD at 1e-4, 20 epochs",
        comparable=dataset.is_cifar10 and tuple(classes_b) == DOCUMENTED_CLASSES_B and not args.dry_run,
        monitor=args.monitor,
    )
    with Run(experiment, args, dataset) as run:
        cli.tell(f"{dataset.name}: A is {', '.join(a.class_names)}; B is {', '.join(b.class_names)}")
        return train(run, a, b)


if __name__ == "__main__":
    cli.run(main)
