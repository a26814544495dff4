"""Mosaics of a region's tiles: GDAL virtual rasters, which hold no pixels.

``crop_type.vrt`` is the whole region as one raster. Over several UTM zones, it joins one raster a
zone: that of the zone with the most tiles as it is, the others warped to it when they are read.
GDAL's tile index (GTI) would warp each tile by itself, but reads class 0 at their edges when it
reads at a lower resolution.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.transform import array_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from cubecrop.texts import one_line
from cubecrop.write.cog import common_tags
from cubecrop.write.layers import LAYERS, layer_facts
from cubecrop.write.qgis import add_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cubecrop.region.output import Output
    from cubecrop.region.results import Raster, TileResult
    from cubecrop.write.provenance import Provenance

__all__ = ["Grid", "main_grid", "write_mosaics"]

_TYPES: Final = {"uint8": "Byte", "uint16": "UInt16", "float32": "Float32"}
_BLOCK: Final = 512
#: Pixels of the longer side of the smallest overview, at least.
_SMALLEST: Final = 256
#: Points along each edge of a rectangle that is transformed to another CRS.
_EDGE_POINTS: Final = 64


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels of a mosaic: CRS, upper left corner in metres, pixel size, columns and rows."""

    crs: str
    left: float
    top: float
    size: float
    width: int
    height: int

    @property
    def transform(self) -> Affine:
        """From (column, row) of a pixel's corner to metres."""
        return Affine(self.size, 0, self.left, 0, -self.size, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top, metres."""
        return (
            self.left, self.top - self.height * self.size,
            self.left + self.width * self.size, self.top,
        )  # fmt: skip

    def offset(self, other: Grid) -> tuple[int, int]:
        """Column and row at which another grid on the same pixels begins."""
        return (
            round((other.left - self.left) / self.size),
            round((self.top - other.top) / self.size),
        )

    def around(self, bounds: Sequence[tuple[float, float, float, float]]) -> Grid:
        """The smallest grid on the same pixels that covers rectangles in metres."""
        # Corners of tiles are exact to far below a millimetre; 1e-6 of a pixel absorbs that.
        columns = [(edge - self.left) / self.size for one in bounds for edge in (one[0], one[2])]
        rows = [(self.top - edge) / self.size for one in bounds for edge in (one[1], one[3])]
        first, top = int((min(columns) + 1e-6) // 1), int((min(rows) + 1e-6) // 1)
        last, bottom = -int((-max(columns) + 1e-6) // 1), -int((-max(rows) + 1e-6) // 1)
        return Grid(
            self.crs, self.left + first * self.size, self.top - top * self.size, self.size,
            last - first, bottom - top,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """A file of a virtual raster, relative to it, with its pixels and its bands' names."""

    name: str
    grid: Grid
    bands: tuple[str, ...]


def write_mosaics(output: Output, tiles: Sequence[TileResult], facts: Provenance) -> list[str]:
    """Write the mosaics of all rasters; return the names of the files.

    Parameters
    ----------
    output : Output
        The run's folder.
    tiles : sequence of TileResult
        The finished tiles that map pixels, at least one.
    facts : Provenance
        Classes and metadata of the region.
    """
    zones = _zones(tiles)
    with tempfile.TemporaryDirectory(prefix="cubecrop-") as temporary:
        folder = Path(temporary)
        for raster in dict.fromkeys(name for one in tiles for name in one.rasters):
            _write_mosaic(folder, raster, zones, facts)
        made = sorted(folder.iterdir())
        for path in made:
            output.write_bytes(path.name, path.read_bytes())
    names = [path.name for path in made]
    for name in output.names():  # of an earlier run with other zones
        if name.endswith(".vrt") and name not in names:
            output.remove(name)
    return names


def main_grid(tiles: Sequence[TileResult]) -> Grid:
    """The grid of the region's mosaic, in the zone with the most tiles."""
    zones = _zones(tiles)
    crs = next(iter(zones))
    grid = _grid_of(zones[crs])
    others = [_seen_from(crs, _grid_of(zone)) for name, zone in zones.items() if name != crs]
    return grid.around([grid.bounds, *others])


def _zones(tiles: Sequence[TileResult]) -> dict[str, list[TileResult]]:
    """Tiles by CRS: first that with the most tiles, then the others by name."""
    counts = Counter(one.tile.crs for one in tiles)
    order = sorted(counts, key=lambda crs: (-counts[crs], crs))
    return {crs: [one for one in tiles if one.tile.crs == crs] for crs in order}


def _grid_of(tiles: Sequence[TileResult]) -> Grid:
    """The grid that covers tiles of one CRS."""
    grids = [_grid(one) for one in tiles]
    return grids[0].around([grid.bounds for grid in grids])


def _grid(tile: TileResult) -> Grid:
    if tile.transform is None or tile.shape is None:
        raise ValueError(f"tile {tile.id} maps no pixels")
    left, _, _, top = array_bounds(*tile.shape, tile.transform)
    rows, columns = tile.shape
    return Grid(tile.tile.crs, left, top, tile.transform.a, columns, rows)


def _seen_from(crs: str, grid: Grid) -> tuple[float, float, float, float]:
    """Bounds of a grid in another CRS, metres."""
    left, bottom, right, top = transform_bounds(
        grid.crs, crs, *grid.bounds, densify_pts=_EDGE_POINTS
    )
    return float(left), float(bottom), float(right), float(top)


def _write_mosaic(
    folder: Path, raster: str, zones: dict[str, list[TileResult]], facts: Provenance
) -> None:
    """Write the mosaic of one raster, and its parts if there are several zones."""
    tiles = [one for zone in zones.values() for one in zone]
    kinds = [one.rasters[raster] for one in tiles if raster in one.rasters]
    bands = tuple(dict.fromkeys(band for kind in kinds for band in kind.bands))
    kind = replace(kinds[0], bands=bands)
    main = main_grid(tiles)
    parts: list[Source] = []
    for crs, zone in zones.items():
        grid = _grid_of(zone)
        sources = [
            Source(f"tiles/{one.id}/{raster}.tif", _grid(one), one.rasters[raster].bands)
            for one in zone
            if raster in one.rasters
        ]
        if len(zones) == 1:
            return _write_vrt(folder / f"{raster}.vrt", raster, grid, kind, sources, facts)
        path = folder / f"{raster}_{crs.removeprefix('EPSG:')}.vrt"
        _write_vrt(path, raster, grid, kind, sources, facts)
        parts.append(
            Source(path.name, grid, bands) if crs == main.crs else _warp(path, main, grid, kind)
        )
    # Where two zones meet, their warped pixels overlap a little: the main zone comes last, on top.
    return _write_vrt(folder / f"{raster}.vrt", raster, main, kind, parts[::-1], facts)


def _warp(path: Path, main: Grid, grid: Grid, kind: Raster) -> Source:
    """Write a mosaic as seen on the main grid."""
    target = main.around([_seen_from(main.crs, grid)])
    name = f"{path.stem}_in_{main.crs.removeprefix('EPSG:')}.vrt"
    with (
        rasterio.open(path) as source,
        WarpedVRT(
            source,
            crs=main.crs,
            transform=target.transform,
            width=target.width,
            height=target.height,
            nodata=float(kind.nodata),
        ) as warped,
    ):
        rasterio.shutil.copy(warped, path.with_name(name), driver="VRT")
    return Source(name, target, kind.bands)


def _write_vrt(
    path: Path,
    raster: str,
    grid: Grid,
    kind: Raster,
    sources: Sequence[Source],
    facts: Provenance,
) -> None:
    """Write a virtual raster of files whose names are relative to it."""
    named = facts if raster == "crop_type" else None
    if raster in LAYERS:
        named = layer_facts(raster, facts)
    root = ET.Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2").text = grid.crs
    numbers = (grid.left, grid.size, 0.0, grid.top, 0.0, -grid.size)
    ET.SubElement(root, "GeoTransform").text = ", ".join(map(repr, numbers))
    if levels := _levels(grid):
        way = "mode" if raster == "crop_type" or raster in LAYERS else "average"
        ET.SubElement(root, "OverviewList", resampling=way).text = levels
    metadata = ET.SubElement(root, "Metadata")
    for key, value in common_tags(facts).items():
        ET.SubElement(metadata, "MDI", key=key).text = value
    for number, name in enumerate(kind.bands, 1):
        band = ET.SubElement(
            root, "VRTRasterBand", dataType=_TYPES[kind.dtype], band=str(number),
            blockXSize=str(_BLOCK), blockYSize=str(_BLOCK),
        )  # fmt: skip
        ET.SubElement(band, "Description").text = one_line(name)
        ET.SubElement(band, "NoDataValue").text = kind.nodata
        if named is not None:
            ET.SubElement(band, "ColorInterp").text = "Palette"
            add_classes(band, named)
        for source in sources:
            if name in source.bands:
                _add_source(band, grid, kind, source, source.bands.index(name) + 1)
    ET.indent(root)
    path.write_text(f"{ET.tostring(root, encoding='unicode')}\n", encoding="utf-8")


def _levels(grid: Grid) -> str:
    """Overviews, which GDAL computes from those of the tiles.

    Without them, GDAL warps every pixel of a zone to show it at a low resolution.
    """
    levels, side = [2], max(grid.width, grid.height)
    while side // levels[-1] >= _SMALLEST:
        levels.append(2 * levels[-1])
    return " ".join(map(str, levels[:-1]))


def _add_source(band: ET.Element, grid: Grid, kind: Raster, source: Source, number: int) -> None:
    # Warped parts overlap, so their nodata must not hide other parts.
    is_part = source.name.endswith(".vrt")
    element = ET.SubElement(band, "ComplexSource" if is_part else "SimpleSource")
    ET.SubElement(element, "SourceFilename", relativeToVRT="1").text = source.name
    ET.SubElement(element, "SourceBand").text = str(number)
    width, height = str(source.grid.width), str(source.grid.height)
    # With the properties, GDAL opens a file only when its pixels are read.
    ET.SubElement(
        element, "SourceProperties", RasterXSize=width, RasterYSize=height,
        DataType=_TYPES[kind.dtype], BlockXSize=str(_BLOCK), BlockYSize=str(_BLOCK),
    )  # fmt: skip
    x, y = map(str, grid.offset(source.grid))
    ET.SubElement(element, "SrcRect", xOff="0", yOff="0", xSize=width, ySize=height)
    ET.SubElement(element, "DstRect", xOff=x, yOff=y, xSize=width, ySize=height)
    if is_part:
        ET.SubElement(element, "NODATA").text = kind.nodata
