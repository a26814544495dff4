"""Crop maps: every pixel of a season cube classified, lazily."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from cubecrop.classification.kernels import (
    decide_pixels,
    pixel_block,
    pixel_confidence,
    pixel_set_size,
    pixels_at_level,
)
from cubecrop.classification.land import marked, seen_dates
from cubecrop.classification.lazy import Argument, apply_model, inputs_of
from cubecrop.classification.places import (
    nearest_cells,
    unreliable_in,
    weather_cells,
    with_unreliable,
)
from cubecrop.coverage import Coverage, acquired_days
from cubecrop.errors import ModelMismatchError
from cubecrop.model import calibration_text, season_of
from cubecrop.model.data_check import season_gaps
from cubecrop.nomenclature import NODATA, NOT_CROPLAND, OUTSIDE_KNOWLEDGE, TOO_FEW, WITHOUT_CLASS
from cubecrop.schema import SERIES, check_season_cube

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cubecrop.model import CropModel, Limit

__all__ = ["classify_pixels"]

#: The network takes most of a map's time, so even a small map is split for several cores.
_MIN_CHUNKS = 4


def classify_pixels(
    season: xr.DataTree,
    model: CropModel,
    *,
    land: xr.DataArray | None = None,
    allow_gaps: bool = False,
    device: str | None = None,
) -> xr.Dataset:
    """Classify every pixel of a season cube, lazily.

    Parameters
    ----------
    season : xarray.DataTree
        A season cube; see `cubecrop.schema`.
    model : CropModel
        The model that classifies. It takes each pixel as a set of one.
    land : xarray.DataArray, optional
        (y, x) uint8, codes of `cubecrop.classification.land`: which pixels are classified. The
        network does not run on the others. By default all are classified.
    allow_gaps : bool, default False
        Accept a cube that covers less of the season than the training data.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a graphics card if the worker has one.

    Returns
    -------
    xarray.Dataset
        ``crop_type (y, x)`` uint8, 255 = no data, 254 = fewer observations than the model needs
        (see `CropModel.least_dates`), 252 = not cropland; ``confidence (y, x)`` float32;
        ``probability (crop, y, x)`` float32, coord ``crop`` = class names, both NaN for a pixel
        without a class;
        ``clear_dates (sensor, y, x)`` uint16, dates with a valid observation, 65535
        outside of the area. If the model's
        probabilities are calibrated, ``set_size (y, x)`` uint8 is the number of crops in the crop
        set, 0 without a class. If the model has limits of its knowledge, pixels beyond them are
        253 in ``crop_type`` and keep their probabilities; pixels of an area where the model is
        unreliable are 253 without being classified. ``level (y, x)`` uint8 is the finest level at
        which a class is probable enough, as a position in `Nomenclature.levels`, and
        ``crop_at_level (y, x)`` uint8 this class, as a position in `Nomenclature.nodes`, both
        255 = none. Without limits there is no 253. The attribute
        ``coverage`` is JSON: first and last image, longest gap and dates of each sensor. If
        gaps of the season were accepted, ``season_gaps`` describes them; ``unreliable`` says where
        the model must not be used and why, "" elsewhere.

    Raises
    ------
    ModelMismatchError
        The cube does not fit the model or covers too little of the season; or the model needs the
        shape of parcels, which pixels do not have.
    """
    check_season_cube(season)
    if model.config.geometry:
        raise ModelMismatchError(
            "the model needs the shape of parcels, which single pixels do not have. Classify "
            "parcels with `classify_parcels`, or train with `NetworkOptions(geometry=False)`."
        )
    present = model.check(season, allow_gaps=allow_gaps)
    chosen = model.select_bands(season)
    config = model.config
    series = {name: _bare(_spread(chosen.children[name].dataset[SERIES[name]])) for name in present}
    arguments: dict[str, Argument] = {
        name: (array, ["time", "band"]) for name, array in series.items()
    }
    like = series[present[0]]
    if config.terrain:
        terrain = _like(season["terrain"].dataset["terrain"], like)
        terrain = terrain.sel(variable=list(config.terrain_variables))
        arguments["terrain"] = (_bare(terrain), ["variable"])
    if config.takes_weather:
        weather = season["weather"].dataset["weather"]
        dims = ["cell", "weather_time", "weather_variable"]
        arguments["weather"] = (weather_cells(weather), dims)
        arguments["cell"] = (nearest_cells(weather, season, like), [])
    if land is not None:
        land = _like(land, like)
    if model.limits is not None and unreliable_in(season, model):
        land = with_unreliable(land, model.limits, season, like)
    if land is not None:
        arguments["land"] = (_bare(land), [])
    columns = apply_model(
        pixel_block,
        arguments,
        model,
        inputs=inputs_of(chosen, model, present),
        device=device,
        changing=("time", "band"),
        n_counts=len(present),
        distant=model.limits is not None,
    )
    crop_map = _as_map(columns, season, model, present)
    return crop_map if land is None else _with_land(crop_map, land)


def _bare(array: xr.DataArray) -> xr.DataArray:
    """Drop all coordinates except the grid's, since the others differ between sensors."""
    return array.drop_vars([name for name in array.coords if name not in {"y", "x"}])


def _as_map(
    columns: xr.DataArray, season: xr.DataTree, model: CropModel, present: Sequence[str]
) -> xr.Dataset:
    """The map's dataset from the columns (y, x, crop and sensor) of `pixel_block`."""
    names = model.nomenclature.names
    n, optional = len(names), model.config.may_be_missing
    needed = [name not in optional for name in present]
    grid = {"grid_mapping": "spatial_ref"}
    limit = None if model.limits is None else model.limits.pixel
    marks = [TOO_FEW] if limit is None else [OUTSIDE_KNOWLEDGE, TOO_FEW]
    dataset = xr.Dataset(
        {
            "crop_type": (
                ("y", "x"),
                _blocks(
                    decide_pixels, columns.data, np.uint8, n_classes=n, needed=needed, limit=limit
                ),
                {
                    "long_name": "crop type",
                    "flag_values": np.array([*range(n), *marks], dtype=np.uint8),
                    "flag_meanings": " ".join(
                        [
                            *(name.replace(" ", "_") for name in names),
                            *(WITHOUT_CLASS[mark].slug for mark in marks),
                        ]
                    ),
                    **grid,
                },
            ),
            "confidence": (
                ("y", "x"),
                _blocks(pixel_confidence, columns.data, np.float32, n_classes=n, limit=limit),
                {"long_name": "probability of the mapped crop", "units": "1", **grid},
            ),
            "probability": (
                ("crop", "y", "x"),
                _planes(columns.data, slice(0, n), np.float32),
                {"long_name": "probability", "units": "1", **grid},
            ),
            "clear_dates": (
                ("sensor", "y", "x"),
                _planes(columns.data, slice(n, n + len(present)), np.uint16),
                {"long_name": "dates with a valid observation", "units": "1", **grid},
            ),
        },
        attrs={
            **map_attrs(season, model),
            "coverage": _coverage_text(season, present),
            "season_gaps": " ".join(season_gaps(model, season, present)),
            "unreliable": unreliable_in(season, model),
        },
    )
    dataset = dataset.assign(_certainty(columns, model, limit, grid))
    for name in ("crop_type", "level", "crop_at_level"):
        if name in dataset:
            dataset[name].encoding["_FillValue"] = np.uint8(NODATA)
    return dataset.assign_coords(
        y=season["y"],
        x=season["x"],
        crop=names,
        sensor=list(present),
        spatial_ref=season["spatial_ref"],
    )


def _certainty(
    columns: xr.DataArray, model: CropModel, limit: Limit | None, grid: dict[str, str]
) -> dict[str, tuple[tuple[str, str], Any, dict[str, Any]]]:
    """Layers on the size of the crop set, and on the level at which a class is known."""
    nomenclature = model.nomenclature
    layers: dict[str, tuple[tuple[str, str], Any, dict[str, Any]]] = {}
    if model.calibration is not None:
        sizes = _blocks(
            pixel_set_size, columns.data, np.uint8, n_classes=len(nomenclature),
            calibration=model.calibration, limit=limit,
        )  # fmt: skip
        layers["set_size"] = ("y", "x"), sizes, {
            "long_name": "number of crops in the crop set", "units": "1", **grid,
        }  # fmt: skip
    if limit is not None:
        names = {
            "crop_at_level": [node.name for node in nomenclature.nodes],
            "level": nomenclature.levels,
        }
        titles = ("class of the finest known level", "finest known level")
        for what, (name, meanings) in enumerate(names.items()):
            values = _blocks(
                pixels_at_level, columns.data, np.uint8, nomenclature=nomenclature, limit=limit,
                what=what,
            )  # fmt: skip
            layers[name] = ("y", "x"), values, {
                "long_name": titles[what],
                "flag_values": np.arange(len(meanings), dtype=np.uint8),
                "flag_meanings": " ".join(text.replace(" ", "_") for text in meanings),
                **grid,
            }  # fmt: skip
    return layers


def _with_land(crop_map: xr.Dataset, land: xr.DataArray) -> xr.Dataset:
    """The map with the codes of land that is not classified."""
    crop_type, dates = crop_map["crop_type"], crop_map["clear_dates"]
    flags = crop_type.attrs
    values = flags["flag_values"].tolist()
    meanings = str(flags["flag_meanings"]).split(" ")
    if NOT_CROPLAND in land.attrs.get("flag_values", [NOT_CROPLAND]):  # not if it is only clipped
        values.append(NOT_CROPLAND)
        meanings.append(WITHOUT_CLASS[NOT_CROPLAND].slug)
    order = np.argsort(values)
    named = crop_type.copy(data=_combined(marked, crop_type.data, land.data, np.uint8))
    named.attrs |= {
        "flag_values": np.array(values, np.uint8)[order],
        "flag_meanings": " ".join(meanings[i] for i in order),
    }
    named.encoding = crop_type.encoding
    return crop_map.assign(
        crop_type=named,
        clear_dates=dates.copy(data=_combined(seen_dates, dates.data, land.data, np.uint16)),
    )


def _combined(function: Callable[..., Any], values: Any, land: Any, dtype: type) -> Any:  # noqa: ANN401
    """Apply a function to blocks (…, y, x) and those of land (y, x), in one task a block."""
    if not isinstance(values, da.Array):
        return function(values, np.asarray(land))
    own = "zyx"[-values.ndim :]
    return da.blockwise(
        function, own, values, own, land, "yx", dtype=dtype,
        meta=np.empty((0,) * values.ndim, dtype), align_arrays=False,
    )  # fmt: skip


def _coverage_text(season: xr.DataTree, present: Sequence[str]) -> str:
    """First and last image, longest gap and dates of each sensor, as JSON."""
    dates = season_of(season)
    acquired = {name: acquired_days(season.children[name], dates) for name in present}
    dated = {
        name: coverage.dated(dates)
        for name, days in acquired.items()
        if days is not None and (coverage := Coverage.of(days)) is not None
    }
    return json.dumps(dated)


def _like(array: xr.DataArray, series: xr.DataArray) -> xr.DataArray:
    """Chunk an array like a series."""
    if series.chunks is None:
        return array
    sizes = dict(zip(series.dims, series.chunks, strict=True))
    whole = {dim: -1 for dim in array.dims if dim not in {"y", "x"}}
    return array.chunk({"y": sizes["y"], "x": sizes["x"], **whole})


def _spread(series: xr.DataArray) -> xr.DataArray:
    """Split a series into at least four chunks, so that every core has work.

    Chunks are split after reading, so each file is still opened once.
    """
    if series.chunks is None or math.prod(map(len, series.chunks)) >= _MIN_CHUNKS:
        return series
    return series.chunk(
        {
            axis: math.ceil(max(sizes) / 2)
            for axis, sizes in zip(("y", "x"), series.chunks[-2:], strict=True)
        }
    )


def _blocks(function: Callable[..., Any], columns: Any, dtype: type, **options: Any) -> Any:  # noqa: ANN401
    """Apply a function of (y, x, …) to each block in one task; apply_ufunc would make three."""
    if not isinstance(columns, da.Array):
        return function(columns, **options)
    return da.map_blocks(
        function, columns, drop_axis=2, dtype=dtype, meta=np.empty((0, 0), dtype), **options
    )


def _planes(columns: Any, part: slice, dtype: type) -> Any:  # noqa: ANN401
    """Move a part of the last axis of (y, x, …) to the front and cast it, in one task a block."""
    if not isinstance(columns, da.Array):
        return _planes_of(columns, part=part, kind=dtype)
    return da.map_blocks(
        _planes_of,
        columns,
        part=part,
        kind=dtype,
        drop_axis=2,
        new_axis=0,
        chunks=((part.stop - part.start,), *columns.chunks[:2]),
        dtype=dtype,
        meta=np.empty((0, 0, 0), dtype),
    )


def _planes_of(block: NDArray[Any], *, part: slice, kind: type) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(block[..., part], -1, 0).astype(kind))


def map_attrs(season: xr.DataTree, model: CropModel) -> dict[str, object]:
    """Attributes of a map: season, sources, model and nomenclature."""
    return {
        **{str(key): value for key, value in season.attrs.items()},
        "model_name": model.name,
        "model_digest": model.digest,
        "model_calibration": calibration_text(model.calibration),
        "nomenclature": model.nomenclature.to_json(),
    }
