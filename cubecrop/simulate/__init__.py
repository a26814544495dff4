"""A simple simulated archive of one harvest season, for the demo and the tests."""

from __future__ import annotations

from cubecrop.simulate.archive import simulate_archive

__all__ = ["simulate_archive"]
