"""Scores of a model beside those of a random forest, from the same parcels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.metrics import scores
from cubecrop.nomenclature import NODATA
from cubecrop.training import fit_forest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.model import CropModel

__all__ = ["BASELINE", "scored"]

#: The name of the random forest's scores.
BASELINE = "held out, random forest"


def scored(
    model: CropModel,
    samples: xr.DataTree,
    truth: Sequence[str | None],
    part: NDArray[np.object_],
    *,
    seed: int,
    device: str | None,
) -> CropModel:
    """The model with its scores, and with who was held out in its record.

    Parameters
    ----------
    model : CropModel
        A model that was fitted to the parcels whose part is "train".
    samples : xarray.DataTree
        Pixel sets of all parcels, drawn as classification draws them.
    truth : sequence of str or None
        A label a parcel.
    part : numpy.ndarray
        (parcel,) "train", "held out" or anything else, which is not scored.
    seed : int
        Of the random forest.
    device : str, optional
        Where the network predicts.

    Returns
    -------
    CropModel
        With scores on "train", "held out" and, from a random forest that was grown on the
        same training parcels, `BASELINE`.
    """
    index = np.array([model.nomenclature.index(text) for text in truth])
    guess = _classes(model.predict_proba(samples, device=device))
    found = {}
    for name in ("train", "held out"):
        if (mine := part == name).any():
            found[name] = _row(index[mine], guess[mine], len(model.nomenclature))
    learned, unseen = np.flatnonzero(part == "train"), np.flatnonzero(part == "held out")
    if len(unseen):
        forest = fit_forest(
            samples.isel(parcel=learned),
            [truth[i] for i in learned.tolist()],
            nomenclature=model.nomenclature,
            seed=seed,
        )
        baseline = _classes(forest.predict_proba(samples.isel(parcel=unseen)))
        found[BASELINE] = _row(index[unseen], baseline, len(model.nomenclature))
    names = model.nomenclature.names
    held = np.bincount(index[unseen], minlength=len(names)).tolist()
    record = replace(
        model.training,
        held_out=dict(zip(names, held, strict=True)),
        never_held_out=tuple(name for name, n in zip(names, held, strict=True) if n == 0),
    )
    return replace(model, scores=found, training=record)


def _classes(probability: xr.DataArray) -> NDArray[np.int64]:
    values = probability.to_numpy()
    known = np.isfinite(values).all(axis=1)
    return np.where(known, np.nan_to_num(values).argmax(axis=1), NODATA)


def _row(truth: NDArray[np.int64], guess: NDArray[np.int64], n_classes: int) -> dict[str, float]:
    one = scores(truth, guess, n_classes)
    return {
        "n": float(one.n),
        "accuracy": one.accuracy,
        "macro_f1": one.macro_f1,
        "mean_iou": one.mean_iou,
    }
