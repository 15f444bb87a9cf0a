"""Class names of CIFAR-10, by label. Imports nothing, so that tables can be printed without NumPy.

Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
