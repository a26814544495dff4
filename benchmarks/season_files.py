"""Files of a whole season, made quickly: a few dates are written, the others link to them.

Every date has its own paths, so that caches keyed by file name do not help.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from scipy import ndimage

import cubecrop
from cubecrop.testing import Optical, Place, Radar, write_archive

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "YEAR", "clouded", "hilly", "in_blocks", "located", "scattered_parcels", "square",
    "write_season",
]  # fmt: skip

YEAR = 2024
_CRS = "EPSG:32631"
#: Upper left corner of the Sentinel-2 tile 31UES, metres.
_LEFT, _TOP = 499_980, 5_700_000
#: Standard deviation of the logarithm of a parcel's number of pixels.
_UNEVEN = 0.6


def write_season(
    root: Path, *, side: int, n_optical: int, n_radar: int = 0, block: int = 512, painted: int = 5
) -> list[dict[str, Any]]:
    """Write files of Sentinel-2 and Sentinel-1 at even steps through the season of `YEAR`.

    Parameters
    ----------
    root : Path
        Folder to write to.
    side : int
        Side of the square in pixels of 10 m.
    n_optical, n_radar : int
        Number of dates of Sentinel-2 and of Sentinel-1.
    block : int
        Side of the files' blocks, pixels.
    painted : int
        Number of dates of each satellite with files of their own content.

    Returns
    -------
    list of dict
        STAC items whose hrefs are relative to ``root``; see `located`.
    """
    place = square(side)
    optical, radar = _moments(n_optical, "10:56:21"), _moments(n_radar, "17:40:42")
    scenes = [
        *(
            Optical(when=when, dn=hilly(i), scl=clouded(i), place=place)
            for i, when in enumerate(optical[:painted])
        ),
        *(
            Radar(when=when, vv=_speckled(i), vh=_speckled(i, 0.02), place=place)
            for i, when in enumerate(radar[:painted])
        ),
    ]
    write_archive(root, scenes)
    items = []
    for collection, moments in (("sentinel-2-l2a", optical), ("sentinel-1-rtc", radar)):
        if not moments:
            continue
        folder = root / collection
        first = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*/*.json"))]
        first.sort(key=lambda item: item["properties"]["datetime"])
        for item in first:
            for asset in item["assets"].values():
                in_blocks(folder / item["id"] / asset["href"], block)
        items += [_dated(first[i % len(first)], when, folder) for i, when in enumerate(moments)]
    return items


def located(items: Sequence[dict[str, Any]], base: str | Path, path: Path) -> Path:
    """Write items as an ItemCollection whose hrefs start with a folder or an address."""
    features = [
        item
        | {
            "assets": {
                key: asset | {"href": f"{base}/{asset['href']}"}
                for key, asset in item["assets"].items()
            }
        }
        for item in items
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    return path


def scattered_parcels(side: int, n: int, *, pixels: int = 144, seed: int = 0) -> gpd.GeoDataFrame:
    """Scatter parcels over the square of a season: rotated rectangles of a median size.

    Parameters
    ----------
    side : int
        Side of the square in pixels of 10 m.
    n : int
        Number of parcels; some overlap a little, as in real tables.
    pixels : int
        Median number of pixels of a parcel.
    seed : int
        Seed of their places and shapes.

    Returns
    -------
    geopandas.GeoDataFrame
        Columns ``id``, ``geometry``; in random spatial order.
    """
    rng = np.random.default_rng(seed)
    left, _, _, top = square(side).bounds
    cells = int(np.ceil(n**0.5))
    row, column = np.divmod(rng.permutation(cells**2)[:n], cells)
    x, y = (((at + rng.uniform(0.4, 0.6, n)) / cells * side * 10) for at in (column, row))
    area = np.minimum(pixels * np.exp(_UNEVEN * rng.normal(size=n)), side**2 / 4) * 100
    long = (area * rng.uniform(1, 3, n)) ** 0.5
    corner = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    across, up = long[:, None] * corner[:, 0], (area / long)[:, None] * corner[:, 1]
    turn = rng.uniform(0, np.pi, n)[:, None]
    ring = np.stack(
        [
            left + x[:, None] + across * np.cos(turn) - up * np.sin(turn),
            top - y[:, None] + across * np.sin(turn) + up * np.cos(turn),
        ],
        axis=2,
    )
    return gpd.GeoDataFrame({"id": np.arange(n)}, geometry=shapely.polygons(ring), crs=_CRS)


def hilly(seed: int) -> Callable[..., NDArray[np.float64]]:
    """Make digital numbers that deflate to about two thirds, as those of real bands do."""

    def paint(x: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.float64]:
        rng = np.random.default_rng(seed)
        rough = rng.normal(2500, 700, [side // 64 + 2 for side in x.shape])
        smooth = ndimage.zoom(rough, 64, order=1)[: x.shape[0], : x.shape[1]]
        return np.clip(smooth + rng.normal(0, 60, x.shape), 1001, 9000)

    return paint


def clouded(seed: int) -> Callable[..., NDArray[np.int64]]:
    """Make SCL classes, a quarter of them patches of cloud and shadow."""

    def paint(x: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.int64]:
        rough = np.random.default_rng(seed).normal(size=[side // 128 + 2 for side in x.shape])
        thick = ndimage.zoom(rough, 128, order=1)[: x.shape[0], : x.shape[1]]
        return np.select([thick > 0.8, thick > 0.6], [9, 3], 4)

    return paint


def in_blocks(path: Path, side: int) -> None:
    """Rewrite a file in blocks of another size."""
    with rasterio.open(path) as file:
        values, profile = file.read(), file.profile
    side = min(side, *(16 * -(-edge // 16) for edge in values.shape[1:]))
    path.unlink()
    predictor = 3 if values.dtype.kind == "f" else 2
    options = {"blockxsize": side, "blockysize": side, "predictor": predictor}
    with rasterio.open(path, "w", **(profile | options)) as file:
        file.write(values)


def square(side: int) -> Place:
    """The square of a season, with a side in pixels of 10 m."""
    return Place(crs=_CRS, left=_LEFT, top=_TOP, height=side, width=side)


def _moments(n: int, time: str) -> list[str]:
    season = cubecrop.Season(YEAR)
    days = [season.start + dt.timedelta(days=season.n_days * i // n) for i in range(n)]
    return [f"{day}T{time}Z" for day in days]


def _speckled(seed: int, level: float = 0.1) -> Callable[..., NDArray[np.float64]]:
    """Make backscatter in linear power, with the speckle of about four looks."""

    def paint(x: NDArray[np.float64], _: NDArray[np.float64]) -> NDArray[np.float64]:
        return level * np.random.default_rng(seed).gamma(4.4, 1 / 4.4, x.shape)

    return paint


def _dated(item: dict[str, Any], when: str, folder: Path) -> dict[str, Any]:
    """Copy an item to another date, with links to its files."""
    before = item["properties"]["datetime"]
    stamps = [f"{dt.datetime.fromisoformat(time):%Y%m%dT%H%M%S}" for time in (before, when)]
    text = json.dumps(item | {"links": []}).replace(before, when).replace(*stamps)
    dated: dict[str, Any] = json.loads(text)
    home = folder / dated["id"]
    home.mkdir(exist_ok=True)
    for asset in dated["assets"].values():
        file = home / asset["href"]
        if not file.exists():
            os.link(folder / item["id"] / file.name, file)
        asset["href"] = str(file.relative_to(folder.parent))
    return dated
