"""Images and labels, up to the batches that `fit` gets: data sets, downloads, augmentation, order.

Read `dataset.py` first: `--data` becomes a `Dataset` of train, val and test. `augment.py` holds the augmentation of every
script. What turns images into features is in `common.models`.
"""

# Classes by label, of https://www.cs.toronto.edu/~kriz/cifar.html (of CIFAR-100 the fine ones) and of
# https://github.com/ra2u18/cifar10, the scenes of ResNet152V2's document. Here, because tables are printed without NumPy.
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SCENES = (
    "bedroom", "coast", "forest", "highway", "industrial", "insidecity", "kitchen", "living-room", "mountain", "office",
    "open-country", "store", "street", "suburb", "tall-building",
)  # fmt: skip
CIFAR100 = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy", "bridge",
    "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud",
    "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl",
    "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear",
    "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel",
    "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train",
    "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
