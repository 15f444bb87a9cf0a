"""Accuracies on CIFAR-10's test images that others have published, each read in the source that its address leads to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """An accuracy, a text with its source's digits; that source; how it was measured. All but the address are Markdown."""

    accuracy: str
    source: str
    address: str
    protocol: str

    @property
    def link(self):
        """The accuracy, which leads to the source."""
        return f"[{self.accuracy}]({self.address})"


GITHUB = "https://github.com"
LAB = f"{GITHUB}/loulyp/arti560-computer-vision-labs/blob/main/lab02-image-classification-transfer-learning"
COURSE = f"{GITHUB}/mecomonteshbtn/holbertonschool-machine_learning/blob/4f42274654e60af8597316e446b42a6698df8d1c"
PUBLISHED = {
    "vgg19-scratch": Published(
        "0.933",
        "BIGBALLON",
        f"{GITHUB}/BIGBALLON/cifar-10-cnn/blob/master/Tensorflow_version/vgg_19.py",
        "VGG19 with batch norm at 32x32, from scratch; flips and crops, SGD, 164 epochs, no val part",
    ),
    "vgg16-frozen": Published(
        "0.64",
        "royhuang9",
        f"{GITHUB}/royhuang9/transfer_learning",
        "VGG16 at 32x32, frozen, new FC layers; *about*, val accuracy",
    ),
    "vgg16-finetuned": Published(
        "0.80", "royhuang9", f"{GITHUB}/royhuang9/transfer_learning", "the same, all layers trained; *about*, val accuracy"
    ),
    "vgg19-frozen": Published(
        "0.8475",
        "loulyp, lab 02",
        f"{LAB}/lab02-image-classification-transfer-learning-exercise.ipynb",
        "VGG19 at 224x224 (bilinear), frozen, average pooling, one Dense layer; augmented, 3 epochs, a tenth is val",
    ),
    "vgg19-finetuned": Published(
        "0.9244",
        "loulyp, lab 02",
        f"{LAB}/lab02-image-classification-transfer-learning-exercise.ipynb",
        "the same, then all layers for 3 epochs",
    ),
    "resnet50-frozen": Published(
        "0.9217",
        "Przemek Pobrotyn",
        f"{GITHUB}/PrzemekPobrotyn/CIFAR-10-transfer-learning/blob/master/report.ipynb",
        "ResNet50 at 224x224, frozen, its features stored, Dropout .5, Dense 1024; 50 epochs of 40,000 images, val chose one",
    ),
    "resnet50-linear": Published(
        "0.936",
        "Grill et al. 2020, table 3",
        "https://arxiv.org/abs/2006.07733",
        "ResNet50 at 224x224, frozen, logistic regression, val chose its regularisation; quoted from SimCLR",
    ),
    "resnet50-finetuned": Published(
        "0.975", "Grill et al. 2020, table 3", "https://arxiv.org/abs/2006.07733", "the same, all layers trained"
    ),
    "course-sample": Published(
        "0.8864",
        "the course task behind the EfficientNetB7 document",
        f"{COURSE}/supervised_learning/0x09-transfer_learning/README.md",
        "sample output of the task; a backbone of `keras.applications` that it does not name",
    ),
    "efficientnetb0-finetuned": Published(
        "0.981",
        "Tan and Le 2019, table 5",
        "https://arxiv.org/abs/1905.11946",
        "EfficientNetB0, 4 M weights, all layers trained",
    ),
    "efficientnetb7-finetuned": Published(
        "0.989",
        "Tan and Le 2019, table 5",
        "https://arxiv.org/abs/1905.11946",
        "EfficientNetB7, 64 M weights, all layers trained",
    ),
}
