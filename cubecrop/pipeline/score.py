"""Train a model and a random forest on the same parcels, and score both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.metrics import accuracy_difference
from cubecrop.model import BASELINE, difference, part_scores
from cubecrop.nomenclature import decide
from cubecrop.sample import StoredSets
from cubecrop.training import fit, fit_forest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.model import CropModel
    from cubecrop.nomenclature import Nomenclature
    from cubecrop.training import Init, TrainConfig
    from cubecrop.training.sets import Source

__all__ = ["BASELINE", "fit_and_score"]


def fit_and_score(
    samples: Sequence[Source],
    labels: Sequence[Sequence[str | None]],
    parts: Sequence[NDArray[np.object_]],
    *,
    nomenclature: Nomenclature,
    config: TrainConfig | None,
    seed: int,
    device: str | None,
    checkpoint: str | Path | None,
    progress: bool,
    init: Init | None = None,
    groups: Sequence[NDArray[np.object_]] | None = None,
    places: Sequence[NDArray[np.object_]] | None = None,
) -> CropModel:
    """Fit a model to the training parcels, and score it on training and held-out parcels.

    Parameters
    ----------
    samples : sequence of xarray.DataTree or StoredSets
        Pixel sets of all parcels, in memory or on disk. Those on disk have more pixels than
        classification draws; they are scored with as many as classification draws.
    labels : sequence of sequences of str or None
        One label per parcel.
    parts : sequence of numpy.ndarray
        (parcel,) "train" or "held out"; parcels with another value are not used.
    nomenclature, config, init, seed, device, checkpoint, progress
        As for `cubecrop.fit`.
    groups : sequence of numpy.ndarray, optional
        (parcel,) names; parcels of a group are similar, so the scores' intervals become wider.
    places : sequence of numpy.ndarray, optional
        (parcel,) names; the held-out parcels of each place are also scored on their own, as
        "held out, NAME".

    Returns
    -------
    CropModel
        With scores on "train" and "held out" parcels, and with those of a random forest on the
        same parcels under `BASELINE`. Its record counts the held-out parcels by class.
    """
    training = _of_part(samples, labels, parts, "train")
    model = fit(
        *training,
        nomenclature=nomenclature,
        config=config,
        init=init,
        seed=seed,
        device=device,
        checkpoint=checkpoint,
        progress=progress,
    )
    part, names = np.concatenate(parts), model.nomenclature.names
    index = np.array([model.nomenclature.index(text) for texts in labels for text in texts])
    predicted = decide(
        np.concatenate(
            [
                model.predict_proba(tree, device=device).to_numpy()
                for source in samples
                for tree in _trees(source, model.n_pixels)
            ]
        )
    )
    group = None if groups is None else np.concatenate(groups)

    def groups_of(members: NDArray[np.int64]) -> list[object] | None:
        return None if group is None else group[members].tolist()

    members = {name: np.flatnonzero(part == name) for name in ("train", "held out")}
    results = {
        name: part_scores(index[chosen], predicted[chosen], names, groups=groups_of(chosen))
        for name, chosen in members.items()
        if len(chosen)
    }
    held_out = members["held out"]
    if len(held_out):
        forest = fit_forest(*training, nomenclature=model.nomenclature, seed=seed)
        others, _ = _of_part(samples, labels, parts, "held out")
        trees = (tree for source in others for tree in _trees(source))
        baseline = decide(np.concatenate([forest.predict_proba(tree).to_numpy() for tree in trees]))
        own_groups = groups_of(held_out)
        lead = accuracy_difference(
            index[held_out], predicted[held_out], baseline, groups=own_groups
        )
        row = part_scores(index[held_out], baseline, names, groups=own_groups)
        results[BASELINE] = {**row, "difference": difference(*lead)}
    if places is not None:
        place = np.concatenate(places)
        for name in sorted({str(one) for one in place[held_out]}):
            chosen = held_out[place[held_out] == name]
            results[f"held out, {name}"] = part_scores(
                index[chosen], predicted[chosen], names, groups=groups_of(chosen)
            )
    counts = np.bincount(index[held_out], minlength=len(names)).tolist()
    record = replace(
        model.training,
        held_out=dict(zip(names, counts, strict=True)),
        never_held_out=tuple(name for name, n in zip(names, counts, strict=True) if n == 0),
    )
    return replace(model, scores=results, training=record)


def _of_part(
    samples: Sequence[Source],
    labels: Sequence[Sequence[str | None]],
    parts: Sequence[NDArray[np.object_]],
    name: str,
) -> tuple[list[Source], list[list[str | None]]]:
    """Samples and labels of the parcels of a part; samples without any are left out."""
    chosen: list[Source] = []
    texts = []
    for source, own, part in zip(samples, labels, parts, strict=True):
        members = np.flatnonzero(part == name)
        if len(members) == 0:
            continue
        if isinstance(source, StoredSets):
            chosen.append(source.take(members))
        else:
            chosen.append(source.isel(parcel=members))
        texts.append([own[i] for i in members.tolist()])
    return chosen, texts


def _trees(source: Source, n_pixels: int | None = None) -> Iterable[xr.DataTree]:
    """Pixel sets in memory; those on disk come some parcels at a time, with fewer pixels."""
    return source.trees(n_pixels) if isinstance(source, StoredSets) else [source]
