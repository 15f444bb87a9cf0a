#!/usr/bin/env python3
"""Classes split in A and B: what does a CNN trained on A give to one for B?

    python train_ab_split.py --data digits                                  # offline, a minute and a half
    python train_ab_split.py                                                # CIFAR-10
    python train_ab_split.py --b-samples 20 50 100 500 2000 all --seeds 5   # when does transfer pay?

Four models of one architecture: A from scratch; B from scratch; B on A's convolutions and first fully connected layer
(FC1) with only the last FC layer trained; B on A's convolutions with both FC layers trained, FC1 starting from A's.
Adam, 20 epochs; the weights of the epoch with the best val accuracy are kept. With less than all of B's pictures
(--b-samples) there is no val part to choose by: the last weights are kept.

Test accuracies on CIFAR-10, B = airplane and horse:
  documented  A .2914, B from scratch .6785, last FC .7490, both FC .8100 (SGD at 1e-4, which leaves all under-trained)
  measured    A .7689, B from scratch .9665, last FC .9090, both FC .9660 (seed 0, 2 CPU cores, 76 s an epoch of A)
"""

import functools
import math
from dataclasses import replace

from common import backend, cli, files
from common.data import dataset as data
from common.training import resume
from common.training import run as runs

MODELS = {
    "a": "A from scratch",
    "b-scratch": "B from scratch",
    "b-last-fc": "B, last FC layer",
    "b-both-fc": "B, both FC layers",
}
DOCUMENTED = {"a": 0.2914, "b-scratch": 0.6785, "b-last-fc": 0.7490, "b-both-fc": 0.8100}
DOCUMENTED_CLASSES_B = (0, 7)  # airplane and horse: the last two digits of a student's number
HEADLINE = "b-both-fc"  # the document's best strategy; its model lies at the top of the run folder
B_MODELS = ("b-scratch", "b-last-fc", "b-both-fc")
MIN_STEPS = 150  # a pass over 20 pictures is one step: with few pictures an epoch is several passes, to reach this many


def parse_args(argv=None):
    parser = cli.build_parser(__doc__)
    cli.add_data_arguments(parser, image_size=32)
    training = cli.add_training_arguments(parser, epochs=20, batch_size=128, learning_rate=1e-3, dropout=0.4)
    cli.add_run_arguments(parser)
    training.add_argument(
        "--classes-b", nargs="+", default=DOCUMENTED_CLASSES_B, metavar="CLASS", help="classes of B, by number or name"
    )
    training.add_argument(
        "--b-samples",
        nargs="+",
        type=cli.sample_count,
        default=["all"],
        metavar="N",
        help="train the B models with each of these numbers of B's training pictures; the word all is one of them",
    )
    training.add_argument(
        "--seeds", type=cli.positive_int, default=1, metavar="N", help="repeat everything with N seeds, from --seed on"
    )
    return resume.parse_args(parser, argv, may_grow=["seeds"])  # an epoch's passes depend on --epochs


def build_convolutions(image_size):
    """The document's four convolutions: raw pictures (image_size, image_size, 3) in 0..255 to flat features."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((image_size, image_size, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ],
        name="convolutions",
    )


def build_head(num_features, num_classes, dropout_rate):
    """The document's two fully connected layers: flat features to class probabilities."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((num_features,)),
            layers.Dense(128, activation="relu", name="fc1"),
            layers.Dropout(dropout_rate),
            layers.Dense(num_classes, activation="softmax", dtype="float32", name="last_fc"),
        ],
        name="head",
    )


def join(convolutions, head):
    """The whole CNN: raw pictures to class probabilities."""
    import keras

    return keras.Sequential([keras.Input(convolutions.input_shape[1:]), convolutions, *head.layers])


def extract(convolutions, dataset):
    """The data set with the convolutions' features (n, num_features) in place of its pictures."""

    def features(part):
        return data.Part(convolutions.predict(part.images, batch_size=256, verbose=0), part.labels)

    return replace(dataset, train=features(dataset.train), val=features(dataset.val), test=features(dataset.test))


def compile_model(model, learning_rate):
    """Adam, cross-entropy, accuracy. Keras's jit_compile="auto" is what we want: off on a CPU, where it is slower, else on."""
    import keras

    model.compile(keras.optimizers.Adam(learning_rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])


def fit(run, phase, model, dataset, *, seed, passes, use_val, draw_test):
    """Compile and train. With `use_val` the weights of the epoch with the best val accuracy are kept, else the last ones.

    An epoch is `passes` passes over the train part. With `draw_test` test is scored after every epoch, for the document's
    curves: nothing is chosen by it.
    """
    import keras

    from common.data.batches import Batches

    epochs, batch_size = run.args.epochs, run.args.batch_size
    if run.args.dry_run:
        epochs = 1
    train, val, test = dataset.train, dataset.val, dataset.test
    compile_model(model, run.args.lr)

    def score_test(epoch, logs):
        scores = model.evaluate(test.images, test.labels, batch_size=batch_size, verbose=0, return_dict=True)
        logs.update({f"test_{name}": value for name, value in scores.items()})

    batches = Batches(train.images, train.labels, batch_size, seed, passes)
    own = [batches.follow_fit()]
    if draw_test:
        own.append(keras.callbacks.LambdaCallback(on_epoch_end=score_test))
    if use_val:
        own.append(keras.callbacks.EarlyStopping("val_accuracy", patience=epochs, restore_best_weights=True))
    with run.phase(phase, epochs, *own) as started:
        model.fit(
            batches,
            epochs=epochs,
            initial_epoch=started.initial_epoch,
            validation_data=(val.images, val.labels) if use_val else None,
            validation_batch_size=batch_size,
            callbacks=started.callbacks,
            shuffle=False,  # Batches has its own order, from seed and epoch alone
            verbose=run.verbose if use_val else 0,
        )


def train_seed(run, a, b, sizes, seed, publish):
    """With one seed, train model A once and the three B models at every size; yields a point for every model trained.

    `publish(name, model, dataset, phase, passes)` scores and saves the four models of the first seed with the most pictures.
    """
    from common.results import report

    args = run.args

    def is_published(name, samples):
        return seed == args.seed and (name == "a" or samples == sizes[-1])

    def phase_of(name, samples):
        return name if is_published(name, samples) else f"{name} samples={samples} seed={seed}"

    def train(name, dataset, convolutions, head, features=None):
        """Train one model: its head on `features` where its convolutions are frozen, else the whole of it on pictures."""
        samples = len(dataset.train)
        phase, publishes = phase_of(name, samples), is_published(name, samples)
        has_all = samples == len((a if name == "a" else b).train)
        passes = 1 if args.dry_run else math.ceil(MIN_STEPS / (args.epochs * math.ceil(samples / args.batch_size)))
        print(f"\n{MODELS[name]}, {samples:,} pictures, seed {seed}", flush=True)
        model = join(convolutions, head)
        trained, inputs = (head, features) if features else (model, dataset)
        fit(run, phase, trained, inputs, seed=seed, passes=passes, use_val=has_all, draw_test=publishes)

        if features:  # the head was trained alone; the whole is saved ready for evaluate and fit
            compile_model(model, args.lr)
            model.optimizer.build(model.trainable_variables)
        if publishes:
            scores = publish(name, model, dataset, phase, passes)
        else:
            run.raise_if_interrupted()  # half trained, it has no place in the comparison of sizes
            scores = report.score(model, dataset.test)
        summary = run.summary([phase], passes * samples)
        point = {
            "model": name,
            "samples": samples,
            "seed": seed,
            "test_accuracy": scores["test_accuracy"],
            "test_loss": scores["test_loss"],
            "passes": passes * summary["epochs"],
            "seconds": summary["seconds"],
        }
        if name != "a" and not publishes:
            run.keep_result(phase, point)
        return point

    backend.set_seed(seed, "a")
    convolutions_a = build_convolutions(args.image_size)
    num_features = convolutions_a.output_shape[-1]
    head_a = build_head(num_features, len(a.class_names), args.dropout)
    yield train("a", a, convolutions_a, head_a)

    convolutions_a.trainable = False
    features_of_b = functools.cache(lambda: extract(convolutions_a, b))  # frozen: once for both strategies and all sizes
    for size in sizes:
        chosen = data.choose(b.train.labels, size, seed, "--b-samples")
        some_b = replace(b, train=b.train.take(chosen))
        for name in B_MODELS:
            known = run.result(phase_of(name, size))  # in a resumed run
            if known:
                yield known
                continue
            backend.set_seed(seed, f"{name}/{size}")
            head = build_head(num_features, len(b.class_names), args.dropout)  # the last FC layer is new: other classes
            if name == "b-scratch":
                yield train(name, some_b, build_convolutions(args.image_size), head)
            else:
                head.get_layer("fc1").set_weights(head_a.get_layer("fc1").get_weights())
                head.get_layer("fc1").trainable = name == "b-both-fc"
                some_features = replace(features_of_b(), train=features_of_b().train.take(chosen))
                yield train(name, some_b, convolutions_a, head, some_features)


def compare(run, a, b, sizes, is_documented):
    """Train everything with every seed, and report it."""
    from common.figures import plots
    from common.results import metrics, report

    args, results, points = run.args, {}, []

    def publish(name, model, part_of_dataset, phase, passes):
        results[name] = report.write(
            run,
            run.folder if name == HEADLINE else run.folder / name,
            model,
            part_of_dataset,
            phases=[phase],
            title=MODELS[name],
            weights="none" if name in ("a", "b-scratch") else "model A",
            documented=DOCUMENTED[name],
            comparable=is_documented and (name == "a" or sizes[-1] == len(b.train)),
            images_per_epoch=passes * len(part_of_dataset.train),
        )
        return results[name]

    try:
        for seed in range(args.seed, args.seed + args.seeds):
            for point in train_seed(run, a, b, sizes, seed, publish):
                points.append(point)
                files.write_csv(run.folder / "points.csv", points, points[0])
                run.raise_if_interrupted()
    except KeyboardInterrupt:
        run.interrupt(results)
        if HEADLINE not in results and args.resume:
            raise  # what an earlier process wrote is worth more
        if HEADLINE not in results:
            (run.folder / "model.keras").unlink(missing_ok=True)  # half written: its results are missing

    spread = metrics.spread_by(points, ("model", "samples"), "test_accuracy")
    headline = results.get(HEADLINE) or list(results.values())[-1]
    summary = headline | run.ending() | {"models": results, "spread": spread}
    files.write_json(run.folder / "results.json", summary)
    files.write_csv(run.folder / "accuracy_by_samples.csv", spread, spread[0])
    report.draw_models(run, MODELS)
    if len(sizes) > 1:
        titles = {name: MODELS[name] for name in B_MODELS}
        path = run.folder / "plots" / "accuracy_by_samples.png"
        plots.accuracy_by_samples(spread, path, titles, f"B is {', '.join(b.class_names)}")
    if len(sizes) > 1 or args.seeds > 1:
        report.print_spread(spread, MODELS)
    report.print_closing(run, results.values(), "documented: CIFAR-10 with B = airplane and horse, SGD at 1e-4, 20 epochs")
    return summary


def main(argv=None):
    args = parse_args(argv)
    runs.check(args)
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
    sizes = {len(b.train) if size == "all" else size for size in args.b_samples}
    for size in sizes:
        data.choose(b.train.labels, size, args.seed, "--b-samples")  # complains about a size that can't be had
    is_documented = dataset.is_cifar10 and tuple(classes_b) == DOCUMENTED_CLASSES_B and not args.dry_run
    if args.dry_run:
        a, b = data.few(a, 2 * args.batch_size), data.few(b, 2 * args.batch_size)
        sizes = {min(size, len(b.train)) for size in sizes}

    if len(classes_b) == 1:
        print("B has one class only: a model of one class is always right, so B's accuracies say nothing.")
    with runs.Run("ab_split", args, dataset) as run:
        print(f"{dataset.name}: A is {', '.join(a.class_names)}; B is {', '.join(b.class_names)}")
        return compare(run, a, b, sorted(sizes), is_documented)


if __name__ == "__main__":
    cli.run(main)
