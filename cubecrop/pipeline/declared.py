"""Declared parcels of one or several years and archives, checked and split for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cubecrop.checks import brief
from cubecrop.errors import ArgumentError
from cubecrop.nomenclature import Nomenclature
from cubecrop.pipeline.inputs import as_season
from cubecrop.sample import plain_parcels, split_groups, split_parcels
from cubecrop.season import Season

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TypeAlias

    import geopandas as gpd
    from numpy.typing import NDArray

    from cubecrop.archive import Archive

__all__ = ["Declared", "Parcels", "as_sources", "season_in", "split_declared"]

Parcels: TypeAlias = "gpd.GeoDataFrame | str | Path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Labelled parcels of one year in one archive.

    Parameters
    ----------
    table : geopandas.GeoDataFrame
        Columns ``id`` and ``geometry``; plain shapes.
    texts : list of str or None
        One label per parcel.
    part : numpy.ndarray
        (parcel,) "train", "held out" or "unlabelled".
    group : numpy.ndarray, optional
        (parcel,) names; parcels of one place have the same name in all years.
    region : numpy.ndarray, optional
        (parcel,) names of regions.
    """

    table: gpd.GeoDataFrame
    texts: list[str | None]
    part: NDArray[np.object_]
    group: NDArray[np.object_] | None = None
    region: NDArray[np.object_] | None = None

    def take(self, index: NDArray[np.int64]) -> Declared:
        """Some of the parcels, by position."""
        return Declared(
            table=self.table.iloc[index],
            texts=[self.texts[i] for i in index.tolist()],
            part=self.part[index],
            group=None if self.group is None else self.group[index],
            region=None if self.region is None else self.region[index],
        )


def as_sources(
    parcels: Parcels | Sequence[tuple[Parcels, int, str | Path | Archive | None]],
    year: int | None,
    archive: str | Path | Archive | None,
) -> list[tuple[Parcels, int, str | Path | Archive | None]]:
    """Parcels, year and archive of each source, from one or from a list of several.

    An archive of None is chosen later, among one's own and the public ones.

    Raises
    ------
    ArgumentError
        The year is missing; year or archive are given twice; or the list holds something else.
    """
    if not isinstance(parcels, list | tuple):
        if year is None:
            raise ArgumentError(
                "parcels need a harvest year: `train(parcels, label, year)`, with `archive=...` "
                "for another archive than a public one. For several years, pass a list of "
                "(parcels, year, archive)."
            )
        return [(parcels, year, archive)]
    if year is not None or archive is not None:
        raise ArgumentError(
            "`year` and `archive` are given beside a list of (parcels, year, archive), which has "
            "its own. Leave them out."
        )
    if not parcels or not all(isinstance(one, list | tuple) and len(one) == 3 for one in parcels):
        raise ArgumentError(
            f"parcels is {brief(parcels)}, expected a table, the path of a vector file, or a list "
            "of (parcels, year, archive)."
        )
    return [(one, when, where) for one, when, where in parcels]


def season_in(year: int, season: Season | None, *, several: bool) -> Season | int:
    """Season of a source; with several sources, the window of the passed season in its year."""
    if several and isinstance(season, Season):
        return Season(year).with_window(season.window)
    return as_season(year, season)


def split_declared(
    tables: Sequence[gpd.GeoDataFrame],
    years: Sequence[int],
    texts: Sequence[list[str | None]],
    label: str,
    *,
    held_out: float,
    seed: int,
) -> list[Declared]:
    """Hold out a share of the parcels of each class; a place is held out in all years or in none.

    So is a parcel that a table has twice.

    Parameters
    ----------
    tables : sequence of geopandas.GeoDataFrame
        Checked tables with the label column, one for each source.
    years : sequence of int
        Their harvest years.
    texts : sequence of list
        Their labels as text.
    label, held_out, seed
        As for `cubecrop.split_parcels`.
    """
    parts = [
        split_parcels(table, label, held_out=held_out, seed=seed).to_numpy() for table in tables
    ]
    names = _places(tables, years)
    if len(tables) == 1 and len(set(names)) == len(names):
        return [Declared(table=tables[0], texts=texts[0], part=parts[0])]
    every = [text for own in texts for text in own]
    labelled = np.flatnonzero(np.concatenate(parts) != "unlabelled")
    classes = Nomenclature.from_labels(every, name=label)
    index = np.array([classes.index(every[i]) for i in labelled], dtype=np.int64)
    chosen = split_groups(index, names[labelled].tolist(), held_out, salt="split", seed=seed)
    part = np.full(len(every), "unlabelled", dtype=object)
    part[labelled] = np.where(chosen, "held out", "train")
    stops = np.cumsum([len(table) for table in tables])[:-1]
    return [
        Declared(table=table, texts=own, part=own_part, group=group)
        for table, own, own_part, group in zip(
            tables, texts, np.split(part, stops), np.split(names, stops), strict=True
        )
    ]


def _places(tables: Sequence[gpd.GeoDataFrame], years: Sequence[int]) -> NDArray[np.object_]:
    """Names of the places of all parcels, one after the other.

    Two parcels of different sources are at one place if one of them contains an inner point of
    the other; two of one source, which may lie within each other, if both do. Ids do not count,
    since many tables number their parcels from 1, and joined tables give one parcel two ids.
    """
    source = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    crs = tables[0].crs if len(tables) == 1 else "EPSG:4326"
    shapes = np.concatenate([plain_parcels(t).geometry.to_crs(crs).to_numpy() for t in tables])
    points = shapely.point_on_surface(shapes)
    point, shape = shapely.STRtree(shapes).query(points, predicate="intersects")
    n = len(shapes)
    mutual = np.isin(point * n + shape, shape * n + point) & (point != shape)
    together = (source[point] != source[shape]) | mutual
    ends = point[together], shape[together]
    edges = coo_array((np.ones(len(ends[0])), ends), shape=(n, n))
    _, component = connected_components(edges, directed=False)
    keys = [
        f"{year} {key}" for table, year in zip(tables, years, strict=True) for key in table["id"]
    ]
    # Tables of one year may have the same ids at different places.
    x, y = shapely.get_x(points).tolist(), shapely.get_y(points).tolist()
    ids = [f"{key} {lon:.5f} {lat:.5f}" for key, lon, lat in zip(keys, x, y, strict=True)]
    # The first name of a place stands for it, in any order of the sources.
    order = np.argsort(ids, kind="stable")
    _, first = np.unique(component[order], return_index=True)
    names: NDArray[np.object_] = np.array(ids, dtype=object)[order[first]][component]
    return names
