"""From images to features: pretrained backbones, their weights, upscaling, the feature cache.

Heads and whole models are built in the scripts. Read `backbones.py` first, which builds a network and loads its weights:
`weights.py` finds their file, and checks its hash before anything else is read. `inference.py` loads and runs whole models.
"""
