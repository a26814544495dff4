"""Regions of any size: a frozen plan, one task a tile, and one result."""

from __future__ import annotations

from cubecrop.region.planned import PlannedTile, RegionPlan
from cubecrop.region.planning import plan

__all__ = ["PlannedTile", "RegionPlan", "plan"]
