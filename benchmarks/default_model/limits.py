"""Limits of the default model's knowledge, and how often it is sure of a crop that it never saw."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from benchmarks.default_model.points import nomenclature
from benchmarks.default_model.recipe import starter, train_model
from cubecrop.model import KnowledgeLimits, Limit, UnreliableArea, tempered
from cubecrop.model.shipped.card import AIMS
from cubecrop.nomenclature import NODATA, decide
from cubecrop.training.knowledge_limits import KEPT, OUTSIDE, limit_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from benchmarks.default_model.making import Store
    from benchmarks.default_model.points import Points
    from cubecrop.model import CropModel

    Found = Mapping[str, NDArray[np.floating]]

__all__ = [
    "by_share_kept", "false_sure", "limits_left_out", "missed_though_learned", "prediction",
    "shares_by_level", "unreliable_areas", "without_classes",
]  # fmt: skip

#: A class with fewer points than this is not left out. Each of the others takes five trainings.
_FEWEST: Final = 50
_SHARES: Final = (0.9, KEPT, 0.6, 0.4, 0.3, 0.2)


def prediction(model: CropModel, points: Points) -> dict[str, NDArray[np.floating]]:
    """Probabilities before calibration (point, class), and dissimilarity (point,)."""
    plain = model.with_calibration(None)
    return {
        "all": plain.predict_proba(points.samples, allow_gaps=True).to_numpy(),
        "dissimilarity": plain.applicability(points.samples, allow_gaps=True).to_numpy(),
    }


def limits_left_out(outer: Sequence[Found], temperature: float) -> KnowledgeLimits:
    """The limits on points of all regions, each predicted by a model of the others.

    The points are single pixels, so that parcels have the limit of pixels. By the rule of
    `fit_limits`, 80 % of the points keep a crop, and 2 % are unknown.
    """
    limit, n = _limit(outer, temperature, [np.ones(len(one["all"]), dtype=bool) for one in outer])
    return KnowledgeLimits(parcel=limit, pixel=limit, kept=KEPT, outside=OUTSIDE, n=n)


def _limit(
    outer: Sequence[Found],
    temperature: float,
    chosen: Sequence[NDArray[np.bool_]],
    kept: float = KEPT,
) -> tuple[Limit, int]:
    pairs = list(zip(outer, chosen, strict=True))
    probability = np.concatenate([one["all"][rows] for one, rows in pairs]).astype(np.float32)
    far = np.concatenate([one["dissimilarity"][rows] for one, rows in pairs])
    limit, n = limit_of(tempered(probability, temperature), far, kept=kept)
    if limit is None:
        raise ValueError(f"{n} points are too few for limits")
    return limit, n


def unreliable_areas(
    parts: Sequence[Points], regions: Mapping[str, Mapping[str, Any]]
) -> tuple[UnreliableArea, ...]:
    """The regions where models of the others miss the aim for the group of a crop.

    The model learned from their points too, but nothing shows that it is better there.
    """
    areas, aim = [], AIMS["sure_accuracy"]
    for part in parts:
        sure = float(regions[part.name]["coarse"]["sure_accuracy"])
        if sure >= aim:
            continue
        lon, lat = (part.samples[name].to_numpy() for name in ("lon", "lat"))
        ends = [np.floor(10 * value) / 10 for value in (lon.min(), lat.min())]
        ends += [np.ceil(10 * value) / 10 for value in (lon.max(), lat.max())]
        reason = (
            f"a model of other regions has the right group of crops for {sure:.2f} of the surest "
            f"points, not for {aim:.2f}"
        )
        areas.append(UnreliableArea(name=part.name, bbox=tuple(ends), reason=reason))
    return tuple(areas)


def shares_by_level(one: Found, temperature: float, limit: Limit) -> dict[str, float]:
    """Share of the points of a region that have a class of each level, or are unknown."""
    probability = tempered(one["all"].astype(np.float32), temperature)
    classes = nomenclature()
    level = classes.finest(probability, limit.probability)[1]
    outside = ~(one["dissimilarity"] <= limit.dissimilarity)
    level = np.where(outside | (level == NODATA), NODATA, level)
    shares = {name: float((level == i).mean()) for i, name in enumerate(classes.levels)}
    return {**shares, "unknown": float((level == NODATA).mean())}


def without_classes(parts: Sequence[Points], store: Store) -> dict[str, list[Found]]:
    """For each class left out, predictions of each region by a network without both.

    For each class and each region a network learns from the points of the other classes in the
    other regions, and predicts all points of the region. All stages of the recipe do without the
    class, the simulated seasons too.
    """
    start = functools.lru_cache(maxsize=1)(lambda name: starter(without=name))
    out: dict[str, list[Found]] = {}
    for name in nomenclature().names:
        if sum(part.counts.get(name, 0) for part in parts) < _FEWEST:
            continue
        for i, part in enumerate(parts):

            def compute(i: int = i, name: str = name) -> dict[str, NDArray[np.floating]]:
                others = [other for k, other in enumerate(parts) if k != i]
                return prediction(train_model(others, start(name), without=name), parts[i])

            found = store.get(f"without {name} and {part.name}", compute)
            out.setdefault(name, []).append(found)
    return out


def false_sure(
    parts: Sequence[Points], unseen: Mapping[str, Sequence[Found]], kept: float = KEPT
) -> dict[str, dict[str, Any]]:
    """For each class left out, how often a model without it is sure of another crop.

    The limits come from the points of the other classes, by the same rule as those of the shipped
    model; no point of the class chooses anything.

    Parameters
    ----------
    parts : sequence of Points
        The regions.
    unseen : mapping
        As from `without_classes`.
    kept : float
        Share of the points of the other classes that keep a crop.
    """
    out = {}
    for name, found in unseen.items():
        labels = [np.array(part.labels) for part in parts]
        limit, n_known = _limit(found, 1, [one != name for one in labels], kept)
        truth = np.concatenate(labels)
        far = np.concatenate([one["dissimilarity"] for one in found])
        probability = np.concatenate([one["all"] for one in found])
        crops = np.array([crop for crop in nomenclature().names if crop != name])
        outside, of_class = ~(far <= limit.dissimilarity), truth == name
        sure = (probability.max(axis=1) >= limit.probability) & ~outside
        right = crops[decide(probability)] == truth
        out[name] = {
            "n": int(of_class.sum()), "false_sure": float(sure[of_class].mean()),
            "unknown": float(outside[of_class].mean()), "n_known": n_known,
            "known_sure": float(sure[~of_class].mean()),
            "sure_right": float(right[sure & ~of_class].mean()), "probability": limit.probability,
        }  # fmt: skip
    return out


def missed_though_learned(parts: Sequence[Points], outer: Sequence[Found]) -> dict[str, float]:
    """For each class, how many of its points a model overlooks that has learned it with labels.

    The 80 % of the other points that are least like the class are kept, by the probability of the
    class; this is the share of the points of the class that are kept with them. A model that never
    saw the class, and is not told which one to look for, can hardly find more of them.
    """
    truth = np.concatenate([np.array(part.labels) for part in parts])
    probability = np.concatenate([one["all"] for one in outer])
    out = {}
    for i, name in enumerate(nomenclature().names):
        of_class = truth == name
        if of_class.sum() >= _FEWEST:
            likeness = probability[:, i]
            out[name] = float((likeness[of_class] <= np.quantile(likeness[~of_class], KEPT)).mean())
    return out


def by_share_kept(
    parts: Sequence[Points], unseen: Mapping[str, Sequence[Found]]
) -> list[dict[str, float]]:
    """Means of `false_sure` over the classes left out, for several shares of points that are kept.

    A user may ask for more certainty than the limits of the model do.
    """
    rows = []
    for kept in _SHARES:
        found = false_sure(parts, unseen, kept).values()
        keys = ("known_sure", "probability", "sure_right", "false_sure")
        rows.append({key: float(np.mean([one[key] for one in found])) for key in keys})
    return rows
