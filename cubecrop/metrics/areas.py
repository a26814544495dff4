"""Areas of classes, adjusted for the errors of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cubecrop.errors import LabelError
from cubecrop.metrics.counting import confusion_matrix, ratio
from cubecrop.metrics.shares import Z_95

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["AreaEstimates", "area_estimates"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AreaEstimates:
    """Areas and accuracies estimated from a sample that is stratified by a map.

    A standard error (``_se``) is that of a stratified random sample; 1.96 of them to each side
    make a 95 % interval. A stratum in which all points are right has an error of 0, which does
    not show that the stratum has no mistakes: it needs more points.

    Parameters
    ----------
    n : numpy.ndarray
        (class,) int64 reference points on the class as mapped.
    mapped_area, area, area_se : numpy.ndarray
        (class,) area as mapped; area adjusted for the map's errors; its standard error.
    users, users_se : numpy.ndarray
        (class,) user's accuracy, the share of the mapped area that is right; NaN for a class
        that is not mapped.
    producers, producers_se : numpy.ndarray
        (class,) producer's accuracy, the share of the true area that is mapped as such; NaN for
        a class that no point has.
    accuracy, accuracy_se : float
        Overall accuracy, the share of the whole area that is mapped right.
    """

    n: NDArray[np.int64]
    mapped_area: NDArray[np.float64]
    area: NDArray[np.float64]
    area_se: NDArray[np.float64]
    users: NDArray[np.float64]
    users_se: NDArray[np.float64]
    producers: NDArray[np.float64]
    producers_se: NDArray[np.float64]
    accuracy: float
    accuracy_se: float

    @property
    def area_interval(self) -> NDArray[np.float64]:
        """The 95 % interval (class, 2) of the adjusted areas; none below 0."""
        half = Z_95 * self.area_se
        return np.stack([np.maximum(self.area - half, 0), self.area + half], axis=1)


def area_estimates(
    truth: ArrayLike, mapped: ArrayLike, mapped_areas: Sequence[float] | NDArray[np.floating]
) -> AreaEstimates:
    """Areas of the classes, adjusted for the errors of a map, from reference points.

    The points must be a random sample, or one that is random within each mapped class.

    Parameters
    ----------
    truth, mapped : array_like of int, shape (n,)
        Class of each point on the ground, and on the map.
    mapped_areas : array_like, shape (class,)
        Area that is mapped as each class, in any unit: 0 for a class that the map does not have.

    Returns
    -------
    AreaEstimates
        Areas in the unit of ``mapped_areas``.

    Raises
    ------
    LabelError
        A mapped class has fewer than two points, so its errors are unknown; a point is on a
        class without area; a class index is out of range; or areas are not positive numbers.

    References
    ----------
    Olofsson et al. 2014, doi:10.1016/j.rse.2014.02.015, equations 4 to 11.
    """
    areas = np.asarray(mapped_areas, dtype=float)
    k = len(areas)
    if not (np.isfinite(areas).all() and (areas >= 0).all() and areas.any()):
        raise LabelError(f"mapped areas are {areas.tolist()}, expected 0 or more, and some above.")
    counts = confusion_matrix(mapped, truth, k).astype(float)  # rows mapped, columns true
    n = counts.sum(axis=1)
    if n.sum() < np.size(truth):
        raise LabelError(f"truth holds classes outside of 0 to {k - 1}.")
    if odd := np.flatnonzero((n > 0) & (areas == 0)).tolist():
        raise LabelError(f"points are on the classes {odd}, whose mapped area is 0.")
    if few := np.flatnonzero((n < 2) & (areas > 0)).tolist():
        raise LabelError(
            f"the mapped classes {few} have fewer than two reference points, so their errors are "
            "unknown. Add points there, or merge classes."
        )
    share = counts / np.maximum(n, 1)[:, None]
    # Variance of a share of a stratum's points, times the stratum's area squared.
    variance = areas[:, None] ** 2 * share * (1 - share) / np.maximum(n - 1, 1)[:, None]
    true_area = areas @ share
    right, own = areas * np.diag(share), np.diag(variance)
    producers = ratio(right, true_area)
    others = variance.sum(axis=0) - own
    producers_variance = (1 - producers) ** 2 * own + producers**2 * others
    return AreaEstimates(
        n=n.astype(np.int64),
        mapped_area=areas,
        area=true_area,
        area_se=np.sqrt(variance.sum(axis=0)),
        users=ratio(right, areas),
        users_se=ratio(np.sqrt(own), areas),
        producers=producers,
        producers_se=ratio(np.sqrt(producers_variance), true_area),
        accuracy=float(right.sum() / areas.sum()),
        accuracy_se=float(np.sqrt(own.sum()) / areas.sum()),
    )
