"""Where parcels lie: distances in metres, regions, and groups of parcels that belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.cluster import DBSCAN

from cubecrop.errors import ArgumentError
from cubecrop.sample import hash_ids

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.evaluation.population import Population

__all__ = [
    "RADIUS",
    "SAME_PLACE",
    "areas_apart",
    "canonical_order",
    "check_places",
    "found_regions",
    "lattice",
    "metres",
    "nearest",
    "on_sphere",
    "united_groups",
]

#: Mean radius of the Earth (IUGG), metres.
RADIUS: Final = 6_371_008.8
#: Parcels within this many metres share pixels.
SAME_PLACE: Final = 10.0
#: Cells in which parcels are neighbours, metres: fields, their weather and often their farmer are
#: the same.
_NEIGHBOURS: Final = 300.0
#: Regions are further apart than this, metres.
_APART: Final = 200_000.0
#: A region with a smaller share of the parcels is too small to be tested alone.
_SMALL: Final = 0.02
#: Regions are looked for among the middles of cells of this size, metres: their number is bounded.
_COARSE: Final = 5_000.0


def on_sphere(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (point, 3) in metres from the Earth's centre; nearest neighbours are those on it."""
    east, north = np.radians(lon), np.radians(lat)
    axes = np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)
    return RADIUS * np.stack(axes, axis=-1)


def metres(straight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances on the ground from straight ones between points of `on_sphere`."""
    return 2 * RADIUS * np.arcsin(np.clip(straight / (2 * RADIUS), 0, 1))


def nearest(
    points: NDArray[np.float64], others: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance in metres to the nearest of the others (point,), and its position (point,)."""
    straight, which = cKDTree(others).query(points)
    return metres(straight), which


def lattice(lon: NDArray[np.float64], lat: NDArray[np.float64], size: float) -> NDArray[np.int64]:
    """Cell (point, 2) of each place: row and column of a lattice of about ``size`` metres.

    Rows have the same height; the columns of a row have the same width on the ground.
    """
    row = np.floor(np.radians(lat) * RADIUS / size)
    middle = (row + 0.5) * size / RADIUS
    column = np.floor(np.radians(lon) * RADIUS * np.cos(middle) / size)
    return np.stack([row, column], axis=-1).astype(np.int64)


def check_places(population: Population, purpose: str) -> None:
    """Raise if a parcel has no place."""
    lacking = int((~_placed(population)).sum())
    if lacking:
        raise ArgumentError(
            f"{lacking} of {len(population)} parcels have no coordinates, which {purpose} needs. "
            "Give the samples the coordinates `lon` and `lat` (parcel,) in degrees."
        )


def canonical_order(population: Population) -> NDArray[np.int64]:
    """Positions in an order that depends only on ids, years, places and labels."""
    keys = population.label, population.lat, population.lon, population.year
    return np.lexsort((*keys, hash_ids(population.ids, "folds")))


def found_regions(population: Population) -> NDArray[np.object_]:
    """Regions found from coordinates.

    Parcels further than 200 km from all others form another region; a chain of parcels with
    shorter steps is one region. Places count as the middles of cells of 5 km. A region with less
    than 2 % of the parcels joins the nearest larger one.

    Parameters
    ----------
    population : Population
        All parcels have coordinates.

    Returns
    -------
    numpy.ndarray
        (parcel,) name of the region: its middle, such as "43.2N 81.0W".

    Raises
    ------
    ArgumentError
        A parcel has no coordinates.
    """
    check_places(population, "finding regions")
    points = on_sphere(population.lon, population.lat)
    region = _joined(areas_apart(population.lon, population.lat), points)
    centres = _degrees(_means(points, region, int(region.max()) + 1))
    names = [
        f"{abs(y):.1f}{'S' if y < 0 else 'N'} {abs(x):.1f}{'W' if x < 0 else 'E'}"
        for x, y in zip(*centres, strict=True)
    ]
    return np.array(names, dtype=object)[region]


def united_groups(population: Population) -> NDArray[np.object_]:
    """Name the group of each parcel, after uniting all that are not independent.

    Parcels belong together if they have the same group, are exact copies of the same series, lie
    in the same cell of a lattice of about 300 m, or within 10 m of each other. Groups of two
    sources are the same if they have the same name and lie in the same region, as `found_regions`
    finds them. Reads the pixels, once for each population.

    Parameters
    ----------
    population : Population
        Parcels without coordinates are united by group and series alone.

    Returns
    -------
    numpy.ndarray
        (parcel,) name of the group; it does not depend on the order of parcels.
    """
    n = len(population)
    placed = np.flatnonzero(_placed(population))
    lon, lat = population.lon[placed], population.lat[placed]
    everyone = np.arange(n)
    copied = np.flatnonzero(population.series != "")
    edges = [
        _links(everyone, _group_keys(population)),
        _links(copied, population.series[copied].astype(str)),
        _links(placed, lattice(lon, lat, _NEIGHBOURS)),
        placed[cKDTree(on_sphere(lon, lat)).query_pairs(SAME_PLACE, output_type="ndarray")],
    ]
    one, other = np.concatenate(edges).T
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(n, n))
    return _named(connected_components(graph, directed=False)[1], population)


def _placed(population: Population) -> NDArray[np.bool_]:
    return np.isfinite(population.lon) & np.isfinite(population.lat)


def _group_keys(population: Population) -> NDArray[np.str_]:
    """Text that is the same for parcels of one group."""
    names = np.array([str(name) for name in population.group])
    if len(population.sources) == 1:
        return names
    placed = _placed(population)
    where = np.full(len(names), "", dtype=object)
    if placed.any():
        where[placed] = areas_apart(population.lon[placed], population.lat[placed])
    # A parcel without a group has its id as its name, which only counts among its own source:
    # two tables may both number their parcels. Without places, names are all there is.
    own = np.array([f"{n} {name}" for n, name in zip(population.source, names, strict=True)])
    _, which, size = np.unique(own, return_inverse=True, return_counts=True)
    is_id = names == np.array([str(name) for name in population.ids])
    alone = placed & is_id & (size[which] == 1)
    where[alone] = [f"source {number}" for number in population.source[alone]]
    return np.array([f"{name}\n{place}" for name, place in zip(names, where, strict=True)])


def _links(members: NDArray[np.int64], keys: NDArray[np.generic]) -> NDArray[np.int64]:
    """Links (member, 2) from each member to the first one with the same key."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True, axis=0)
    return np.stack([members[first[inverse.ravel()]], members], axis=-1)


def _named(component: NDArray[np.int64], population: Population) -> NDArray[np.object_]:
    """Name components by the group of their first parcel; equal names get a number."""
    order = canonical_order(population)
    names: dict[int, str] = {}
    taken: dict[str, int] = {}
    for number, name in zip(component[order].tolist(), population.group[order], strict=True):
        if number not in names:
            text = str(name)
            taken[text] = taken.get(text, 0) + 1
            names[number] = text if taken[text] == 1 else f"{text} ({taken[text]})"
    return np.array([names[number] for number in component.tolist()], dtype=object)


def areas_apart(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number (point,) of the area of each place; areas are over 200 km apart."""
    cells, cell = np.unique(lattice(lon, lat, _COARSE), axis=0, return_inverse=True)
    cell = cell.ravel()
    middle = _degrees(_means(on_sphere(lon, lat), cell, len(cells)))
    # Haversine takes latitude before longitude.
    search = DBSCAN(eps=_APART / RADIUS, min_samples=1, metric="haversine", algorithm="ball_tree")
    return np.asarray(search.fit_predict(np.radians(np.stack(middle[::-1], axis=-1)))[cell])


def _joined(region: NDArray[np.int64], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers (point,) of regions from 0, after the smallest ones joined the nearest others."""
    large = np.flatnonzero(np.bincount(region) >= _SMALL * len(region))
    keep = np.isin(region, large)
    joined = region.copy()
    if keep.any() and not keep.all():
        for number in np.unique(region[~keep]):  # each as a whole
            own = region == number
            distance, which = nearest(points[own], points[keep])
            joined[own] = region[keep][which[distance.argmin()]]
    return np.unique(joined, return_inverse=True)[1]


def _means(points: NDArray[np.float64], which: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    sums = [np.bincount(which, weights=axis, minlength=n) for axis in points.T]
    return np.stack(sums, axis=-1) / np.bincount(which, minlength=n)[:, None]


def _degrees(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of points inside or on the sphere."""
    x, y, z = points.T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
