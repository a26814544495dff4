"""Train a model and a random forest on the same parcels, and score both."""

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
    """Fit a model to the training parcels, and score it on training and held-out parcels.

    Parameters
    ----------
    samples : xarray.DataTree
        Pixel sets of all parcels, in memory.
    labels : sequence of str or None
        One label per parcel.
    part : numpy.ndarray
        (parcel,) "train" or "held out"; parcels with another value are not used.
    nomenclature, config, seed, device, checkpoint, progress
        As for `cubecrop.fit`.
    thin : bool, default False
        Whether the pixel sets have more pixels than classification draws. Scores are then
        computed with as many pixels as classification draws.
    groups : numpy.ndarray, optional
        (parcel,) names; parcels of a group are similar, so the scores' intervals become wider.

    Returns
    -------
    CropModel
        With scores on "train" and "held out" parcels, and with those of a random forest on the
        same parcels under `BASELINE`. Its record counts the held-out parcels by class.
    """
    training = np.flatnonzero(part == "train")
    model = fit(
        samples.isel(parcel=training),
        [labels[i] for i in training.tolist()],
        nomenclature=nomenclature,
        config=config,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        progress=progress,
    )
    drawn = fewer_pixels(samples, model.n_pixels) if thin else samples
    return _scored(model, drawn, labels, part, seed=seed, device=device, groups=groups)


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
    """The model with its scores, and with the counts of held-out parcels in its record."""
    names = model.nomenclature.names
    index = np.array([model.nomenclature.index(text) for text in truth])
    predicted = decide(model.predict_proba(samples, device=device).to_numpy())

    def groups_of(members: NDArray[np.int64]) -> list[object] | None:
        return None if groups is None else groups[members].tolist()

    training, held_out = np.flatnonzero(part == "train"), np.flatnonzero(part == "held out")
    results = {
        name: part_scores(index[members], predicted[members], names, groups=groups_of(members))
        for name, members in (("train", training), ("held out", held_out))
        if len(members)
    }
    if len(held_out):
        forest = fit_forest(
            samples.isel(parcel=training),
            [truth[i] for i in training.tolist()],
            nomenclature=model.nomenclature,
            seed=seed,
        )
        baseline = decide(forest.predict_proba(samples.isel(parcel=held_out)).to_numpy())
        own_groups = groups_of(held_out)
        lead = accuracy_difference(
            index[held_out], predicted[held_out], baseline, groups=own_groups
        )
        row = part_scores(index[held_out], baseline, names, groups=own_groups)
        results[BASELINE] = {**row, "difference": difference(*lead)}
    counts = np.bincount(index[held_out], minlength=len(names)).tolist()
    record = replace(
        model.training,
        held_out=dict(zip(names, counts, strict=True)),
        never_held_out=tuple(name for name, n in zip(names, counts, strict=True) if n == 0),
    )
    return replace(model, scores=results, training=record)
