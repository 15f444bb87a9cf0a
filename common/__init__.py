"""The plumbing behind the scripts. The recipes stand in the scripts.

data      images and labels: data sets, downloads, augmentation, batches
models    images to features: pretrained backbones, their weights, upscaling, the feature cache
training  runs: run folder, `fit`, checkpoints, `--resume`
results   after training: metrics, results.json, tables, comparisons
figures   every figure, from arrays or from rows of history.csv

Below them: cli.py (flags, errors, exit codes), files.py (files that appear whole or not at all), backend.py (Keras), devices.py
and hosts.py (several devices, several processes). Imports go one way: these < data, figures < models, training < results <
scripts.
"""

import importlib.util
import os
import sys

NEEDED = ("cv2", "filelock", "h5py", "jinja2", "keras", "matplotlib", "numpy", "seaborn", "sklearn", "threadpoolctl", "tqdm")
if missing := ", ".join(name for name in NEEDED if not importlib.util.find_spec(name)):  # before anything else is imported
    sys.exit(f"{sys.argv[0]}: error: {sys.executable} lacks {missing}: python -m pip install -r requirements.txt")
# The most pixels of an image that is read. OpenCV looks here when it is imported, whoever imports it first.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "100000000")
