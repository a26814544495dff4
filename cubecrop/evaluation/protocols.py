"""Protocols: which parcels are trained on and which are tested."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from cubecrop.checks import brief, check_number, check_whole
from cubecrop.errors import ArgumentError
from cubecrop.evaluation.knndm import area_points, knndm
from cubecrop.evaluation.places import (
    areas_apart,
    canonical_order,
    check_places,
    found_regions,
    lattice,
    nearest,
    on_sphere,
    united_groups,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from cubecrop.evaluation.population import Population

__all__ = ["PROTOCOLS", "Fold", "folds", "regions_of"]

#: Sizes of blocks that are tried, metres.
_BLOCKS: Final = (500e3, 200e3, 100e3, 50e3, 20e3, 10e3, 5e3, 2e3, 1e3)
#: There are at least this many blocks for each fold, so that classes can be balanced.
_BLOCKS_PER_FOLD: Final = 4
#: No fold tests more than this many times its equal share of the parcels.
_UNEVEN: Final = 1.5
#: The buffer, as a share of a block's side.
_BUFFER: Final = 0.1


@dataclass(frozen=True, eq=False, kw_only=True)
class Fold:
    """One split of a population.

    Parameters
    ----------
    protocol : str
        Name of the protocol.
    name : str
        Name of the test part, such as "1 of 5" or a region.
    train, test : numpy.ndarray
        Positions in the population, ascending, without a common one.
    note : str
        What the protocol chose, such as the size of its blocks; "" if it had no choice.
    """

    protocol: str
    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    note: str = ""

    @property
    def identity(self) -> list[str]:
        """Its name, and digests of its parts."""
        parts = (np.ascontiguousarray(part, dtype=np.int64) for part in (self.train, self.test))
        digests = [hashlib.sha256(part.tobytes()).hexdigest() for part in parts]
        return [self.protocol, self.name, *digests]


@dataclass(frozen=True, eq=False, kw_only=True)
class _Task:
    """Columns of the parcels in canonical order, and the options of `folds`."""

    population: Population
    order: NDArray[np.int64]
    label: NDArray[np.int64]
    group: NDArray[np.int64]  # number after uniting
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    n_folds: int
    seed: int
    block: float | None
    buffer: float | None
    target: NDArray[np.float64] | None


#: Name of a fold, its test and training parcels (parcel,), and a note.
_Split = tuple[str, "NDArray[np.bool_]", "NDArray[np.bool_]", str]


def folds(
    population: Population,
    protocol: str,
    *,
    n_folds: int = 5,
    seed: int = 0,
    block: float | None = None,
    buffer: float | None = None,
    target: ArrayLike | None = None,
) -> list[Fold]:
    """Split a population into training and test parcels; reads the pixels of its samples.

    Parameters
    ----------
    population : Population
        Labelled parcels.
    protocol : str
        One of `PROTOCOLS`:

        - ``random``: parcels at random, classes balanced. Parcels that belong together (see
          `united_groups`) stay together.
        - ``blocked``: blocks of land at random, classes balanced. Training parcels within the
          buffer of a test parcel are left out.
        - ``knndm``: folds whose distances from test to training parcels resemble those from the
          target to the parcels; see `cubecrop.evaluation.knndm`.
        - ``leave-region-out``: each region is tested by a model of the others. Regions are those
          of the population, or found by `found_regions`.
        - ``leave-year-out``: each year is tested by a model of the others. A parcel may have been
          trained on in another year, as where last year's declarations are at hand.
        - ``region-and-year``: one region in one year is tested by a model of the other regions in
          the other years.
    n_folds : int, default 5
        Number of folds of the first three protocols.
    seed : int, default 0
        The folds depend on ids, labels, places and the seed, not on the order of parcels.
    block : float, optional
        Side of a block in metres; by default the largest of 1 to 500 km that gives four blocks
        for each fold and folds of similar size.
    buffer : float, optional
        Metres; by default a tenth of the block's side.
    target : array-like, optional
        (point, 2) longitude and latitude in degrees of points where the map will be made; by
        default 1,000 points over the convex hulls of the parcels; parcels more than 200 km from
        all others have a hull of their own.

    Returns
    -------
    list of Fold
        Every parcel is tested once, except in ``region-and-year`` where its region or year has no
        training parcels.

    Raises
    ------
    ArgumentError
        The protocol is unknown, or asks for what the data do not have: several regions or years,
        coordinates, or enough groups.
    """
    if protocol not in _PROTOCOLS:
        raise ArgumentError(f"protocol is {brief(protocol)}, expected one of {list(PROTOCOLS)}.")
    for name, value in (("block", block), ("buffer", buffer)):
        if value is not None and protocol != "blocked":
            raise ArgumentError(f"{name} is given for {protocol!r}, expected only for 'blocked'.")
    if target is not None and protocol != "knndm":
        raise ArgumentError(f"target is given for {protocol!r}, expected only for 'knndm'.")
    if block is not None:
        block = check_number("block", block, above=0, what="metres above 0")
    if buffer is not None:
        buffer = check_number("buffer", buffer, minimum=0, what="metres, 0 or more")
    order = canonical_order(population)
    task = _Task(
        population=population,
        order=order,
        label=population.label[order],
        group=_numbers(united_groups(population)[order]),
        lon=population.lon[order],
        lat=population.lat[order],
        n_folds=check_whole("n_folds", n_folds, minimum=2),
        seed=check_whole("seed", seed, minimum=0),
        block=block,
        buffer=buffer,
        target=None if target is None else _points(target),
    )
    out = []
    for name, test, train, note in _PROTOCOLS[protocol](task):
        if not train.any():
            raise ArgumentError(
                f"{protocol}, {name}: no parcel is left to train on. Choose another protocol, "
                "fewer folds, or smaller blocks and buffers."
            )
        parts = {"train": np.sort(order[train]), "test": np.sort(order[test])}
        out.append(Fold(protocol=protocol, name=name, note=note, **parts))
    return out


def regions_of(population: Population) -> NDArray[np.object_]:
    """The region (parcel,) of each parcel: as given, or found if none is given.

    Raises
    ------
    ArgumentError
        Some parcels have a region and others have none, or regions cannot be found.
    """
    lacking = int((population.region == "").sum())
    if lacking == len(population):
        return found_regions(population)
    if lacking:
        raise ArgumentError(
            f"{lacking} of {len(population)} parcels have no region. Name one for every parcel, or "
            "for none: then regions are found from coordinates."
        )
    return population.region


def _random(task: _Task) -> Iterator[_Split]:
    yield from _numbered(_random_folds(task), task.n_folds, "")


def _random_folds(task: _Task) -> NDArray[np.int64]:
    fold = _stratified(task.label, task.group, task.n_folds, task.seed)
    if fold is None:
        raise ArgumentError(
            f"the {len(task.label)} parcels form {task.group.max() + 1} groups after uniting "
            f"copies and neighbours, too few or too large for {task.n_folds} folds. Choose a "
            "smaller n_folds, or give more parcels."
        )
    return fold


def _blocked(task: _Task) -> Iterator[_Split]:
    check_places(task.population, "'blocked'")
    sizes = _BLOCKS if task.block is None else (task.block,)
    n_folds = task.n_folds
    middle = np.unique(task.group, return_index=True)[1]  # a parcel of each group
    for size in sizes:
        cells = lattice(task.lon[middle], task.lat[middle], size)
        block = np.unique(cells, axis=0, return_inverse=True)[1].ravel()[task.group]
        if task.block is None and block.max() + 1 < _BLOCKS_PER_FOLD * n_folds:
            continue
        fold = _stratified(task.label, block, n_folds, task.seed)
        if fold is None:
            continue
        if task.block is None and np.bincount(fold).max() > _UNEVEN * len(fold) / n_folds:
            continue
        break
    else:
        raise ArgumentError(
            f"no blocks of {sizes[-1]:,.0f} m or more give {n_folds} folds of similar size. "
            "Choose the protocol 'random', a smaller `n_folds`, or a smaller `block` in metres."
        )
    buffer = _BUFFER * size if task.buffer is None else task.buffer
    places = on_sphere(task.lon, task.lat)
    splits = []
    for name, test, train, _ in _numbered(fold, n_folds, ""):
        near = nearest(places, places[test])[0] <= buffer
        splits.append((name, test, train & ~near, int((train & near).sum())))
    left_out = [n for *_, n in splits]
    note = (
        f"blocks of {size / 1e3:,.4g} km and a buffer of {buffer / 1e3:,.4g} km, by which a fold "
        f"leaves out {min(left_out):,} to {max(left_out):,} training parcels"
    )
    yield from ((name, test, train, note) for name, test, train, _ in splits)


def _matched(task: _Task) -> Iterator[_Split]:
    check_places(task.population, "'knndm'")
    random = _random_folds(task)
    target = task.target
    if target is None:
        target = area_points(task.lon, task.lat, areas_apart(task.lon, task.lat))
    matched = knndm(task.lon, task.lat, task.group, target, random)
    made = f"{matched.n_clusters} clusters" if matched.n_clusters else "random folds"
    note = (
        f"{made}; median distance of test to training parcels {matched.of_folds / 1e3:,.3g} km, of "
        f"the target to the parcels {matched.of_target / 1e3:,.3g} km; mean difference of their "
        f"distributions (W1) {matched.wasserstein / 1e3:,.3g} km"
    )
    yield from _numbered(matched.fold, task.n_folds, note)


def _by_region(task: _Task) -> Iterator[_Split]:
    region = _several(regions_of(task.population)[task.order], "region", "leave-region-out")
    for name in np.unique(region):
        test = region == name
        yield str(name), test, ~_together(task, test), ""


def _by_year(task: _Task) -> Iterator[_Split]:
    year = _several(task.population.year[task.order], "year", "leave-year-out")
    for name in np.unique(year):
        yield str(name), year == name, year != name, ""


def _by_both(task: _Task) -> Iterator[_Split]:
    region = _several(regions_of(task.population)[task.order], "region", "region-and-year")
    year = _several(task.population.year[task.order], "year", "region-and-year")
    n_folds = 0
    for place in np.unique(region):
        for when in np.unique(year):
            test = (region == place) & (year == when)
            train = (region != place) & (year != when) & ~_together(task, test)
            if test.any() and train.any():
                n_folds += 1
                yield f"{place}, {when}", test, train, ""
    if n_folds == 0:
        raise ArgumentError(
            "no region has parcels in a year with parcels of another region in another year, "
            "which 'region-and-year' needs. Choose 'leave-region-out' or 'leave-year-out'."
        )


_PROTOCOLS: Final[dict[str, Callable[[_Task], Iterator[_Split]]]] = {
    "random": _random,
    "blocked": _blocked,
    "knndm": _matched,
    "leave-region-out": _by_region,
    "leave-year-out": _by_year,
    "region-and-year": _by_both,
}
#: Names of the protocols of `folds`.
PROTOCOLS: Final = tuple(_PROTOCOLS)


def _stratified(
    label: NDArray[np.int64], group: NDArray[np.int64], n_folds: int, seed: int
) -> NDArray[np.int64] | None:
    """Number (parcel,) of the fold that tests a parcel; None if a fold would be empty."""
    if group.max() + 1 < n_folds:
        return None
    # A class with fewer parcels than folds cannot be balanced, only the number of parcels.
    counts = np.bincount(label)
    balanced = np.where(counts[label] < n_folds, counts.argmax(), label)
    split = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    fold = np.full(len(label), -1)
    for number, (_, test) in enumerate(split.split(label, balanced, group)):
        fold[test] = number
    return fold if np.bincount(fold, minlength=n_folds).all() else None


def _numbered(fold: NDArray[np.int64], n_folds: int, note: str) -> Iterator[_Split]:
    for number in range(n_folds):
        test = fold == number
        yield f"{number + 1} of {n_folds}", test, ~test, note


def _together(task: _Task, test: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Parcels (parcel,) of the groups that have a test parcel."""
    return np.isin(task.group, task.group[test])


def _several(values: NDArray[np.generic], what: str, protocol: str) -> NDArray[np.str_]:
    """Names; raises if there is only one."""
    names = values.astype(str)
    if len(np.unique(names)) < 2:
        raise ArgumentError(
            f"all parcels are of the {what} {str(names[0])!r}, and {protocol!r} needs several. "
            f"Give samples of another {what}, or choose another protocol."
        )
    return names


def _points(target: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(target, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ArgumentError(
            f"target has the shape {points.shape}, expected (point, 2): longitude and latitude of "
            "one or more points in degrees."
        )
    return points


def _numbers(names: NDArray[np.object_]) -> NDArray[np.int64]:
    """Numbers from 0 for names."""
    return np.unique(names.astype(str), return_inverse=True)[1]
