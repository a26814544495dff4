"""Crop maps: every pixel of a season cube classified, lazily."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from cubecrop.classification.kernels import confidence_of, decide, pixel_block
from cubecrop.model import CropModel, days_since_start, season_of
from cubecrop.nomenclature import NODATA
from cubecrop.schema import SERIES, check_season_cube

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["classify_pixels"]

#: Networks take most of the time of a map, so a small map is shared among cores.
_LEAST_CHUNKS = 4


def classify_pixels(
    season: xr.DataTree, model: CropModel, *, device: str | None = None
) -> xr.Dataset:
    """Classify every pixel of a season cube, lazily.

    Parameters
    ----------
    season : xarray.DataTree
        A season cube; see `cubecrop.schema`.
    model : CropModel
        What to classify with. A pixel is a set of one.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a graphics card where the worker has one.

    Returns
    -------
    xarray.Dataset
        ``crop_type (y, x)`` uint8, 255 = no prediction; ``confidence (y, x)`` float32;
        ``probability (crop, y, x)`` float32, coord ``crop`` = class names.

    Raises
    ------
    ModelMismatchError
        The cube is not what the model was made for.
    """
    check_season_cube(season)
    present = model.check(season)
    chosen = model.select_bands(season)
    series = [_spread(chosen.children[name].dataset[SERIES[name]]) for name in present]
    span = season_of(season)
    # Coordinates of the children differ (dates, bands) and are of no use after the network.
    plain = [one.drop_vars([c for c in one.coords if c not in {"y", "x"}]) for one in series]
    probability = xr.apply_ufunc(
        pixel_block,
        *plain,
        input_core_dims=[["time", "band"]] * len(plain),
        output_core_dims=[["crop"]],
        exclude_dims={"time", "band"},
        dask="parallelized",
        output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": {"crop": len(model.nomenclature)}},
        kwargs={
            "reference": model.reference(),
            "sensors": present,
            "days": [days_since_start(one["time"].to_numpy(), span) for one in series],
            "n_classes": len(model.nomenclature),
            "device": device,
        },
    )
    names = model.nomenclature.names
    grid = {"grid_mapping": "spatial_ref"}
    dataset = xr.Dataset(
        {
            "crop_type": (
                ("y", "x"),
                _blocks(decide, probability.data, np.uint8),
                {
                    "long_name": "crop type",
                    "flag_values": np.arange(len(names), dtype=np.uint8),
                    "flag_meanings": " ".join(name.replace(" ", "_") for name in names),
                    **grid,
                },
            ),
            "confidence": (
                ("y", "x"),
                _blocks(confidence_of, probability.data, np.float32),
                {"long_name": "probability of the mapped crop", "units": "1", **grid},
            ),
            "probability": probability.transpose("crop", "y", "x").assign_attrs(
                long_name="probability", units="1", **grid
            ),
        },
        attrs=map_attrs(season, model),
    )
    dataset["crop_type"].encoding["_FillValue"] = np.uint8(NODATA)
    return dataset.assign_coords(crop=names, spatial_ref=season["spatial_ref"])


def _spread(series: xr.DataArray) -> xr.DataArray:
    """A series in at least four chunks, so that every core has something to do.

    Chunks are split after they were read: each file is opened once all the same.
    """
    if series.chunks is None or math.prod(map(len, series.chunks)) >= _LEAST_CHUNKS:
        return series
    return series.chunk(
        {
            axis: math.ceil(max(sizes) / 2)
            for axis, sizes in zip(("y", "x"), series.chunks[-2:], strict=True)
        }
    )


def _blocks(function: Callable[[Any], Any], probability: Any, dtype: type) -> Any:  # noqa: ANN401
    """Apply a function of (y, x, crop) to each block: one task, where apply_ufunc makes three."""
    if not isinstance(probability, da.Array):
        return function(probability)
    return da.map_blocks(
        function, probability, drop_axis=2, dtype=dtype, meta=np.empty((0, 0), dtype)
    )


def map_attrs(season: xr.DataTree, model: CropModel) -> dict[str, object]:
    """What a map tells of its origin."""
    return {
        **{str(key): value for key, value in season.attrs.items()},
        "model_name": model.name,
        "model_digest": model.digest,
        "nomenclature": model.nomenclature.to_json(),
    }
