"""After training: scores, results.json and what else a run folder gets, tables, comparisons, the generated parts of the README.

Figures are in `common.figures`. Read `report.py` first, which ends a run; `records.py` reads finished runs again.
"""
