"""The Sentinel-1 child of a season cube: backscatter in decibels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cubecrop.cube.neighbours import dilated
from cubecrop.cube.passes import group_passes
from cubecrop.cube.read import Layer
from cubecrop.cube.stack import UNSEEN, DateStack, lazy_stack, lazy_values
from cubecrop.errors import SchemaError
from cubecrop.schema import SENTINEL1_BANDS, Scene, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from cubecrop.cube.backend import Backend
    from cubecrop.cube.grid import Chunks
    from cubecrop.cube.planes import Reading
    from cubecrop.lost_scenes import OnError

__all__ = ["BYTES_AS_READ", "BYTES_PER_STEP", "mask_zeros", "packed", "sentinel1_child"]

#: Bytes of one pixel on one date: of its values, and of its values and its code.
BYTES_PER_STEP = 4 * len(SENTINEL1_BANDS)
BYTES_AS_READ = BYTES_PER_STEP + 1

#: Pixels this close to zeros, in metres, are masked too: resampling mixed them with zeros.
_EROSION = 30.0


def mask_zeros(power: NDArray[Any], resolution: float) -> NDArray[np.float32]:
    """Mask pixels that are not above zero, and their neighbours.

    The borders of scenes before 2018, and incomplete scenes, hold zeros that are not flagged.

    Parameters
    ----------
    power : numpy.ndarray
        (y, x) float32 linear power, NaN = no data.
    resolution : float
        Pixel size in metres.

    Returns
    -------
    numpy.ndarray
        (y, x) float32, NaN where masked.
    """
    out = power.astype(np.float32)
    out[dilated(power <= 0, _EROSION, resolution)] = np.nan
    return out


#: Radar is resampled as linear power, since the mean of decibels is not the mean in decibels.
_LAYER = Layer(
    bands=SENTINEL1_BANDS,
    dtype="float32",
    fill=float("nan"),
    resampling="bilinear",
    halo=_EROSION,
    finish=mask_zeros,
)


def sentinel1_child(
    scenes: Sequence[Scene],
    grid: GeoBox,
    *,
    chunks: Chunks,
    rows: tuple[int, ...] | None = None,
    backend: Backend,
    on_error: OnError = "raise",
) -> xr.Dataset:
    """Build ``backscatter (time, band, y, x)``, lazily.

    Parameters
    ----------
    scenes : sequence of Scene
        Sentinel-1 scenes that meet the grid, at least one.
    grid : odc.geo.geobox.GeoBox
        The cube's grid.
    chunks : tuple
        Lengths along y and x of the chunks that are read.
    rows : tuple of int, optional
        Lengths along y of the chunks of values, if these are parts of the chunks that are read.
    backend : Backend
        Reads the files.
    on_error : {"raise", "lost"}
        What to do about a scene that cannot be read; with "lost" its pixels are NaN.

    Returns
    -------
    xarray.Dataset
        Float32, dB, NaN where there is no observation; coords ``orbit_state``,
        ``relative_orbit`` (0 = unknown) and ``acquisitions`` on time; attr ``calibration``.

    Raises
    ------
    SchemaError
        The scenes have several radar calibrations.
    """
    if len(calibrations := {scene.calibration for scene in scenes}) > 1:
        raise SchemaError(
            f"radar scenes have the calibrations {sorted(calibrations)}, expected one. Remove the "
            "items with the others from the archive."
        )
    reading = backend.stack(scenes, (_LAYER,), grid, chunks=chunks, on_error=on_error)
    passes = group_passes(scenes)
    series = lazy_stack(reading, packed, dates=tuple(date.members for date in passes))
    backscatter = lazy_values(
        series, rows=rows or chunks[0], n_dates=len(passes), n_bands=len(SENTINEL1_BANDS)
    )
    attrs = {
        "units": "dB",
        "long_name": "radar backscatter",
        "calibration": calibrations.pop(),
        "grid_mapping": "spatial_ref",
    }
    return xr.Dataset(
        {"backscatter": (("time", "band", "y", "x"), backscatter, attrs)},
        coords={
            "time": np.array([date.time for date in passes], dtype="datetime64[ns]"),
            "band": list(SENTINEL1_BANDS),
            "orbit_state": ("time", [date.orbit_state for date in passes]),
            "relative_orbit": (
                "time",
                np.array([date.relative_orbit or 0 for date in passes], np.int16),
            ),
            "acquisitions": ("time", np.ones(len(passes), np.int16)),
        },
    )


def packed(reading: Reading, *, dates: Sequence[Sequence[int]]) -> DateStack:
    """Choose, for each date and pixel of a chunk, the first scene that has both bands."""
    (planes,) = reading.planes
    code = np.full((len(dates), *reading.shape), UNSEEN + Status.OUTSIDE, dtype=np.uint8)
    for step, members in enumerate(dates):
        for number, scene in enumerate(members):
            if any(plane is None for plane in planes[scene]):
                continue
            known = np.isfinite(
                [plane.spread(reading.shape) for plane in planes[scene] if plane is not None]
            ).all(axis=0)
            code[step][known & (code[step] >= UNSEEN)] = number
    ones = np.ones((len(planes), len(SENTINEL1_BANDS)))
    return DateStack(
        code=code, dates=dates, planes=planes, scale=ones, offset=0 * ones, power=True,
        losses=reading.losses,
    )  # fmt: skip
