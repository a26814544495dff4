"""The mask and the outline of a region, stored with its plan for the workers.

``plan/run.json`` says which mask it is: its kind, the classes of land cover that count as cropland
(None = the model's classes decide), and the SHA-256 of parcels or a raster. Their shapes lie in
``plan/mask.parquet``, an array in ``plan/mask.tif``; a GeoTIFF stays where it is. The polygons that
the map is clipped to lie in ``plan/outline.parquet``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import geopandas as gpd
import numpy as np
import rasterio
from affine import Affine

from cubecrop.cube.mask_raster import UNMASKED, MaskRaster
from cubecrop.cube.outline import Outline
from cubecrop.errors import OutputError
from cubecrop.pipeline.masks import CropMask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cubecrop.region.output import Output

__all__ = [
    "mask_of", "mask_query", "mask_row", "mask_text", "outline_of", "outline_row", "write_land",
]  # fmt: skip

_MASK_SHAPES: Final = "plan/mask.parquet"
_MASK_RASTER: Final = "plan/mask.tif"
_OUTLINE: Final = "plan/outline.parquet"


def mask_row(mask: CropMask) -> dict[str, Any] | None:
    """A mask as JSON; None if there is none. An address has no query, which may hold a token."""
    row: dict[str, Any] = {"kind": mask.kind}
    if mask.kind == "none":
        return None
    if mask.needs_landcover:
        return {
            **row, "collection": mask.collection,
            "classes": None if mask.classes is None else list(mask.classes),
        }  # fmt: skip
    if mask.outline is not None:
        return {**row, "name": mask.name, **_row_of(mask.outline)}
    assert mask.raster is not None  # noqa: S101 (for type checkers)
    href = None if mask.raster.codes is not None else _parted(mask.raster.href)[0]
    return {
        **row, "name": mask.name, "sha256": mask.raster.digest, "href": href,
        "content": mask.raster.content,
    }  # fmt: skip


def mask_query(mask: CropMask) -> str:
    """The query of the address of a raster, which workers get beside the plan; else ""."""
    return _parted(mask.raster.href)[1] if mask.raster is not None else ""


def _parted(href: str) -> tuple[str, str]:
    """An address and its query with the question mark; the name of a file may hold one."""
    if "://" not in href and not href.startswith("/vsi"):
        return href, ""
    address, mark, query = href.partition("?")
    return address, mark + query


def outline_row(outline: Outline | None) -> dict[str, str] | None:
    """An outline as JSON; None if there is none."""
    return None if outline is None else _row_of(outline)


def _row_of(shapes: Outline) -> dict[str, str]:
    return {"crs": shapes.crs, "sha256": shapes.digest}


def mask_text(row: Mapping[str, Any] | None) -> str:
    """The mask of a plan in words, "" for none."""
    if row is None:
        return ""
    if row["kind"] == "landcover":
        classes = "" if row["classes"] is None else f": {', '.join(row['classes'])}"
        return f"{row['product']}{classes}"
    return f"raster of {row['name']}" if row["kind"] == "raster" else str(row["name"])


def write_land(output: Output, mask: CropMask, outline: Outline | None) -> None:
    """Write what workers need of a mask and an outline; remove what an earlier plan left."""
    for name, shapes in ((_MASK_SHAPES, mask.outline), (_OUTLINE, outline)):
        if shapes is None:
            output.remove(name)
            continue
        with output.new_file(name) as path:
            _write_shapes(path, shapes)
    if mask.raster is None or mask.raster.codes is None:
        output.remove(_MASK_RASTER)
        return
    with output.new_file(_MASK_RASTER) as path:
        _write_raster(path, mask.raster)


def mask_of(output: Output, row: Mapping[str, Any] | None, *, query: str = "") -> CropMask:
    """The mask of a `mask_row` and a `mask_query`, read once a process."""
    if row is None:
        return CropMask(kind="none")
    if row["kind"] in {"auto", "landcover"}:
        classes = None if row["classes"] is None else tuple(row["classes"])
        return CropMask(
            kind=row["kind"],
            collection=row["collection"],
            classes=classes,
            is_there=True,
            name=row.get("product", ""),
        )
    if row["kind"] == "parcels":
        shapes = _shapes(output, _MASK_SHAPES, row["crs"], row["sha256"])
        return CropMask(kind="parcels", outline=shapes, name=row["name"])
    if row["href"]:
        raster = MaskRaster(href=f"{row['href']}{query}")
    else:
        raster = _array(output, row["content"])
    return CropMask(kind="raster", raster=raster, name=row["name"])


def outline_of(output: Output, row: Mapping[str, str] | None) -> Outline | None:
    """The polygons of an `outline_row`, read once a process."""
    return None if row is None else _shapes(output, _OUTLINE, row["crs"], row["sha256"])


def _write_shapes(path: Path, shapes: Outline) -> None:
    table = gpd.GeoDataFrame(geometry=shapes.shapes, crs=shapes.crs)
    table.to_parquet(path, index=False, compression="zstd", schema_version="1.1.0")


@functools.lru_cache(maxsize=4)
def _shapes(output: Output, name: str, crs: str, digest: str) -> Outline:
    with output.local(name) as path:
        table = gpd.read_parquet(path)
    found = Outline(table.geometry.to_numpy(), crs)
    _check(found.digest, output, name, digest)
    return found


def _write_raster(path: Path, raster: MaskRaster) -> None:
    assert raster.codes is not None  # noqa: S101 (for type checkers)
    height, width = raster.codes.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype="uint8",
        crs=raster.crs, transform=Affine(*raster.transform), nodata=UNMASKED, compress="deflate",
        tiled=True,
    ) as file:  # fmt: skip
        file.write(raster.codes, 1)


@functools.lru_cache(maxsize=2)
def _array(output: Output, digest: str) -> MaskRaster:
    with output.local(_MASK_RASTER) as path, rasterio.open(path) as file:
        codes, transform = np.asarray(file.read(1)), tuple(map(float, file.transform))[:6]
        found = MaskRaster(codes=codes, crs=file.crs.to_wkt(), transform=transform)
    # A file may write a CRS in other words, so only the codes are compared.
    _check(found.content, output, _MASK_RASTER, digest)
    return found


def _check(found: str, output: Output, name: str, digest: str) -> None:
    if found != digest:
        raise OutputError(
            f"{output.url} holds another {name} than its plan says. Run the same command again, "
            "which writes it."
        )
