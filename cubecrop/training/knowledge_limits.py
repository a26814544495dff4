"""Limits of a model's knowledge, from parcels of known crops that it did not learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from cubecrop.checks import check_share
from cubecrop.errors import LabelError, ModelMismatchError
from cubecrop.model import KnowledgeLimits, Limit, Predictor
from cubecrop.training.sets import Samples, as_lists, training_set, tree_of
from cubecrop.training.together import in_season_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cubecrop.model import CropModel, TrainingSpace
    from cubecrop.training.sets import AnySet

__all__ = ["KEPT", "OUTSIDE", "fit_limits", "limit_of", "limits_of_sets"]

#: With fewer parcels than this, no limit is reliable.
_FEWEST: Final = 20
#: Share of parcels of known crops that keep a class of the finest level.
KEPT: Final = 0.8
#: Share of them that may count as outside of what the model knows.
OUTSIDE: Final = 0.02


def fit_limits(
    model: CropModel,
    samples: Samples,
    labels: Sequence[object] | Sequence[Sequence[object]],
    *,
    kept: float = KEPT,
    outside: float = OUTSIDE,
    seed: int = 0,
    device: str | None = None,
) -> KnowledgeLimits:
    """Find the limits of a model's knowledge; reads the pixels of the samples.

    ``model.with_limits(fit_limits(model, samples, labels))`` is a model whose tables and maps say
    at which level a class is known, and what is outside of what the model knows.

    Parameters
    ----------
    model : CropModel
        A model with the embeddings of its training parcels. Calibrate it first: another
        temperature needs other limits.
    samples, labels
        As for `fit`, of parcels that the model did not learn from, in the region where it is
        used. They must not be those that the result is tested on. Which class a label names does
        not matter: parcels with a null label are left out.
    kept : float, default 0.8
        Share of the parcels that come out as a class of the finest level. The others have a
        coarser class.
    outside : float, default 0.02
        Share of the parcels that count as outside of what the model knows, less than 1 - kept.
    seed : int, default 0
        Chooses the pixels of parcels with more pixels than the model draws.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a graphics card if there is one.

    Returns
    -------
    KnowledgeLimits
        For parcels and for single pixels.

    Raises
    ------
    ModelMismatchError
        The model has no embeddings of its training parcels.
    LabelError
        Fewer than 20 parcels can be predicted, or the shares do not fit together.
    """
    sources, texts = as_lists(samples, labels)
    # The class only says which parcels take part: `training_set` leaves out those without one.
    known = model.nomenclature.names[0]
    sets = [
        training_set(
            source,
            in_season_of(model, tree_of(source)),
            [None if text is None else known for text in part],
            model.config,
            model.nomenclature,
        )
        for source, part in zip(sources, texts, strict=True)
    ]
    limits = limits_of_sets(model, sets, kept=kept, outside=outside, seed=seed, device=device)
    if limits is None:
        raise LabelError(
            f"fewer than {_FEWEST} labelled parcels can be predicted, too few to find the limits "
            "of the model's knowledge. Give more parcels that the model did not learn from."
        )
    return limits


def limits_of_sets(
    model: CropModel,
    sets: Sequence[AnySet],
    *,
    kept: float = KEPT,
    outside: float = OUTSIDE,
    seed: int,
    device: str | None,
) -> KnowledgeLimits | None:
    """The limits on validation sets; None with too few parcels. See `fit_limits`."""
    check_share("kept", kept, error=LabelError)
    check_share("outside", outside, error=LabelError)
    if not 0 <= outside < 1 - kept < 1:
        raise LabelError(
            f"kept is {kept} and outside is {outside}, expected outside to be less than 1 - kept."
        )
    if model.training_space is None:
        raise ModelMismatchError(
            "the model has no embeddings of its training parcels, so nothing says what it does "
            "not know. Train it again with `fit`."
        )
    predictor = model.predictor(device)
    found = []
    for n_pixels in (model.n_pixels, 1):
        drawn = [part.drawn_once(n_pixels, seed) for part in sets]
        found.append(_limit(model.training_space, predictor, drawn, kept=kept, outside=outside))
    (parcel, n), (pixel, _) = found
    if parcel is None or pixel is None:
        return None
    return KnowledgeLimits(parcel=parcel, pixel=pixel, kept=kept, outside=outside, n=n)


def _limit(
    space: TrainingSpace,
    predictor: Predictor,
    sets: Sequence[AnySet],
    *,
    kept: float,
    outside: float,
) -> tuple[Limit | None, int]:
    """The limit on sets, and the number of their parcels with a prediction."""
    pairs = [predictor.with_embedding(block) for part in sets for block in part.blocks()]
    probability, embedding = (np.concatenate(values) for values in zip(*pairs, strict=True))
    return limit_of(probability, space.dissimilarity(embedding), kept=kept, outside=outside)


def limit_of(
    probability: NDArray[np.floating],
    dissimilarity: NDArray[np.floating],
    *,
    kept: float = KEPT,
    outside: float = OUTSIDE,
) -> tuple[Limit | None, int]:
    """The limit on parcels that a model did not learn from, and the number of those predicted.

    Parameters
    ----------
    probability : numpy.ndarray
        (parcel, class) calibrated; NaN where there is no prediction.
    dissimilarity : numpy.ndarray
        (parcel,), as of `CropModel.applicability`.
    kept, outside : float
        As for `fit_limits`.

    Returns
    -------
    Limit or None, int
        None with fewer than 20 parcels that have a prediction.
    """
    known = np.isfinite(probability).all(axis=1)
    n = int(known.sum())
    if n < _FEWEST:
        return None, n
    dissimilarity = dissimilarity[known]
    # "higher": at most this share is beyond the limit, also among parcels that are all alike.
    furthest = float(np.quantile(dissimilarity, 1 - outside, method="higher"))
    inside = dissimilarity <= furthest
    best = np.where(inside, probability[known].max(axis=1), 0)
    least = float(np.quantile(best, 1 - kept, method="lower"))
    tiny = float(np.finfo(np.float32).tiny)
    return Limit(probability=max(least, tiny), dissimilarity=max(furthest, tiny)), n
