"""Cloud masks from the scene classification, a cloud probability, or a user's function."""

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

#: The classes that WorldCereal masks: saturated, shadow, cloud of medium and of high probability,
#: cirrus, snow. Class 0 is no data, and its status is "outside".
SCL_MASKED: Final = (1, 3, 8, 9, 10, 11)
#: The SCL classes that are still masked when a cloud probability finds the clouds.
_NOT_CLOUD: Final = (1, 3, 11)
#: Pixels this close to masked ones, in metres, are masked too: the SCL misses thin edges.
DILATION: Final = 60.0
#: Percent at which Sen2Cor's class "cloud, medium probability" begins (L2A_GIPP, T_CLOUD_MP).
CLOUDY: Final = 35
_NO_PROBABILITY: Final = 255

_MaskFunction = Callable[[NDArray[np.uint8], float], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudMask:
    """A user's own cloud mask.

    Parameters
    ----------
    function : callable
        ``function(scl, resolution)`` takes classes (y, x) uint8 on the cube's grid, 0 where
        there are none, and the pixel size in metres. It returns (y, x) bool, True where a pixel
        must not be used. It is called for each scene and chunk, must depend on nothing else, and
        must be importable or picklable by Dask.
    halo : float, default 60
        Metres around a pixel that the result for that pixel may depend on. The array includes
        a margin of this width, so that the mask does not depend on chunks.
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


#: "scl", "probability", or a user's own mask; a plain function gets a halo of 60 m.
Clouds = Literal["scl", "probability"] | CloudMask | _MaskFunction


def mask_from_scl(
    scl: NDArray[np.generic], resolution: float, *, masked: Sequence[int] = SCL_MASKED
) -> NDArray[np.uint8]:
    """Status of each pixel from its class and the classes of its neighbours.

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
    """Status of each pixel from the cloud probability, in percent, of it and its neighbours.

    0 % is clear, although items declare 0 as nodata; 255 is outside.
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
            f"expected bool of shape {scl.shape}, True where a pixel must not be used."
        )
    status = np.where(masked, np.uint8(Status.CLOUD), np.uint8(Status.CLEAR))
    status[scl == 0] = Status.OUTSIDE
    return status


#: The SCL asset read as `Status`; "outside" where no file reaches.
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
    """Layers to read for a mask; the status of a pixel is the worst of its layers.

    Raises
    ------
    UnsupportedItemError
        A scene lacks an asset that the mask needs.
    SchemaError
        The name of the mask is unknown.
    """
    name = clouds_name(clouds)
    if name == "scl":
        return (CLOUD_LAYER,)
    if name == "probability":
        for scene in scenes:
            if CLOUD_PROBABILITY not in scene.assets:
                raise UnsupportedItemError(
                    f"item {scene.id!r} of collection {scene.collection!r} has no cloud "
                    "probability, which clouds='probability' needs. Use 'sentinel-2-c1-l2a' of "
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
    """Name of a mask in attributes: "scl", "probability", or "function MODULE.NAME"."""
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
        (y, x) float32 from 0 to 1: the number of clear dates divided by the number of dates
        with a scene over the pixel, lost scenes included. NaN if there is no such date.

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
    covered = (status != Status.OUTSIDE).sum("time")
    share = (status == Status.CLEAR).sum("time") / covered.where(covered > 0)
    share = share.astype(np.float32).rename("valid_share")
    share.attrs = {
        "units": "1",
        "long_name": "share of Sentinel-2 dates on which the pixel is clear",
        "grid_mapping": "spatial_ref",
    }
    return share
