"""Masks of cropland and outlines of areas: which pixels of a cube a map classifies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import dask.array as da
import geopandas as gpd
import numpy as np
import shapely
import xarray as xr

from cubecrop.aoi import Aoi, parse_aoi
from cubecrop.archive.base import refuse_password
from cubecrop.checks import brief
from cubecrop.classification.land import CLASSIFIED, LEFT_OUT, OUTSIDE, UNKNOWN
from cubecrop.cube.grid import Lattice, Window
from cubecrop.cube.landcover import UNKNOWN as NO_COVER
from cubecrop.cube.mask_raster import KEPT, UNMASKED, MaskRaster
from cubecrop.cube.outline import Outline, polygons_of
from cubecrop.errors import AoiError, ArgumentError
from cubecrop.pipeline.cropland import cropland_classes
from cubecrop.schema import SERIES, crs_of, resolution_of
from cubecrop.vector import check_active_geometry, read_vector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.nomenclature import Nomenclature
    from cubecrop.schema import Modality

__all__ = [
    "AUTO", "CropMask", "Mask", "as_mask", "check_place", "cropland_classes", "land_of",
    "no_landcover", "with_landcover",
]  # fmt: skip

#: Ways to give a mask.
Mask: TypeAlias = str | Path | gpd.GeoDataFrame | gpd.GeoSeries | xr.DataArray | None
#: The archive's land cover if it has any of the area, else no mask.
AUTO: Final = "auto"
#: Names of masks, and the collection that each must be.
_NAMED: Final[Mapping[str, str]] = {AUTO: "", "landcover": "", "worldcover": "esa-worldcover"}
_EXPECTED: Final = (
    f"{', '.join(map(repr, _NAMED))}, a GeoDataFrame or vector file of parcels, a GeoTIFF, an "
    "xarray.DataArray, or None ('none')"
)
_RASTERS: Final = frozenset((".tif", ".tiff", ".jp2"))
#: Rasters that are not read. A VRT names other files, which can change while it stays the same.
_NO_RASTERS: Final = frozenset((".vrt", ".img"))
#: Classes of land cover that say nothing about the land.
_NO_CLASS: Final = frozenset(("clouds",))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropMask:
    """A checked mask.

    ``collection`` is the collection that land cover must be, "" for any. ``classes`` are the
    classes of land cover that count as cropland; None leaves the choice to the model's classes.
    ``name`` is the file or the product, where it is known.
    With ``is_there`` the archive has the map, so that land without it is unknown.
    """

    kind: Literal["none", "auto", "landcover", "parcels", "raster"]
    collection: str = ""
    classes: tuple[str, ...] | None = None
    outline: Outline | None = None
    raster: MaskRaster | None = None
    name: str = ""
    is_there: bool = False

    @property
    def needs_landcover(self) -> bool:
        """Whether the cube must have its land cover."""
        return self.kind in {"auto", "landcover"}


def as_mask(mask: Mask, classes: Iterable[str] | None = None) -> CropMask:
    """Check a mask; files of parcels are read, and the header of a raster.

    Parameters
    ----------
    mask, classes
        ``mask`` and ``mask_classes`` of `cubecrop.classify`.

    Raises
    ------
    ArgumentError
        The mask has another type, has no polygon, or classes are named for a mask without any.
    AoiError, SchemaError, ReadError
        A file cannot be read, or parcels or a raster have no CRS.
    ArchiveError
        The address of a raster holds a password.
    """
    chosen = _classes(classes)
    found = _as_mask(mask, chosen)
    if chosen is not None and not found.needs_landcover:
        raise ArgumentError(
            f"mask_classes are {list(chosen)}, but mask={brief(mask)} has no classes. Leave them "
            "out, or pass `mask='worldcover'`."
        )
    return found


def _as_mask(mask: Mask, classes: tuple[str, ...] | None) -> CropMask:
    if mask is None or (isinstance(mask, str) and mask == "none"):
        return CropMask(kind="none")
    if isinstance(mask, str) and mask in _NAMED:
        kind: Literal["auto", "landcover"] = "auto" if mask == AUTO else "landcover"
        return CropMask(kind=kind, collection=_NAMED[mask], classes=classes)
    if isinstance(mask, xr.DataArray):
        raster = MaskRaster.of_array(mask)
        return CropMask(kind="raster", raster=raster, name=str(mask.name or "an array"))
    if isinstance(mask, str | Path):
        href = str(mask)
        name = Path(href.split("?")[0]).name
        if Path(name).suffix.lower() in _NO_RASTERS:
            raise ArgumentError(
                f"mask is {name}, expected a GeoTIFF or a JPEG 2000 file, whose content says "
                f"everything. Convert it with `gdal_translate {name} {Path(name).stem}.tif`."
            )
        if Path(name).suffix.lower() in _RASTERS:
            # A plan names the address; GDAL's prefix may stand before it.
            refuse_password(re.sub(r"^(/vsi\w+/)+", "", href))
            local = Path(href).expanduser()
            raster = MaskRaster(href=str(local.resolve()) if local.exists() else href)
            raster.check()
            return CropMask(kind="raster", raster=raster, name=name)
        if isinstance(mask, str) and not (name and (Path(name).suffix or Path(href).exists())):
            raise ArgumentError(f"mask is {brief(mask)}, expected {_EXPECTED}.")
        return _of_parcels(read_vector(mask), name)
    if isinstance(mask, gpd.GeoDataFrame | gpd.GeoSeries):
        return _of_parcels(mask, "")
    raise ArgumentError(f"mask is {brief(mask)}, expected {_EXPECTED}.")


def _of_parcels(table: gpd.GeoDataFrame | gpd.GeoSeries, name: str) -> CropMask:
    if isinstance(table, gpd.GeoDataFrame):
        check_active_geometry(table)
    if table.crs is None:
        raise ArgumentError(
            "the parcels of the mask have no CRS. Set it with `parcels.set_crs('EPSG:…')`."
        )
    outline = polygons_of(table, rectangles=True)
    if outline is None:
        raise ArgumentError(
            "the mask has no polygon, so that no pixel would be cropland. Pass parcels, or "
            "`mask=None`."
        )
    return CropMask(kind="parcels", outline=outline, name=name or f"{len(table)} parcels")


def _classes(classes: Iterable[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = (classes,) if isinstance(classes, str) else tuple(classes)
    if not names or {type(name) for name in names} != {str}:
        raise ArgumentError(
            f"mask_classes are {brief(classes)}, expected names of land-cover classes, as in "
            "`mask_classes=['cropland', 'grassland']`."
        )
    return tuple(dict.fromkeys(names))


def check_place(mask: CropMask, area: Aoi) -> None:
    """Raise if the parcels or the raster of a mask lie elsewhere than an area.

    Raises
    ------
    ArgumentError
        The bounding rectangles do not meet, so that the map would have no crop.
    """
    if mask.outline is not None:
        there = gpd.GeoSeries(mask.outline.shapes, crs=mask.outline.crs)
    elif mask.raster is not None:
        crs, bounds = mask.raster.place()
        there = gpd.GeoSeries([shapely.box(*bounds)], crs=crs)
    else:
        return
    try:
        place = parse_aoi(there)
        meet = place.lonlat.intersects(area.lonlat)
    except AoiError:  # it reaches beyond the globe; its pixels or parcels decide
        return
    if not meet:
        raise ArgumentError(
            f"the mask ({mask.name}) lies at {place}, but the area at {area}: no pixel would be "
            "cropland. Check the mask's CRS and coordinates."
        )


def with_landcover(modalities: Sequence[Modality], mask: CropMask) -> tuple[Modality, ...]:
    """The modalities of a cube that a mask needs too."""
    return (*modalities, "landcover") if mask.needs_landcover else tuple(modalities)


def land_of(
    cube: xr.DataTree, mask: CropMask, outline: Outline | None, nomenclature: Nomenclature
) -> tuple[xr.DataArray | None, str]:
    """Which pixels of a cube are classified, lazily, and the mask in words.

    Parameters
    ----------
    cube : xarray.DataTree
        A season cube, with its child ``landcover`` if the mask needs it and the archive has it.
    mask : CropMask
        The mask.
    outline : Outline, optional
        The polygons of the area.
    nomenclature : Nomenclature
        The classes of the model.

    Returns
    -------
    tuple
        Codes (y, x) uint8 of `cubecrop.classification.land`, None if all pixels are classified;
        and the mask, "" if there is none.

    Raises
    ------
    ArgumentError
        The archive has no land cover of the area, or it has no class of a name.
    """
    crs = crs_of(cube)
    cover, text = _cover(cube, mask, nomenclature)
    if mask.kind in {"parcels", "raster"}:
        text = f"{mask.kind} of {mask.name}" if mask.kind == "raster" else mask.name
    if cover is None and mask.outline is None and mask.raster is None and outline is None:
        return None, ""
    lattice = Lattice(_authority(crs), resolution_of(cube))
    half = lattice.resolution / 2
    origin = Window(
        round(-(float(cube["y"].to_numpy()[0]) + half) / lattice.resolution),
        round((float(cube["x"].to_numpy()[0]) - half) / lattice.resolution),
        cube.sizes["y"], cube.sizes["x"],
    )  # fmt: skip
    corner = lattice.transform(origin)
    right, bottom = corner * (origin.width, origin.height)
    bounds = corner.c, bottom, right, corner.f
    parcels = None if mask.outline is None else mask.outline.to_crs(crs, bounds)
    area = None if outline is None else outline.to_crs(crs, bounds)
    options: dict[str, Any] = {
        "lattice": lattice, "origin": origin, "parcels": parcels, "raster": mask.raster,
        "area": area,
    }  # fmt: skip
    meta = np.empty((0, 0), np.uint8)
    if cover is not None:
        array, table = cover
        codes = da.map_blocks(_land_block, array, table=table, dtype=np.uint8, meta=meta, **options)
    else:
        codes = da.map_blocks(
            _land_block, chunks=_chunks(cube), dtype=np.uint8, meta=meta, **options
        )
    # Without a mask the land is only clipped.
    values = [CLASSIFIED, OUTSIDE, *([LEFT_OUT, UNKNOWN] if text else [])]
    return xr.DataArray(codes, dims=("y", "x"), attrs={"flag_values": values}), text


def _authority(wkt: str) -> str:
    """CRS by its code, as a lattice has it."""
    import pyproj

    crs = pyproj.CRS.from_wkt(wkt)
    code = crs.to_epsg()
    return wkt if code is None else f"EPSG:{code}"


def _chunks(cube: xr.DataTree) -> tuple[tuple[int, ...], tuple[int, ...]]:
    for child, variable in SERIES.items():
        if child in cube.children:
            series = cube[child].dataset[variable]
            chunks = series.chunks or tuple((size,) for size in series.shape)
            return chunks[-2], chunks[-1]
    return (cube.sizes["y"],), (cube.sizes["x"],)


def _cover(
    cube: xr.DataTree, mask: CropMask, nomenclature: Nomenclature
) -> tuple[tuple[Any, NDArray[np.uint8]] | None, str]:
    """Land cover with the code of land of each of its codes (256,), and the mask in words."""
    if not mask.needs_landcover:
        return None, ""
    node = cube.children.get("landcover")
    array = None if node is None else node.dataset["landcover"]
    found = "" if array is None else str(array.attrs["collection"])
    if array is None or (mask.collection and found != mask.collection):
        if mask.is_there:
            unknown = da.full(
                (cube.sizes["y"], cube.sizes["x"]), NO_COVER, np.uint8, chunks=_chunks(cube)
            )
            # Titles name the mask up to the colon.
            text = f"{mask.name or 'land cover'}: no map of this area"
            return (unknown, np.full(256, UNKNOWN, np.uint8)), text
        if mask.kind == AUTO and mask.classes is None:
            return None, ""
        raise no_landcover(mask, str(cube.attrs.get("archive")), found)
    codes = np.asarray(array.attrs["flag_values"]).tolist()
    classes = dict(zip(codes, str(array.attrs["flag_meanings"]).split(), strict=True))
    kept = cropland_classes(nomenclature) if mask.classes is None else mask.classes
    if mask.classes is not None and (strange := sorted({*kept} - {*classes.values()})):
        raise ArgumentError(
            f"mask_classes name {strange}, which {array.attrs['product']} does not have; it has "
            f"{sorted(classes.values())}."
        )
    table = np.full(256, LEFT_OUT, np.uint8)
    table[NO_COVER] = UNKNOWN
    for code, name in classes.items():
        if name in _NO_CLASS:
            table[code] = UNKNOWN
        elif name in kept:
            table[code] = CLASSIFIED
    there = [name for name in kept if name in classes.values()]
    years = " and ".join(map(str, np.atleast_1d(array.attrs["years"]).tolist()))
    return (array.data, table), f"{array.attrs['product']} {years}: {', '.join(there)}"


def no_landcover(mask: CropMask, archive: str, found: str) -> ArgumentError:
    """The error of a mask whose land cover an archive lacks; ``found`` is what it has instead."""
    name = next(name for name, own in _NAMED.items() if own == mask.collection and name != AUTO)
    # Named classes ask for a mask, also with "auto".
    asked = (
        f"mask is {name!r}" if mask.kind != AUTO else f"mask_classes are {list(mask.classes or ())}"
    )
    return ArgumentError(
        f"{asked}, but archive {archive} has {f'only {found}' if found else 'no land cover'} of "
        "the area. Pass parcels or a raster as the mask, or `mask=None` without classes."
    )


def _land_block(
    *cover: NDArray[np.uint8],
    lattice: Lattice,
    origin: Window,
    parcels: Outline | None,
    raster: MaskRaster | None,
    area: Outline | None,
    block_info: Mapping[object, Mapping[str, Sequence[tuple[int, int]]]],
    table: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    (r0, r1), (c0, c1) = block_info[None]["array-location"]
    window = Window(origin.row + r0, origin.column + c0, r1 - r0, c1 - c0)
    land = np.full((window.height, window.width), CLASSIFIED, np.uint8)
    if table is not None:
        land = table[cover[0]]
    if parcels is not None:
        land[~parcels.inside(lattice, window)] = LEFT_OUT
    if raster is not None:
        codes = raster.read(lattice, window)
        land[codes != KEPT] = LEFT_OUT
        land[codes == UNMASKED] = UNKNOWN
    if area is not None:
        land[~area.inside(lattice, window)] = OUTSIDE
    return land
