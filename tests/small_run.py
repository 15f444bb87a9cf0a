"""A run in miniature, as a program: a small backbone, frozen and then trained, on digits. For test_devices.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from matplotlib.figure import Figure

from common import backend, cli, flags
from common.data import augment
from common.results import predictions
from common.training import folder, resume
from common.training.run import Experiment, Run, load_data


def parse_args(argv=None):
    parser = flags.build_parser(__doc__)
    flags.add_data_arguments(parser, image_size=8, data="digits")
    flags.add_base_arguments(parser, augment=True)
    flags.add_training_arguments(parser, epochs=4, batch_size=23, dropout=0.2)
    flags.add_run_arguments(parser)
    return resume.parse_args(parser, argv, "small")


def train(run, dataset):
    from keras import Input, Model, Sequential, callbacks, layers, optimizers

    from common.models import features
    from common.results import report

    args = run.args
    backend.set_seed(args.seed, "model")
    images = Input((8, 8, 3))
    x = layers.Conv2D(8, 3)(layers.Rescaling(1 / 255)(images))
    backbone = Model(images, layers.BatchNormalization(momentum=0.8)(x))
    backbone.trainable = False
    extractor = Model(images, layers.Flatten()(backbone(images)))
    head = Sequential(
        [Input(extractor.output_shape[1:]), layers.Dense(16, activation="relu"), layers.BatchNormalization(momentum=0.8)]
    )
    head.add(layers.Dropout(args.dropout))
    head.add(layers.Dense(10, activation="softmax"))
    inputs = features.Inputs(extractor, dataset, args.cache_dir, augment.flip_and_shift, args.views, args.seed)
    settings = {"loss": "sparse_categorical_crossentropy", "weighted_metrics": ["accuracy"]}

    clipnorm = 0.1 if backend.name() == "jax" else None  # on TensorFlow each device clips the gradient of its share
    head.compile(optimizers.SGD(0.05, momentum=0.9, clipnorm=clipnorm), **settings)
    keep_best = callbacks.EarlyStopping("val_loss", patience=99, restore_best_weights=True)
    run.fit("head", head, run.batches(inputs.train), inputs.val, epochs=args.epochs, callbacks=[keep_best])

    model = Model(extractor.input, head(extractor.output))
    backbone.trainable = True
    model.compile(optimizers.SGD(0.01, momentum=0.9), **settings)
    batches = run.batches(dataset.train, augmentation=augment.flip_and_shift)
    run.fit("finetune", model, batches, dataset.val, epochs=2 * args.epochs, initial_epoch=args.epochs)
    return report.finish(run, model, dataset, ["head", "finetune"], extra=inputs.extraction)


def main(argv=None):
    args = parse_args(argv)
    folder.check(args)
    dataset = load_data(args)
    with Run(Experiment("small", "small", "none", 0.5, "none"), args, dataset) as run:
        return train(run, dataset)


if __name__ == "__main__":
    Figure.savefig = lambda figure, path, **options: Path(path).touch()  # drawing takes seconds
    predictions.Predictions.draw, predictions._embed = lambda *_: None, lambda features: {}  # so does t-SNE
    cli.run(main)
