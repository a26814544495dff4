"""Scores of the default model where it was not trained: by region, calibration and windows."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.optimize import minimize_scalar

from benchmarks.default_model.points import WINDOW, coarse_of, nomenclature
from cubecrop.metrics import scores, wilson
from cubecrop.model import in_window, part_scores, season_of, tempered
from cubecrop.nomenclature import decide
from cubecrop.training.probability_calibration import calibrate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from benchmarks.default_model.points import Points

__all__ = [
    "calibration_error", "coarse_scores", "cut", "joint_temperature", "middle_temperature",
    "region_scores", "truth_of",
]  # fmt: skip

#: Share of the points of a region that a coarse class is given to, the surest ones.
COVERAGE: Final = 0.8
_BINS: Final = 15
_RESAMPLES: Final = 1000


def truth_of(points: Points) -> NDArray[np.int64]:
    """Class index (point,) of labelled points."""
    classes = nomenclature()
    return np.array([classes.index(label) for label in points.labels], dtype=np.int64)


def calibration_error(probability: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """Expected calibration error over 15 bins of equal mass; 1 - accuracy of points without one."""
    known = np.isfinite(probability).all(axis=1)
    confidence, hit = probability[known].max(axis=1), decide(probability[known]) == truth[known]
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(_BINS, max(1, len(order))))
    return float(sum(abs((hit[p] - confidence[p]).sum()) for p in parts) / max(1, len(order)))


def coarse_scores(
    probability: NDArray[np.floating], truth: NDArray[np.int64]
) -> dict[str, float | list[float]]:
    """Accuracy of the coarse class, of all points and of the surest 80 %, with its interval.

    The probability of a coarse class is the sum of those of its classes. A point without a
    prediction counts as wrong, and as the least sure.
    """
    names, coarse = coarse_of()
    of_coarse = np.stack(
        [np.nan_to_num(probability)[:, coarse == one].sum(axis=1) for one in range(len(names))], 1
    )
    hit = (of_coarse.argmax(axis=1) == coarse[truth]) & np.isfinite(probability).all(axis=1)
    surest = np.argsort(-of_coarse.max(axis=1), kind="stable")
    surest = surest[: int(np.ceil(COVERAGE * len(surest)))]
    return {
        "accuracy": float(hit.mean()),
        "sure_accuracy": float(hit[surest].mean()),
        "sure_interval": list(wilson(int(hit[surest].sum()), len(surest))),
        "least_confidence": float(of_coarse.max(axis=1)[surest].min()),
    }


def region_scores(
    points: Points,
    network: NDArray[np.floating],
    forest: NDArray[np.floating],
    temperature: float,
    joint: float,
) -> dict[str, Any]:
    """All scores of a region that neither the network nor the forest was trained on.

    Parameters
    ----------
    points : Points
        Labelled points.
    network, forest : numpy.ndarray
        (point, class) probabilities; those of the network before calibration.
    temperature, joint : float
        Fitted without the region: the median of the other regions, and the one of them together.
    """
    truth, names = truth_of(points), nomenclature().names
    samples = points.samples
    groups = samples["group"].to_numpy().tolist() if "group" in samples.coords else None
    calibrated = tempered(network.astype(np.float32), temperature)
    low, high = _difference(truth, decide(calibrated), decide(forest), groups)
    of_forest = scores(truth, decide(forest), len(names))
    return {
        "n": len(points),
        "classes": points.counts,
        "network": dict(part_scores(truth, decide(calibrated), names, groups=groups)),
        "forest": {"accuracy": of_forest.accuracy, "macro_f1": of_forest.macro_f1},
        "difference": {"interval": [low, high]},
        "coarse": coarse_scores(calibrated, truth),
        "coarse_forest": coarse_scores(forest, truth),
        "calibration_error": calibration_error(calibrated, truth),
        "temperature": temperature,
        "joint_calibration_error": calibration_error(
            tempered(network.astype(np.float32), joint), truth
        ),
    }


def _difference(
    truth: NDArray[np.int64],
    network: NDArray[np.integer],
    forest: NDArray[np.integer],
    groups: Sequence[object] | None,
) -> tuple[float, float]:
    """95 % interval of the difference of macro-F1, by a paired bootstrap of groups."""
    rng = np.random.default_rng(0)
    names = np.array(groups or np.arange(len(truth))).astype(str)
    number = np.unique(names, return_inverse=True)[1]
    members = [np.flatnonzero(number == one) for one in range(number.max() + 1)]
    n_classes, out = len(nomenclature()), []
    for _ in range(_RESAMPLES):
        chosen = rng.integers(len(members), size=len(members))
        rows = np.concatenate([members[one] for one in chosen])
        first, second = (scores(truth[rows], one[rows], n_classes) for one in (network, forest))
        out.append(first.macro_f1 - second.macro_f1)
    low, high = np.percentile(out, (2.5, 97.5))
    return float(low), float(high)


def middle_temperature(
    parts: Sequence[tuple[NDArray[np.floating], NDArray[np.int64]]],
) -> float:
    """The median of the temperatures that parts need, so that one odd region does not decide.

    Parameters
    ----------
    parts : sequence of tuple
        Probabilities (point, class) and truth (point,) of each part.
    """
    return float(np.median([_temperature(*part) for part in parts]))


def joint_temperature(
    parts: Sequence[tuple[NDArray[np.floating], NDArray[np.int64]]],
) -> float:
    """The temperature with the least log loss, as the mean over parts that count the same."""
    known = []
    for probability, truth in parts:
        rows = np.isfinite(probability).all(axis=1)
        known.append((probability[rows].astype(np.float32), truth[rows]))

    def loss(log_temperature: float) -> float:
        found = []
        for probability, truth in known:
            chance = tempered(probability, float(np.exp(log_temperature)))
            found.append(-np.log(np.maximum(chance[np.arange(len(truth)), truth], 1e-12)).mean())
        return float(np.mean(found))

    best = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10)), method="bounded")
    return float(np.exp(best.x))


def _temperature(probability: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    known = np.isfinite(probability).all(axis=1)
    found = calibrate(probability[known].astype(np.float32), truth[known], alpha=0.1)
    if found is None:
        raise ValueError(f"{known.sum()} points are too few to calibrate on")
    return found.temperature


def cut(samples: xr.DataTree, start: tuple[int, int], end: tuple[int, int]) -> xr.DataTree:
    """The samples in a shorter season, from a day (month, day) to another of the harvest year."""
    whole = season_of(in_window(samples, WINDOW))
    first, last = dt.date(whole.year, *start), dt.date(whole.year, *end)
    out = samples.copy()
    for name in ("sentinel2", "sentinel1"):
        node = samples[name].to_dataset(inherit=False)
        days = node["time"].to_numpy().astype("datetime64[D]")
        inside = (days >= np.datetime64(first)) & (days <= np.datetime64(last))
        out[name].dataset = node.isel(time=np.flatnonzero(inside))
    out.attrs = {**samples.attrs, "season_start": str(first), "season_end": str(last)}
    return out
