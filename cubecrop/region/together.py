"""Put the results of all tiles of a plan together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cubecrop.model import calibration_text
from cubecrop.region.collect import Collected, collect
from cubecrop.region.land import mask_text
from cubecrop.region.tile import collection_id
from cubecrop.texts import place_name
from cubecrop.write.provenance import Provenance

if TYPE_CHECKING:
    from cubecrop.model import CropModel
    from cubecrop.region.planned import RegionPlan

__all__ = ["collect_region"]


def collect_region(plan: RegionPlan, model: CropModel) -> Collected:
    """Write what stands for the whole region; see `collect`."""
    options = plan.options
    facts = Provenance(
        nomenclature=model.nomenclature,
        season=options.season,
        archive=place_name(options.archive),
        model_name=model.name,
        model_digest=model.digest,
        calibration=calibration_text(model.calibration),
        mask=mask_text(options.mask),
    )
    return collect(
        plan.output,
        plan.tiles,
        facts,
        name=collection_id(plan),
        resolution=options.resolution,
        parcels=plan.n_parcels is not None,
    )
