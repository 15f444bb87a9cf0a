"""What the tests of data sets share."""

import argparse

from common.training.run import load_data


def load(source, tmp_path, upscaled_later=False, **changes):
    """The data set that `--data source` names, at 32x32."""
    flags = {"image_size": 32, "validation_split": 0.1, "max_train_samples": None, "seed": 0, "cache_dir": tmp_path / "cache"}
    flags |= {"resize": "squeeze", "skip_damaged": False}
    return load_data(argparse.Namespace(data=str(source), **flags | {"dry_run": False} | changes), upscaled_later)


def in_order(part):
    """The images of a part as a sorted list of bytes: equal for equal sets of images."""
    return sorted((int(label), image.tobytes()) for image, label in zip(part.images, part.labels, strict=True))
