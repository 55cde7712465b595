"""Speed, measured side by side; `python benchmarks/run.py` runs all of it."""
