"""What only those need who keep this repository: publishing runs, the tables and figures of README.md and docs/, their checks.

Used by make_plots.py alone; nothing in `common/` or in another script imports it. What a user's own run gets (scores, figures,
comparisons) is in `common/`. Read `runs.py` first, which copies a run to plots/results/; literature.csv holds what others have
published.
"""
