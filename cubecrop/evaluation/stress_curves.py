"""`stress_curve`: how a trained model's scores fall as the samples get worse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cubecrop.errors import ArgumentError
from cubecrop.evaluation.population import Population
from cubecrop.evaluation.stress import stressed, variants
from cubecrop.metrics import SCORE_NAMES, intervals, scores
from cubecrop.nomenclature import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from cubecrop.model import CropModel
    from cubecrop.training.sets import Labels, Samples

__all__ = ["stress_curve"]


#: Predicted classes, and the positions of their parcels.
_Part = tuple["NDArray[np.uint8]", "NDArray[np.int64]"]


def stress_curve(
    model: CropModel,
    samples: Samples,
    labels: Labels,
    stress: str,
    levels: Sequence[float] | None = None,
    *,
    seed: int = 0,
    others: xr.DataTree | None = None,
    device: str | None = None,
) -> pd.DataFrame:
    """Score a trained model under a stress at several levels; reads the pixels.

    Parameters
    ----------
    model : CropModel
        Is not trained again.
    samples, labels
        Pixel sets and labels that the model was not trained on, as for `cubecrop.fit`. Labels are
        classes of the model.
    stress : str
        A name in `cubecrop.evaluation.STRESSES`, such as ``"optical dates kept"``.
    levels : sequence of float, optional
        How much is left, added or changed; by default the usual levels of the stress.
    seed : int, default 0
        Seed of dates and noise.
    others : xarray.DataTree, optional
        As for `cubecrop.evaluation.stressed`.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a graphics card if there is one.

    Returns
    -------
    pandas.DataFrame
        A row for the samples as they are (level NaN, stress "") and one for each level: ``n``
        parcels, and ``accuracy``, ``macro_f1`` and ``mean_iou`` with the ends ``_low`` and
        ``_high`` of their 95 % intervals over groups of parcels.

    Raises
    ------
    ArgumentError
        The stress is unknown, does not suit the samples, or has no usual level for them.
    LabelError
        A label is not a class of the model.
    ModelMismatchError
        The model does not take the samples, such as those without a sensor that it needs.
    """
    population = Population.of(samples, labels, nomenclature=model.nomenclature)
    everyone = np.arange(len(population))
    rows: dict[tuple[str, float], list[_Part]] = {}
    for tree, members in population.trees(everyone, model.n_pixels):
        stressed(tree, stress, 1.0, seed=seed, others=others)  # raises if it does not suit
        chosen = (
            [variant.level for variant in variants(tree, [stress], others=others)]
            if levels is None
            else list(levels)
        )
        for name, level in [("", float("nan")), *((stress, float(level)) for level in chosen)]:
            changed = stressed(tree, name, level, seed=seed, others=others) if name else tree
            probability = model.predict_proba(changed, allow_gaps=True, device=device)
            rows.setdefault((name, level), []).append((decide(probability.to_numpy()), members))
    if len(rows) < 2:
        raise ArgumentError(
            f"{stress!r} has no usual level for these samples. Pass `levels`, as in `levels=[0.5]`."
        )
    return pd.DataFrame([_scored(population, *key, parts) for key, parts in rows.items()])


def _scored(
    population: Population, stress: str, level: float, parts: Sequence[_Part]
) -> dict[str, float | int | str]:
    predicted = np.concatenate([guess for guess, _ in parts])
    members = np.concatenate([rows for _, rows in parts])
    truth, n_classes = population.label[members], len(population.nomenclature)
    found = scores(truth, predicted, n_classes)
    ends = intervals(truth, predicted, n_classes, groups=population.group[members].tolist())
    row: dict[str, float | int | str] = {"stress": stress, "level": level, "n": len(members)}
    for name in SCORE_NAMES:
        row[name] = getattr(found, name)
        row[f"{name}_low"], row[f"{name}_high"] = ends[name]
    return row
