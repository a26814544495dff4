"""Scores of a model beside those of a random forest, from the same parcels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.metrics import accuracy_difference
from cubecrop.model import BASELINE, difference, part_scores
from cubecrop.nomenclature import decide
from cubecrop.training import fit_forest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.model import CropModel

__all__ = ["BASELINE", "scored"]


def scored(
    model: CropModel,
    samples: xr.DataTree,
    truth: Sequence[str | None],
    part: NDArray[np.object_],
    *,
    seed: int,
    device: str | None,
    groups: NDArray[np.object_] | None = None,
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
    groups : numpy.ndarray, optional
        (parcel,) names; parcels of one group are alike, which makes the scores' intervals wider.

    Returns
    -------
    CropModel
        With scores on "train", "held out" and, from a random forest that was grown on the
        same training parcels, `BASELINE`.
    """
    names = model.nomenclature.names
    index = np.array([model.nomenclature.index(text) for text in truth])
    guess = decide(model.predict_proba(samples, device=device).to_numpy())

    def of(mine: NDArray[np.int64]) -> list[object] | None:
        return None if groups is None else groups[mine].tolist()

    learned, unseen = np.flatnonzero(part == "train"), np.flatnonzero(part == "held out")
    found = {
        name: part_scores(index[mine], guess[mine], names, groups=of(mine))
        for name, mine in (("train", learned), ("held out", unseen))
        if len(mine)
    }
    if len(unseen):
        forest = fit_forest(
            samples.isel(parcel=learned),
            [truth[i] for i in learned.tolist()],
            nomenclature=model.nomenclature,
            seed=seed,
        )
        baseline = decide(forest.predict_proba(samples.isel(parcel=unseen)).to_numpy())
        lead = accuracy_difference(index[unseen], guess[unseen], baseline, groups=of(unseen))
        row = part_scores(index[unseen], baseline, names, groups=of(unseen))
        found[BASELINE] = {**row, "difference": difference(*lead)}
    held = np.bincount(index[unseen], minlength=len(names)).tolist()
    record = replace(
        model.training,
        held_out=dict(zip(names, held, strict=True)),
        never_held_out=tuple(name for name, n in zip(names, held, strict=True) if n == 0),
    )
    return replace(model, scores=found, training=record)
