"""A model's probabilities and scores on labelled samples, and a map of the features that its last layer sees."""

import numpy as np
from threadpoolctl import threadpool_limits

from common import devices, hosts
from common.cli import TrainingError
from common.data.dataset import Samples
from common.results import metrics

BATCH_SIZE = 256
MAX_MAPPED = 2000  # images in a map: t-SNE of as many takes four seconds on one core
MIN_MAPPED = 10
TSNE_STEPS = 500


def predict(model, images, batch_size=BATCH_SIZE):
    """Class probabilities `(n, num_classes)` float32 of images `(n, h, w, 3)`, or of features for a head."""
    from common.models.inference import ForwardPass  # imports Keras

    return ForwardPass(model, min(batch_size, devices.round_up(len(images)) // devices.count()))(images)


def score(model, samples, batch_size=BATCH_SIZE):
    """Scores of a model on labelled `Samples`: `test_accuracy`, `test_loss`, `probabilities` `(n, num_classes)` float32.

    `scored` is what it takes to repeat them to the last digit: whether the samples were images or features for a head, and the
    batch size. Raises TrainingError where a probability is not a finite number.
    """
    probabilities = predict(model, samples.images, batch_size)
    if not np.isfinite(probabilities).all():
        raise TrainingError("the trained model predicts nan: try a lower learning rate")
    return {
        "test_accuracy": float((probabilities.argmax(axis=1) == samples.labels).mean()),
        "test_loss": metrics.cross_entropy(samples.labels, probabilities),
        "probabilities": probabilities,
        "scored": {"on": "features" if samples.images.ndim == 2 else "images", "batch_size": batch_size},
    }


def as_scored(model, samples, results, cache_dir):
    """What `score` needs to repeat a run's numbers with its loaded model: the model or its head, `Samples`, the batch size.

    A head was scored on features: these come from the cache, or are computed as for training. `results` is the run's
    results.json, or None.
    """
    from common.models import features, parts

    scored = (results or {}).get("scored") or {"on": "images", "batch_size": features.batch_size(model)}
    if scored["on"] == "features":
        extractor, model = parts.split(model)
        (rows,), _ = features.FeatureCache(extractor, cache_dir).extract(features.Images([samples.images]), "features")
        samples = Samples(rows[:], samples.labels)
    return model, samples, scored["batch_size"]


def map_indices(num_samples):
    """Indices of the samples in a map: all, or `MAX_MAPPED` drawn at random, in their order."""
    return np.sort(np.random.default_rng(0).permutation(num_samples)[:MAX_MAPPED])


def feature_maps(model, images, batch_size=BATCH_SIZE):
    """Where the features that the last layer sees lie in the plane, of the images of `map_indices`, or of features for a head.

    A dict of points `(n, 2)` by method: the first two principal components (scikit-learn's `PCA`), and t-SNE of the first 50
    (`TSNE`, perplexity 30; van der Maaten and Hinton 2008). Empty in all processes but the main one, for fewer than
    `MIN_MAPPED` images, where all features are equal, and for a model without such a layer.
    """
    from common.models import parts

    try:
        extractor = parts.before_last_layer(model)
    except ValueError:  # a foreign model
        return {}
    features = predict(extractor, images[map_indices(len(images))], batch_size)
    features = features.reshape(len(features), -1).astype(np.float64)
    is_flat = not np.isfinite(features).all() or np.ptp(features, axis=0).max() == 0
    if len(features) < MIN_MAPPED or is_flat or not hosts.is_main():
        return {}
    return _embed(features)


def _embed(features):
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    count, width = features.shape
    with threadpool_limits(1):  # several threads wait for each other longer than they compute
        components = PCA(min(50, count, width), random_state=0).fit_transform(features)
        if components.shape[1] < 2:
            components = np.pad(components, ((0, 0), (0, 1)))
        perplexity = min(30, (count - 1) / 3)
        tsne = TSNE(perplexity=perplexity, max_iter=TSNE_STEPS, init="pca", random_state=0).fit_transform(components)
    return {"PCA": components[:, :2], "t-SNE": tsne}
