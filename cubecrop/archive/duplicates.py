"""Find the scenes that show the same acquisition, and keep the newest."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from cubecrop.archive.identity import HALF_ORBIT, newness, utc
from cubecrop.schema import MODALITIES, OPTIONAL_MODALITIES, SERIES, Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["resolve_duplicates"]

#: Two tiles' footprints that overlap less than this are halves to mosaic, not duplicates.
_SAME_FOOTPRINT: Final = 0.95
#: Scenes without a tile that start this close together may show one acquisition: the slices of
#: a radar pass follow each other every 25 seconds.
_ONE_MOMENT: Final = dt.timedelta(seconds=5)


def resolve_duplicates(
    scenes: Iterable[Scene], preference: Sequence[str] = ()
) -> tuple[tuple[Scene, ...], tuple[Scene, ...]]:
    """Keep the newest processing of each acquisition; keep both of two complementary halves.

    Parameters
    ----------
    scenes : iterable of Scene
        In any order. Several images may share an id, and several items may show one image.
    preference : sequence of str
        Collections in order of preference. It decides between equally new scenes.

    Returns
    -------
    tuple
        The scenes to keep and the superseded scenes, each in order of time.
    """
    kept: list[Scene] = []
    superseded: list[Scene] = []
    ranks = {collection: -i for i, collection in enumerate(preference)}

    def by_newness(scene: Scene) -> tuple[object, ...]:
        rank = ranks.get(scene.collection, -len(ranks))
        return (*newness(scene.baseline, scene.generated), rank, *_by_name(scene))

    for group in _acquisitions(scenes):
        group.sort(key=by_newness, reverse=True)
        for i, scene in enumerate(group):
            # One newer scene must cover this one alone. If several could cover it together, the
            # result would depend on the area of the search.
            old = any(_replaces(newer, scene) for newer in group[:i])
            (superseded if old else kept).append(scene)
    order = {modality: i for i, modality in enumerate((*MODALITIES, *OPTIONAL_MODALITIES))}

    def by_time(scene: Scene) -> tuple[object, ...]:
        return (order[scene.modality], scene.start, *_by_name(scene))

    return tuple(sorted(kept, key=by_time)), tuple(sorted(superseded, key=by_time))


def _by_name(scene: Scene) -> tuple[object, ...]:
    """A key that orders otherwise equal scenes, whatever the order of the items."""
    return scene.id, scene.files, scene.href or "", scene.footprint.wkb


def _acquisitions(scenes: Iterable[Scene]) -> list[list[Scene]]:
    """Group scenes that may show one acquisition: one place, one pass, one satellite."""
    unique: dict[tuple[object, ...], Scene] = {}
    for scene in sorted(scenes, key=_by_name):
        # An item may be listed twice, for example if the pages of an answer overlap.
        key = (scene.collection, scene.modality, scene.start, scene.generated, scene.baseline)
        unique.setdefault((*key, _unsigned(scene), scene.id, scene.footprint.wkb), scene)
    sorts: dict[bool, list[Scene]] = {True: [], False: []}
    for scene in unique.values():
        sorts[scene.modality in SERIES and bool(scene.tile)].append(scene)
    return _by_tile(sorts[True]) + _by_moment(sorts[False])


def _unsigned(scene: Scene) -> tuple[str, ...]:
    """Addresses of a scene's files without signatures, which differ between answers."""
    return tuple(href.split("?")[0] for href in scene.files)


def _by_tile(scenes: Iterable[Scene]) -> list[list[Scene]]:
    """Group scenes of the same tile from the same pass of the same satellite."""
    groups: dict[tuple[str, ...], list[Scene]] = {}
    later: list[Scene] = []
    for scene in scenes:
        if not scene.datatake:
            later.append(scene)
        else:
            pass_ = (scene.modality, scene.platform, scene.tile, scene.datatake)
            groups.setdefault(pass_, []).append(scene)
    for scene in sorted(later, key=lambda s: (s.start, *_by_name(s))):
        tile = (scene.modality, scene.platform, scene.tile)
        for key, group in groups.items():
            # A datatake starts up to half an hour before its last tile.
            start = utc(key[3]) if key[3] else group[-1].start
            if key[:3] == tile and abs(scene.start - start) < HALF_ORBIT:
                group.append(scene)
                break
        else:
            groups[*tile, "", str(len(groups))] = [scene]
    return list(groups.values())


def _by_moment(scenes: Iterable[Scene]) -> list[list[Scene]]:
    """Group scenes without a tile: satellites by start time, the others by collection and id."""
    groups: dict[tuple[object, ...], list[list[Scene]]] = {}
    for scene in sorted(scenes, key=lambda s: (s.start, *_by_name(s))):
        if scene.modality in SERIES:
            # Tiles of two zones from the same moment overlap but are different images.
            zone = scene.crs if scene.modality == "sentinel2" else ""
            key: tuple[object, ...] = (scene.modality, scene.platform, zone)
        else:
            key = (scene.modality, scene.collection, scene.id, scene.start, scene.end)
        moments = groups.setdefault(key, [])
        if moments and scene.start - moments[-1][0].start <= _ONE_MOMENT:
            moments[-1].append(scene)
        else:
            moments.append([scene])
    return [group for moments in groups.values() for group in moments]


def _replaces(newer: Scene, older: Scene) -> bool:
    """Whether a newer scene shows the same product, or nearly all that an older one does."""
    if _same_product(older, newer):
        return True
    rank, older_rank = (newness(scene.baseline, scene.generated) for scene in (newer, older))
    if older.modality in SERIES and not older.tile and rank == older_rank:
        return False  # a copy and the other half of an image look the same here
    if older.footprint.area == 0:
        return bool(older.footprint.intersects(newer.footprint))
    shared = older.footprint.intersection(newer.footprint).area
    return bool(shared / older.footprint.area >= _SAME_FOOTPRINT)


def _same_product(scene: Scene, other: Scene) -> bool:
    """Whether two collections show one product, even with different outlines."""
    made = scene.baseline, scene.generated
    twins = bool(scene.generated) and made == (other.baseline, other.generated)
    return twins and scene.collection != other.collection and bool(scene.tile)
