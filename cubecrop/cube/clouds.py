"""Cloud masks: from the scene classification, a probability of cloud, or a user's function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cubecrop.checks import check_number
from cubecrop.cube.neighbours import dilated
from cubecrop.cube.read import Layer
from cubecrop.errors import SchemaError, UnsupportedItemError
from cubecrop.schema import CLOUD_PROBABILITY, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from cubecrop.schema import Scene

__all__ = [
    "CLOUD_LAYER",
    "DILATION",
    "SCL_MASKED",
    "CloudMask",
    "Clouds",
    "cloud_layers",
    "clouds_name",
    "mask_from_probability",
    "mask_from_scl",
    "valid_share",
]  # fmt: skip

#: Saturated, shadow, cloud medium and high, cirrus, snow: what WorldCereal masks. Class 0
#: is no data and is masked as such.
SCL_MASKED: Final = (1, 3, 8, 9, 10, 11)
#: Of these, what is left to the SCL where a probability tells clouds.
_NOT_CLOUD: Final = (1, 3, 11)
#: Metres around masked pixels that are masked too: thin edges escape the classification.
DILATION: Final = 60.0
#: Percent from which Sen2Cor speaks of cloud of medium probability (L2A_GIPP, T_CLOUD_MP).
CLOUDY: Final = 35
_NO_PROBABILITY: Final = 255

_MaskFunction = Callable[[NDArray[np.uint8], float], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudMask:
    """A user's own cloud mask.

    Parameters
    ----------
    function : callable
        ``function(scl, resolution)``: classes (y, x) uint8 on the cube's grid, 0 where there
        are none, and the pixel size in metres; gives (y, x) bool, True where a pixel is not to
        be used. It is called for each scene and chunk, must depend on nothing else, and must
        be importable or picklable by Dask.
    halo : float, default 60
        Metres around a pixel that its answer may depend on; the array reaches as much
        further than what is kept, so that chunks do not show.
    """

    function: _MaskFunction
    halo: float = DILATION

    def __post_init__(self) -> None:
        halo = check_number("halo", self.halo, what="0 to 10,000 metres", error=SchemaError)
        if not callable(self.function) or not 0 <= halo <= 10_000:
            raise SchemaError(
                f"cloud mask has function {self.function!r} and halo {self.halo!r}, expected a "
                "function and 0 to 10,000 metres."
            )


#: "scl", "probability", or a user's own mask; a bare function has a halo of 60 m.
Clouds = Literal["scl", "probability"] | CloudMask | _MaskFunction


def mask_from_scl(
    scl: NDArray[np.generic], resolution: float, *, masked: Sequence[int] = SCL_MASKED
) -> NDArray[np.uint8]:
    """Status of each pixel from its class and that of its neighbours.

    Parameters
    ----------
    scl : numpy.ndarray
        (y, x) uint8, ESA's classes 0 to 11.
    resolution : float
        Pixel size in metres.
    masked : sequence of int
        Classes that are not clear.

    Returns
    -------
    numpy.ndarray
        (y, x) uint8 of `Status`: clear, cloud, outside.
    """
    status = _dilated(np.isin(scl, masked), resolution)
    status[scl == 0] = Status.OUTSIDE
    return status


def mask_from_probability(probability: NDArray[np.generic], resolution: float) -> NDArray[np.uint8]:
    """Status of each pixel from the probability of cloud, in percent, of its neighbours.

    0 % is clear, though items declare 0 as nodata; 255 is outside.
    """
    percent = np.asarray(probability, np.uint8)
    known = percent != _NO_PROBABILITY
    status = _dilated(known & (percent >= CLOUDY), resolution)
    status[~known] = Status.OUTSIDE
    return status


def _dilated(masked: NDArray[np.bool_], resolution: float) -> NDArray[np.uint8]:
    near = dilated(masked, DILATION, resolution)
    return np.where(near, np.uint8(Status.CLOUD), np.uint8(Status.CLEAR))


def _mask_by_user(
    scl: NDArray[np.generic], resolution: float, *, function: _MaskFunction
) -> NDArray[np.uint8]:
    masked = np.asarray(function(scl.astype(np.uint8), resolution))
    if masked.dtype != bool or masked.shape != scl.shape:
        raise SchemaError(
            f"cloud mask {_qualified(function)!r} gave {masked.dtype} of shape {masked.shape}, "
            f"expected bool of shape {scl.shape}, True where a pixel is not to be used."
        )
    status = np.where(masked, np.uint8(Status.CLOUD), np.uint8(Status.CLEAR))
    status[scl == 0] = Status.OUTSIDE
    return status


#: The SCL asset read as `Status`. Nothing is read where no file reaches: outside.
CLOUD_LAYER: Final = Layer(
    bands=("SCL",),
    dtype="uint8",
    fill=Status.OUTSIDE,
    lost=Status.LOST,
    raw_fill=0,
    resampling="nearest",
    halo=DILATION,
    highest=11,
    finish=mask_from_scl,
)


def cloud_layers(clouds: Clouds, scenes: Sequence[Scene]) -> tuple[Layer, ...]:
    """Layers whose worst `Status` is that of a pixel.

    Raises
    ------
    UnsupportedItemError
        A scene lacks what the mask is made from.
    SchemaError
        The mask is not known.
    """
    name = clouds_name(clouds)
    if name == "scl":
        return (CLOUD_LAYER,)
    if name == "probability":
        for scene in scenes:
            if CLOUD_PROBABILITY not in scene.assets:
                raise UnsupportedItemError(
                    f"item {scene.id!r} of collection {scene.collection!r} has no probability of "
                    "cloud, which clouds='probability' needs. Use 'sentinel-2-c1-l2a' of "
                    "earth-search, or clouds='scl'."
                )
        rest = functools.partial(mask_from_scl, masked=_NOT_CLOUD)
        probability = replace(
            CLOUD_LAYER,
            bands=(CLOUD_PROBABILITY,),
            raw_fill=_NO_PROBABILITY,
            highest=100,
            finish=mask_from_probability,
        )
        return replace(CLOUD_LAYER, finish=rest), probability
    mask = clouds if isinstance(clouds, CloudMask) else CloudMask(function=clouds)  # type: ignore[arg-type]
    finish = functools.partial(_mask_by_user, function=mask.function)
    return (replace(CLOUD_LAYER, halo=mask.halo, finish=finish),)


def clouds_name(clouds: Clouds) -> str:
    """What a mask is recorded as: "scl", "probability", or "function MODULE.NAME"."""
    if isinstance(clouds, str):
        if clouds not in {"scl", "probability"}:
            raise SchemaError(
                f"clouds is {clouds!r}, expected 'scl', 'probability', a function or a CloudMask."
            )
        return clouds
    function = clouds.function if isinstance(clouds, CloudMask) else clouds
    if not callable(function):
        raise SchemaError(
            f"clouds is {clouds!r}, expected 'scl', 'probability', a function or a CloudMask."
        )
    return f"function {_qualified(function)}"


def _qualified(function: object) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    module = getattr(function, "__module__", "")
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{module}.{name}"


def valid_share(season: xr.DataTree) -> xr.DataArray:
    """Share of a season's Sentinel-2 dates on which a pixel is clear, lazily.

    Parameters
    ----------
    season : xarray.DataTree
        A season cube with Sentinel-2.

    Returns
    -------
    xarray.DataArray
        (y, x) float32 from 0 to 1: clear dates by dates that show the pixel at all (those
        outside of every scene do not count; lost ones do). NaN where no date shows it.

    Raises
    ------
    SchemaError
        The cube has no Sentinel-2.
    """
    if "sentinel2" not in season.children:
        raise SchemaError(
            f"season cube has children {sorted(season.children)}, expected 'sentinel2' among them."
        )
    status = season["sentinel2/status"]
    shown = (status != Status.OUTSIDE).sum("time")
    share = (status == Status.CLEAR).sum("time") / shown.where(shown > 0)
    share = share.astype(np.float32).rename("valid_share")
    share.attrs = {
        "units": "1",
        "long_name": "share of Sentinel-2 dates on which the pixel is clear",
        "grid_mapping": "spatial_ref",
    }
    return share
