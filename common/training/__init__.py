"""Runs: the run folder, the one `fit`, history, checkpoints, `--resume`, Ctrl-C.

Models, losses, optimizers and a recipe's callbacks stand in the scripts; what happens after training is in `common.results`.
Read `run.py` first (a run and its folder), then `fit.py` (what happens in a phase, and at Ctrl-C).
"""
