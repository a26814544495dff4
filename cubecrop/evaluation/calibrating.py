"""Calibrate a model without losing training parcels: on inner folds of the training parcels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from cubecrop.checks import brief, check_whole
from cubecrop.errors import ArgumentError, LabelError
from cubecrop.evaluation.population import Population
from cubecrop.training import as_config, check_fit_options, check_init, config_of_init, fit
from cubecrop.training.probability_calibration import calibrate, calibrate_to_hardest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cubecrop.model import Calibration, CropModel
    from cubecrop.nomenclature import Nomenclature
    from cubecrop.training import Init, TrainConfig
    from cubecrop.training.sets import Labels, Samples

__all__ = ["InnerFolds", "calibrate_on_folds", "inner_folds"]

InnerFolds = Literal["groups", "blocks"]


def calibrate_on_folds(
    samples: Samples,
    labels: Labels,
    *,
    nomenclature: Nomenclature | None = None,
    config: TrainConfig | None = None,
    init: Init | None = None,
    folds: InnerFolds = "groups",
    n_folds: int = 3,
    seed: int = 0,
    device: str | None = None,
) -> Calibration:
    """Fit the calibration of a model to predictions of its training parcels by other models.

    A model that learns from few parcels cannot spare any for validation. Here, ``n_folds`` inner
    models are each trained without one fold of the parcels, and predict it. Temperature and
    threshold are fitted to these predictions. They suit the model of all parcels:
    ``model.with_calibration(calibrate_on_folds(samples, labels))``. The cost is that of
    ``n_folds`` more trainings.

    Parameters
    ----------
    samples, labels, nomenclature, config, init, seed, device
        Those of the call of `cubecrop.fit` that made the model. Parcels that the model must not
        have seen must not be among the samples here either.
    folds : {"groups", "blocks"}, default "groups"
        Which parcels a fold has. ``"groups"``: random groups, for use in the region and year of
        the training parcels; the calibration is fitted to all folds together. ``"blocks"``: strips
        of the training area, which stand in for a region that the model does not know. Since that
        may be less alike than strips are, the calibration is fitted to the hardest strip: the
        model becomes less confident, and its crop sets larger.
    n_folds : int, default 3
        Number of folds, 2 or more.

    Returns
    -------
    Calibration
        ``n`` counts the parcels that it was fitted to. Out of these are left those without a
        prediction, and those of a class that the training part of their fold lacks: the model
        of all parcels knows this class, and the inner model does not.

    Raises
    ------
    LabelError
        A fold's training part has fewer than two classes; parcels have no known place, for
        blocks; there are fewer groups than folds, or too large ones; or fewer than 20 parcels are
        predicted.
    LabelError, SchemaError
        As for `cubecrop.fit`.
    """
    check_init(init)
    config = config_of_init(init, as_config(config))
    check_fit_options(config=config, seed=seed, device=device, checkpoint=None, progress=False)
    population = Population.of(samples, labels, nomenclature=nomenclature)
    config = replace(config, validation=0.0)
    predicted = []
    for fold in inner_folds(population, folds, n_folds=n_folds, seed=seed):
        learned = np.setdiff1d(np.arange(len(population)), fold)
        model = _trained(population, learned, config, init, seed, device)
        known = fold[np.isin(population.label[fold], population.label[learned])]
        predicted.append(_predicted(model, population, known, config.n_pixels, device))
    probability, truth = (np.concatenate(part) for part in zip(*predicted, strict=True))
    found = (
        calibrate_to_hardest(predicted, alpha=config.alpha)
        if folds == "blocks"
        else calibrate(probability, truth, alpha=config.alpha)
    )
    if found is None:
        raise LabelError(
            f"{len(truth)} parcels with a class that other folds have are too few to calibrate on, "
            "expected 20 or more with a prediction (for blocks, in a block), and "
            "`TrainConfig(alpha=...)` above 0."
        )
    return found


def inner_folds(
    population: Population, folds: InnerFolds, *, n_folds: int, seed: int = 0
) -> list[NDArray[np.int64]]:
    """Divide a population into folds of nearly equal size; groups stay together.

    Parameters
    ----------
    population : Population
        The parcels.
    folds : {"groups", "blocks"}
        ``"groups"``: at random, with the classes in equal shares where groups allow.
        ``"blocks"``: strips across the direction in which the parcels extend most.
    n_folds : int
        Number of folds.
    seed : int, default 0
        Another seed makes other random folds; strips do not depend on it.

    Returns
    -------
    list of numpy.ndarray
        Positions (member,) of each fold in the population.

    Raises
    ------
    LabelError
        There are fewer groups than folds, or too large ones; or parcels have no known place,
        for blocks.
    """
    check_whole("n_folds", n_folds, minimum=2)
    if folds not in get_args(InnerFolds):
        raise ArgumentError(
            f"folds is {brief(folds)}, expected one of {list(get_args(InnerFolds))}."
        )
    names, group = np.unique(population.group.astype(str), return_inverse=True)
    if len(names) < n_folds:
        raise LabelError(
            f"the parcels are of {len(names)} groups, expected {n_folds} or more for {n_folds} "
            "folds."
        )
    if folds == "groups":
        parts = list(_random(population.label, group, n_folds, seed))
    else:
        strip = _strips(population, group, n_folds)
        parts = [np.flatnonzero(strip == number) for number in range(n_folds)]
    if not all(map(len, parts)):
        raise LabelError(
            f"{len(names)} groups of {len(group)} parcels do not fill {n_folds} folds: a group is "
            "too large. Pass a smaller `n_folds`, or samples with smaller groups."
        )
    return parts


def _random(
    label: NDArray[np.int64], group: NDArray[np.int64], n_folds: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    # The split warns of a class with fewer parcels than folds, so such classes join another.
    counts = np.bincount(label)
    classes = np.where(counts[label] < n_folds, counts.argmax(), label)
    split = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for _, fold in split.split(classes, classes, group):
        yield np.asarray(fold, dtype=np.int64)


def _strips(population: Population, group: NDArray[np.int64], n_folds: int) -> NDArray[np.int64]:
    """Number (parcel,) of the strip that a parcel's group lies in."""
    unknown = ~np.isfinite(population.lon + population.lat)
    if unknown.any():
        raise LabelError(
            f"{int(unknown.sum())} of {len(unknown)} parcels have no known place (coordinates "
            "'lon' and 'lat'), which blocks need. Use `folds='groups'`."
        )
    lon, lat = np.radians(population.lon), np.radians(population.lat)
    # On the sphere, since longitudes jump at 180°.
    place = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    size = np.bincount(group)
    centre = np.stack([np.bincount(group, one) / size for one in place.T], axis=1)
    centre -= centre.mean(axis=0)
    axis = np.linalg.svd(centre, full_matrices=False)[2][0]
    order = np.argsort(centre @ axis, kind="stable")
    middle = np.empty(len(size))  # of each group among the parcels along the axis
    middle[order] = np.cumsum(size[order]) - size[order] / 2
    strip: NDArray[np.int64] = (middle * n_folds / len(group)).astype(np.int64)[group]
    return strip


def _predicted(
    model: CropModel,
    population: Population,
    members: NDArray[np.int64],
    n_pixels: int,
    device: str | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities (parcel, class) and true classes (parcel,) of some parcels."""
    probability = [np.empty((0, len(population.nomenclature)), dtype=np.float32)]
    truth = [np.empty(0, dtype=np.int64)]
    for tree, rows in population.trees(members, n_pixels):
        # The season of these parcels is as well covered as that of the model's own.
        predicted = model.predict_proba(tree, allow_gaps=True, device=device)
        probability.append(predicted.to_numpy())
        truth.append(population.label[rows])
    return np.concatenate(probability), np.concatenate(truth)


def _trained(
    population: Population,
    members: NDArray[np.int64],
    config: TrainConfig,
    init: Init | None,
    seed: int,
    device: str | None,
) -> CropModel:
    samples, labels, _ = population.take(members)
    return fit(
        samples,
        labels,
        nomenclature=population.nomenclature,
        config=config,
        init=init,
        seed=seed,
        device=device,
        progress=False,
    )
