"""Which tiles an area and its parcels need, and what each of them maps and reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from cubecrop.aoi import Aoi
from cubecrop.cube.tiles import Lands, Tile, TileLattice
from cubecrop.region.parcels import Pairs, extent_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from shapely.geometry.base import BaseGeometry

    from cubecrop.cube.outline import Outline
    from cubecrop.cube.tiles import Bounds

__all__ = ["MARGIN", "Draft", "drafts_of", "read_area"]

#: Metres for curved edges. Items are frozen within this distance of the outline of all tiles, whose
#: edges bend otherwise in degrees than those of one tile.
MARGIN: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A tile before its items are known; see `PlannedTile`."""

    tile: Tile
    mapped: Bounds | None
    read: Bounds
    is_shared: bool


def drafts_of(
    area: Aoi,
    lands: Sequence[Lands],
    pairs: Pairs | None,
    *,
    side: float,
    resolution: float,
    maps: bool,
    outline: Outline | None = None,
) -> list[Draft]:
    """Tiles of an area, by CRS and place.

    Parameters
    ----------
    area : Aoi
        The area. If it is a rectangle, its bounding rectangle in each CRS is mapped, as in
        `classify`; otherwise only tiles that meet it.
    lands : sequence of Lands
        Its parts, one a CRS.
    pairs : Pairs, optional
        Which tiles parcels touch.
    side, resolution : float
        Of tiles and pixels, metres.
    maps : bool
        Whether pixels are mapped; otherwise only parcels are sampled.
    outline : Outline, optional
        Polygons that the map is clipped to; tiles without any are left out.
    """
    by_crs = {land.crs: land for land in lands}
    mapped: dict[Tile, Bounds] = {}
    if maps:
        is_rectangle = bool(area.geometry.equals(area.geometry.envelope))
        for land in lands:
            shapes = None if outline is None else outline.to_crs(land.crs, land.bounds)
            mapped |= {
                tile: part
                for tile, part in _mapped(land, side, resolution, whole=is_rectangle)
                if shapes is None or shapes.meets(part)
            }
    with_parcels = pairs.tiles if pairs is not None else ()
    drafts = []
    for tile in sorted({*mapped, *with_parcels}):
        part = mapped.get(tile)
        boxes = [part] if part is not None else []
        if pairs is not None and (extent := extent_of(pairs, tile)) is not None:
            boxes.append(extent)
        land = by_crs[tile.crs]
        drafts.append(
            Draft(
                tile=tile, mapped=part, read=_around(boxes),
                is_shared=part is not None and not _owned(land, part, resolution)[1],
            )
        )  # fmt: skip
    return drafts


def read_area(drafts: Iterable[Draft], *, margin: float = 0.0) -> BaseGeometry:
    """All that tiles read, and so many metres around it, in degrees."""
    by_crs: dict[str, list[BaseGeometry]] = {}
    for draft in drafts:
        by_crs.setdefault(draft.tile.crs, []).append(shapely.box(*draft.read))
    parts = []
    for crs, boxes in by_crs.items():
        whole = shapely.union_all(boxes)
        parts.append(Aoi(whole.buffer(margin, quad_segs=1) if margin else whole, crs).lonlat)
    return shapely.union_all(parts)


def _mapped(
    land: Lands, side: float, resolution: float, *, whole: bool
) -> Iterator[tuple[Tile, Bounds]]:
    left, bottom, right, top = land.bounds
    # A point or a line gets one pixel, as in `grid_for`.
    right, bottom = max(right, left + resolution), min(bottom, top - resolution)
    shapely.prepare(land.geometry)
    for tile in TileLattice(land.crs, side, resolution).tiles((left, bottom, right, top)):
        part = (
            max(tile.left, left), max(tile.bottom, bottom),
            min(tile.right, right), min(tile.top, top),
        )  # fmt: skip
        if not whole and not land.geometry.intersects(shapely.box(*part)):
            continue
        if _owned(land, part, resolution)[0]:
            yield tile, part


def _owned(land: Lands, part: Bounds, resolution: float) -> tuple[bool, bool]:
    """Whether a zone owns any pixel, and all pixels, of a rectangle.

    Zones meet at meridians, which hardly bend within a tile: if a zone owns all pixels of the
    edge it owns those within, and if it owns none of them it owns none within.
    """
    left, bottom, right, top = part
    far = MARGIN
    x, y = np.array([left - far, right + far]), np.array([bottom - far, top + far])
    if land.owns(*(corners.ravel() for corners in np.meshgrid(x, y))).all():
        return True, True
    half = resolution / 2
    x, y = np.arange(left + half, right, resolution), np.arange(bottom + half, top, resolution)
    rows = [np.full_like(x, edge) for edge in (bottom + half, top - half)]
    columns = [np.full_like(y, edge) for edge in (left + half, right - half)]
    owned = land.owns(np.concatenate([x, x, *columns]), np.concatenate([*rows, y, y]))
    return bool(owned.any()), bool(owned.all())


def _around(boxes: Sequence[Bounds]) -> Bounds:
    left, bottom = (min(box[i] for box in boxes) for i in (0, 1))
    right, top = (max(box[i] for box in boxes) for i in (2, 3))
    return left, bottom, right, top
