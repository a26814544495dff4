"""One picture of a region: all zones on one grid, tiles without a result hatched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pyproj
import shapely
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.transform import from_bounds

from cubecrop.cube.tiles import utm_codes
from cubecrop.nomenclature import NODATA
from cubecrop.write.picture import draw_map, legend, new_figure, shape_drawn
from cubecrop.write.words import PLAIN, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from cubecrop.region.mosaic import Grid
    from cubecrop.region.output import Output
    from cubecrop.region.results import Planned, Results
    from cubecrop.write.provenance import Provenance

__all__ = ["PICTURE", "write_picture"]

PICTURE: Final = "region.png"
_FAILED: Final = "#B3261E"
#: Pieces into which each edge of a tile is cut before it is transformed to another CRS.
_PIECES: Final = 8
_METRES: Final = 1000  # per kilometre


def write_picture(
    output: Output, tiles: Sequence[Planned], results: Results, grid: Grid, facts: Provenance
) -> None:
    """Draw the mosaic at the resolution of a picture; the files' overviews are read.

    Parameters
    ----------
    output : Output
        The run's folder, with ``crop_type.vrt``.
    tiles : sequence of Planned
        All tiles of the plan.
    results : Results
        Outcomes of the tiles.
    grid : Grid
        Pixels of the mosaic.
    facts : Provenance
        Title and classes.
    """
    shapes = _outlines(tiles, grid.crs)
    failed = {name: shape for name, shape in shapes.items() if name in results.failed}
    whole = grid.around([grid.bounds, *(shape.bounds for shape in failed.values())])
    values = _read(output, grid, whole)
    planned = _planned(tiles, shapes, whole, values.shape)
    figure = _figure(values, planned, whole, facts, failed, len(shapes))
    with output.new_file(PICTURE) as staging:
        figure.savefig(staging, format="png")


def _outlines(tiles: Sequence[Planned], crs: str) -> dict[str, BaseGeometry]:
    """Mapped rectangles by tile, as they look in a CRS, metres."""
    outlines = {}
    for one in tiles:
        if one.mapped is None:
            continue
        left, bottom, right, top = one.mapped
        shape = shapely.box(left, bottom, right, top)
        if one.tile.crs != crs:
            change = pyproj.Transformer.from_crs(one.tile.crs, crs, always_xy=True)
            pieces = shapely.segmentize(shape, max(right - left, top - bottom) / _PIECES)
            shape = shapely.transform(
                pieces, lambda xy, to=change: np.column_stack(to.transform(xy[:, 0], xy[:, 1]))
            )
        outlines[one.tile.id] = shape
    return outlines


def _read(output: Output, grid: Grid, whole: Grid) -> NDArray[np.uint8]:
    """Classes of the picture, which shows more than the mosaic if tiles at its edge failed."""
    rows, columns = shape_drawn((whole.height, whole.width))
    values = np.full((rows, columns), NODATA, dtype=np.uint8)
    x, y = whole.offset(grid)
    scale_x, scale_y = columns / whole.width, rows / whole.height
    first, left = round(y * scale_y), round(x * scale_x)
    last = max(first + 1, round((y + grid.height) * scale_y))
    right = max(left + 1, round((x + grid.width) * scale_x))
    part = values[first:last, left:right]  # a view
    with output.raster("crop_type.vrt") as raster:
        part[:] = raster.read(1, out_shape=part.shape, resampling=Resampling.mode)
    return values


def _planned(
    tiles: Sequence[Planned],
    shapes: Mapping[str, BaseGeometry],
    grid: Grid,
    shape: tuple[int, ...],
) -> NDArray[np.bool_]:
    """Which pixels of the picture the plan maps: those of each zone within its meridians."""
    rows, columns = shape
    transform = from_bounds(*grid.bounds, columns, rows)
    zones: dict[str, list[BaseGeometry]] = {}
    for one in tiles:
        if one.tile.id in shapes:
            zones.setdefault(one.tile.crs, []).append(shapes[one.tile.id])
    covered = {
        crs: rasterize(parts, out_shape=(rows, columns), transform=transform).astype(bool)
        for crs, parts in zones.items()
    }
    if len(covered) == 1:
        return next(iter(covered.values()))
    x = grid.bounds[0] + (np.arange(columns) + 0.5) * transform.a
    y = grid.bounds[3] + (np.arange(rows) + 0.5) * transform.e
    to_degrees = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    codes = utm_codes(*to_degrees.transform(*np.meshgrid(x, y)))
    own = [part & (codes == int(crs.removeprefix("EPSG:"))) for crs, part in covered.items()]
    return np.asarray(np.logical_or.reduce(own))


def _figure(
    values: NDArray[np.uint8],
    planned: NDArray[np.bool_],
    grid: Grid,
    facts: Provenance,
    failed: Mapping[str, BaseGeometry],
    n_tiles: int,
) -> Figure:
    left, bottom, right, top = grid.bounds
    width, height = (right - left) / _METRES, (top - bottom) / _METRES
    note = f"{n_tiles:,} tile{'' if n_tiles == 1 else 's'}"
    if failed:
        note += f", {len(failed):,} without a result (hatched)"
    figure = new_figure(width, height, values)
    axes = figure.add_subplot()
    draw_map(
        axes,
        values,
        facts.nomenclature,
        marks=facts.without_class,
        extent=(0, width, 0, height),
    )
    # Land outside the plan is blank, unlike pixels without data.
    blank = np.zeros((*values.shape, 4), dtype=np.float32)
    blank[~planned & (values == NODATA)] = 1
    axes.imshow(blank, interpolation="nearest", extent=(0, width, 0, height))
    for shape in failed.values():
        _hatch(axes, shape, left, bottom)
    axes.set_title(f"{facts.title}\n{facts.season.start} to {facts.season.end}; {note}",
                   loc="left", fontsize=11)  # fmt: skip
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_xlabel(f"km, {words(grid.crs, length=20)}", **PLAIN)
    axes.set_ylabel("km")
    legend(
        axes,
        values[planned] if planned.any() else values,
        facts.nomenclature,
        marks=facts.without_class,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
    )
    return figure


def _hatch(axes: Axes, shape: BaseGeometry, left: float, bottom: float) -> None:
    from matplotlib.patches import Polygon

    outline = (shapely.get_coordinates(shape) - (left, bottom)) / _METRES
    axes.add_patch(
        Polygon(outline, facecolor="white", edgecolor=_FAILED, hatch="////", linewidth=0.8)
    )
