#!/usr/bin/env python3
"""A linear probe: which base suits my images, how many do I need, which labels are wrong, is test really new?

    python train_linear_probe.py --base vgg19-fc2 --data digits --weights none --image-size 64   # offline, no pretraining
    python train_linear_probe.py                                        # EfficientNet-Lite0, ImageNet weights from pip
    python train_linear_probe.py --data photos --base efficientnet-lite0 efficientnet-lite1 efficientnet-lite2
    python train_linear_probe.py --examples-per-class 16 --draws 5      # few-shot, as in DINOv2's and MTEB's protocols

Images go through each frozen base once; the features are cached, and shared with the other scripts. Multinomial logistic
regression is fitted to its optimum on those of all training images. Stratified cross-validation chooses C, so no image is given
away to val, and val scores are cross-validated. Test is scored once. Prints a table of the bases, and for each base writes

    label_issues.csv   training images whose label is improbable to a model that has not seen them
    duplicates.csv     test images with nearly the same features as a training image

each with a gallery. The base with the best cross-validated accuracy stands for the run: predict.py, evaluate.py, export.py.

  measured    .9057 +- .0007 with EfficientNet-Lite0 and ImageNet weights on CIFAR-10 (3 seeds, 4 min on 2 CPU cores)
"""

from dataclasses import replace

from common import backend, cli, flags
from common.models import weights as pretrained
from common.training import folder, logistic, resume
from common.training.run import Experiment, Run, load_data

keras = backend.lazy("keras")
np = backend.lazy("numpy")
backbones = backend.lazy("common.models.backbones")
features = backend.lazy("common.models.features")
probe = backend.lazy("common.results.probe")
report = backend.lazy("common.results.report")
upscale = backend.lazy("common.models.upscale")


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    flags.add_data_arguments(parser, image_size=None, validation_split=None)
    flags.add_weights_arguments(parser, ["efficientnet-lite0"])
    training = flags.add_training_arguments(parser)
    flags.add_run_arguments(parser)
    few = "training images per class, drawn at random; all where not given"
    training.add_argument("--examples-per-class", type=flags.at_least_two, metavar="K", help=few)
    training.add_argument("--draws", type=flags.positive_int, default=1, metavar="N", help="how often they are drawn anew")
    return resume.parse_args(parser, argv, "linear_probe")


def draw_examples(args, labels):
    """Yield the indices of the training images of each draw: K of each class, all of a class that has fewer."""
    for draw in range(args.draws):
        order = np.random.default_rng([args.seed, draw]).permutation(len(labels))
        of_classes = (order[labels[order] == label][: args.examples_per_class] for label in np.unique(labels))
        yield np.sort(np.concatenate([*of_classes]))


def build_extractor(args, base, weights, image_shape):
    """Images of `image_shape`, 0 to 255, to the pooled features of a base, at its own size or at `--image-size`."""
    images, size = keras.Input(image_shape), args.image_size or backbones.NETWORKS[base].image_size
    backbone = backbones.build(base, size, weights, seed=args.seed)
    return keras.Model(images, backbone(upscale.upscale(images, size, args.interpolation)))


def build_head(num_features, num_classes):
    """Features to class probabilities: one layer, whose weights are fitted."""
    layer = keras.layers.Dense(num_classes, activation="softmax", dtype="float32")
    return keras.Sequential([keras.Input((num_features,)), layer], name="head")


def train_probe(run, dataset, base, weights):
    """Fit the head of one base, once for each draw; the model is that of the first draw."""
    extractor = build_extractor(run.args, base, weights, dataset.test.images.shape[1:])
    inputs = features.Inputs(extractor, dataset, run.args.cache_dir)
    test_features, accuracies, grid = inputs.test.images[:], [], logistic.GRID[: run.capped(len(logistic.GRID))]
    for draw in draw_examples(run.args, dataset.train.labels):
        train = inputs.train.take(draw)
        pipeline, *cross_validated = logistic.fit(train.images[:], train.labels, run.args.seed, run.args.class_weight, grid)
        is_right = pipeline.predict(test_features) == dataset.test.labels
        if not accuracies:
            first = pipeline, *cross_validated, dataset.train.take(draw), train.images[:], is_right
        accuracies.append(float(np.mean(is_right)))

    pipeline, probabilities, rows, samples, train_features, is_right = first
    logistic.record(run, base, rows, len(samples))
    model, head = inputs.join(build_head(extractor.output_shape[-1], len(dataset.class_names)))
    head.set_weights(logistic.folded(pipeline))
    model.compile("adam", loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])  # to be trained further
    plots = run.folder / base / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    num_issues = probe.report_label_issues(samples, probabilities, dataset.class_names, plots.parent)
    is_new = ~probe.report_duplicates(samples, dataset.test, train_features, test_features, plots.parent)
    extra = {
        "C": pipeline[-1].C,
        "input_size": extractor.layers[-1].input_shape[1],
        "num_features": extractor.output_shape[-1],
        "accuracies": accuracies,
        "seconds_per_1000": probe.seconds_per_1000(extractor, dataset.test.images),
        "label_issues": num_issues,
        "near_duplicates": int(np.sum(~is_new)),
        "test_accuracy_without_near_duplicates": float(np.mean(is_right[is_new])) if is_new.any() else None,
    }
    title = f"linear probe of {backbones.NETWORKS[base].title}, {weights.label}"
    experiment = replace(run.experiment, title=run.titled(title), folder=base)
    return report.Trained(experiment, model, replace(dataset, train=samples), [base], inputs, extra)


def train(run, dataset, weights_by_base):
    probes = (train_probe(run, dataset, base, weights) for base, weights in weights_by_base.items())
    return report.finish_models(run, probes, lambda scored: probe.compare_bases(run, scored))


def main(argv=None):
    args = parse_args(argv)
    folder.check(args)
    sizes, weights_by_base = [], {}
    for base in dict.fromkeys(args.base):
        with cli.blaming(f"--base {base}"):
            sizes.append(args.image_size or pretrained.network(base).image_size)
        with cli.blaming(f"--weights {args.weights} at --image-size {sizes[-1]}"):
            weights_by_base[base] = pretrained.find(args.weights, base, sizes[-1])
    dataset = load_data(args, upscaled_later=True, image_size=max(sizes)).without_val()
    experiment = Experiment(
        name="linear_probe",
        title=f"linear probe of {', '.join(weights_by_base)}",
        weights=args.weights,
        documented=None,
        remark="",
        monitor="val_loss",
        trained="head",
    )
    with Run(experiment, args, dataset, *weights_by_base.values()) as run:
        return train(run, dataset, weights_by_base)


if __name__ == "__main__":
    cli.run(main)
