"""The plumbing that the train_*.py scripts share, one noun a file. The recipes stand in the scripts."""
