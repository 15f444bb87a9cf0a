import keras
import numpy as np

from common.batches import Batches


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
