"""Parcel tables: classify pixel sets lazily, and write the results as columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import shapely
import xarray as xr

from cubecrop.classification.kernels import confidence_of, dates_of, parcel_block
from cubecrop.classification.lazy import Argument, apply_model, inputs_of
from cubecrop.model import calibration_text
from cubecrop.nomenclature import NODATA, decide
from cubecrop.schema import SERIES, check_pixel_sets
from cubecrop.shapes import has_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from cubecrop.model import CropModel

__all__ = ["classify_pixel_sets", "declared_names", "nothing_found", "parcel_table"]

#: The level of a parcel outside of what the model knows.
UNKNOWN: Final = "unknown"


def classify_pixel_sets(
    samples: xr.DataTree,
    model: CropModel,
    *,
    allow_gaps: bool = False,
    device: str | None = None,
) -> xr.Dataset:
    """Classify pixel sets, lazily.

    Parameters
    ----------
    samples : xarray.DataTree
        Pixel sets; see `cubecrop.schema`.
    model : CropModel
        The model that classifies.
    allow_gaps : bool, default False
        Accept pixel sets that cover less of the season than the training data.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a graphics card if the worker has one.

    Returns
    -------
    xarray.Dataset
        ``probability (parcel, crop)`` float32, NaN for a parcel without prediction, such as one
        with fewer valid dates than the model needs (see `CropModel.least_dates`). A date is valid
        if it has a valid pixel: ``valid_dates (parcel, sensor)`` int64 is the number of valid
        dates, ``first_date`` and ``last_date (parcel, sensor)`` datetime64 are the first and the
        last, NaT if there is none, and ``longest_gap (parcel, sensor)`` int64 is the most days
        between consecutive ones. If the model knows the embeddings of its training parcels,
        ``dissimilarity (parcel)`` float32 is as from `CropModel.applicability`.

    Raises
    ------
    ModelMismatchError
        The pixel sets do not fit the model, or cover too little of the season.
    """
    check_pixel_sets(samples)
    present = model.check(samples, allow_gaps=allow_gaps)
    chosen = model.select_bands(samples)
    config = model.config
    arguments: dict[str, Argument] = {}
    dates_by_sensor = []
    for name in present:
        node = chosen.children[name].to_dataset(inherit=False)
        node = node.drop_vars(list(node.coords))
        arguments[name] = (node[SERIES[name]], ["time", "band", "pixel"])
        arguments[f"valid:{name}"] = (node["valid"], ["time", "pixel"])
        dates_by_sensor.append(
            _valid_dates(node["valid"], chosen.children[name]["time"].to_numpy())
        )
    if config.terrain:
        terrain = chosen["terrain"].dataset["terrain"].sel(variable=list(config.terrain_variables))
        arguments["terrain"] = (_bare(terrain, "terrain"), ["terrain_variable", "pixel"])
    if config.geometry:
        arguments["geometry"] = (_bare(chosen.dataset["geometry"], "geometry"), ["feature"])
    if config.takes_weather:
        weather = _bare(chosen["weather"].dataset["weather"], "weather")
        arguments["weather"] = (weather, ["weather_time", "weather_variable"])
    distant = model.training_space is not None
    columns = apply_model(
        parcel_block,
        arguments,
        model,
        inputs=inputs_of(chosen, model, present),
        device=device,
        changing=("time", "band", "pixel"),
        distant=distant,
    )
    n = len(model.nomenclature)
    found = {"probability": columns.isel(crop=slice(0, n))}
    if distant:
        found["dissimilarity"] = columns.isel(crop=n)
    dates = xr.concat(dates_by_sensor, dim="sensor").transpose("parcel", "sensor", "what")
    return xr.Dataset(
        {**found, **_date_variables(dates)},
        coords={
            "parcel": samples["parcel"],
            "crop": model.nomenclature.names,
            "sensor": list(present),
        },
    )


def _valid_dates(valid: xr.DataArray, time: NDArray[np.datetime64]) -> xr.DataArray:
    """Count, range and longest gap of a sensor's valid dates, (parcel, what); see `dates_of`."""
    result: xr.DataArray = xr.apply_ufunc(
        dates_of,
        valid,
        input_core_dims=[["time", "pixel"]],
        output_core_dims=[["what"]],
        dask="parallelized",
        output_dtypes=[np.int64],
        dask_gufunc_kwargs={"output_sizes": {"what": 4}, "allow_rechunk": True},
        kwargs={"days": time.astype("datetime64[D]").astype(np.int64)},
    )
    return result


def _date_variables(dates: xr.DataArray) -> dict[str, xr.DataArray]:
    """Variables (parcel, sensor) from the result of `dates_of`."""

    def day(number: int) -> xr.DataArray:
        days = dates.isel(what=number)
        return days.astype("datetime64[D]").astype("datetime64[ns]").where(counts > 0)

    counts = dates.isel(what=0)
    return {
        "valid_dates": counts,
        "first_date": day(1),
        "last_date": day(2),
        "longest_gap": dates.isel(what=3),
    }


def _bare(array: xr.DataArray, child: str) -> xr.DataArray:
    """An array without coordinates; time and variable are renamed, as each child has its own."""
    array = array.drop_vars(list(array.coords))
    shared = {"time": f"{child}_time", "variable": f"{child}_variable"}
    return array.rename({old: name for old, name in shared.items() if old in array.dims})


def parcel_table(
    parcels: gpd.GeoDataFrame,
    found: xr.Dataset,
    model: CropModel,
    *,
    within: NDArray[np.bool_] | None = None,
    part: Sequence[str] | None = None,
) -> gpd.GeoDataFrame:
    """Add the columns of a classification to its parcels.

    Parameters
    ----------
    parcels : geopandas.GeoDataFrame
        One row per parcel of ``found``, in the same order.
    found : xarray.Dataset
        The computed result of `classify_pixel_sets`.
    model : CropModel
        The model that was used.
    within : numpy.ndarray, optional
        (parcel,) bool, False for a parcel outside the archive's extent; by default all are
        taken to be within.
    part : sequence of str, optional
        Values of the column ``part``, one per parcel; by default there is no such column.

    Returns
    -------
    geopandas.GeoDataFrame
        The table with ``crop:code``, ``crop:name``, ``confidence``, ``crop:code_2``,
        ``crop:name_2``, ``confidence_2`` (second choice), ``probability:NAME`` of each class,
        ``crop:set`` (names of the crops in the parcel's crop set, joined by " | ", if the model's
        probabilities are calibrated) and ``crop:set_size`` (number of these), ``crop:level``,
        ``crop:name_at_level`` and ``crop:code_at_level`` (the finest level at which a class is
        probable enough, and this class; the level is "unknown" for a parcel outside of what the
        model knows, and None if no class is probable enough; if the model has limits of its
        knowledge), ``dissimilarity`` (as from `CropModel.applicability`),
        ``valid_dates:SENSOR``, ``first_date:SENSOR``,
        ``last_date:SENSOR`` and ``longest_gap:SENSOR`` (days) of the parcel's valid dates, and
        ``status`` ("predicted", or the reason why not). Existing columns with these names, such
        as a declared ``crop:code``, get the prefix ``declared:``, repeated until the name is
        unique. ``attrs`` name the model and its probability calibration.
    """
    probability = found["probability"].to_numpy()
    first, confidence = decide(probability), confidence_of(probability)
    second, confidence_2 = _second(probability, first)
    sensors = [str(name) for name in found["sensor"].to_numpy()]
    dates = {name: found["valid_dates"].sel(sensor=name).to_numpy() for name in sensors}
    columns = {
        "crop:code": _named(model.nomenclature.codes, first),
        "crop:name": _named(model.nomenclature.names, first),
        "confidence": confidence,
        "crop:code_2": _named(model.nomenclature.codes, second),
        "crop:name_2": _named(model.nomenclature.names, second),
        "confidence_2": confidence_2,
        **{
            f"probability:{name}": probability[:, i]
            for i, name in enumerate(model.nomenclature.names)
        },
        **_crop_sets(probability, model),
        **_at_level(found, model, parcels.geometry),
        **{
            f"{what}:{name}": found[what].sel(sensor=name).to_numpy()
            for name in sensors
            for what in ("valid_dates", "first_date", "last_date", "longest_gap")
        },
        "status": _status(first, dates, parcels, model, within),
        **({} if part is None else {"part": list(part)}),
    }
    if len(parcels) == 0:  # an empty list would become a column of numbers
        columns = {
            name: np.zeros(0, object) if isinstance(values, list) else values
            for name, values in columns.items()
        }
    new_names = declared_names(parcels.columns, columns)
    shapes = parcels.geometry.name
    kept = parcels.rename(columns={old: name for old, name in new_names.items() if old != shapes})
    if shapes in new_names:
        kept = kept.rename_geometry(new_names[shapes])
    table = kept.assign(**columns)
    table.attrs = {
        **table.attrs,
        "model_name": model.name,
        "model_digest": model.digest,
        "model_calibration": calibration_text(model.calibration),
    }
    return table


def nothing_found(parcels: gpd.GeoDataFrame, model: CropModel) -> xr.Dataset:
    """The result of `classify_pixel_sets` for parcels without any observation.

    Returns
    -------
    xarray.Dataset
        ``probability (parcel, crop)`` is all NaN, ``valid_dates (parcel, sensor)`` all 0, and first
        and last dates are NaT.
    """
    n, names = len(parcels), model.nomenclature.names
    sensors = [name for name in SERIES if name in model.sensors]
    no_dates = np.zeros((n, len(sensors), 4), np.int64)
    return xr.Dataset(
        {
            "probability": (("parcel", "crop"), np.full((n, len(names)), np.nan, np.float32)),
            **_date_variables(xr.DataArray(no_dates, dims=("parcel", "sensor", "what"))),
        },
        coords={"parcel": parcels["id"].to_numpy(), "crop": names, "sensor": sensors},
    )


def _at_level(
    found: xr.Dataset, model: CropModel, shapes: gpd.GeoSeries
) -> dict[str, list[str | None] | NDArray[np.float32]]:
    """Columns on the dissimilarity of parcels, and on the level at which a class is known."""
    if model.training_space is None:
        return {}
    n = found.sizes["parcel"]
    dissimilarity = (
        found["dissimilarity"].to_numpy().astype(np.float32)
        if "dissimilarity" in found
        else np.full(n, np.nan, dtype=np.float32)
    )
    if model.limits is None:
        return {"dissimilarity": dissimilarity}
    limit, nomenclature = model.limits.parcel, model.nomenclature
    node, level = nomenclature.finest(found["probability"].to_numpy(), limit.probability)
    beyond = dissimilarity > limit.dissimilarity
    if model.limits.unreliable:
        predicted = np.isfinite(dissimilarity)
        beyond |= predicted & model.limits.unreliable_at(*_lonlat(shapes))
    node[beyond] = level[beyond] = NODATA
    levels = _named(nomenclature.levels, level)
    return {
        "crop:level": [UNKNOWN if out else name for name, out in zip(levels, beyond, strict=True)],
        "crop:name_at_level": _named([crop.name for crop in nomenclature.nodes], node),
        "crop:code_at_level": _named([crop.code for crop in nomenclature.nodes], node),
        "dissimilarity": dissimilarity,
    }


def _lonlat(shapes: gpd.GeoSeries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of the centroids, NaN without a geometry."""
    centres = shapely.centroid(shapes.to_crs("EPSG:4326").to_numpy())
    return shapely.get_x(centres), shapely.get_y(centres)


def declared_names(names: Iterable[object], results: Iterable[str]) -> dict[str, str]:
    """Unused names for a table's columns that columns of results would overwrite."""
    given, added = list(map(str, names)), set(results)
    used = {*given, *added}
    new = {}
    for name in given:
        if name in added:
            free = f"declared:{name}"
            while free in used:
                free = f"declared:{free}"
            used.add(free)
            new[name] = free
    return new


def _crop_sets(
    probability: np.ndarray, model: CropModel
) -> dict[str, list[str | None] | NDArray[np.int64]]:
    """The columns of crop sets if the model has them; the most probable crops come first."""
    if model.calibration is None:
        return {}
    inside = model.calibration.crop_sets(probability)
    names = np.array(model.nomenclature.names, dtype=object)
    order = np.argsort(-probability, axis=1, kind="stable")
    texts = [" | ".join(names[i[row[i]]]) for row, i in zip(inside, order, strict=True)]
    return {
        "crop:set": [text or None for text in texts],
        "crop:set_size": inside.sum(axis=1).astype(np.int64),
    }


def _second(probability: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if probability.shape[1] < 2:
        return np.full_like(first, NODATA), np.full(len(first), np.nan, np.float32)
    rest = probability.copy()
    known = first != NODATA
    rest[np.flatnonzero(known), first[known]] = -1
    return decide(rest), confidence_of(rest)


def _named(texts: list[str], index: np.ndarray) -> list[str | None]:
    return [None if i == NODATA else texts[i] for i in index]


def _status(
    first: np.ndarray,
    dates: dict[str, np.ndarray],
    parcels: gpd.GeoDataFrame,
    model: CropModel,
    within: NDArray[np.bool_] | None,
) -> list[str]:
    texts = []
    placed = has_place(parcels.geometry)
    for row, index in enumerate(first):
        if index != NODATA:
            texts.append("predicted")
        elif not placed[row]:
            texts.append("no geometry")
        elif within is not None and not within[row]:
            texts.append("outside the archive")
        else:
            n_dates = {name: int(counts[row]) for name, counts in dates.items()}
            texts.append(_reason(n_dates, model))
    return texts


def _reason(dates: Mapping[str, int], model: CropModel) -> str:
    """Reason why a parcel has no prediction, given its number of valid dates of each sensor."""
    optional, minimum = set(model.config.may_be_missing), model.least_dates
    lacking = [name for name, n in dates.items() if n == 0]
    if len(lacking) == len(dates) or not set(lacking) <= optional:
        return f"no valid observation of {' and '.join(lacking) or 'any sensor'}"
    few = [name for name, n in dates.items() if 0 < n < minimum[name]]
    if few and (not set(few) <= optional or set(few) | set(lacking) == set(dates)):
        step = model.composite or "date"
        counts = (
            f"{n} {step}{'s' if n > 1 else ''} of {name}, {minimum[name]} needed"
            for name in few
            if (n := dates[name])
        )
        return f"too few observations: {' and '.join(counts)}"
    pause = "too few observations: none for too long a part of the season"
    if model.config.takes_weather:
        # Dates without thermal time are masked, and a parcel without weather has no prediction.
        return f"{pause}, or no weather, which the model needs"
    return pause
