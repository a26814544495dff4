"""Items, rasters and catalog of the simulated archive, in the Planetary Computer's form."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pystac
import rasterio
import shapely

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from affine import Affine
    from numpy.typing import NDArray

__all__ = ["add_raster", "make_item", "write_catalog"]

_COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
_EXTENSIONS: Final = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "eo": "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "view": "https://stac-extensions.github.io/view/v1.0.0/schema.json",
    "sat": "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
    "sar": "https://stac-extensions.github.io/sar/v1.0.0/schema.json",
    "xarray": "https://stac-extensions.github.io/xarray-assets/v1.0.0/schema.json",
}
_COLLECTIONS: Final = {
    "sentinel-2-l2a": "Simulated Sentinel-2 L2A: DN = reflectance x 10000 + 1000, nodata 0.",
    "sentinel-1-rtc": "Simulated Sentinel-1 RTC: gamma nought, linear power, nodata -32768.",
    "cop-dem-glo-30": "Simulated elevation in metres, 1 arcsecond.",
    "agera5-daily": "Simulated daily weather of 0.1 degree cells, as Zarr.",
    "esa-worldcover": "Simulated land cover in WorldCover's codes, nodata 0.",
}


def make_item(
    item_id: str,
    collection: str,
    *,
    footprint: shapely.Polygon,
    when: dt.datetime | tuple[dt.datetime, dt.datetime],
    properties: Mapping[str, Any],
    extensions: Iterable[str],
    epsg: int | None = None,
) -> pystac.Item:
    """Make the item of a scene; ``footprint`` is lon/lat, ``when`` a time or a period in UTC."""
    if collection not in _COLLECTIONS:
        raise KeyError(collection)
    projection = {} if epsg is None else {"proj:code": f"EPSG:{epsg}", "proj:epsg": epsg}
    start, end = when if isinstance(when, tuple) else (None, None)
    item = pystac.Item(
        id=item_id,
        geometry=shapely.geometry.mapping(footprint),
        bbox=list(footprint.bounds),
        datetime=when if isinstance(when, dt.datetime) else None,
        start_datetime=start,
        end_datetime=end,
        properties={**projection, **properties},
        stac_extensions=[_EXTENSIONS[name] for name in (*(("proj",) if epsg else ()), *extensions)],
    )
    item.extra_fields["collection"] = collection
    return item


def add_raster(
    item: pystac.Item,
    folder: Path,
    key: str,
    image: NDArray[Any],
    *,
    transform: Affine,
    epsg: int,
    nodata: float | None = None,
    gsd: float | None = None,
) -> None:
    """Write one asset (y, x) as a tiled, deflated GeoTIFF, and add it to the item."""
    height, width = image.shape
    # GDAL pads the last tile, so a small image gets the smallest tile that holds it.
    block = min(512, 16 * -(-max(height, width) // 16))
    with rasterio.open(
        folder / f"{key}.tif",
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype=image.dtype,
        crs=f"EPSG:{epsg}",
        transform=transform,
        nodata=nodata,
        tiled=True,
        blockxsize=block,
        blockysize=block,
        compress="deflate",
        zlevel=1,
        predictor=3 if np.issubdtype(image.dtype, np.floating) else 2,
    ) as target:
        target.write(image, 1)
    fields: dict[str, Any] = {
        "proj:shape": [height, width],
        "proj:transform": list(transform)[:6],
    }
    if gsd is not None:
        fields["gsd"] = gsd
    item.add_asset(
        key,
        pystac.Asset(href=f"./{key}.tif", media_type=_COG, roles=["data"], extra_fields=fields),
    )


def write_catalog(root: Path, items: Iterable[pystac.Item], *, title: str) -> None:
    """Write the items, their collections and ``catalog.json``, with relative links."""
    catalog = pystac.Catalog(id="cubecrop-simulated", description=title)
    by_collection: dict[str, list[pystac.Item]] = {name: [] for name in _COLLECTIONS}
    for item in items:
        by_collection[item.extra_fields.pop("collection")].append(item)
    for name, members in by_collection.items():
        if not members:
            continue
        collection = pystac.Collection(
            id=name,
            description=_COLLECTIONS[name],
            extent=pystac.Extent.from_items(members),
            license="Apache-2.0",
        )
        collection.add_items(members)
        catalog.add_child(collection)
    # Without the slash, pystac takes a folder with a dot in its name for a file.
    catalog.normalize_hrefs(f"{root}/")
    catalog.save(catalog_type=pystac.CatalogType.SELF_CONTAINED)
