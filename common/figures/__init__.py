"""Every figure, drawn from arrays or from rows of history.csv; nothing here trains, reads a run folder or shows a window.

Read `style.py` first: it holds the palette, and the colours of train, val and test in the learning curves of a model.
"""
