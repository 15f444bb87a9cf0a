"""Images and labels, up to the batches that `fit` gets: data sets, downloads, augmentation, order.

Read `dataset.py` first: `--data` becomes a `Dataset` of train, val and test. `augment.py` holds the augmentation of every
script. What turns images into features is in `common.models`.
"""
