from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss
from sklearn.utils.class_weight import compute_class_weight

from common.data import augment
from common.data.batches import Batches, balanced, whole_batches
from common.data.dataset import Samples
from common.training import fit as fitting


def seen_in_fit(seed, epochs):
    """What a model is given in each epoch of a real `fit`."""
    x = np.arange(10, dtype="float32")[:, None]
    seen = [[]]

    class Spy(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, inputs, training=False):
            if training and keras.ops.shape(inputs)[0]:
                seen[-1] += keras.ops.convert_to_numpy(inputs)[:, 0].astype(int).tolist()
            return self.dense(inputs)

    model = Spy()
    model.compile("sgd", loss="mse", run_eagerly=True)
    next_epoch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append([]))
    batches = Batches(x, x, 4, seed)
    model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[batches.follow_fit(), next_epoch])
    return seen[:-1]


def test_fit_sees_the_order_of_seed_and_pass_in_batches_of_one_size():
    orders = [np.random.default_rng([3, number, 0]).permutation(10).tolist() for number in range(4)]
    assert len({tuple(order) for order in orders}) == 4
    stream = sum(orders, [])
    seen = seen_in_fit(seed=3, epochs=3)  # 2 batches of 4: each epoch goes on where the one before ended
    assert [epoch[-8:] for epoch in seen] == [stream[:8], stream[8:16], stream[16:24]]


def test_an_epoch_has_as_many_batches_as_come_closest_to_its_passes():
    for count, batch_size, passes, expected in ((9, 4, 1, 2), (11, 4, 1, 3), (11, 4, 2, 6), (3, 4, 1, 1), (3, 4, 5, 5)):
        assert len(Batches(np.zeros(count), np.zeros(count), batch_size, 0, passes)) == expected


def test_every_pass_of_an_epoch_has_every_sample_once():
    x = np.arange(10)
    batches = Batches(x, x, 4, seed=0, passes=3)
    assert len(batches) == 8
    given = np.concatenate([batches[index][0] for index in range(8)])
    passes = given[:30].reshape(3, 10)
    assert (np.sort(passes, axis=1) == x).all()
    assert len({tuple(order) for order in passes.tolist()}) == 3


def test_an_epoch_of_fewer_samples_draws_anew_each_time():
    x = np.arange(100)
    batches = Batches(x, x, 8, seed=0, num_samples=20)
    drawn = []
    for epoch in range(30):
        batches.epoch = epoch
        given = np.concatenate([batches[index][0] for index in range(len(batches))])
        assert len(batches) == 2 and given.shape == (16,) and len(np.unique(given)) >= 12
        drawn.append(given)
    assert len(np.unique(drawn)) == 100
    assert Batches(x, x, 8, seed=0, num_samples=500).num_samples == 100
    (batch,) = Batches(x, x, 64, seed=0, num_samples=20)  # a batch has no sample twice
    assert len(np.unique(batch[0])) == len(batch[0]) == 20


def test_each_epoch_draws_a_view_for_each_sample():
    views = [np.arange(40) + 1000 * number for number in range(4)]
    batches = Batches(views, np.arange(40), 8, seed=0)
    chosen = []
    for epoch in (0, 1, 0):
        batches.epoch = epoch
        x, y = (np.concatenate(parts) for parts in zip(*(batches[index] for index in range(len(batches))), strict=True))
        assert (x % 1000 == y).all() and sorted(y) == list(range(40))
        chosen.append((x // 1000)[np.argsort(y)])
    assert (np.bincount(chosen[0], minlength=4) > 3).all()
    assert (chosen[0] == chosen[2]).all() and (chosen[0] != chosen[1]).any()


def test_weights_are_inverse_to_the_size_of_the_class():
    labels = np.array([0, 0, 3, 0])  # one of class 3, none of 1 and 2
    np.testing.assert_allclose(balanced(labels), [2 / 3, 2 / 3, 2, 2 / 3], rtol=1e-6)
    labels = np.random.default_rng(0).choice(4, 200, p=[0.7, 0.2, 0.08, 0.02])
    weights, one_hot = balanced(labels), Samples(labels, labels).one_hot(4, smoothing=0.1).labels
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(4), y=labels)[labels], rtol=1e-6)
    assert weights.mean() == pytest.approx(1) and weights.dtype == np.float32 and (balanced(one_hot) == weights).all()


@pytest.mark.parametrize("num_rows", [None, 8])
def test_each_sample_of_a_batch_comes_with_its_weight(monkeypatch, num_rows):
    if num_rows:  # several devices
        monkeypatch.setattr("common.devices.rows", lambda batch_size: np.resize(np.arange(batch_size), num_rows))
    views, labels, weights = [np.arange(20), np.arange(20) + 100], np.arange(20), np.arange(20) / 10
    batches, plain = (Batches(views, y, 7, 3) for y in ((labels, weights), labels))
    for index in range(3):
        x, y, weight = batches[index]
        assert (x % 100 == y).all() and (weight == y / 10).all() and len(x) == (num_rows or 7)
        assert all(map(np.array_equal, plain[index], (x, y)))


def test_batches_are_the_same_in_any_order_and_from_any_thread():
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), np.uint8)

    def make():
        return Batches(images, np.arange(50), 16, seed=5, augmentation=augment.flip_and_shift)

    batches, expected = make(), {}
    for epoch in range(3):
        batches.epoch = epoch
        expected |= {(epoch, index): batches[index] for index in range(len(batches))}
    assert len({x.tobytes() for x, _ in expected.values()}) == len(expected) == 9
    for order in (reversed(expected), np.random.default_rng(0).permutation(list(expected)).tolist()):
        others = make()
        for epoch, index in order:
            others.epoch = epoch
            x, y = others[index]
            assert (x == expected[epoch, index][0]).all() and (y == expected[epoch, index][1]).all()
    batches = make()
    with ThreadPoolExecutor(8) as threads:
        for (x, y), index in zip(threads.map(lambda index: batches[index % 3], range(64)), range(64), strict=True):
            assert (x == expected[0, index % 3][0]).all() and (y == expected[0, index % 3][1]).all()


def test_what_is_made_ahead_is_bounded_in_memory():
    batches = Batches(np.zeros((300, 224, 224, 3), np.uint8), np.zeros(300), 100, seed=0)
    batches[0]
    assert 1 <= len(batches._ahead) * batches.batch_bytes <= 2 * 2**26
    many = Batches(np.zeros((1000, 2), np.uint8), np.zeros(1000), 10, seed=0)
    many[0]
    assert len(many._ahead) == 17


@pytest.mark.parametrize("count, batch_size", [(23, 8), (24, 8)])
def test_scores_of_whole_batches_are_those_of_the_samples(count, batch_size):
    random = np.random.default_rng(0)
    samples = Samples(random.normal(size=(count, 4)).astype("float32"), random.integers(0, 3, count))
    (x, y, weights), batch_size, factor = whole_batches(samples, batch_size)
    assert len(x) % batch_size == 0 and weights.sum() == count and (x[:count] == samples.images).all()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    scores = model.evaluate(x, y, batch_size=batch_size, sample_weight=weights, verbose=0, return_dict=True)
    probabilities = model.predict(samples.images, verbose=0)
    assert scores["accuracy"] == pytest.approx(accuracy_score(samples.labels, probabilities.argmax(axis=1)), abs=1e-7)
    assert scores["loss"] * factor == pytest.approx(log_loss(samples.labels, probabilities, labels=range(3)), rel=1e-5)
    accuracy = fitting.evaluate(model, samples, batch_size, balanced(samples.labels))["accuracy"]
    assert accuracy == pytest.approx(balanced_accuracy_score(samples.labels, probabilities.argmax(axis=1)), abs=1e-6)
