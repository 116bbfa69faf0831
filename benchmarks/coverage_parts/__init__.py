"""The parts of `benchmarks/coverage.py`: each yields rows of one table."""
