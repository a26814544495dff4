"""Smooth a crop map on request, and state how much of it changed.

A sieve gives small groups of pixels the class of their surroundings; a majority gives each parcel
its most frequent class. Codes without a class neither change nor spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import geopandas as gpd
import numpy as np
import shapely
from rasterio.features import rasterize, sieve

from cubecrop.checks import brief, check_whole
from cubecrop.errors import ArgumentError, ParcelError
from cubecrop.shapes import plain_shapes
from cubecrop.vector import read_vector
from cubecrop.write.shares import percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cubecrop.write.facts import MapFacts

__all__ = ["ParcelMajority", "Sieve", "Smoother", "Smoothing", "as_smoother", "smooth"]

#: Neighbours of a pixel that count: those beside it, not across a corner.
_NEIGHBOURS: Final = 4
#: Rows that are counted together; limits the memory.
_ROWS: Final = 512
#: Name of each method's parameter in the record.
_PARAMETERS: Final = {"sieve": "minimum_pixels", "majority": "parcels"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoothing:
    """How a map was smoothed, and the effect.

    ``parameter`` is the least number of pixels of a group that stays (sieve), or the number of
    parcels on the map (majority). ``file`` is the name of the parcels' file, "" for a table.
    ``changed`` of the ``classified`` pixels took another class.
    """

    method: Literal["sieve", "majority"]
    parameter: int
    changed: int
    classified: int
    file: str = ""

    @property
    def effect(self) -> str:
        """Words for a title."""
        return f"smoothed: {percent(self.changed, self.classified)} of pixels changed"

    def to_json(self) -> dict[str, Any]:
        """The record of a map's item and tags; ``changed_share`` is of the pixels with a class."""
        return {
            "method": self.method,
            _PARAMETERS[self.method]: self.parameter,
            **({"file": self.file} if self.file else {}),
            "changed_pixels": self.changed,
            "classified_pixels": self.classified,
            "changed_share": round(self.changed / max(self.classified, 1), 6),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Smoothing:
        """Read what `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        method = record["method"]
        return cls(
            method=method,
            parameter=int(record[_PARAMETERS[method]]),
            changed=int(record["changed_pixels"]),
            classified=int(record["classified_pixels"]),
            file=str(record.get("file", "")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sieve:
    """Groups of fewer than ``minimum`` pixels are to vanish."""

    minimum: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParcelMajority:
    """Parcels (parcel,) in ``crs`` that are to take their most frequent class."""

    shapes: NDArray[np.object_]
    crs: Any
    file: str = ""

    def on(self, facts: MapFacts) -> ParcelMajority:
        """The parcels that meet a map, in its CRS; raises `ParcelError` if none does."""
        series = gpd.GeoSeries(self.shapes, crs=self.crs).to_crs(facts.crs)
        # A shape beyond the reach of the map's CRS has no coordinates there.
        shapes = plain_shapes(series)
        left, bottom, right, top = facts.bounds
        shapes = shapes[shapely.intersects(shapes, shapely.box(left, bottom, right, top))]
        if not len(shapes):
            raise ParcelError(
                f"none of the {len(self.shapes)} parcels of majority meets the map, expected "
                f"parcels within {facts.bounds} m in {facts.crs.to_string()}. Check their CRS, "
                f"which is {self.crs.to_string()}."
            )
        return ParcelMajority(shapes=shapes, crs=series.crs, file=self.file)


Smoother = Sieve | ParcelMajority


def as_smoother(
    sieve: int | None = None, majority: gpd.GeoDataFrame | str | Path | None = None
) -> Smoother | None:
    """Check how to smooth; a file of parcels is read.

    Parameters
    ----------
    sieve, majority
        As for `cubecrop.write_map`.

    Returns
    -------
    Sieve, ParcelMajority or None
        None if neither is given.

    Raises
    ------
    ArgumentError
        Both are given, or one has another type or is too small.
    ParcelError
        The parcels have no CRS, or none of them is a polygon.
    AoiError
        The file cannot be read.
    """
    if sieve is not None and majority is not None:
        raise ArgumentError(
            "sieve and majority are both given, expected one of them: each would change what the "
            "other one made. Leave one out."
        )
    if sieve is not None:
        return Sieve(minimum=check_whole("sieve", sieve, minimum=2))
    return None if majority is None else _parcels(majority)


def _parcels(majority: gpd.GeoDataFrame | str | Path) -> ParcelMajority:
    if isinstance(majority, str | Path):
        table, file = read_vector(majority), Path(majority).name
    else:
        table, file = majority, ""
    if not isinstance(table, gpd.GeoDataFrame) or table.active_geometry_name is None:
        raise ArgumentError(
            f"majority is {brief(majority)}, expected a GeoDataFrame of parcels with an active "
            "geometry, or the path of a vector file."
        )
    if table.crs is None:
        raise ParcelError(
            f"the parcels of majority{f' ({file})' if file else ''} have no CRS; set it with "
            "`parcels.set_crs('EPSG:…')` and pass the table."
        )
    shapes = plain_shapes(table.geometry)
    shapes = shapes[shapely.area(shapes) > 0]  # None has no area
    if not len(shapes):
        raise ParcelError(
            f"none of the {len(table)} geometries of majority is a polygon, expected parcels."
        )
    return ParcelMajority(shapes=shapes, crs=table.crs, file=file)


def smooth(
    smoother: Smoother,
    crop_type: NDArray[np.uint8],
    confidence: NDArray[np.float32],
    facts: MapFacts,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], Smoothing]:
    """Smooth a computed map; the arrays given stay as they are.

    Parameters
    ----------
    smoother : Sieve or ParcelMajority
        Parcels must be those that `ParcelMajority.on` returns for the map.
    crop_type : numpy.ndarray
        Class index or code ``(y, x)``.
    confidence : numpy.ndarray
        Probability of the class ``(y, x)``, NaN without a class.
    facts : MapFacts
        Grid and classes.

    Returns
    -------
    tuple
        ``crop_type``; ``confidence``, NaN where the class changed, since it was the probability of
        another class; and the record of the effect.
    """
    n_classes = len(facts.nomenclature)
    classified = crop_type < n_classes
    method: Literal["sieve", "majority"]
    if isinstance(smoother, Sieve):
        method, parameter, file = "sieve", smoother.minimum, ""
        smoothed = _sieved(crop_type, classified, smoother.minimum)
    else:
        method, parameter, file = "majority", len(smoother.shapes), smoother.file
        owner = rasterize(
            zip(smoother.shapes, range(parameter), strict=True),
            out_shape=facts.shape, transform=facts.transform, fill=-1, dtype="int32",
        )  # fmt: skip
        owner[~classified] = -1
        smoothed = _majority(crop_type, confidence, owner, n_classes)
    changed = smoothed != crop_type
    record = Smoothing(
        method=method,
        parameter=parameter,
        changed=int(np.count_nonzero(changed)),
        classified=int(np.count_nonzero(classified)),
        file=file,
    )
    return smoothed, np.where(changed, np.float32(np.nan), confidence), record


def _sieved(
    crop_type: NDArray[np.uint8], classified: NDArray[np.bool_], minimum: int
) -> NDArray[np.uint8]:
    """Merge groups of fewer than ``minimum`` pixels with their largest neighbours.

    A masked pixel is no neighbour for GDAL, so a code without a class never spreads.
    """
    if minimum >= crop_type.size:  # GDAL refuses it; no group has a large enough neighbour
        return crop_type
    merged = sieve(crop_type, minimum, mask=classified, connectivity=_NEIGHBOURS)
    # GDAL does not say what it writes into masked pixels.
    return np.where(classified, merged, crop_type)


def _majority(
    crop_type: NDArray[np.uint8],
    confidence: NDArray[np.float32],
    owner: NDArray[np.int32],
    n_classes: int,
) -> NDArray[np.uint8]:
    """Give each parcel its most frequent class; of equally frequent ones the most confident.

    ``owner`` is the index of the pixel's parcel ``(y, x)``, -1 for a pixel that is to stay.
    """
    n_parcels = int(owner.max(initial=-1)) + 1
    counts = np.zeros((n_parcels, n_classes), np.int64)  # (parcel, class)
    totals = np.zeros((n_parcels, n_classes))
    for row in range(0, len(owner), _ROWS):
        part = np.s_[row : row + _ROWS]
        inside = owner[part] >= 0
        where = owner[part][inside], crop_type[part][inside]
        np.add.at(counts, where, 1)
        np.add.at(totals, where, confidence[part][inside].astype(np.float64))
    # Of classes with the same count the one with the largest sum has the largest mean.
    ties = counts == counts.max(axis=1, keepdims=True)
    winner = np.where(ties, totals, -1.0).argmax(axis=1).astype(np.uint8)
    smoothed = crop_type.copy()
    inside = owner >= 0
    smoothed[inside] = winner[owner[inside]]
    return smoothed
