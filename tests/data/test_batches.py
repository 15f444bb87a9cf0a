import keras
import numpy as np

from common.data.batches import Batches


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


def test_fit_sees_the_order_of_seed_and_epoch():
    expected = [np.random.default_rng([3, epoch, 0]).permutation(10).tolist() for epoch in range(3)]
    seen = seen_in_fit(seed=3, epochs=3)
    assert [epoch[-10:] for epoch in seen] == expected
    assert len({tuple(order) for order in expected}) == 3


def test_every_pass_of_an_epoch_has_every_sample_once():
    x = np.arange(10)
    batches = Batches(x, x, 4, seed=0, passes=3)
    assert len(batches) == 9
    given = np.concatenate([batches[index][0] for index in range(9)])
    passes = given.reshape(3, 10)
    assert (np.sort(passes, axis=1) == x).all()
    assert len({tuple(order) for order in passes.tolist()}) == 3


def test_x_and_y_stay_together():
    batches = Batches(np.arange(100)[:, None], np.arange(100), 32, seed=1)
    for index in range(len(batches)):
        x, y = batches[index]
        assert (x[:, 0] == y).all()


def test_an_epoch_of_fewer_samples_draws_anew_each_time():
    x = np.arange(100)
    batches = Batches(x, x, 8, seed=0, samples=20)
    drawn = []
    for epoch in range(30):
        batches.epoch = epoch
        given = np.concatenate([batches[index][0] for index in range(len(batches))])
        assert len(batches) == 3 and len(np.unique(given)) == 20
        drawn.append(given)
    assert len(np.unique(drawn)) == 100
    assert Batches(x, x, 8, seed=0, samples=500).samples == 100


def test_each_epoch_draws_a_view_for_each_sample():
    views = [np.arange(40) + 1000 * number for number in range(4)]
    batches = Batches(views, np.arange(40), 7, seed=0)
    chosen = []
    for epoch in (0, 1, 0):
        batches.epoch = epoch
        x, y = (np.concatenate(parts) for parts in zip(*(batches[index] for index in range(len(batches))), strict=True))
        assert (x % 1000 == y).all() and sorted(y) == list(range(40))
        chosen.append((x // 1000)[np.argsort(y)])
    assert (np.bincount(chosen[0], minlength=4) > 3).all()
    assert (chosen[0] == chosen[2]).all() and (chosen[0] != chosen[1]).any()
