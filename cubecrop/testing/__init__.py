"""Helpers for tests of code that uses cubecrop: small archives and a guard against computing.

`write_archive` makes a real static STAC archive of a few kilobytes from numbers in the test,
so that the expected results can be computed by hand.
"""

from __future__ import annotations

from cubecrop.testing.archives import write_archive
from cubecrop.testing.laziness import forbid_compute
from cubecrop.testing.scenes import (
    Elevation,
    LandCover,
    Optical,
    Pixels,
    Place,
    Radar,
    Weather,
    season_scenes,
)

__all__ = [
    "Elevation",
    "LandCover",
    "Optical",
    "Pixels",
    "Place",
    "Radar",
    "Weather",
    "forbid_compute",
    "season_scenes",
    "write_archive",
]
