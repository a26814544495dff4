"""Regions of any size: a frozen plan, one task a tile, and one result."""

from cubecrop.region.planned import PlannedTile, RegionPlan
from cubecrop.region.planning import plan
from cubecrop.region.run import map_region
from cubecrop.region.status import RegionRun, status

__all__ = ["PlannedTile", "RegionPlan", "RegionRun", "map_region", "plan", "status"]
