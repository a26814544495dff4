"""The Sentinel-2 child of a season cube: reflectance and status."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from dask.base import tokenize

from cubecrop.cube.clouds import Clouds, cloud_layers
from cubecrop.cube.dark_pixels import check_dark_pixels
from cubecrop.cube.passes import Pass, group_passes
from cubecrop.cube.planes import Plane
from cubecrop.cube.read import Layer
from cubecrop.cube.stack import UNSEEN, DateStack, in_strips, lazy_stack, lazy_values
from cubecrop.errors import SchemaError
from cubecrop.schema import SENTINEL2_BANDS, Scene, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from cubecrop.cube.backend import Backend
    from cubecrop.cube.grid import Chunks
    from cubecrop.cube.planes import Reading
    from cubecrop.lost_scenes import OnError

__all__ = [
    "BYTES_AS_READ", "BYTES_PER_STEP", "BYTES_REPROJECTED", "RANK", "packed", "sentinel2_child",
    "status_of",
]  # fmt: skip

#: Bytes of the values of one pixel on one date.
BYTES_PER_STEP = 4 * len(SENTINEL2_BANDS)
#: Bytes of the same as stored in files, with mask and code: four bands of 10 m and six of 20 m,
#: or all ten bands on the cube's pixels if the files are reprojected.
BYTES_AS_READ = 4 * 2 + 6 * 2 // 4 + 2
BYTES_REPROJECTED = 10 * 2 + 2

_NODATA = 0
#: Ranks of clear, cloud, outside and lost; 0 is best. Ranking a rank gives the status back.
RANK = np.array([0, 1, 3, 2], np.uint8)
#: Status of each code of a `DateStack`, and its rank.
_STATUS = np.full(256, Status.CLEAR, np.uint8)
_STATUS[UNSEEN : UNSEEN + len(Status)] = list(Status)
_RANK = RANK[_STATUS]
_LAYER = Layer(bands=SENTINEL2_BANDS, dtype="uint16", fill=_NODATA, resampling="bilinear")


def sentinel2_child(
    scenes: Sequence[Scene],
    grid: GeoBox,
    *,
    chunks: Chunks,
    rows: tuple[int, ...] | None = None,
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
        Lengths along y and x of the chunks that are read.
    rows : tuple of int, optional
        Lengths along y of the chunks of values, if these are parts of the chunks that are read.
    backend : Backend
        Reads the files.
    on_error : {"raise", "lost"}
        What to do about a scene that cannot be read.
    clouds : str, callable or CloudMask
        How clouds are masked; see `open_season`.

    Returns
    -------
    xarray.Dataset
        Reflectance float32, unit 1, NaN where there is no clear observation; status uint8;
        coord ``acquisitions`` on time.

    Raises
    ------
    SchemaError
        A band's nodata is not 0.
    UnsupportedItemError
        A scene lacks an asset that the cloud mask needs.
    """
    for scene in scenes:
        for band in SENTINEL2_BANDS:
            if scene.assets[band].nodata != _NODATA:
                raise SchemaError(
                    f"asset {band!r} of item {scene.id!r} has nodata "
                    f"{scene.assets[band].nodata}, expected {_NODATA} as in every L2A "
                    "product. Correct the item, or remove it from the archive."
                )
    # Masks come first, so that bands of scenes without a clear pixel are not read.
    reading = backend.stack(
        scenes,
        (*cloud_layers(clouds, scenes), _LAYER),
        grid,
        chunks=chunks,
        on_error=on_error,
        gate=Status.CLEAR,
    )
    passes = group_passes(scenes)
    series = lazy_stack(
        reading,
        packed,
        dates=tuple(date.members for date in passes),
        scale=np.array([[s.assets[b].scale for b in SENTINEL2_BANDS] for s in scenes]),
        offset=np.array([[s.assets[b].offset for b in SENTINEL2_BANDS] for s in scenes]),
        unverified={i: s.id for i, s in enumerate(scenes) if s.offset_unverified},
    )
    rows = rows or chunks[0]
    reflectance = lazy_values(series, rows=rows, n_dates=len(passes), n_bands=len(SENTINEL2_BANDS))
    status = in_strips(
        status_of,
        series,
        rows=rows,
        lead=(len(passes),),
        dtype=np.uint8,
        name=f"cubecrop-status-{tokenize(series.name, rows)}",
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
    return np.array([date.time for date in passes], dtype="datetime64[ns]")


def packed(
    reading: Reading,
    *,
    dates: Sequence[Sequence[int]],
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    unverified: Mapping[int, str],
) -> DateStack:
    """Choose, for each date and pixel of a chunk, the first clear scene.

    A clear pixel without data in a band counts as outside. If no scene is clear, the pixel's
    status is the best of its scenes: cloud, then lost, then outside.
    """
    *masks, bands = reading.planes
    code = np.empty((len(dates), *reading.shape), dtype=np.uint8)
    for step, members in enumerate(dates):
        code[step] = UNSEEN + Status.OUTSIDE
        is_first = True
        for number, scene in enumerate(members):
            mask = _worst([layer[scene][0] for layer in masks], reading.shape)
            if mask is None:
                continue
            if scene in unverified:
                check_dark_pixels(bands[scene], mask, unverified[scene])
            own = np.where(mask == Status.CLEAR, np.uint8(number), UNSEEN + mask)
            lacking = _lacking(bands[scene], reading.shape)
            if lacking is not None:
                own[lacking & (mask == Status.CLEAR)] = UNSEEN + Status.OUTSIDE
            if is_first:  # every status is at least as good as outside
                code[step] = own
            else:
                np.copyto(code[step], own, where=_RANK[own] < _RANK[code[step]])
            is_first = False
    return DateStack(
        code=code, dates=dates, planes=bands, scale=scale, offset=offset,
        losses=reading.losses,
    )  # fmt: skip


def _worst(masks: Sequence[Plane | None], shape: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Merge masks: a later mask counts only where the earlier ones are clear.

    If none of a scene's pixels is clear, later masks are not even read. None if the scene does
    not reach the chunk.
    """
    first, *rest = masks
    if first is None:
        return None
    worst = first.spread(shape)
    for mask in rest:
        other = Status.OUTSIDE if mask is None else mask.spread(shape)
        worst = np.where(worst == Status.CLEAR, other, worst).astype(np.uint8, copy=False)
    return worst


def _lacking(planes: Sequence[Plane | None], shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Mask of pixels where a band has no data; None if there are none."""
    lacking: NDArray[np.bool_] | None = None
    for plane in planes:
        if plane is None:
            return np.ones(shape, dtype=bool)
        if plane.values.min() != _NODATA:
            continue
        empty = Plane(plane.values == _NODATA, plane.factor, plane.top, plane.left).spread(shape)
        lacking = empty if lacking is None else lacking | empty
    return lacking


def status_of(series: DateStack) -> NDArray[np.uint8]:
    """Status of each date and pixel, (time, y, x) uint8."""
    return _STATUS[series.code]
