"""kNNDM: folds whose distances resemble those between the map and the samples.

A score of cross-validation holds for the distances between its test and training parcels. Where
samples are clustered and the map is not, random folds test too close to the training parcels.

References
----------
Linnenbrink et al. 2024, doi:10.5194/gmd-17-5897-2024; Milà et al. 2022,
doi:10.1111/2041-210X.13851. The method is that of ``knndm`` in the R package CAST, which clusters
by Ward's linkage and merges the clusters along their first principal component.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.stats import qmc, wasserstein_distance

from cubecrop.circle import wrap
from cubecrop.evaluation.places import RADIUS, lattice, nearest, on_sphere

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Matched", "area_points", "fold_distances", "knndm"]

#: No fold holds more of the parcels than this, as in CAST.
_LARGEST_FOLD: Final = 0.5
#: Numbers of clusters that are tried, as in CAST.
_TRIES: Final = 100
#: Places that are clustered; the memory grows with their square.
_MOST_PLACES: Final = 3_000
#: Points that stand for the map, as in CAST.
_POINTS: Final = 1_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Matched:
    """Folds, and how well their distances match.

    Parameters
    ----------
    fold : numpy.ndarray
        (parcel,) number of the fold that tests a parcel.
    n_clusters : int
        Clusters that were merged into the folds; 0 for random folds.
    wasserstein : float
        Mean difference between the two distributions of distances (W1), metres.
    of_target, of_folds : float
        Median distance from the target to the parcels, and from test to training parcels, metres.
    """

    fold: NDArray[np.int64]
    n_clusters: int
    wasserstein: float
    of_target: float
    of_folds: float


def knndm(
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    group: NDArray[np.int64],
    target: NDArray[np.float64],
    random: NDArray[np.int64],
) -> Matched:
    """Choose the folds whose distances resemble those of the target most.

    Places are clustered, the clusters are merged into folds, and the number of clusters is chosen
    by Wasserstein's distance between the distances from test to training parcels and those from
    the target to the parcels. Random folds are one more candidate: they win where samples are not
    more clustered than the target.

    Parameters
    ----------
    lon, lat : numpy.ndarray
        (parcel,) degrees.
    group : numpy.ndarray
        (parcel,) number of the group, from 0; groups stay whole.
    target : numpy.ndarray
        (point, 2) longitude and latitude of points where the map will be made.
    random : numpy.ndarray
        (parcel,) random folds, from 0.
    """
    parcels = on_sphere(lon, lat)
    wanted, _ = nearest(on_sphere(*target.T), parcels)
    matched = []
    for n_clusters, fold in _candidates(parcels, lon, lat, group, random):
        distances = fold_distances(parcels, fold)
        matched.append(
            Matched(
                fold=fold,
                n_clusters=n_clusters,
                wasserstein=float(wasserstein_distance(distances, wanted)),
                of_target=float(np.median(wanted)),
                of_folds=float(np.median(distances)),
            )
        )
    return min(matched, key=lambda one: one.wasserstein)


def fold_distances(parcels: NDArray[np.float64], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance (parcel,) in metres from each parcel to the nearest one of another fold."""
    out = np.zeros(len(parcels))
    for number in np.unique(fold):
        test = fold == number
        out[test], _ = nearest(parcels[test], parcels[~test])
    return out


def area_points(
    lon: NDArray[np.float64], lat: NDArray[np.float64], part: NDArray[np.int64]
) -> NDArray[np.float64]:
    """About 1,000 points (point, 2) spread evenly over the convex hull of each part's parcels.

    Larger hulls have more points. A part whose parcels span no area has the parcels as points.
    """
    corners = {}
    for name in np.unique(part).tolist():
        own = part == name
        # An equal-area projection; longitudes count from a parcel of the part.
        east = np.radians(wrap(lon[own] - lon[own][0]))
        plane = np.stack([east, np.sin(np.radians(lat[own]))], axis=-1) * RADIUS
        corners[name] = lon[own][0], plane, shapely.MultiPoint(plane).convex_hull
    total = sum(hull.area for *_, hull in corners.values())
    points = []
    for start, plane, hull in corners.values():
        spread = _spread(hull, round(_POINTS * hull.area / total)) if hull.area > 0 else plane
        x, y = (spread if len(spread) else plane).T / RADIUS
        points.append(np.stack([wrap(start + np.degrees(x)), np.degrees(np.arcsin(y))], axis=-1))
    return np.concatenate(points)


def _spread(hull: shapely.Geometry, n: int) -> NDArray[np.float64]:
    """``n`` points of Halton's sequence inside a hull."""
    west, south, east, north = hull.bounds
    share = hull.area / ((east - west) * (north - south))
    unit = qmc.Halton(2, scramble=False).random(round(2 * n / share) + 64)
    points = unit * [east - west, north - south] + [west, south]
    return np.asarray(points[shapely.contains_xy(hull, *points.T)][:n])


def _candidates(
    parcels: NDArray[np.float64],
    lon: NDArray[np.float64],
    lat: NDArray[np.float64],
    group: NDArray[np.int64],
    random: NDArray[np.int64],
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Numbers of clusters and the folds (parcel,) that they make; 0 for random folds."""
    yield 0, random
    n_folds = int(random.max()) + 1
    place = _places(lon, lat, group)
    sizes = np.bincount(place)
    middles = np.stack([np.bincount(place, axis) for axis in parcels.T], axis=-1) / sizes[:, None]
    if len(sizes) - 2 <= n_folds:
        return
    tree = linkage(middles, method="ward")
    numbers = np.geomspace(n_folds, len(sizes) - 2, _TRIES).round().astype(int)
    for number in np.unique(numbers).tolist():
        cluster = fcluster(tree, number, criterion="maxclust") - 1
        fold = _merged(cluster, middles, sizes, n_folds)[place]
        shares = np.bincount(fold, minlength=n_folds) / len(fold)
        if shares.min() > 0 and shares.max() <= _LARGEST_FOLD:
            yield number, fold


def _places(
    lon: NDArray[np.float64], lat: NDArray[np.float64], group: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Number (parcel,) of a place from 0: a group, or where there are many, a cell of groups."""
    first = np.unique(group, return_index=True)[1]
    place, size = group, 1_000.0
    while place.max() >= _MOST_PLACES:
        cells = lattice(lon[first], lat[first], size)
        place = np.unique(cells, axis=0, return_inverse=True)[1].ravel()[group]
        size *= 2
    return place


def _merged(
    cluster: NDArray[np.int64],
    middles: NDArray[np.float64],
    sizes: NDArray[np.int64],
    n_folds: int,
) -> NDArray[np.int64]:
    """Fold (place,) of each place; large clusters have one of their own, others are dealt out."""
    counts = np.bincount(cluster, weights=sizes)
    centres = np.stack([np.bincount(cluster, axis * sizes) for axis in middles.T], axis=-1)
    spread = np.repeat(middles, sizes, axis=0)
    spread = spread - spread.mean(axis=0)
    axis = np.linalg.eigh(spread.T @ spread)[1][:, -1]
    along = np.argsort(centres @ axis / counts, kind="stable")
    large = along[counts[along] >= sizes.sum() / n_folds]
    others = along[counts[along] < sizes.sum() / n_folds]
    fold = np.zeros(len(counts), dtype=np.int64)
    fold[large] = np.arange(len(large))
    if len(others):
        fold[others] = len(large) + np.arange(len(others)) % (n_folds - len(large))
    return fold[cluster]
