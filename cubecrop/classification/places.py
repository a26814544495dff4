"""What the places of pixels determine: the nearest weather, and where a model is unreliable.

All arrays are lazy where a sensor's series is, in its chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pyproj
import xarray as xr

from cubecrop.circle import degrees_between
from cubecrop.classification.land import CLASSIFIED
from cubecrop.nomenclature import OUTSIDE_KNOWLEDGE
from cubecrop.schema import crs_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cubecrop.model import CropModel, KnowledgeLimits

__all__ = ["nearest_cells", "unreliable_in", "weather_cells", "with_unreliable"]


def weather_cells(weather: xr.DataArray) -> xr.DataArray:
    """Weather as (cell, weather_time, weather_variable), cells by latitude, then longitude."""
    plain = weather.drop_vars(list(weather.coords))
    plain = plain.rename(time="weather_time", variable="weather_variable")
    stacked = plain.stack(cell=("latitude", "longitude"), create_index=False)
    return stacked.transpose("cell", "weather_time", "weather_variable")


def nearest_cells(weather: xr.DataArray, season: xr.DataTree, like: xr.DataArray) -> xr.DataArray:
    """Index (y, x) of the weather cell nearest to each pixel, chunked like a series."""
    latitudes, longitudes = weather["latitude"].to_numpy(), weather["longitude"].to_numpy()

    def nearest(lon: NDArray[np.floating], lat: NDArray[np.floating]) -> NDArray[np.int64]:
        row = np.abs(lat[..., None] - latitudes).argmin(axis=-1)
        column = degrees_between(lon[..., None], longitudes).argmin(axis=-1)
        return np.asarray(row * len(longitudes) + column)

    return _of_places(nearest, season, like, np.int64)


def unreliable_in(season: xr.DataTree, model: CropModel) -> str:
    """Where in a season cube's area the model is unreliable, and why; "" if nowhere."""
    if model.limits is None or not model.limits.unreliable:
        return ""
    y, x = season["y"].to_numpy(), season["x"].to_numpy()
    degrees = pyproj.Transformer.from_crs(crs_of(season), "EPSG:4326", always_xy=True)
    bounds = degrees.transform_bounds(x.min(), y.min(), x.max(), y.max())
    return model.limits.unreliable_near(bounds)


def with_unreliable(
    land: xr.DataArray | None, limits: KnowledgeLimits, season: xr.DataTree, like: xr.DataArray
) -> xr.DataArray:
    """Land (y, x), see `cubecrop.classification.land`, with 253 where a model is unreliable.

    ``land`` is chunked like the series ``like``. None is land that is classified everywhere.
    """

    def code(lon: NDArray[np.floating], lat: NDArray[np.floating]) -> NDArray[np.uint8]:
        return np.where(limits.unreliable_at(lon, lat), OUTSIDE_KNOWLEDGE, CLASSIFIED).astype("u1")

    codes = _of_places(code, season, like, np.uint8)
    if land is None:
        return codes.assign_attrs(flag_values=[CLASSIFIED, OUTSIDE_KNOWLEDGE])
    return land.copy(data=codes.where(land == CLASSIFIED, land).data)


def _of_places(
    function: Callable[[NDArray[np.floating], NDArray[np.floating]], NDArray[Any]],
    season: xr.DataTree,
    like: xr.DataArray,
    dtype: type,
) -> xr.DataArray:
    """A function of the longitudes and latitudes (y, x) of the pixels, chunked like a series."""
    y, x = season["y"].to_numpy(), season["x"].to_numpy()
    crs = crs_of(season)

    def block(rows: slice, columns: slice) -> NDArray[Any]:
        degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        lon, lat = degrees.transform(*np.meshgrid(x[columns], y[rows]))
        return function(np.asarray(lon), np.asarray(lat))

    def lazy_block(block_info: Any = None) -> NDArray[Any]:  # noqa: ANN401
        rows, columns = (slice(*ends) for ends in block_info[None]["array-location"])
        return block(rows, columns)

    if like.chunks is None:
        return xr.DataArray(block(slice(None), slice(None)), dims=("y", "x"))
    sizes = dict(zip(like.dims, like.chunks, strict=True))
    values = da.map_blocks(
        lazy_block, chunks=(sizes["y"], sizes["x"]), dtype=dtype, meta=np.empty((0, 0), dtype)
    )
    return xr.DataArray(values, dims=("y", "x"))
