"""Check that data fits a model, and arrange it as the model's input."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING

import xarray as xr

from cubecrop.checks import check_flag
from cubecrop.coverage import SLACK, Coverage, acquired_days, shortfalls, weather_gap
from cubecrop.errors import ModelMismatchError
from cubecrop.model.arrays import (
    SampleArrays,
    in_bands,
    in_window,
    sample_arrays,
    season_of,
    with_enough_dates,
)
from cubecrop.model.config import WEATHER
from cubecrop.model.record import window_text
from cubecrop.schema import SERIES
from cubecrop.season import windows_alike

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cubecrop.model.config import NetworkConfig, SensorConfig
    from cubecrop.model.spec import ModelSpec
    from cubecrop.season import Season

__all__ = ["arrays_for", "check_data", "season_gaps", "select_bands"]


def check_data(model: ModelSpec, data: xr.DataTree, *, allow_gaps: bool = False) -> tuple[str, ...]:
    """Raise unless data fits a model; else return the model's sensors that the data has.

    See `cubecrop.model.CropModel.check`.
    """
    check_flag("allow_gaps", allow_gaps)
    _check_window(model, season_of(data) if model.season_window else None, allow_gaps)
    composite = str(data.attrs.get("composite", ""))
    if composite not in {model.composite, *model.training.composites}:
        raise ModelMismatchError(
            f"data is composited by {composite or 'nothing'!r}, the model was trained on "
            f"series composited by {model.composite or 'nothing'!r}. Open the season with "
            f"`composite={model.composite or None!r}`."
        )
    _check_preparation(model, data)
    present = tuple(name for name in model.sensors if name in data.children)
    for name in sorted(set(model.sensors) - set(present) - set(model.config.may_be_missing)):
        raise ModelMismatchError(
            f"data has no {name!r}, which the model needs (it has "
            f"{sorted(data.children)}). Use an archive that has it, or train with "
            f"`TrainConfig(may_be_missing=({name!r},))`."
        )
    if not present:
        raise ModelMismatchError(f"data has none of the model's sensors {model.sensors}.")
    for sensor in model.config.sensors:
        if sensor.name in present:
            _check_sensor(model, data.children[sensor.name], sensor)
    _check_features(model.config, data)
    if not allow_gaps and (gaps := season_gaps(model, data, present)):
        season = season_of(data).with_window(model.season_window)  # type: ignore[arg-type]
        raise ModelMismatchError(
            f"too little of the season {season} is covered.\n  " + "\n  ".join(gaps) + "\n"
            f"List the images: `cubecrop search --aoi AOI --year {season.year} --archive ARCHIVE "
            "--timeline seen.png`. Choose another year or archive, or accept the gaps with "
            "`allow_gaps=True` (`--allow-gaps`): pixels and parcels with too few observations get "
            "no class."
        )
    return present


def _check_window(model: ModelSpec, season: Season | None, allow_gaps: bool) -> None:
    """Raise unless a season's window is one that the model takes; None is any season."""
    if season is None or model.season_window is None:
        return
    window, trained = season.window, (model.season_window, *model.training.windows)
    if any(windows_alike(window, one) for one in trained):
        return
    whole = season.with_window(model.season_window)
    if not model.sub_windows or season.start < whole.start or season.end > whole.end:
        inside = " or on a part of it" if model.sub_windows else ""
        raise ModelMismatchError(
            f"data spans the season {window_text(window)}, the model was trained on "
            f"{window_text(model.season_window)}{inside}. Open the season with the same window, or "
            "train a model for this one. `classify` and `classify_parcels` take the model's window "
            "unless you pass `season=` (`--start`, `--end`)."
        )
    # With the slack that `shortfalls` grants to the first and the last image.
    latest = min((one.first for one in model.coverage.values()), default=0) + SLACK
    earliest = max((one.last for one in model.coverage.values()), default=whole.n_days) - SLACK
    first, last = (season.start - whole.start).days, (season.end - whole.start).days
    if not allow_gaps and (first > latest or last < earliest):
        needed = [whole.start + dt.timedelta(days=day) for day in (latest, earliest)]
        raise ModelMismatchError(
            f"data spans the season {season}, too short for the model, which needs one that "
            f"starts by {needed[0]} and ends on {needed[1]} or later. Open a longer season, or "
            "accept it with `allow_gaps=True` (`--allow-gaps`)."
        )


def _check_preparation(model: ModelSpec, data: xr.DataTree) -> None:
    """Raise if the cloud mask or the resolution differs from training; unknown ones pass."""
    clouds = data.attrs.get("clouds")
    if clouds is not None and model.clouds and clouds != model.clouds:
        raise ModelMismatchError(
            f"data was masked for clouds by {clouds!r}, the model was trained under the cloud mask "
            f"{model.clouds!r}. Pass the same mask, `clouds=...`, or train a model under this one."
        )
    resolution = data.attrs.get("resolution")
    if (
        resolution is not None
        and model.resolution is not None
        and not math.isclose(resolution, model.resolution, rel_tol=1e-6)
    ):
        raise ModelMismatchError(
            f"data has pixels of {resolution:g} m, the model was trained on pixels of "
            f"{model.resolution:g} m. Leave out `resolution=` (`--resolution`), which takes the "
            "model's, or train a model at this one."
        )


def season_gaps(model: ModelSpec, data: xr.DataTree, present: Sequence[str]) -> tuple[str, ...]:
    """Describe the sensors and the weather that cover less of the season than the model needs.

    Data that does not list its acquisitions has no known gap: all parcels of a table may be cloudy
    on a date. A sensor that may be missing may also cover little if another one covers enough.

    Parameters
    ----------
    model : ModelSpec
        States the coverage of its training.
    data : xarray.DataTree
        A season cube or pixel sets that `check_data` accepts.
    present : sequence of str
        The model's sensors that the data has.

    Returns
    -------
    tuple of str
        One sentence a sensor, and one on the weather; empty if enough of the season is covered.
    """
    if model.season_window is None:
        return ()
    season = season_of(data).with_window(model.season_window)
    descriptions, lacking = [], []
    for name in present:
        days = acquired_days(data.children[name], season)
        if name not in model.coverage or days is None:
            continue
        observed, trained = Coverage.of(days), model.coverage[name]
        if missing := shortfalls(observed, trained):
            lacking.append(name)
            descriptions.append(_coverage_text(name, observed, trained, season, missing))
    covered = set(present) - set(lacking)
    if covered and set(lacking) <= set(model.config.may_be_missing):
        descriptions = []
    if model.config.takes_weather and (gap := weather_gap(data, present, season)):
        descriptions.append(f"{gap} Give another source of weather, `weather=...`.")
    return tuple(descriptions)


def _coverage_text(
    name: str, observed: Coverage | None, trained: Coverage, season: Season, missing: list[str]
) -> str:
    """Describe the coverage of the data, that of training, and the shortfalls."""

    def describe(coverage: Coverage) -> str:
        dated = coverage.dated(season)
        gap = f", longest gap {coverage.longest_gap} days" if coverage.longest_gap else ""
        start = f" from {dated['gap_start']}" if gap and coverage is observed else ""
        return f"{coverage.dates} dates from {dated['first']} to {dated['last']}{gap}{start}"

    return (
        f"{name} has {describe(observed) if observed else 'no image'}; training had, moved to "
        f"this season, {describe(trained)}: {', '.join(missing)}."
    )


def _check_features(config: NetworkConfig, data: xr.DataTree) -> None:
    """Raise unless data has the weather, terrain and geometry that the network needs."""
    n, geometry = config.n_geometry, data.data_vars.get("geometry")
    # A season cube has no geometry before its parcels are measured.
    if n and "y" not in data.dims and (geometry is None or geometry.sizes["feature"] != n):
        features = "no geometry" if geometry is None else f"{geometry.sizes['feature']} features"
        raise ModelMismatchError(
            f"pixel sets have {features}, the model needs {n} features of each parcel's shape. "
            "Sample them with `cubecrop.sample_pixel_sets(...)`, or train with "
            "`NetworkOptions(geometry=False)`."
        )
    weather = config.weather_variables
    if config.thermal_source:
        weather = (*weather, *config.thermal_source.split(", "))
    for child, needed in ((WEATHER, weather), ("terrain", config.terrain_variables)):
        if not needed:
            continue
        if child not in data.children:
            elsewhere = ", or pass its archive as `weather=...`" if child == WEATHER else ""
            raise ModelMismatchError(
                f"data has no {child!r}, which the model needs (it has "
                f"{sorted(data.children)}). Use an archive that has it{elsewhere}."
            )
        present = [str(name) for name in data.children[child]["variable"].to_numpy()]
        if missing := sorted(set(needed) - set(present)):
            raise ModelMismatchError(
                f"{child} has variables {present}, the model needs {sorted(set(needed))}; "
                f"{missing} are missing."
            )


def _check_sensor(model: ModelSpec, node: xr.DataTree, sensor: SensorConfig) -> None:
    """Raise unless a sensor has the model's bands; for radar, also its calibration and passes."""
    name, bands = sensor.name, sensor.bands
    if "band" not in node.coords:
        raise ModelMismatchError(
            f"{name} has no coordinate 'band'; the model needs {list(bands)}. Name its bands."
        )
    present = tuple(str(band) for band in node["band"].to_numpy())
    if twice := sorted({band for band in bands if present.count(band) > 1}):
        raise ModelMismatchError(
            f"{name} has the bands {twice} more than once, expected each once. Drop the copies."
        )
    if missing := [band for band in bands if band not in present]:
        raise ModelMismatchError(
            f"{name} has bands {list(present)}, the model needs {list(bands)}; {missing} are "
            "missing."
        )
    if name != "sentinel1":
        return
    calibration = str(node[SERIES[name]].attrs.get("calibration", ""))
    if calibration not in model.radar_calibration.split(", "):
        raise ModelMismatchError(
            f"radar is calibrated as {calibration or 'unknown'!r}, the model was trained on "
            f"{model.radar_calibration!r}: the two differ by decibels. Use an archive with the "
            "same radar calibration, or train on this one."
        )
    if "orbit_state" in node.coords and model.radar_orbits:
        orbits = {str(state) for state in node["orbit_state"].to_numpy()}
        if orbits and orbits.isdisjoint(model.radar_orbits):
            raise ModelMismatchError(
                f"radar has {sorted(orbits)} passes, the model was trained on "
                f"{sorted(model.radar_orbits)} passes, which look from the other side. Use an "
                "archive with the same passes, or train on these."
            )


def select_bands(model: ModelSpec, tree: xr.DataTree) -> xr.DataTree:
    """The tree with each sensor's bands in the model's order, and in its season window."""
    if model.season_window is not None and not windows_alike(
        season_of(tree).window, model.season_window
    ):
        tree = in_window(tree, model.season_window)
    return in_bands(tree, model.config)


def arrays_for(model: ModelSpec, samples: xr.DataTree, *, allow_gaps: bool = False) -> SampleArrays:
    """Check pixel sets, then load the network's inputs from them; reads their pixels.

    A sensor is masked in parcels where it has fewer dates than the model needs.

    Raises
    ------
    ModelMismatchError
        The pixel sets do not fit the model.
    """
    if model.season_window is None:
        samples = _with_bands(model.config, samples)
    check_data(model, samples, allow_gaps=allow_gaps)
    arrays = sample_arrays(select_bands(model, samples), model.config)
    if n := model.config.n_dates:
        for name, sensor in arrays.series.items():
            if len(sensor.days) != n or not sensor.valid.any(axis=2).all():
                raise ModelMismatchError(
                    f"{name} has {len(sensor.days)} dates, some perhaps masked; these published "
                    f"weights need {n} dates, all of them valid. Fill the gaps, or train a model "
                    "with `cubecrop.train`, which takes any dates."
                )
    return with_enough_dates(arrays, model.coverage)


def _with_bands(config: NetworkConfig, samples: xr.DataTree) -> xr.DataTree:
    """Name the bands of samples: published weights identify bands only by position."""
    nodes = {"/": samples.to_dataset()}
    for name in samples.children:
        nodes[name] = samples.children[name].to_dataset(inherit=False)
    for sensor in config.sensors:
        node = nodes.get(sensor.name)
        if node is None or "band" not in node.dims or node.sizes["band"] != len(sensor.bands):
            continue
        names = [str(n) for n in node["band"].to_numpy()] if "band" in node.coords else []
        if not set(names) & set(sensor.bands):
            nodes[sensor.name] = node.assign_coords(band=list(sensor.bands))
    return xr.DataTree.from_dict(nodes, name=samples.name)
