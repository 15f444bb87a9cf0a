"""From images to features: pretrained backbones, their weights, upscaling, the feature cache.

Heads and whole models are built in the scripts. Read `backbones.py` first; `weights.py` finds and checks a weights file before
anything else is read.
"""
