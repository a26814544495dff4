"""The picture of a plan: its tiles, coloured by what is read, with area and parcels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from cubecrop.aoi import LONLAT
from cubecrop.circle import unwrap
from cubecrop.shapes import has_place
from cubecrop.write.words import PLAIN, words

if TYPE_CHECKING:
    from pathlib import Path

    import geopandas as gpd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from cubecrop.aoi import Aoi
    from cubecrop.region.planned import RegionPlan

__all__ = ["draw_plan"]

_DPI: Final = 150
_LONG_SIDE: Final = 9.0  # inches of map
_SHORT_SIDE: Final = 3.0
_BESIDE: Final = (2.4, 1.6)  # inches for scale and labels, and for the title
#: With more parcels, an even sample of them is drawn as points.
_OUTLINES: Final = 2_000
_POINTS: Final = 20_000
_TILE_EDGE: Final = "#ffffff"
_AREA: Final = "#d62728"
_PARCEL: Final = "#111111"


def draw_plan(path: Path, plan: RegionPlan, area: Aoi, parcels: gpd.GeoDataFrame | None) -> None:
    """Draw a plan to a PNG.

    Parameters
    ----------
    path : pathlib.Path
        PNG to write.
    plan : RegionPlan
        Its tiles are coloured by bytes to read; those with a grey edge only sample parcels.
    area : Aoi
        Drawn as an outline.
    parcels : geopandas.GeoDataFrame, optional
        Drawn as outlines if there are few, else as points.
    """
    figure = _figure(plan, area, parcels)
    figure.savefig(path, format="png", metadata={"Software": None})


def _figure(plan: RegionPlan, area: Aoi, parcels: gpd.GeoDataFrame | None) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Patch

    from cubecrop.write.figure import Figure

    outline = unwrap(area.to_crs(LONLAT).geometry)
    middle = float(shapely.box(*outline.bounds).centroid.x)
    boxes = [_near(shape, middle) for shape in plan.table.geometry]
    west, south, east, north = shapely.total_bounds([outline, *boxes])
    stretch = 1 / math.cos(math.radians((south + north) / 2))
    width, height = east - west, (north - south) * stretch
    inches = _LONG_SIDE / max(width, height)
    figure = Figure(
        figsize=(
            max(_SHORT_SIDE, width * inches) + _BESIDE[0],
            max(_SHORT_SIDE, height * inches) + _BESIDE[1],
        ),
        dpi=_DPI,
        layout="constrained",
    )  # fmt: skip
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    size = np.array([tile.bytes for tile in plan.tiles])
    unit, name = next(
        ((u, n) for u, n in ((1e9, "GB"), (1e6, "MB")) if size.max() >= u), (1e3, "kB")
    )
    drawn = PolyCollection(
        [shapely.get_coordinates(shapely.get_exterior_ring(_largest(box))) for box in boxes],
        array=size / unit, cmap="viridis", edgecolor=_TILE_EDGE, linewidth=0.3,
    )  # fmt: skip
    drawn.set_clim(0, size.max() / unit or 1)
    axes.add_collection(drawn)
    only = [box for box, tile in zip(boxes, plan.tiles, strict=True) if tile.mapped is None]
    handles = [Patch(facecolor="none", edgecolor=_AREA, label="area")]
    _lines(axes, [outline], _AREA, 1.4)
    if only:
        _lines(axes, only, "#888888", 0.8)
        handles.append(Patch(facecolor="none", edgecolor="#888888", label="only parcels"))
    if parcels is not None and len(parcels):
        _parcels(axes, parcels, middle)
        handles.append(Patch(facecolor="none", edgecolor=_PARCEL, label="parcels"))
    axes.set_xlim(west - width / 40, east + width / 40)
    axes.set_ylim(south - height / stretch / 40, north + height / stretch / 40)
    axes.set_aspect(stretch)
    axes.set_xlabel("longitude, degrees")
    axes.set_ylabel("latitude, degrees")
    axes.set_title(_title(plan), loc="left", fontsize=11, **PLAIN)
    figure.colorbar(drawn, ax=axes, label=f"{name} to read, by tile", shrink=0.8)
    axes.legend(handles=handles, loc="upper right", fontsize=8)
    return figure


def _title(plan: RegionPlan) -> str:
    options = plan.options
    total = sum(tile.bytes for tile in plan.tiles) / 1e9
    return (
        f"{len(plan.tiles):,} tiles of {options.tile / 1000:g} km, {plan.n_items:,} items, "
        f"{total:,.4g} GB to read\n{options.start} to {options.end}, "
        f"{words(options.archive, length=50)}"
    )


def _parcels(axes: Axes, parcels: gpd.GeoDataFrame, middle: float) -> None:
    step = max(1, len(parcels) // _POINTS)
    some = parcels.geometry.iloc[::step]
    shapes = some[has_place(some)].to_crs(LONLAT).to_numpy()
    if len(parcels) <= _OUTLINES:
        _lines(axes, [_near(shape, middle) for shape in shapes], _PARCEL, 0.4)
        return
    x, y = shapely.get_coordinates(shapely.centroid(shapes)).T
    x = x - 360 * np.round((x - middle) / 360)
    axes.scatter(x, y, s=0.3, color=_PARCEL, linewidths=0)


def _lines(axes: Axes, shapes: list[BaseGeometry], colour: str, width: float) -> None:
    from matplotlib.collections import LineCollection

    parts = shapely.get_parts(shapes)
    rings = shapely.get_rings(parts)
    lines: NDArray[np.object_] = rings if len(rings) else parts
    paths = [shapely.get_coordinates(line) for line in lines]
    axes.add_collection(LineCollection(paths, colors=colour, linewidths=width))


def _near(shape: BaseGeometry, middle: float) -> BaseGeometry:
    """A shape in degrees on the same turn of the globe as a longitude."""
    whole = unwrap(shape)
    turns = round((whole.centroid.x - middle) / 360)
    return shapely.transform(whole, lambda xy: xy - [360 * turns, 0]) if turns else whole


def _largest(shape: BaseGeometry) -> BaseGeometry:
    return max(shapely.get_parts(shape), key=lambda part: part.area)
