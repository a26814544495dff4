"""One simulated archive, described as the items of each provider's catalogue."""

import json
from copy import deepcopy

import numpy as np
import rasterio
from rasterio.shutil import copy

from cubecrop.archive import PROVIDERS
from cubecrop.testing import Elevation, Optical, Place, Radar, write_archive

PLACE = Place(height=640, width=640)
#: Whose form, under which collection.
PC = ("planetary-computer", "sentinel-2-l2a")
C1 = ("earth-search", "sentinel-2-c1-l2a")
L2A = ("earth-search", "sentinel-2-l2a")
CDSE = ("cdse", "sentinel-2-l2a")


def noise(seed, low, high):
    """Numbers of a place that differ from pixel to pixel."""

    def paint(x, y):
        return np.random.default_rng(seed).integers(low, high, x.shape)

    return paint


def clouds(seed):
    """Classes of blobs, a fifth of them cloud, shadow or no data."""

    def paint(x, y):
        coarse = np.random.default_rng(seed).choice([4, 5, 4, 5, 4, 5, 4, 5, 9, 3, 0], (8, 8))
        return np.kron(coarse, np.ones((x.shape[0] // 8, x.shape[1] // 8), int))

    return paint


#: Days of the images of `made_archive`: optical and radar.
OPTICAL_DAYS = ("2018-03-01", "2018-05-01", "2018-06-15", "2018-08-01")
RADAR_DAYS = ("2018-04-03", "2018-07-03")


def made_archive(folder, *, place=PLACE, days=OPTICAL_DAYS, radar_days=RADAR_DAYS, more=()):
    """A season of optical images, of radar and the elevation, of baseline 05.00, and more scenes.

    DN are above 1000 as ESA makes them, and none is 1000, which a file that was shifted
    cannot hold.
    """
    optical = [
        Optical(
            when=f"{day}T10:56:21Z", dn=noise(i, 1001, 6000), scl=clouds(i), place=place,
            baseline="05.00",
        )
        for i, day in enumerate(days)
    ]  # fmt: skip
    radar = [
        Radar(when=f"{day}T17:40:42Z", vv=0.1 + i / 50, place=place)
        for i, day in enumerate(radar_days)
    ]
    return write_archive(folder, [*optical, *radar, Elevation(place=place), *more])


def items_of(folder):
    return [
        (json.loads(path.read_text()), path.parent) for path in sorted(folder.glob("*/*/*.json"))
    ]


def in_form_of(folder, form, root, url):
    """Items of an archive in a catalogue's form, files under ``root`` read at ``url``.

    Files are those of the archive for the Planetary Computer and Collection 1; of
    ``sentinel-2-l2a`` on Earth Search they are shifted by 1000, of CDSE JPEG 2000.
    """
    provider, collection = form
    made = []
    for item, home in items_of(folder):
        modality = item["collection"]
        if modality == "sentinel-2-l2a":
            rule = PROVIDERS[provider].collections[collection]
            made.append(optical_item(item, home, form, rule.assets, root, url))
        elif provider == "planetary-computer" or modality.startswith("cop-dem"):
            made.append(moved(item, home, root, url))
    return made


def moved(item, home, root, url):
    """An item whose hrefs are addresses."""
    item = deepcopy(item)
    for asset in item["assets"].values():
        asset["href"] = f"{url}/{(home / asset['href']).resolve().relative_to(root)}"
    return item | {"links": []}


def optical_item(item, home, form, names, root, url):
    provider, collection = form
    properties = dict(item["properties"])
    if provider != "planetary-computer":
        properties["grid:code"] = f"MGRS-{properties.pop('s2:mgrs_tile')}"
    if form == L2A:
        properties["earthsearch:boa_offset_applied"] = True
    if form == CDSE:
        properties["processing:version"] = properties.pop("s2:processing_baseline")
        code = properties.pop("proj:code")
    assets = {}
    for band, key in names.items():
        asset = dict(item["assets"][band])
        path = home / asset["href"]
        if form == L2A and band != "SCL":
            path = shifted(path, root)
        if form == CDSE:
            path = as_jp2(path, root)
            asset["proj:code"] = code
        asset["href"] = f"{url}/{path.resolve().relative_to(root)}"
        if form != PC and band != "SCL":
            asset["raster:bands"] = [{"nodata": 0, "scale": 0.0001, "offset": -0.1}]
        assets[key] = asset
    return item | {
        "collection": collection, "properties": properties, "assets": assets, "links": [],
    }  # fmt: skip


def beside(path, root, kind, suffix):
    """A path for another form of a file, in a folder of that form."""
    out = root / kind / path.parent.name / f"{path.stem}{suffix}"
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


def shifted(path, root):
    """The file less 1000 where it has data, as Earth Search shifts."""
    out = beside(path, root, "shifted", ".tif")
    if not out.exists():
        with rasterio.open(path) as file:
            values, profile = file.read(), file.profile
        with rasterio.open(out, "w", **(profile | {"nodata": 0})) as file:
            file.write(np.where(values == 0, 0, values - 1000).astype(np.uint16))
    return out


def as_jp2(path, root):
    """The file as lossless JPEG 2000."""
    out = beside(path, root, "jp2", ".jp2")
    if not out.exists():
        copy(path, out, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES", YCBCR420="NO")
    return out


def write_catalogue(path, items):
    """Collections and items as files for a STAC API; returns their paths."""
    files = []
    for name in sorted({item["collection"] for item in items}):
        collection = {
            "type": "Collection", "stac_version": "1.0.0", "id": name, "description": name,
            "license": "other", "links": [],
            "extent": {
                "spatial": {"bbox": [[-180, -90, 180, 90]]},
                "temporal": {"interval": [["2017-01-01T00:00:00Z", "2022-01-01T00:00:00Z"]]},
            },
        }  # fmt: skip
        files.append(path / f"{name}.json")
        files[-1].write_text(json.dumps(collection))
    files.append(path / "items.json")
    files[-1].write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return files
