"""From images to features: pretrained backbones, their weights, upscaling, the feature cache.

Heads and whole models are built in the scripts. Read `backbones.py` first. `weights.py` finds a weights file and checks its
hash before anything else is read; `saved.py` refuses one that could do harm; `backbones.py` loads it.
"""
