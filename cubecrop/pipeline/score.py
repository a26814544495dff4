"""Fitting a model and scoring it beside a random forest, from the same parcels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.metrics import accuracy_difference
from cubecrop.model import BASELINE, difference, part_scores
from cubecrop.nomenclature import decide
from cubecrop.sample import fewer_pixels
from cubecrop.training import fit, fit_forest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.model import CropModel
    from cubecrop.nomenclature import Nomenclature
    from cubecrop.training import TrainConfig

__all__ = ["BASELINE", "fit_and_score"]


def fit_and_score(
    samples: xr.DataTree,
    labels: Sequence[str | None],
    part: NDArray[np.object_],
    *,
    nomenclature: Nomenclature,
    config: TrainConfig | None,
    seed: int,
    device: str | None,
    checkpoint: str | Path | None,
    progress: bool,
    thin: bool = False,
    groups: NDArray[np.object_] | None = None,
) -> CropModel:
    """Fit a model to the training parcels and score it on these and on those held out.

    Parameters
    ----------
    samples : xarray.DataTree
        Pixel sets of all parcels, in memory.
    labels : sequence of str or None
        A label a parcel.
    part : numpy.ndarray
        (parcel,) "train", "held out" or anything else, which is neither learnt from nor scored.
    nomenclature, config, seed, device, checkpoint, progress
        As for `cubecrop.fit`.
    thin : bool, default False
        Whether the sets, of `sample_pixel_sets`, hold more pixels than classification draws, so
        that scores are of as many as it does.
    groups : numpy.ndarray, optional
        (parcel,) names; parcels of one group are alike, which makes the scores' intervals wider.

    Returns
    -------
    CropModel
        With scores on "train", "held out" and, from a random forest that was grown on the
        same training parcels, `BASELINE`; and with who was held out in its record.
    """
    learned = np.flatnonzero(part == "train")
    model = fit(
        samples.isel(parcel=learned),
        [labels[i] for i in learned.tolist()],
        nomenclature=nomenclature,
        config=config,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        progress=progress,
    )
    shown = fewer_pixels(samples, model.n_pixels) if thin else samples
    return _scored(model, shown, labels, part, seed=seed, device=device, groups=groups)


def _scored(
    model: CropModel,
    samples: xr.DataTree,
    truth: Sequence[str | None],
    part: NDArray[np.object_],
    *,
    seed: int,
    device: str | None,
    groups: NDArray[np.object_] | None,
) -> CropModel:
    """The model with its scores, and with who was held out in its record."""
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
