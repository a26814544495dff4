"""A simulated archive of crops, weather, radar and cloud in which the right answer is known."""

from __future__ import annotations

from cubecrop.simulate.archive import simulate_archive

__all__ = ["simulate_archive"]
