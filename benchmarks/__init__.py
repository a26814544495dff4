"""Benchmarks of cubecrop: asv classes, run with asv or with ``python -m benchmarks``."""
