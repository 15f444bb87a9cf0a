#!/usr/bin/env python3
"""Classes split in A and B: what does a CNN trained on A give to one for B?

    python train_ab_split.py --data digits                                  # offline, a minute and a half
    python train_ab_split.py                                                # CIFAR-10
    python train_ab_split.py --b-samples 20 50 100 500 2000 all --seeds 5   # when does transfer pay?
    python train_ab_split.py --optimizer sgd --lr 1e-4 -b 32 --validation-split 0 --new-fc1     # the original's settings

Four models of one architecture: A from scratch; B from scratch; B on A's convolutions and first fully connected layer (FC1)
with only the last FC layer trained; B on A's convolutions with both FC layers trained, FC1 starting from A's. Adam, 20 epochs;
the weights of the epoch with the best val accuracy are kept. With fewer than all of B's images (--b-samples), and with
--validation-split 0, there is no val part to choose by, and the last weights are kept.

Test accuracies on CIFAR-10, B = airplane and horse:
  documented  A .2914, B from scratch .6785, last FC .7490, both FC .8100 (SGD at 1e-4, which leaves all under-trained)
  measured    A .7749, B from scratch .9620, last FC .9135, both FC .9665 (seed 0, 2 CPU cores, 54 s an epoch of A)
"""

import functools
import itertools
from dataclasses import replace

from common import backend, cli, flags
from common.data import dataset as data
from common.training import folder, resume
from common.training.experiment import Experiment
from common.training.job import Job
from common.training.run import Run

keras = backend.lazy("keras")
callbacks = backend.lazy("common.training.callbacks")
inference = backend.lazy("common.models.inference")
studies = backend.lazy("common.results.study")

MODELS = {
    "a": "A from scratch",
    "b-scratch": "B from scratch",
    "b-last-fc": "B, last FC layer",
    "b-both-fc": "B, both FC layers",
}
TRAINED = {"a": "all layers", "b-scratch": "all layers", "b-last-fc": "last FC layer", "b-both-fc": "both FC layers"}
DOCUMENTED = {"a": 0.2914, "b-scratch": 0.6785, "b-last-fc": 0.7490, "b-both-fc": 0.8100}
DOCUMENTED_CLASSES_B = (0, 7)  # airplane and horse: the last two digits of a student's number
HEADLINE = "b-both-fc"  # the document's best strategy; its model lies at the top of the run folder
B_MODELS = ("b-scratch", "b-last-fc", "b-both-fc")
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
    add(
        "--b-samples",
        nargs="+",
        type=flags.positive_int_or_all,
        default=["all"],
        metavar="N",
        help="train the B models with each of these numbers of B's training images; the word all is one of them",
    )
    add("--seeds", type=flags.positive_int, default=1, metavar="N", help="repeat everything with N seeds, from --seed on")
    return resume.parse_args(parser, argv, "ab_split", may_grow=["seeds"])  # an epoch's passes depend on --epochs


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


def fit(run, job, model, dataset):
    """Compile and train. With val images the weights of the epoch with the best val accuracy are kept, else the last ones.

    A published model is scored on test after every epoch, for the document's curves: nothing is chosen by it.
    """
    args, test, epochs = run.args, dataset.test, run.epochs(run.args.epochs)

    def score_test(epoch, logs):
        logs.update({f"test_{name}": value for name, value in run.evaluate(model, test).items()})

    cli.tell("", f"{MODELS[job.name]}, {job.samples:,} images, seed {job.seed}")
    compile_model(model, args.lr, args.optimizer, args.momentum, args.weight_decay)
    chosen = [keras.callbacks.LambdaCallback(on_epoch_end=score_test)] if job.is_published else []
    val = dataset.val if job.has_all and len(dataset.val) else None
    if val:
        chosen.append(callbacks.BestEpoch(patience=epochs))
    batches = run.batches(dataset.train, passes=job.passes(args, MIN_STEPS), seed=job.seed)
    run.fit(job.phase, model, batches, val, epochs=epochs, callbacks=chosen)


def train_a(run, job, a):
    """Train model A. Returns its convolutions, its head and the two joined."""
    backend.set_seed(job.seed, "a")
    convolutions = build_convolutions(run.args.image_size)
    head = build_head(convolutions.output_shape[-1], len(a.class_names), run.args.dropout)
    model = join(convolutions, head)
    fit(run, job, model, a)
    return convolutions, head, model


def train_b(run, job, b, features, convolutions_a, head_a):
    """Train one model B by its strategy: from scratch on images, or its head on the `features` of A's frozen convolutions."""
    backend.set_seed(job.seed, f"{job.name}/{job.samples}")
    head = build_head(head_a.input_shape[-1], len(b.class_names), run.args.dropout)  # the last FC layer is new: other classes
    if job.name == "b-scratch":
        model = join(build_convolutions(run.args.image_size), head)
        fit(run, job, model, b)
        return model
    fc1 = head.get_layer("fc1")
    fc1.trainable = job.name == "b-both-fc"
    if not (fc1.trainable and run.args.new_fc1):
        fc1.set_weights(head_a.get_layer("fc1").get_weights())
    model = join(convolutions_a, head)
    fit(run, job, head, features)
    args = run.args
    compile_model(model, args.lr, args.optimizer, args.momentum, args.weight_decay)  # the head was trained alone
    return model


def published(run, job):
    """The identity of one of the four models."""
    return replace(
        run.experiment,
        title=run.titled(MODELS[job.name]),
        weights="none" if job.name in ("a", "b-scratch") else "model A",
        documented=run.experiment.documented and DOCUMENTED[job.name],
        trained=TRAINED[job.name],
        comparable=run.experiment.comparable and job.has_all,
        folder="" if job.name == HEADLINE else job.name,
    )


def train_seed(run, study, a, b, sizes, seed):
    """Train A once and the B models at every size; yields the point of each, a row of points.csv."""
    is_first = seed == run.args.seed
    job = Job("a", len(a.train), seed, is_published=is_first, has_all=True)
    convolutions, head, model = train_a(run, job, a)
    yield study.score(job, model, a, published(run, job))

    convolutions.trainable = False
    features_of_b = functools.cache(lambda: extract(convolutions, b))  # frozen: once for both strategies and all sizes
    for size, name in itertools.product(sizes, B_MODELS):
        chosen = data.choose_samples(b.train.labels, size, seed, "--b-samples")
        job = Job(name, size, seed, is_published=is_first and size == sizes[-1], has_all=size == len(b.train))
        point = run.result(job.phase, study.POINT)  # known in a resumed run
        if not point:
            b_of_size = replace(b, train=b.train.take(chosen))
            features = None if name == "b-scratch" else replace(features_of_b(), train=features_of_b().train.take(chosen))
            model = train_b(run, job, b_of_size, features, convolutions, head)
            point = study.score(job, model, b_of_size, published(run, job))
        yield point


def train(run, a, b, sizes):
    """Train everything with every seed, and report it."""
    study, seeds = studies.Study(run, MODELS, HEADLINE), range(run.args.seed, run.args.seed + run.args.seeds)
    study.collect(point for seed in seeds for point in train_seed(run, study, a, b, sizes, seed))
    return study.finish(f"Test accuracy on {', '.join(b.class_names)} by number of training images")


def main(argv=None):
    args = parse_args(argv)
    folder.check(args)
    if args.image_size < 4:
        raise cli.InputError(f"--image-size {args.image_size}: two poolings of 2 x 2 need at least 4")
    class_names = data.class_names(args.data)
    flag = "--classes-b, by default" if args.classes_b is DOCUMENTED_CLASSES_B else "--classes-b"
    classes_b = sorted(data.find_classes(args.classes_b, class_names, flag))
    classes_a = [number for number in range(len(class_names)) if number not in classes_b]
    if len(classes_a) < 2:
        raise cli.InputError(f"--classes-b takes {len(classes_b)} of {len(class_names)} classes: A needs at least two")
    dataset = data.load(args)
    a, b = (data.only_classes(dataset, classes, "--classes-b") for classes in (classes_a, classes_b))
    sizes = sorted({len(b.train) if size == "all" else size for size in args.b_samples})
    if args.dry_run:
        sizes = sorted({min(size, len(b.train)) for size in sizes})
    for size in sizes:
        data.choose_samples(b.train.labels, size, args.seed, "--b-samples")  # refuses a size that can't be had
    if len(classes_b) == 1:
        cli.tell("B has one class only: a model of one class is always right, so B's accuracies say nothing.")
    experiment = Experiment(
        name="ab_split",
        title="A/B split",
        weights="none",
        documented=DOCUMENTED[HEADLINE],
        remark="CIFAR-10 with B = airplane and horse, SGD at 1e-4, 20 epochs",
        comparable=dataset.is_cifar10 and tuple(classes_b) == DOCUMENTED_CLASSES_B and not args.dry_run,
    )
    with Run(experiment, args, dataset) as run:
        cli.tell(f"{dataset.name}: A is {', '.join(a.class_names)}; B is {', '.join(b.class_names)}")
        return train(run, a, b, sizes)


if __name__ == "__main__":
    cli.run(main)
