"""A trained network as a model, with the record of where and on what it was trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cubecrop.circle import arc_of, wrap
from cubecrop.model import CropModel, TrainingRecord, season_of
from cubecrop.texts import place_name

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import xarray as xr

    from cubecrop.model import CropNetwork
    from cubecrop.nomenclature import Nomenclature
    from cubecrop.training.config import TrainConfig
    from cubecrop.training.loop import TrainingHistory
    from cubecrop.training.sets import AnySet
    from cubecrop.training.starting import Init

__all__ = ["bboxes", "trained_model", "with_places_of", "with_windows"]


def trained_model(
    network: CropNetwork,
    trees: Sequence[xr.DataTree],
    sets: Sequence[AnySet],
    validation: Sequence[AnySet],
    nomenclature: Nomenclature,
    config: TrainConfig,
    seed: int,
    history: TrainingHistory,
) -> CropModel:
    """The model of a network, with the record of what it was trained on."""
    first = trees[0]
    radar = [tree["sentinel1"] for tree in trees if "sentinel1" in tree.children]
    orbits = (
        sorted({str(state) for node in radar for state in node["orbit_state"].to_numpy()})
        if all("orbit_state" in node.coords for node in radar)
        else []
    )
    record = TrainingRecord(
        archives=tuple(dict.fromkeys(place_name(tree.attrs.get("archive", "")) for tree in trees)),
        years=tuple(sorted({season_of(tree).year for tree in trees})),
        bboxes=bboxes(trees, {parcel for part in [*sets, *validation] for parcel in part.ids}),
        parcels=_counts(sets, nomenclature),
        validation=_counts(validation, nomenclature) if validation else {},
        epochs=history.epoch,
        best_epoch=history.best_epoch,
        seed=seed,
        settings=config.to_dict(),
    )
    return CropModel(
        network=network,
        nomenclature=nomenclature,
        season_window=season_of(first).window,
        sub_windows=config.windows is not None,
        radar_calibration=(
            str(radar[0]["backscatter"].attrs.get("calibration", "")) if radar else ""
        ),
        radar_orbits=tuple(orbits),
        composite=str(first.attrs.get("composite", "")),
        clouds=str(_only(trees, "clouds") or ""),
        resolution=_only(trees, "resolution"),
        n_pixels=config.n_pixels,
        training=record,
    )


def with_places_of(model: CropModel, init: Init | None) -> CropModel:
    """Record where the model that it started from has learned as well: its encoders know it."""
    if not isinstance(init, CropModel):
        return model
    own = model.training.bboxes
    earlier = (box for box in dict.fromkeys(init.training.bboxes) if box not in own)
    return replace(model, training=replace(model.training, bboxes=(*own, *earlier)))


def with_windows(model: CropModel, trees: Sequence[xr.DataTree]) -> CropModel:
    """Record the samples' windows and composites, if they had several or not the model's."""
    windows = tuple(dict.fromkeys(season_of(tree).window for tree in trees))
    composites = tuple(dict.fromkeys(str(tree.attrs.get("composite", "")) for tree in trees))
    record = replace(
        model.training,
        windows=windows if windows != (model.season_window,) else (),
        composites=composites if len(composites) > 1 else (),
    )
    return replace(model, training=record)


def _only(trees: Sequence[xr.DataTree], name: str) -> Any:  # noqa: ANN401 (an attribute)
    """An attribute of the samples if all samples that have it agree, else None."""
    values = {tree.attrs[name] for tree in trees if name in tree.attrs}
    return values.pop() if len(values) == 1 else None


def _counts(sets: Sequence[AnySet], nomenclature: Nomenclature) -> dict[str, int]:
    labels = np.concatenate([part.labels for part in sets])
    counts = np.bincount(labels, minlength=len(nomenclature))
    return dict(zip(nomenclature.names, counts.tolist(), strict=True))


def bboxes(
    trees: Sequence[xr.DataTree], used: Collection[object]
) -> tuple[tuple[float, float, float, float], ...]:
    """(west, south, east, north) in degrees of those of each tree's parcels that are in use.

    A box across the 180th meridian has west > east.
    """
    boxes = []
    for tree in trees:
        if "lon" not in tree.coords:
            continue
        lon, lat = tree["lon"].to_numpy(), tree["lat"].to_numpy()
        in_use = [parcel in used for parcel in tree["parcel"].to_numpy().tolist()]
        known = np.array(in_use) & np.isfinite(lon + lat)
        if known.any():
            lon, lat = lon[known], lat[known]
            west, east = arc_of(lon, lon)
            edges = (west, lat.min(), float(wrap(east)), lat.max())
            west, south, east, north = (round(float(edge), 4) for edge in edges)
            boxes.append((west, south, east, north))
    return tuple(boxes)
