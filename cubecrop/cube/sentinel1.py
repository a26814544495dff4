"""The Sentinel-1 child of a season cube: backscatter in decibel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from cubecrop.cube.neighbours import grown
from cubecrop.cube.passes import group_passes
from cubecrop.cube.read import Layer
from cubecrop.cube.series import UNSEEN, Series, lazy_series, lazy_values
from cubecrop.errors import SchemaError
from cubecrop.schema import SENTINEL1_BANDS, Scene, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from cubecrop.cube.backend import Backend
    from cubecrop.cube.grid import Chunks
    from cubecrop.cube.planes import Reading
    from cubecrop.losses import OnError

__all__ = ["BYTES_AS_READ", "BYTES_PER_STEP", "mask_zeros", "packed", "sentinel1_child"]

#: Bytes of the values of one pixel on one date, and with its code.
BYTES_PER_STEP = 4 * len(SENTINEL1_BANDS)
BYTES_AS_READ = BYTES_PER_STEP + 1

#: Metres around unflagged zeros that are masked too: border pixels mix with them.
_EROSION = 30.0


def mask_zeros(power: NDArray[Any], resolution: float) -> NDArray[np.float32]:
    """Mask what is not above zero, and its neighbours.

    Borders before 2018 and incomplete scenes hold zeros that no flag tells.

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
    out[grown(power <= 0, _EROSION, resolution)] = np.nan
    return out


#: Power is resampled as power: a mean of decibels is not the decibel of a mean.
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
        Lengths along y of the chunks of values, if these are parts of what is read.
    backend : Backend
        What builds the stacks.
    on_error : {"raise", "lost"}
        What becomes of a scene that cannot be read; where it goes on, NaN.

    Returns
    -------
    xarray.Dataset
        Float32, dB, NaN where there is no observation; coords ``orbit_state`` and
        ``relative_orbit`` (0 = unknown) and ``acquisitions`` on time; attr ``calibration``.
    """
    if len(kinds := {scene.calibration for scene in scenes}) > 1:
        raise SchemaError(
            f"radar scenes are calibrated as {sorted(kinds)}; a series must be of one kind. "
            "Leave the items of the others out of the archive."
        )
    reading = backend.stack(scenes, (_LAYER,), grid, chunks=chunks, on_error=on_error)
    passes = group_passes(scenes)
    series = lazy_series(reading, packed, dates=tuple(one.members for one in passes))
    backscatter = lazy_values(
        series, rows=rows or chunks[0], n_dates=len(passes), n_bands=len(SENTINEL1_BANDS)
    )
    attrs = {
        "units": "dB",
        "long_name": "radar backscatter",
        "calibration": kinds.pop(),
        "grid_mapping": "spatial_ref",
    }
    return xr.Dataset(
        {"backscatter": (("time", "band", "y", "x"), backscatter, attrs)},
        coords={
            "time": np.array([one.time for one in passes], dtype="datetime64[ns]"),
            "band": list(SENTINEL1_BANDS),
            "orbit_state": ("time", [one.orbit_state for one in passes]),
            "relative_orbit": (
                "time",
                np.array([one.relative_orbit or 0 for one in passes], np.int16),
            ),
            "acquisitions": ("time", np.ones(len(passes), np.int16)),
        },
    )


def packed(reading: Reading, *, dates: Sequence[Sequence[int]]) -> Series:
    """A chunk's series: of each date the first scene with both bands, pixel by pixel."""
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
    return Series(
        code=code, dates=dates, planes=planes, scale=ones, offset=0 * ones, power=True,
        losses=reading.losses,
    )  # fmt: skip
