"""The downloads' names, addresses and hashes are those that the installed Keras itself would use."""

import tarfile
from dataclasses import replace
from unittest.mock import MagicMock

import keras
import pytest
from keras.src.applications import efficientnet, resnet, resnet_v2, vgg19
from keras.src.datasets import cifar10 as keras_cifar10

from common import cli
from common.data import cifar10, downloads
from common.models import weights
from common.models.weights import OFFICIAL

APPLICATIONS = {
    "vgg19-fc2": (vgg19, vgg19.VGG19),
    "vgg19": (vgg19, vgg19.VGG19),
    "resnet152v2": (resnet, resnet_v2.ResNet152V2),
    "efficientnetb7": (efficientnet, efficientnet.EfficientNetB7),
}


def requested(monkeypatch, module, application, include_top):
    """Name, address and MD5 of the file that an application asks for, without building its model."""
    get_file = MagicMock()
    for name in ("layers", "Functional"):
        monkeypatch.setattr(module, name, MagicMock())
    monkeypatch.setattr(module.file_utils, "get_file", get_file)
    application(weights="imagenet", include_top=include_top)
    (name, origin), options = get_file.call_args
    return name, origin, options["file_hash"]


@pytest.mark.parametrize("base", OFFICIAL)
def test_weights_files_are_those_of_keras(base, monkeypatch):
    official = OFFICIAL[base]
    with_top = requested(monkeypatch, *APPLICATIONS[base], include_top=True)
    without_top = requested(monkeypatch, *APPLICATIONS[base], include_top=False)
    expected, others = (with_top, ()) if base == "vgg19-fc2" else (without_top, (with_top[2],))
    assert (official.name, official.origin, official.md5) == expected
    assert official.others == others


def test_the_cifar10_archive_is_that_of_keras(monkeypatch, tmp_path):
    get_file = MagicMock(side_effect=InterruptedError)
    monkeypatch.setattr(keras_cifar10, "get_file", get_file)
    with pytest.raises(InterruptedError):
        keras_cifar10.load_data()
    options = get_file.call_args.kwargs
    assert (options["origin"], options["file_hash"]) == (cifar10.ORIGIN, cifar10.SHA256)
    archive = tmp_path / "any.tar.gz"
    with tarfile.open(archive, "w:gz"):
        pass
    keras.utils.get_file(**options | {"origin": archive.as_uri(), "file_hash": None, "cache_dir": tmp_path})
    assert (tmp_path / "datasets" / cifar10.KERAS_NAME).is_file()


@pytest.mark.parametrize("name, words", [("x.py", "needs the package"), ("x/__init__.py", "not the published file")])
def test_what_is_not_the_package_of_lite0_is_one_line(monkeypatch, tmp_path, name, words):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    packaged = replace(weights.PACKAGED["efficientnet-lite0"], module="x")
    with pytest.raises(cli.InputError, match=words):
        weights._packaged(packaged)


def test_only_the_fully_connected_layers_of_imagenet_need_their_own_size(monkeypatch, tmp_path):
    monkeypatch.setattr(downloads, "fetch", lambda folder, name, origin, file_hash: tmp_path / name)
    for base, size in (("vgg19-fc2", 224), ("vgg19", 32), ("resnet152v2", 200), ("efficientnetb7", 96)):
        found = weights.find("imagenet", base, size)
        assert (found.path.name, found.is_imagenet, found.fingerprint()) == (OFFICIAL[base].name, True, "imagenet")
    for source, base, size in (("imagenet", "vgg19-fc2", 225), ("none", "vgg19", 31)):
        with pytest.raises(cli.InputError, match=f"--image-size {size}"):
            weights.find(source, base, size)
    assert weights.find("none", "vgg19-fc2", 32).path is None
