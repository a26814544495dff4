"""Tables on trust in the main models: calibration, crop sets, and the area of applicability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from cubecrop.evaluation.candidates import FOREST, TOLERANT
from cubecrop.evaluation.counts import AS_THEY_ARE, main_model
from cubecrop.evaluation.reliability import calibration_error, crop_set_scores, reliability_table
from cubecrop.metrics import wilson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cubecrop.evaluation.predictions import Predictions

__all__ = ["trust_tables"]

#: Parts of the test parcels by dissimilarity, and whether they are inside.
_PARTS: Final = (("inside of the known range", True), ("outside of the known range", False))


def trust_tables(predictions: Predictions) -> dict[str, pd.DataFrame]:
    """Describe the confidence of the main models under each protocol.

    Parameters
    ----------
    predictions : Predictions
        At least one row. Samples as they are from the first seed count, so that n is a number of
        parcels.

    Returns
    -------
    dict
        Tables with the columns protocol, model and n; one without a row is left out.
        "reliability" is `reliability_table`. "calibration" (expected calibration error),
        "coverage" (of crop sets, with mean_size) and "applicability" (accuracy by ``part``) have
        value, low and high.
    """
    table = predictions.table
    models = (main_model(predictions), FOREST, TOLERANT)
    plain = predictions.where(variant=AS_THEY_ARE, model=models, seed=int(table["seed"].min()))
    rows: dict[str, list[pd.DataFrame]] = {}
    for protocol in plain.table["protocol"].unique():
        for model in dict.fromkeys(models):
            part = plain.where(protocol=protocol, model=model)
            for name, found in _described(part):
                rows.setdefault(name, []).append(found.assign(protocol=protocol, model=model))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in rows.items()}


def _described(part: Predictions) -> Iterator[tuple[str, pd.DataFrame]]:
    """Tables of one model under one protocol, those that have a row."""
    bins = reliability_table(part)
    if len(bins):
        yield "reliability", bins
        error = calibration_error(part)
        yield "calibration", _row(error.value, error.interval, error.n)
    sets = crop_set_scores(part)
    if sets.n:
        row = _row(sets.coverage, sets.interval, sets.n, mean_size=sets.mean_size)
        yield "coverage", row
    distance = part.table["dissimilarity"].to_numpy()
    for name, inside in _PARTS:
        rows = np.flatnonzero(np.isfinite(distance) & ((distance <= 1) == inside))
        if len(rows):
            right = float((part.predicted[rows] == part.truth[rows]).mean())
            n_groups = int(part.table["group"].iloc[rows].nunique())
            interval = wilson(right * n_groups, n_groups)
            yield "applicability", _row(right, interval, len(rows), part=name)


def _row(value: float, ends: tuple[float, float], n: int, **more: Any) -> pd.DataFrame:  # noqa: ANN401
    return pd.DataFrame([{"value": value, "low": ends[0], "high": ends[1], "n": n, **more}])
