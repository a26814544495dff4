"""What a tile costs: bytes to read, requests and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from cubecrop.schema import CLOUD_PROBABILITY, SENTINEL1_BANDS, SENTINEL2_BANDS, SERIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from cubecrop.cube.tiles import Bounds
    from cubecrop.region.items import FrozenItems
    from cubecrop.region.options import RunOptions
    from cubecrop.schema import Scene

__all__ = ["Prices", "bytes_per_km2"]

#: Compressed bytes of a pixel, for items that do not state `file:size`: means of `file:size` by
#: pixels over items of Earth Search ``sentinel-2-c1-l2a`` (0.9 to 1.0, SCL and cloud 0.05) and
#: CDSE (0.9 to 1.0), and of Planetary Computer ``sentinel-1-rtc`` (2.7). For the elevation, which
#: no item states, half of the float32; for land cover, that of ``io-lulc-annual-v02`` (0.03)
#: rounded up.
_REFLECTANCE: Final = 1.0
_BYTES: Final[Mapping[str, float]] = {
    "SCL": 0.05, "CLDPRB": 0.06, "vv": 2.7, "vh": 2.7, "elevation": 2.0, "landcover": 0.05,
}  # fmt: skip
#: Pixel sizes in metres, for items that do not state a grid.
_TEN: Final = frozenset({"B02", "B03", "B04", "B08", "vv", "vh", "landcover"})
_ELEVATION_PIXEL: Final = 30.0
#: Side of a block in pixels; one request fetches one block, at most.
_BLOCK: Final = 512


def bytes_per_km2(scene: Scene, item: Mapping[str, Any]) -> dict[str, float]:
    """Compressed bytes of a square kilometre, by band."""
    if scene.modality == "weather":
        return {}
    # Several assets may share an address, and the keys of assets differ between catalogues.
    stated = {str(asset.get("href")): asset.get("file:size") for asset in item["assets"].values()}
    found = {}
    for band, asset in scene.assets.items():
        size = stated.get(asset.href)
        grid = asset.shape, asset.pixel
        if isinstance(size, int | float) and size > 0 and None not in grid:
            (rows, columns), (width, height) = asset.shape, asset.pixel  # type: ignore[misc]
            area = abs(rows * columns * width * height) / 1e6
            # An item in degrees: the ground of a pixel differs, but weather and elevation are few.
            if width > 1e-2:
                found[band] = round(size / area)
                continue
        found[band] = round(_BYTES.get(band, _REFLECTANCE) * 1e6 / _pixel(band) ** 2)
    return found


def _pixel(band: str) -> float:
    if band == "elevation":
        return _ELEVATION_PIXEL
    return 10.0 if band in _TEN else 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What reading costs, for the items of a plan.

    ``density`` (item,) is in bytes a km2, ``bands`` are those that are read, by modality.
    """

    items: FrozenItems
    options: RunOptions
    boxes: NDArray[np.float64]
    density: NDArray[np.float64]
    blocks: NDArray[np.float64]

    @classmethod
    def of(cls, items: FrozenItems, options: RunOptions) -> Prices:
        """Prices of all items."""
        unread = set() if options.clouds == "probability" else {CLOUD_PROBABILITY}
        known: dict[int, tuple[float, float]] = {}
        rows = []
        for sizes in items.sizes:
            if id(sizes) not in known:  # equal sizes are one object
                read = [band for band in sizes if band not in unread]
                side = [_BLOCK * _pixel(band) / 1000 for band in read]
                known[id(sizes)] = (
                    float(sum(sizes[band] for band in read)), float(sum(1 / s**2 for s in side)),
                )  # fmt: skip
            rows.append(known[id(sizes)])
        density, blocks = np.array(rows, dtype=np.float64).reshape(-1, 2).T
        return cls(
            items=items, options=options, boxes=shapely.bounds(items.shapes), density=density,
            blocks=blocks,
        )  # fmt: skip

    def reading(
        self, read: Bounds, rows: NDArray[np.int64], shape: BaseGeometry
    ) -> tuple[int, int]:
        """Bytes and requests for the items of a tile.

        Counts the share of the tile in the bounding rectangle of each footprint, which is more
        than the share that a footprint with a slanted edge covers.
        """
        low = np.maximum(self.boxes[rows, :2], shape.bounds[:2])
        high = np.minimum(self.boxes[rows, 2:], shape.bounds[2:])
        whole = np.subtract(shape.bounds[2:], shape.bounds[:2])
        share = np.clip((high - low) / whole, 0, 1).prod(axis=1)
        km2 = (read[2] - read[0]) * (read[3] - read[1]) / 1e6
        n_bytes = float((share * km2 * self.density[rows]).sum())
        # A request fetches a block at most, and each file's header is another one.
        requests = float(np.ceil(share * km2 * self.blocks[rows]).sum())
        return round(n_bytes), round(requests)

    def results(self, mapped: Bounds | None, rows: NDArray[np.int64], n_edge: int) -> int:
        """Bytes of what a tile keeps in memory until it is written.

        Parameters
        ----------
        mapped : tuple of float or None
            The mapped rectangle, metres: crop type, confidence and numbers of clear dates.
        rows : numpy.ndarray
            The tile's items.
        n_edge : int
            Parcels that cross the edge of the tile, whose pixel sets are stored.
        """
        options, total = self.options, 0
        if mapped is not None:
            left, bottom, right, top = mapped
            size = options.resolution
            sensors = sum(name in SERIES for name in options.modalities)
            total += round((right - left) / size) * round((top - bottom) / size) * (5 + 2 * sensors)
        of_a_pixel = 0
        for name, bands in (("sentinel2", SENTINEL2_BANDS), ("sentinel1", SENTINEL1_BANDS)):
            passes = np.unique(self.items.hours[rows[self.items.modality[rows] == name]])
            of_a_pixel += len(passes) * (4 * len(bands) + 1)  # float32, and whether it is valid
        return total + n_edge * options.n_pixels * of_a_pixel
