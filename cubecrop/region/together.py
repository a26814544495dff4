"""Put the results of all tiles together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cubecrop.model import CropModel
    from cubecrop.region.planned import RegionPlan

__all__ = ["collect_region"]


def collect_region(plan: RegionPlan, model: CropModel, *, progress: bool = True) -> dict[str, str]:
    """Write what stands for the whole region; returns the files by what they hold."""
    return {}
