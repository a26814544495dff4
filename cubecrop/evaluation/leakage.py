"""Whether a protocol is honest: what its scores would owe to places, copies and absent classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from sklearn.neighbors import NearestNeighbors

from cubecrop.errors import ArgumentError
from cubecrop.evaluation.about import Finding
from cubecrop.evaluation.places import SAME_PLACE, nearest, on_sphere, united_groups
from cubecrop.evaluation.protocols import regions_of
from cubecrop.evaluation.series import mean_series
from cubecrop.metrics import accuracy_difference, intervals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from numpy.typing import NDArray

    from cubecrop.evaluation.population import Population
    from cubecrop.evaluation.protocols import Fold

    Level = Literal["leak", "caution", "fine"]
    Told = tuple[Level, str]

__all__ = ["findings"]

_LEVELS: Final = ("leak", "caution", "fine")
#: Coordinates alone may win this much accuracy over the most frequent class.
_GAIN: Final = 0.10
#: This share of the test parcels may have a copy in training.
_COPIES: Final = 0.01
#: Series are nearly the same below this share of the median distance to the tenth nearest.
_CLOSE: Final = 0.1
_USUAL: Final = 10
#: A class is nearly one region with this share of its parcels there.
_ONE_REGION: Final = 0.95
#: Classes that a sentence names.
_NAMED: Final = 10


def findings(population: Population, folds: Sequence[Fold]) -> tuple[Finding, ...]:
    """Check folds for leaks before any model is trained; reads the pixels of the samples.

    For each protocol:

    - how well labels are predicted from coordinates alone, by the nearest training parcel: a leak
      if accuracy is surely above that of the most frequent class by more than 0.1;
    - test parcels with a copy among the training parcels: an exact copy of the series, one that is
      nearly the same, or a parcel of the same year within 10 m: a leak from 1 % of them on;
    - classes of which 95 % or more of the parcels lie in one of several regions;
    - tested classes without a training parcel.

    Parameters
    ----------
    population : Population
        Labelled parcels.
    folds : sequence of Fold
        Folds of one protocol or several.

    Returns
    -------
    tuple of Finding
        Leaks first, then cautions, then what is fine; within a level in the order of protocols.
    """
    data = _Data(
        population=population,
        group=united_groups(population),
        region=_known_regions(population),
        series=tuple(mean_series(population)),
    )
    out = []
    for protocol in dict.fromkeys(fold.protocol for fold in folds):
        own = [fold for fold in folds if fold.protocol == protocol]
        told = [
            _of_places(data, own),
            _of_copies(data, own),
            *_of_other_years(data, own),
            _of_regions(data),
            _of_absent_classes(data, own),
            *(("fine", f"The protocol chose: {note}.") for note in {own[0].note} if note),
        ]
        out += [Finding(protocol=protocol, level=level, text=text) for level, text in told]
    return tuple(sorted(out, key=lambda one: _LEVELS.index(one.level)))


@dataclass(frozen=True, eq=False, kw_only=True)
class _Data:
    """What the checks of all protocols share; ``region`` is None if it cannot be known."""

    population: Population
    group: NDArray[np.object_]
    region: NDArray[np.object_] | None
    series: tuple[tuple[NDArray[np.int64], NDArray[np.float64]], ...]


def _of_places(data: _Data, folds: Sequence[Fold]) -> Told:
    """How well the nearest training parcel's class predicts the label."""
    population = data.population
    tested, by_place, by_count = [], [], []
    for fold in folds:
        train, test = (_placed(population, part) for part in (fold.train, fold.test))
        if len(train) and len(test):
            _, which = nearest(_points(population, test), _points(population, train))
            tested.append(test)
            by_place.append(population.label[train][which])
            most = np.bincount(population.label[test]).argmax()
            by_count.append(np.full(len(test), most))
    if not tested:
        return "caution", (
            "Parcels have no coordinates: whether labels follow from places was not checked."
        )
    members, guess, frequent = map(np.concatenate, (tested, by_place, by_count))
    truth, groups = population.label[members], data.group[members].tolist()
    n_classes = len(population.nomenclature)
    low, high = intervals(truth, guess, n_classes, groups=groups)["accuracy"]
    gain, (least, greatest) = accuracy_difference(truth, guess, frequent, groups=groups)
    text = (
        f"Coordinates alone, by the class of the nearest training parcel, reach an accuracy of "
        f"{(guess == truth).mean():.2f} (95 % interval {low:.2f} to {high:.2f}, n = "
        f"{len(truth):,}); the most frequent class of each test part reaches "
        f"{(frequent == truth).mean():.2f}, the difference is {gain:+.2f} ({least:+.2f} to "
        f"{greatest:+.2f}). "
    )
    if least <= 0:
        return "fine", text + "Places alone explain no more than one class does."
    level: Level = "leak" if least > _GAIN else "caution"
    return level, text + f"Knowing the place can explain {gain:.2f} of a model's accuracy."


def _of_copies(data: _Data, folds: Sequence[Fold]) -> Told:
    """Test parcels that have a copy among the training parcels."""
    found = np.concatenate(
        [
            np.stack([check(data, fold) for check in (_exact, _nearly_same, _same_place)], axis=-1)
            for fold in folds
        ]
    )  # (test parcel, kind)
    exact, near, placed = found.sum(axis=0).tolist()
    text = (
        f"Of {len(found):,} test parcels, {exact:,} have an exact copy of their series among the "
        f"training parcels, {near:,} one that is nearly the same, and {placed:,} a training parcel "
        f"of the same year within {SAME_PLACE:.0f} m."
    )
    share = found.any(axis=1).mean()
    return "fine" if share == 0 else "leak" if share >= _COPIES else "caution", text


def _exact(data: _Data, fold: Fold) -> NDArray[np.bool_]:
    """Whether a test parcel's series is that of a training parcel."""
    series = data.population.series
    known = series[fold.train][series[fold.train] != ""]
    return np.isin(series[fold.test], known)


def _nearly_same(data: _Data, fold: Fold) -> NDArray[np.bool_]:
    """Whether a test parcel's mean series is far closer to a training one than is usual.

    The usual is the median distance to the tenth nearest: nearer ones may all be copies.
    """
    out = np.zeros(len(data.population), dtype=bool)
    for members, values in data.series:
        train, test = np.isin(members, fold.train), np.isin(members, fold.test)
        if train.sum() > _USUAL and test.any():
            search = NearestNeighbors(n_neighbors=_USUAL, algorithm="brute").fit(values[train])
            distance = search.kneighbors(values[test])[0]
            out[members[test]] = distance[:, 0] < _CLOSE * np.median(distance[:, -1])
    return out[fold.test]


def _same_place(data: _Data, fold: Fold) -> NDArray[np.bool_]:
    """Whether a test parcel lies where a training parcel of its year does."""
    year = data.population.year
    out = np.zeros(len(data.population), dtype=bool)
    for when in np.unique(year[fold.test]):
        test, train = (part[year[part] == when] for part in (fold.test, fold.train))
        out[test] = _within(data.population, test, train)
    return out[fold.test]


def _of_other_years(data: _Data, folds: Sequence[Fold]) -> Iterator[Told]:
    """Test parcels whose place was trained on in another year; told only if there are any."""
    year = data.population.year
    n = found = 0
    for fold in folds:
        n += len(fold.test)
        for when in np.unique(year[fold.test]):
            test = fold.test[year[fold.test] == when]
            train = fold.train[year[fold.train] != when]
            found += int(_within(data.population, test, train).sum())
    if found:
        text = (
            f"{found:,} of {n:,} test parcels lie within {SAME_PLACE:.0f} m of a training parcel "
            "of another year. Scores of crops that stay, such as grass and orchards, do not hold "
            "for new places."
        )
        yield "caution", text


def _within(
    population: Population, test: NDArray[np.int64], train: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether a training parcel lies at the place of a test parcel (test,)."""
    out = np.zeros(len(test), dtype=bool)
    placed = np.isin(test, _placed(population, test))
    train = _placed(population, train)
    if placed.any() and len(train):
        distance, _ = nearest(_points(population, test[placed]), _points(population, train))
        out[placed] = distance <= SAME_PLACE
    return out


def _of_regions(data: _Data) -> Told:
    """Classes that a model can tell by their region."""
    if data.region is None:
        return "caution", (
            "Regions are not known: whether a class is nearly one region was not checked."
        )
    names, region = np.unique(data.region.astype(str), return_inverse=True)
    shape = len(data.population.nomenclature), len(names)
    counts = np.zeros(shape, dtype=np.int64)  # (class, region)
    np.add.at(counts, (data.population.label, region), 1)
    where, n = counts.argmax(axis=1), counts.sum(axis=1)
    most = counts.max(axis=1)
    # Where nearly all parcels are of one region, so is any class.
    usual = counts.sum(axis=0)[where] >= _ONE_REGION * counts.sum()
    single = np.flatnonzero((most >= _ONE_REGION * n) & (n > 0) & ~usual)
    if len(single) == 0:
        return "fine", f"Of {len(names)} regions, none has nearly all parcels of a class."
    told = [
        f"{data.population.nomenclature.names[i]} ({most[i]:,} of {n[i]:,} in {names[where[i]]})"
        for i in single
    ]
    return "caution", (
        f"Classes with {100 * _ONE_REGION:.0f} % or more of their parcels in one of {len(names)} "
        f"regions, by which a model can tell them: {_listed(told)}."
    )


def _of_absent_classes(data: _Data, folds: Sequence[Fold]) -> Told:
    """Classes that are tested and never trained on."""
    label, names = data.population.label, data.population.nomenclature.names
    told, n = [], 0
    for fold in folds:
        for index in np.setdiff1d(label[fold.test], label[fold.train]).tolist():
            count = int((label[fold.test] == index).sum())
            told.append(f"{names[index]} ({count:,} in {fold.name})")
            n += count
    total = sum(len(fold.test) for fold in folds)
    if not told:
        return "fine", f"Every class of the {total:,} test parcels has training parcels."
    return "caution", (
        f"{n:,} of {total:,} test parcels are of a class without a training parcel in their fold, "
        f"so no model can be right about them: {_listed(told)}."
    )


def _known_regions(population: Population) -> NDArray[np.object_] | None:
    try:
        return regions_of(population)
    except ArgumentError:  # without coordinates
        return None


def _placed(population: Population, members: NDArray[np.int64]) -> NDArray[np.int64]:
    """The members that have a place."""
    known = np.isfinite(population.lon[members]) & np.isfinite(population.lat[members])
    return members[known]


def _points(population: Population, members: NDArray[np.int64]) -> NDArray[np.float64]:
    return on_sphere(population.lon[members], population.lat[members])


def _listed(told: Sequence[str]) -> str:
    more = len(told) - _NAMED
    return ", ".join(told[:_NAMED]) + (f" and {more} more" if more > 0 else "")
