"""Write small static STAC archives from numbers in a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from affine import Affine

from cubecrop.testing.scenes import Place, Scene, Weather, season_scenes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

__all__ = ["write_archive"]

_TIFF: Final = "image/tiff; application=geotiff; profile=cloud-optimized"


def write_archive(folder: str | Path, scenes: Iterable[Scene] | None = None) -> Path:
    """Write a static STAC archive in the Planetary Computer's form.

    Parameters
    ----------
    folder : str or Path
        Folder to write to, created if it does not exist.
    scenes : iterable of Optical, Radar, Elevation, LandCover or Weather, optional
        Scenes of the archive; by default `season_scenes`.

    Returns
    -------
    pathlib.Path
        The folder. It holds ``catalog.json``, one collection for each kind of scene, and one
        folder for each item, with its TIFFs (tiled, deflated) or its Zarr store.
    """
    root = Path(folder)
    collections: dict[str, list[dict[str, Any]]] = {}
    for scene in season_scenes() if scenes is None else scenes:
        collection, item = _write_scene(root, scene)
        collections.setdefault(collection, []).append(item)
    for name, items in collections.items():
        _write_json(root / name / "collection.json", _collection(name, items))
    children = [{"rel": "child", "href": f"./{name}/collection.json"} for name in collections]
    links = [{"rel": "root", "href": "./catalog.json"}, *children]
    catalog = {"type": "Catalog", "id": "testing", "description": "Made for a test."}
    _write_json(root / "catalog.json", {**catalog, "stac_version": "1.0.0", "links": links})
    return root


def _write_scene(root: Path, scene: Scene) -> tuple[str, dict[str, Any]]:
    collection, name, properties, rasters = scene.describe()
    name = scene.id or name
    home = root / collection / name
    home.mkdir(parents=True, exist_ok=True)
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [scene.place.footprint]},
        "bbox": list(scene.place.bbox),
        "properties": {"proj:code": scene.place.crs, **properties, **scene.properties},
        "links": [
            {"rel": "root", "href": "../../catalog.json"},
            {"rel": "collection", "href": "../collection.json"},
            {"rel": "parent", "href": "../collection.json"},
        ],
        "assets": {
            key: _write_tiff(home / f"{key}.tif", scene.place, *raster)
            for key, raster in rasters.items()
        },
    }
    if isinstance(scene, Weather):
        _write_weather(home / "agera5.zarr", scene)
        item["assets"]["zarr"] = {"href": "./agera5.zarr", "type": "application/vnd+zarr"}
    _write_json(home / f"{name}.json", item)
    return collection, item


def _collection(name: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    west, south, east, north = zip(*(item["bbox"] for item in items), strict=True)
    spans = [item["properties"] for item in items]
    start = min(span.get("start_datetime") or span["datetime"] for span in spans)
    end = max(span.get("end_datetime") or span["datetime"] for span in spans)
    links = [{"rel": "item", "href": f"./{item['id']}/{item['id']}.json"} for item in items]
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": "Made for a test.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [[min(west), min(south), max(east), max(north)]]},
            "temporal": {"interval": [[start, end]]},
        },
        "links": [{"rel": "root", "href": "../catalog.json"}, *links],
    }


def _write_tiff(
    path: Path, place: Place, values: NDArray[Any], pixel: float, nodata: float | None
) -> dict[str, Any]:
    height, width = values.shape
    transform = Affine(pixel, 0, place.left, 0, -pixel, place.top)
    block = min(256, 16 * -(-max(height, width) // 16))
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype=values.dtype,
        crs=place.crs, transform=transform, nodata=nodata, compress="deflate", tiled=True,
        blockxsize=block, blockysize=block,
    ) as file:  # fmt: skip
        file.write(values, 1)
    where = {"proj:shape": [height, width], "proj:transform": list(transform)[:6]}
    return {"href": f"./{path.name}", "type": _TIFF, "roles": ["data"], **where}


def _write_weather(path: Path, scene: Weather) -> None:
    days, place = pd.date_range(scene.start, scene.end), scene.place
    shape = (len(days), place.height, place.width)
    variables = {}
    for name, (value, unit) in scene.variables.items():
        values = np.asarray(value, dtype=np.float32)
        values = values[:, None, None] if values.ndim == 1 else values
        filled = np.broadcast_to(values, shape).copy()
        variables[name] = (("time", "latitude", "longitude"), filled, {"units": unit})
    latitude = place.top - (np.arange(place.height) + 0.5) * place.pixel
    longitude = place.left + (np.arange(place.width) + 0.5) * place.pixel
    coords = {"time": days, "latitude": latitude, "longitude": longitude}
    xr.Dataset(variables, coords=coords).to_zarr(path, zarr_format=2, consolidated=True)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
