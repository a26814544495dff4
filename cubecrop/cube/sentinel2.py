"""The Sentinel-2 child of a season cube: reflectance and status."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from cubecrop.cube.clouds import Clouds, cloud_layers
from cubecrop.cube.dark_pixels import check_dark_pixels
from cubecrop.cube.passes import Pass, group_passes
from cubecrop.cube.read import Layer
from cubecrop.errors import SchemaError
from cubecrop.schema import SENTINEL2_BANDS, Scene, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from cubecrop.cube.backend import Backend
    from cubecrop.cube.grid import Chunks
    from cubecrop.losses import OnError, Reading

__all__ = ["BYTES_PER_STEP", "RANK", "sentinel2_child", "to_reflectance", "to_status"]

#: Decoded bytes of one pixel on one date.
BYTES_PER_STEP = 4 * len(SENTINEL2_BANDS)

_NODATA = 0
#: Ranks of clear, cloud, outside and lost, the best being 0. The rank of a rank is the status.
RANK = np.array([0, 1, 3, 2], np.uint8)
_LAYER = Layer(bands=SENTINEL2_BANDS, dtype="uint16", fill=_NODATA, resampling="bilinear")


def sentinel2_child(
    scenes: Sequence[Scene],
    grid: GeoBox,
    *,
    chunks: Chunks,
    backend: Backend,
    on_error: OnError = "raise",
    clouds: Clouds = "scl",
) -> xr.Dataset:
    """Build ``reflectance (time, band, y, x)`` and ``status (time, y, x)``, lazily.

    Parameters
    ----------
    scenes : sequence of Scene
        Sentinel-2 scenes that meet the grid, at least one.
    grid : odc.geo.geobox.GeoBox
        The cube's grid.
    chunks : tuple
        Lengths of the chunks along y and along x.
    backend : Backend
        What builds the stacks.
    on_error : {"raise", "lost"}
        What becomes of a scene that cannot be read.
    clouds : str, callable or CloudMask
        What masks clouds; see `open_season`.

    Returns
    -------
    xarray.Dataset
        Reflectance float32, unit 1, NaN where there is no clear observation; status uint8;
        coord ``acquisitions`` on time.
    """
    for scene in scenes:
        for band in SENTINEL2_BANDS:
            if scene.assets[band].nodata != _NODATA:
                raise SchemaError(
                    f"asset {band!r} of item {scene.id!r} has nodata "
                    f"{scene.assets[band].nodata}, expected {_NODATA} as in every L2A product."
                )
    # Masks come first: of a scene without a clear pixel no band is read.
    reading = backend.stack(
        scenes,
        (*cloud_layers(clouds, scenes), _LAYER),
        grid,
        chunks=chunks,
        on_error=on_error,
        gate=Status.CLEAR,
    )
    passes = group_passes(scenes)
    groups = tuple(one.members for one in passes)
    scale = np.array([[s.assets[b].scale for b in SENTINEL2_BANDS] for s in scenes])
    offset = np.array([[s.assets[b].offset for b in SENTINEL2_BANDS] for s in scenes])
    time, rest = (len(groups),), reading.chunks
    reflectance = da.map_blocks(
        _reflectance_of,
        reading,
        groups=groups,
        scale=scale,
        offset=offset,
        unverified={i: s.id for i, s in enumerate(scenes) if s.offset_unverified},
        new_axis=(0, 1),
        chunks=(time, (len(SENTINEL2_BANDS),), *rest),
        dtype=np.float32,
        meta=np.empty((0, 0, 0, 0), np.float32),
        name=None,
    )
    status = da.map_blocks(
        _status_of,
        reading,
        groups=groups,
        new_axis=0,
        chunks=(time, *rest),
        dtype=np.uint8,
        meta=np.empty((0, 0, 0), np.uint8),
    )
    return xr.Dataset(
        {
            "reflectance": (
                ("time", "band", "y", "x"),
                reflectance,
                {
                    "units": "1",
                    "long_name": "surface reflectance",
                    "grid_mapping": "spatial_ref",
                },
            ),
            "status": (
                ("time", "y", "x"),
                status,
                {
                    "flag_values": np.array([s.value for s in Status], np.uint8),
                    "flag_meanings": " ".join(s.name.lower() for s in Status),
                    "grid_mapping": "spatial_ref",
                },
            ),
        },
        coords={
            "time": _times(passes),
            "band": list(SENTINEL2_BANDS),
            "acquisitions": ("time", np.ones(len(passes), np.int16)),
        },
    )


def _times(passes: Sequence[Pass]) -> NDArray[np.datetime64]:
    return np.array([one.time for one in passes], dtype="datetime64[ns]")


def _reflectance_of(
    reading: Reading,
    *,
    unverified: Mapping[int, str],
    **options: Any,  # noqa: ANN401
) -> NDArray[np.float32]:
    masks, numbers = _worst(reading.values[:-1]), reading.values[-1]
    check_dark_pixels(numbers, masks, unverified)
    return to_reflectance(numbers, masks, **options)


def _worst(masks: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """One mask of several: a later one counts only where those before are clear.

    Where none of a scene's pixels is clear the later ones are not even read.
    """
    first, *rest = masks
    for mask in rest:
        first = np.where(first == Status.CLEAR, mask, first)
    return first


def _status_of(reading: Reading, **options: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    masks, numbers = _worst(reading.values[:-1]), reading.values[-1]
    return to_status(numbers, masks, **options)


def to_reflectance(
    numbers: NDArray[np.uint16],
    masks: NDArray[np.uint8],
    *,
    groups: Sequence[Sequence[int]],
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Scale, mask and mosaic one block.

    Parameters
    ----------
    numbers : numpy.ndarray
        (scene, band, y, x) uint16 digital numbers, 0 = no data.
    masks : numpy.ndarray
        (scene, 1, y, x) uint8 of `Status`.
    groups : sequence of sequence of int
        Scenes of each date, the preferred first.
    scale, offset : numpy.ndarray
        (scene, band) float64.

    Returns
    -------
    numpy.ndarray
        (time, band, y, x) float32; of each date the first clear scene, NaN where none is.
    """
    out = np.empty((len(groups), *numbers.shape[1:]), dtype=np.float32)
    for step, members in enumerate(groups):
        todo = np.ones(numbers.shape[2:], dtype=bool)
        first = True
        for scene in members:
            clear = masks[scene, 0] == Status.CLEAR
            take = todo & clear & (numbers[scene].min(axis=0) != _NODATA)
            if not take.any():
                continue
            kept = take.astype(np.uint16)
            for band, place in enumerate(out[step]):
                table = _reflectance_of_number(scale[scene, band], offset[scene, band])
                # What is not taken is no data, NaN. "wrap", which no uint16 needs, spares a copy.
                masked = numbers[scene, band] * kept
                if first:
                    np.take(table, masked, mode="wrap", out=place)
                else:
                    np.copyto(place, np.take(table, masked, mode="wrap"), where=take)
            first = False
            todo &= ~take
            if not todo.any():
                break
        if first:
            out[step] = np.nan
    return out


@lru_cache(maxsize=64)
def _reflectance_of_number(scale: float, offset: float) -> NDArray[np.float32]:
    """Reflectance of each digital number, NaN of no data.

    In float64 and cast once: float32 arithmetic would make the same reflectance differ with
    the order in which a provider states scale and offset.
    """
    table = (np.arange(2**16) * scale + offset).astype(np.float32)
    table[_NODATA] = np.nan
    return table


def to_status(
    numbers: NDArray[np.uint16],
    masks: NDArray[np.uint8],
    *,
    groups: Sequence[Sequence[int]],
) -> NDArray[np.uint8]:
    """Status of each pixel and date: the best of its scenes.

    A clear pixel that lacks data in a band is outside. Best is clear, then cloud; where
    neither was seen, a scene that was lost counts for more than one that does not reach.

    Parameters are those of `to_reflectance`; returns (time, y, x) uint8 of `Status`.
    """
    out = np.full((len(groups), *numbers.shape[2:]), RANK[Status.OUTSIDE], dtype=np.uint8)
    for step, members in enumerate(groups):
        for scene in members:
            mask = masks[scene, 0]
            empty = (mask == Status.CLEAR) & (numbers[scene] == _NODATA).any(axis=0)
            rank = RANK[np.where(empty, np.uint8(Status.OUTSIDE), mask)]
            np.minimum(out[step], rank, out=out[step])
    return RANK[out]
