"""After training: scores, results.json and what else a run folder gets, tables, comparisons.

Figures are in `common.figures`. Read `report.py` first, which ends a run; `finished_runs.py` reads finished runs again.
"""
