"""Learning rates that change in every step. Importing this imports Keras."""

from keras.optimizers import schedules


def cosine(learning_rate, steps, warmup_steps=0):
    """A Keras schedule that falls from `learning_rate` along half a cosine to zero, reached after `steps` in all.

    Before, in the first `warmup_steps`, fewer than `steps`, it rises in a straight line from a tenth of the rate. Loshchilov &
    Hutter 2017 (SGDR, without restarts), Goyal et al. 2017 (the warm-up).
    """
    warmup_steps = min(warmup_steps, steps - 1)
    if not warmup_steps:
        return schedules.CosineDecay(learning_rate, steps)
    warm_up = {"warmup_target": learning_rate, "warmup_steps": warmup_steps}
    return schedules.CosineDecay(learning_rate / 10, steps - warmup_steps, **warm_up)
