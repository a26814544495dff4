"""Season cubes: scenes on one grid, lazily, each modality on its own dates."""

from __future__ import annotations

from cubecrop.cube.backend import Backend, StackstacBackend
from cubecrop.cube.composites import Composite
from cubecrop.cube.season_cube import open_season

__all__ = ["Backend", "Composite", "StackstacBackend", "open_season"]
