"""Whether predictions can be believed: calibration error, reliability table and crop sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import sparse

from cubecrop.checks import check_whole
from cubecrop.errors import SchemaError
from cubecrop.metrics import Interval, wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.evaluation.predictions import Predictions

__all__ = [
    "CalibrationError", "CropSetScores", "calibration_error", "crop_set_scores", "crop_set_table",
    "reliability_table",
]  # fmt: skip

_BINS: Final = 15
_RESAMPLES: Final = 500
_ENDS: Final = (2.5, 97.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationError:
    """Expected calibration error, 0 to 1.

    Parameters
    ----------
    value : float
        Mean distance between confidence and accuracy over the bins; NaN without a prediction.
    interval : tuple of float
        95 % interval; it contains ``value``.
    if_calibrated : float
        The mean value that as many predictions with the same confidences would show if they were
        perfectly calibrated. It is above 0, since few parcels are right in a share that is not
        exactly their confidence. A value near it is no evidence against the calibration.
    n : int
        Predictions counted.
    n_unpredicted, n_without_class : int
        Rows left out, without a prediction, and without a true class.
    """

    value: float
    interval: Interval
    if_calibrated: float
    n: int
    n_unpredicted: int
    n_without_class: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CropSetScores:
    """Crop sets (conformal prediction) compared with the true crops.

    Parameters
    ----------
    coverage : float
        Share of the crop sets that hold the true crop; NaN without a crop set.
    interval : tuple of float
        Its 95 % interval.
    mean_size : float
        Mean number of crops in a set.
    n : int
        Crop sets counted.
    n_without_set : int
        Rows without a crop set: the model has none, or made no prediction.
    """

    coverage: float
    interval: Interval
    mean_size: float
    n: int
    n_without_set: int


def reliability_table(predictions: Predictions, *, n_bins: int = _BINS) -> pd.DataFrame:
    """Accuracy of predictions by their confidence.

    Parameters
    ----------
    predictions : Predictions
        Rows to describe together, such as those of one model and protocol; see
        `Predictions.where`. Rows without a prediction or a true class are left out.
    n_bins : int, default 15
        Bins of equal mass: each has the same number of rows, give or take one.

    Returns
    -------
    pandas.DataFrame
        One row for each bin, from low to high confidence: ``n``, lowest (``low``), highest
        (``high``) and mean ``confidence``, ``accuracy``, and the ends of its 95 % interval
        (Wilson) ``accuracy_low`` and ``accuracy_high``. Fewer bins if there are fewer rows.
    """
    check_whole("n_bins", n_bins, minimum=1)
    confidence, hit, _ = _known(predictions)
    number = _bins(confidence, n_bins)
    rows = []
    for one in range(int(number.max(initial=-1)) + 1):
        inside = number == one
        n, hits = int(inside.sum()), int(hit[inside].sum())
        low, high = wilson(hits, n)
        rows.append(
            {
                "n": n,
                "low": float(confidence[inside].min()),
                "high": float(confidence[inside].max()),
                "confidence": float(confidence[inside].mean()),
                "accuracy": hits / n,
                "accuracy_low": low,
                "accuracy_high": high,
            }
        )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


_COLUMNS: Final = (
    "n", "low", "high", "confidence", "accuracy", "accuracy_low", "accuracy_high",
)  # fmt: skip


def calibration_error(
    predictions: Predictions, *, n_bins: int = _BINS, seed: int = 0
) -> CalibrationError:
    """Expected calibration error over bins of equal mass, with its 95 % interval.

    Bins of equal mass have a smaller bias than bins of equal width (Roelofs et al. 2022). The
    interval comes from 500 resamples of the groups (column ``group``), which keep the bins.
    Resampling adds noise that raises the error of every resample, so the interval is the basic
    bootstrap interval, which is mirrored at the value and thereby corrects for it (Davison &
    Hinkley 1997, section 5.2).

    Parameters
    ----------
    predictions, n_bins
        As for `reliability_table`.
    seed : int, default 0
        Seed of the resamples.

    References
    ----------
    Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602; Guo et al. 2017, arXiv:1706.04599; Roelofs et
    al. 2022, arXiv:2012.08668.
    """
    check_whole("n_bins", n_bins, minimum=1)
    confidence, hit, rows = _known(predictions)
    unpredicted, without_class = _left_out(predictions)
    n, n_classless = len(hit), int(without_class.sum())
    counts = {"n": n, "n_unpredicted": int(unpredicted.sum()), "n_without_class": n_classless}
    if n == 0:
        return CalibrationError(
            value=np.nan, interval=(0.0, 1.0), if_calibrated=np.nan, **counts
        )  # fmt: skip
    number, rng = _bins(confidence, n_bins), np.random.default_rng(seed)
    value = _error(number, confidence - hit)
    groups = predictions.table["group"].to_numpy()[rows]
    low, high = _interval(value, number, confidence - hit, groups, rng)
    expected = np.mean(
        [_error(number, confidence - (rng.random(n) < confidence)) for _ in range(_RESAMPLES // 5)]
    )
    return CalibrationError(
        value=value, interval=(low, high), if_calibrated=float(expected), **counts
    )


def crop_set_scores(predictions: Predictions) -> CropSetScores:
    """Coverage and mean size of the crop sets.

    The interval of the coverage is Wilson's for as many parcels as there are groups, where
    several parcels share one.

    Parameters
    ----------
    predictions : Predictions
        As for `reliability_table`.
    """
    inside = predictions.table["in_set"].to_numpy()
    known = np.isfinite(inside)
    n = int(known.sum())
    if n == 0:
        return CropSetScores(
            coverage=np.nan, interval=(0.0, 1.0), mean_size=np.nan, n=0,
            n_without_set=len(predictions),
        )  # fmt: skip
    n_groups = int(pd.unique(predictions.table["group"][known]).size)
    coverage = float(inside[known].mean())
    return CropSetScores(
        coverage=coverage,
        interval=wilson(coverage * n_groups, n_groups),
        mean_size=float(predictions.table["set_size"].to_numpy()[known].mean()),
        n=n,
        n_without_set=len(predictions) - n,
    )


def crop_set_table(predictions: Predictions) -> pd.DataFrame:
    """Coverage and mean size of the crop sets by true class: a promise on average may hide one.

    Parameters
    ----------
    predictions : Predictions
        As for `reliability_table`.

    Returns
    -------
    pandas.DataFrame
        One row for each class of the nomenclature, also those without a crop set (``n`` 0):
        ``crop``, ``n``, ``n_without_set``, ``coverage``, ``coverage_low``, ``coverage_high``,
        ``mean_size``.
    """
    rows = []
    for index, name in enumerate(predictions.nomenclature.names):
        own = crop_set_scores(predictions.take(np.flatnonzero(predictions.truth == index)))
        rows.append(
            {
                "crop": name,
                "n": own.n,
                "n_without_set": own.n_without_set,
                "coverage": own.coverage,
                "coverage_low": own.interval[0],
                "coverage_high": own.interval[1],
                "mean_size": own.mean_size,
            }
        )
    return pd.DataFrame(rows)


def _left_out(predictions: Predictions) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows without a prediction; and rows with one, but without a true class."""
    unpredicted = np.asarray(~np.isfinite(predictions.probability).all(axis=1))
    truth = predictions.truth
    outside = (truth < 0) | (truth >= len(predictions.nomenclature))
    return unpredicted, outside & ~unpredicted


def _known(
    predictions: Predictions,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Confidence and whether the prediction is right, of rows (member,) with both."""
    unpredicted, without_class = _left_out(predictions)
    rows = np.flatnonzero(~(unpredicted | without_class))
    confidence = predictions.probability[rows].max(axis=1, initial=0).astype(np.float64)
    if len(rows) and not (confidence.min() >= 0 and confidence.max() <= 1 + 1e-5):
        raise SchemaError(
            f"probabilities reach {confidence.max():g}, expected 0 to 1; pass probabilities, as "
            "from `CropModel.predict_proba`, not logits."
        )
    return confidence, predictions.predicted[rows] == predictions.truth[rows], rows


def _bins(confidence: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    """Number (row,) of the bin of equal mass; equal confidences may be in two bins."""
    number = np.empty(len(confidence), dtype=np.int64)
    order = np.argsort(confidence, kind="stable")
    n = min(n_bins, len(confidence))
    number[order] = np.arange(len(confidence)) * n // max(len(confidence), 1)
    return number


def _error(number: NDArray[np.int64], excess: NDArray[np.float64]) -> float:
    """Mean over rows of the absolute mean excess of confidence over accuracy in their bin."""
    return float(np.abs(np.bincount(number, weights=excess)).sum() / len(number))


def _interval(
    value: float,
    number: NDArray[np.int64],
    excess: NDArray[np.float64],
    groups: NDArray[np.object_],
    rng: np.random.Generator,
) -> Interval:
    code, names = pd.factorize(groups)
    shape = (len(names), int(number.max()) + 1)
    by_group = sparse.csr_array((excess, (code, number)), shape=shape).T.tocsr()
    sizes = np.bincount(code)
    errors = np.empty(_RESAMPLES)
    for i in range(_RESAMPLES):
        drawn = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        errors[i] = np.abs(by_group @ drawn).sum() / (sizes @ drawn)
    high, low = 2 * value - np.percentile(errors, _ENDS)
    return float(max(min(low, value), 0)), float(min(max(high, value), 1))
