"""Class names of the data sets that documents are about, by label. Imports nothing: tables are printed without NumPy.

Sources: https://www.cs.toronto.edu/~kriz/cifar.html, https://github.com/ra2u18/cifar10 (the scenes of ResNet152V2's document)
"""

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SCENES = (
    "bedroom", "coast", "forest", "highway", "industrial", "insidecity", "kitchen", "living-room", "mountain", "office",
    "open-country", "store", "street", "suburb", "tall-building",
)  # fmt: skip
