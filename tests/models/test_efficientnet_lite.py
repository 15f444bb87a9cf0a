"""EfficientNet-Lite0 against the paper's table, PyTorch's definition, and photos that ImageNet's weights must recognise."""

import pickle

import cv2
import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from common.models import backbones, efficientnet_lite, weights


@pytest.fixture(scope="module")
def imagenet():
    return weights.find("imagenet", "efficientnet-lite0", 224)


@pytest.fixture(scope="module")
def base(imagenet):
    return backbones.build("efficientnet-lite0", 224, imagenet, seed=0)


@pytest.fixture(scope="module")
def photos():
    """A palace and a daisy, 224x224, RGB."""
    cut = (image[:, (image.shape[1] - image.shape[0]) // 2 :][:, : image.shape[0]] for image in load_sample_images().images)
    return np.stack([cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA) for image in cut]).astype(np.float32)


def call(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def test_is_the_network_of_the_papers_table(base):
    assert base.count_params() == 3_413_024
    whole = efficientnet_lite.efficientnet_lite0(keras.Input((224, 224, 3)), include_top=True)
    assert whole.count_params() == 3_413_024 + 1281 * 1000  # 4.65 million, as published
    ends = [base.get_layer(f"block{stage}_project_bn").output.shape[1:] for stage in ("1a", "2b", "3b", "4c", "5c", "6d", "7a")]
    sizes, channels = (112, 56, 28, 14, 14, 7, 7), (16, 24, 40, 80, 112, 192, 320)
    assert ends == [(size, size, width) for size, width in zip(sizes, channels, strict=True)]
    assert sum(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in base.layers) == 16
    assert sum(isinstance(layer, keras.layers.Add) for layer in base.layers) == 9
    assert base.output_shape == (None, 7, 7, 1280) and not base.trainable_weights


def test_imagenets_weights_know_a_palace_and_a_daisy(base, imagenet, photos):
    classifier = efficientnet_lite.read_torch(imagenet.path)
    logits = call(base, photos).mean((1, 2)) @ classifier["_fc.weight"].T + classifier["_fc.bias"]
    assert logits.argmax(1).tolist() == [698, 985]  # their numbers in ImageNet's list of classes


def test_random_weights_depend_on_the_seed_and_give_features_of_the_order_of_1():
    random = weights.Weights(None, False, "")
    one, same, other = (backbones.build("efficientnet-lite0", 32, random, seed=seed) for seed in (0, 0, 1))
    kernels = [model.get_layer("block7a_project_conv").get_weights()[0] for model in (one, same, other)]
    assert np.array_equal(*kernels[:2]) and not np.array_equal(kernels[0], kernels[2])
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.float32)
    assert 0.1 < call(one, images).std() < 10


def test_drop_connect_rises_to_the_papers_and_is_off_while_frozen(base):
    whole = efficientnet_lite.efficientnet_lite0(keras.Input((32, 32, 3)))
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
