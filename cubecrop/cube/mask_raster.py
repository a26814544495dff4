"""A user's raster as a mask: cropland where it is not 0, seen on the grid of a cube."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyproj
from affine import Affine
from rasterio.enums import ColorInterp

from cubecrop.cube.access import with_file
from cubecrop.cube.grid import Window
from cubecrop.cube.pixels import read_pixels
from cubecrop.cube.source import Source
from cubecrop.errors import ReadError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import rasterio
    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.cube.grid import Lattice

__all__ = ["KEPT", "LEFT_OUT", "UNMASKED", "MaskRaster"]

#: Codes of `MaskRaster.read`: cropland, no cropland, and no value.
KEPT: Final = 1
LEFT_OUT: Final = 0
UNMASKED: Final = 255
#: Colours of a mask with a table of colours: cropland, no cropland, no value.
_MOST_COLOURS: Final = 3
#: Codes of ESA WorldCover (Product User Manual of v200, table 3).
_WORLDCOVER: Final = frozenset((10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100))
_CLASSES: Final = (
    "Make a raster that is 1 on cropland and 0 elsewhere, as in `gdal_calc.py -A map.tif "
    "--calc='A==40' --outfile=cropland.tif`."
)
#: Pixels of a file that are read at a time; bounds the memory.
_MOST: Final = 2**22
#: Blocks all over a file that are looked at where a window cannot tell a mask from a map of
#: classes, and pixels that are taken of each.
_BLOCKS: Final = 16
_LARGEST: Final = 2**18


@dataclass(frozen=True, slots=True, eq=False)
class MaskRaster:
    """A raster file, or the codes (y, x) of a raster in memory with CRS and geotransform.

    A pixel of the cube takes the value of the raster's pixel that its centre lies in.
    """

    href: str = ""
    codes: NDArray[np.uint8] | None = None
    crs: str = ""
    transform: tuple[float, ...] = ()

    @classmethod
    def of_array(cls, array: xr.DataArray) -> MaskRaster:
        """Take an array with the dims y and x and a CRS; reads its values.

        Raises
        ------
        SchemaError
            The array has other dims, no CRS, or no regular coordinates.
        """
        import rioxarray  # noqa: F401 (registers `.rio`)

        if set(array.dims) != {"y", "x"} or array.rio.crs is None:
            raise SchemaError(
                f"mask is a DataArray with dims {array.dims} and CRS {array.rio.crs}, expected "
                "the dims ('y', 'x') and a CRS. Set it with `mask.rio.write_crs('EPSG:32631')`."
            )
        if array.dtype.kind not in "biuf":
            raise SchemaError(
                f"mask is a DataArray of type {array.dtype}, expected numbers or True and False. "
                "Compare it with the value of cropland: `mask == 'cropland'`."
            )
        plain = array.transpose("y", "x")
        if array.sizes["x"] > 1 and "x" in array.coords and array["x"][0] > array["x"][-1]:
            plain = plain.isel(x=slice(None, None, -1))
        place = _geotransform(plain)
        values = np.asarray(plain.to_numpy())
        codes = np.where(values != 0, KEPT, LEFT_OUT).astype(np.uint8)
        if values.dtype.kind == "f":
            codes[np.isnan(values)] = UNMASKED
        nodata = plain.rio.nodata
        if nodata is not None and not np.isnan(nodata):
            codes[values == nodata] = UNMASKED
        if fault := _other_meaning(np.where(codes == UNMASKED, 0, values), array.dtype, nodata):
            raise SchemaError(f"mask is a DataArray that {fault}")
        return cls(codes=codes, crs=array.rio.crs.to_wkt(), transform=tuple(place)[:6])

    @property
    def digest(self) -> str:
        """SHA-256 over the file or the codes; for a remote file over its address."""
        if self.codes is not None:
            about = f"{self.crs} {self.transform} {self.codes.shape}".encode()
            return hashlib.sha256(about + self.codes.tobytes()).hexdigest()
        if not Path(self.href).is_file():
            return hashlib.sha256(self.href.split("?")[0].encode()).hexdigest()
        with Path(self.href).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def content(self) -> str:
        """SHA-256 over the codes of a raster in memory; "" for a file."""
        return "" if self.codes is None else hashlib.sha256(self.codes.tobytes()).hexdigest()

    def check(self) -> None:
        """Raise `ReadError` unless the file can be opened as a mask."""
        if self.codes is None:
            with_file(self._source, self._check_header)

    def place(self) -> tuple[str, tuple[float, float, float, float]]:
        """The CRS and (left, bottom, right, top), from the file's header."""
        if self.codes is None:
            return with_file(self._source, lambda file: (file.crs.to_wkt(), tuple(file.bounds)))
        a, _, left, _, e, f = self.transform
        bottom, top = sorted((f, f + e * self.codes.shape[0]))
        return self.crs, (left, bottom, left + a * self.codes.shape[1], top)

    def read(self, lattice: Lattice, window: Window) -> NDArray[np.uint8]:
        """Codes (height, width) of a window of the lattice; 255 where the raster has no value.

        Raises
        ------
        ReadError
            The file cannot be read.
        """
        if self.codes is not None:
            codes = self.codes
            columns, rows = _cells(self.crs, Affine(*self.transform), lattice, window)
            whole = Window(0, 0, *codes.shape)
            return _taken(codes, rows, columns, whole)
        return with_file(self._source, lambda file: self._of_file(file, lattice, window))

    @property
    def _source(self) -> Source:
        return Source(item="", asset="the mask", href=self.href)

    @property
    def _name(self) -> str:
        return self.href.split("?")[0]

    def _check_header(self, file: rasterio.DatasetReader) -> None:
        """Raise unless a file has one band, a CRS and north up, and is no map of many classes."""
        fault = ""
        if file.count != 1:
            fault = f"has {file.count} bands, expected one: `gdal_translate -b 1`."
        elif file.crs is None:
            fault = "has no CRS. Set it: `gdal_edit.py -a_srs EPSG:…`."
        elif file.transform.b or file.transform.d or file.transform.a <= 0 or file.transform.e >= 0:
            fault = "is not north-up. Warp it with `gdalwarp`."
        elif (colours := _colours(file)) > _MOST_COLOURS:
            fault = (
                f"has a table of {colours} colours, as a map of classes has, and any class but 0 "
                f"would be cropland. {_CLASSES}"
            )
        if fault:
            raise ReadError(f"the mask {self._name} {fault}")

    def _of_file(
        self, file: rasterio.DatasetReader, lattice: Lattice, window: Window
    ) -> NDArray[np.uint8]:
        self._check_header(file)
        columns, rows = _cells(file.crs.to_wkt(), file.transform, lattice, window)
        return self._of_cells(file, rows, columns)

    def _of_cells(
        self, file: rasterio.DatasetReader, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """Codes of cells; where the file is far finer than the cells, part by part."""
        inside = (rows >= 0) & (rows < file.height) & (columns >= 0) & (columns < file.width)
        if not inside.any():
            return np.full(rows.shape, UNMASKED, np.uint8)
        top, left = int(rows[inside].min()), int(columns[inside].min())
        place = Window(
            top, left, int(rows[inside].max()) - top + 1, int(columns[inside].max()) - left + 1
        )
        if place.height * place.width > _MOST and rows.size > 1:
            axis = int(np.argmax(rows.shape))
            halves = zip(
                *(np.array_split(cells, 2, axis) for cells in (rows, columns)), strict=True
            )
            return np.concatenate([self._of_cells(file, *half) for half in halves], axis)
        values = self._values(file, place)
        about = np.dtype(file.dtypes[0]), file.nodata
        fault = _other_meaning(values, *about)
        if not fault and _is_one_class(values):
            others = [self._values(file, part).ravel() for part in _spread(file)]
            fault = _other_meaning(np.concatenate([values.ravel(), *others]), *about)
        if fault:
            raise ReadError(f"the mask {self._name} {fault}")
        codes = (values != 0).astype(np.uint8)
        codes[np.isnan(values)] = UNMASKED
        return _taken(codes, rows, columns, place)

    def _values(self, file: rasterio.DatasetReader, place: Window) -> NDArray[np.float32]:
        return read_pixels(file, self._source, place, dtype=np.dtype(np.float32), fill=np.nan)


def _geotransform(array: xr.DataArray) -> Affine:
    """The geotransform of an array (y, x); raises `SchemaError` unless its centres are regular."""
    steps = {}
    for dim in ("y", "x"):
        centres = array[dim].to_numpy() if dim in array.coords else np.empty(0)
        number = len(centres)
        numeric = number > 1 and centres.dtype.kind in "iuf"
        step = (float(centres[-1]) - float(centres[0])) / (number - 1) if numeric else 0.0
        # Degrees as float32 are off by up to a tenth of a pixel of 10 m.
        if (
            step == 0
            or np.abs(centres - centres[0] - step * np.arange(number)).max() > abs(step) / 4
        ):
            raise SchemaError(
                f"mask is a DataArray whose coordinate {dim!r} is missing, has one pixel or is not "
                "regular, expected the centres of all pixels of a raster. After `xr.concat`, sort "
                f"it: `mask.sortby({dim!r})`."
            )
        steps[dim] = step
    x, y = float(array["x"].to_numpy()[0]), float(array["y"].to_numpy()[0])
    return Affine(steps["x"], 0, x - steps["x"] / 2, 0, steps["y"], y - steps["y"] / 2)


def _colours(file: rasterio.DatasetReader) -> int:
    """Number of entries of a file's table of colours that are not black; 0 without a table."""
    if file.colorinterp[0] != ColorInterp.palette:
        return 0
    return sum(any(colour[:3]) for colour in file.colormap(1).values())


def _other_meaning(
    values: NDArray[np.generic], dtype: np.dtype[np.generic], nodata: float | None
) -> str:
    """How values show that a raster is not 0 and something else; "" if they do not.

    Parameters
    ----------
    values : numpy.ndarray
        Of any shape, NaN or 0 where there is no value.
    dtype, nodata
        Type of the raster, and the value that it declares as missing.
    """
    known = values[np.isfinite(values)]
    if known.size == 0:
        return ""
    if (lowest := float(known.min())) < 0:
        return (
            f"holds {lowest:g}, and any value but 0 is cropland. If it means no value, declare it: "
            f"`gdal_edit.py -a_nodata {lowest:g}` or `rio.write_nodata`."
        )
    if known.max() > UNMASKED:
        return ""
    found = {*np.flatnonzero(np.bincount(known.astype(np.uint8), minlength=256)).tolist()} - {0}
    if nodata is None and dtype == np.uint8 and {KEPT, UNMASKED} <= found:
        return (
            "holds 1 and 255 and declares no nodata, and any value but 0 is cropland. Declare it: "
            "`gdal_edit.py -a_nodata 255` or `rio.write_nodata`; or write 1 where 255 is cropland."
        )
    if len(found) > 1 and found <= _WORLDCOVER:
        return f"holds the codes {sorted(found)} of ESA WorldCover. {_CLASSES}"
    return ""


def _is_one_class(values: NDArray[np.float32]) -> bool:
    """Whether values hold one class of WorldCover: a mask of it, or a part of the whole map."""
    own = values[np.isfinite(values) & (values != 0)]
    return own.size > 0 and own.min() == own.max() and float(own[0]) in _WORLDCOVER


def _spread(file: rasterio.DatasetReader) -> Iterator[Window]:
    """Parts of some blocks all over a file, at full resolution.

    Overviews are no evidence: averages of a mask of 0 and 40 are codes of other classes.
    """
    height, width = file.block_shapes[0]
    n_rows, n_columns = -(-file.height // height), -(-file.width // width)
    per_row = min(n_columns, math.isqrt(_BLOCKS))
    for row in _evenly(n_rows, _BLOCKS // per_row):
        for column in _evenly(n_columns, per_row):
            top, left = row * height, column * width
            # A block may be as large as the file.
            wide = min(width, file.width - left, _LARGEST)
            high = min(height, file.height - top, max(1, _LARGEST // wide))
            yield Window(top, left, high, wide)


def _evenly(n: int, most: int) -> list[int]:
    """Up to ``most`` of n positions, from the first to the last."""
    return sorted({round(position) for position in np.linspace(0, n - 1, min(n, most)).tolist()})


def _cells(
    crs: str, transform: Affine, lattice: Lattice, window: Window
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows of a raster that pixel centres of a window lie in, each (height, width)."""
    size = lattice.resolution
    x = (np.arange(window.column, window.column + window.width) + 0.5) * size
    y = -(np.arange(window.row, window.row + window.height) + 0.5) * size
    xs, ys = np.meshgrid(x, y)
    target = pyproj.CRS.from_user_input(crs)
    if target != pyproj.CRS.from_user_input(lattice.crs):
        to_raster = pyproj.Transformer.from_crs(lattice.crs, target, always_xy=True)
        xs, ys = to_raster.transform(xs, ys)
    if target.is_geographic:  # a raster may count longitudes from 0 to 360
        xs = transform.c + (xs - transform.c) % 360
    columns, rows = _apply(~transform, xs, ys)
    known = np.isfinite(columns) & np.isfinite(rows)
    columns, rows = (np.where(known, np.floor(values), -1) for values in (columns, rows))
    return columns.astype(np.int64), rows.astype(np.int64)


def _apply(
    transform: Affine, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * x + b * y + c, d * x + e * y + f


def _taken(
    codes: NDArray[np.uint8], rows: NDArray[np.int64], columns: NDArray[np.int64], place: Window
) -> NDArray[np.uint8]:
    """The codes of cells; ``codes`` are those of a part of the raster."""
    r, c = rows - place.row, columns - place.column
    inside = (r >= 0) & (r < place.height) & (c >= 0) & (c < place.width)
    out = np.full(rows.shape, UNMASKED, np.uint8)
    out[inside] = codes[r[inside], c[inside]]
    return out
