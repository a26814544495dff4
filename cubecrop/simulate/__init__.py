"""A simulated archive of crops, weather, radar and cloud, whose true crops are known."""

from __future__ import annotations

from cubecrop.simulate.archive import simulate_archive

__all__ = ["simulate_archive"]
