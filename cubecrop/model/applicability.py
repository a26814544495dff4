"""Area of applicability: how far parcels are from those that a network learned from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cubecrop.errors import ModelFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["MOST_PARCELS", "TrainingSpace"]

#: Training parcels that a model stores; of 256 features they take a megabyte.
MOST_PARCELS: Final = 2000
#: With fewer parcels than this, no threshold is reliable.
_FEWEST: Final = 20
#: Parcels whose distances to all training parcels are in memory at a time.
_ROWS: Final = 1024
#: A feature that varies less than this is not scaled.
_CONSTANT: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSpace:
    """Embeddings of training parcels, and the distance from them at which knowledge ends.

    The dissimilarity index of a parcel is its distance to the nearest training parcel, divided by
    the mean distance of training parcels to each other (Meyer & Pebesma 2021). Distances are
    Euclidean, between embeddings whose features are standardised.

    Parameters
    ----------
    embedding : numpy.ndarray
        (parcel, feature) float16, standardised; at most 2,000 parcels.
    mean, deviation : numpy.ndarray
        (feature,) float32, of the embeddings before they were standardised.
    mean_distance : float
        Mean distance of training parcels to each other.
    threshold : float
        Largest dissimilarity index of a training parcel to those of other groups that is no
        outlier, that is, not above the upper quartile by more than 1.5 interquartile ranges.

    Raises
    ------
    ModelFormatError
        Arrays do not fit together, or values are not finite or not positive.

    References
    ----------
    Meyer & Pebesma 2021, doi:10.1111/2041-210X.13650.
    """

    embedding: NDArray[np.float16]
    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    mean_distance: float
    threshold: float

    def __post_init__(self) -> None:
        shape, wanted = self.embedding.shape, (np.float16, np.float32, np.float32)
        arrays: tuple[NDArray[np.generic], ...] = (self.embedding, self.mean, self.deviation)
        numbers = (self.mean_distance, self.threshold)
        if (
            len(shape) != 2
            or not 1 <= shape[0] <= MOST_PARCELS
            or any(one.shape != (shape[1],) for one in arrays[1:])
            or any(one.dtype != kind for one, kind in zip(arrays, wanted, strict=True))
        ):
            raise ModelFormatError(
                f"the embeddings of training parcels are {[one.dtype.name for one in arrays]} of "
                f"shapes {[one.shape for one in arrays]}, expected float16 (parcel, feature) of at "
                f"most {MOST_PARCELS} parcels, and float32 (feature,) twice."
            )
        if not (
            all(np.isfinite(one).all() for one in (*arrays, np.array(numbers)))
            and (self.deviation > 0).all()
            and min(numbers) > 0
        ):
            raise ModelFormatError(
                "embeddings of training parcels, or their distances, are not finite and positive."
            )

    @property
    def n_features(self) -> int:
        """Features of an embedding."""
        return len(self.mean)

    @classmethod
    def of(cls, embedding: NDArray[np.float32], groups: Sequence[object]) -> TrainingSpace | None:
        """Measure the distances of training parcels.

        Parameters
        ----------
        embedding : numpy.ndarray
            (parcel, feature), at most 2,000 parcels; NaN for a parcel that cannot be predicted.
        groups : sequence
            Name of each parcel's group. The nearest parcel of another group counts, since
            parcels of a group are similar.

        Returns
        -------
        TrainingSpace or None
            None with fewer than 20 predictable parcels, with one group, or if the network gives
            all parcels the same embedding.
        """
        known = np.isfinite(embedding).all(axis=1)
        rows = embedding[known].astype(np.float64)
        group = np.unique(np.array([str(name) for name in groups])[known], return_inverse=True)[1]
        if len(rows) < _FEWEST or not group.any():
            return None
        mean, deviation = rows.mean(axis=0), rows.std(axis=0)
        deviation[deviation < _CONSTANT] = 1
        standard = ((rows - mean) / deviation).astype(np.float16)
        distance = _distances(standard)
        mean_distance = float(distance.sum() / (len(rows) * (len(rows) - 1)))
        distance[group[:, None] == group] = np.inf
        threshold = _upper_whisker(distance.min(axis=1)) / mean_distance if mean_distance else 0.0
        if threshold <= 0:
            return None
        return cls(
            embedding=standard,
            mean=mean.astype(np.float32),
            deviation=deviation.astype(np.float32),
            mean_distance=mean_distance,
            threshold=threshold,
        )

    def dissimilarity(self, embedding: NDArray[np.float32]) -> NDArray[np.float32]:
        """Dissimilarity indices in thresholds (parcel,): above 1 is outside; NaN stays NaN."""
        out = np.full(len(embedding), np.nan, dtype=np.float32)
        known = np.isfinite(embedding).all(axis=1)
        if known.any():
            rows = ((embedding[known] - self.mean) / self.deviation).astype(np.float32)
            out[known] = self._to_nearest(rows) / (self.mean_distance * self.threshold)
        return out

    def _to_nearest(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Distance (parcel,) of standardised embeddings to the nearest training parcel.

        The nearest one has the largest product less half its squared length. A matrix product
        with that takes less than half the time of scikit-learn's function.
        """
        trained = self.embedding.astype(np.float32)
        half = (trained**2).sum(axis=1) / 2
        out = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            nearest = trained[(part @ trained.T - half).argmax(axis=1)]
            out[start : start + _ROWS] = np.linalg.norm(part - nearest, axis=1)
        return out

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All values as arrays, by name, for a file."""
        return {
            "embedding": self.embedding,
            "mean": self.mean,
            "deviation": self.deviation,
            "distances": np.array([self.mean_distance, self.threshold]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> TrainingSpace:
        """Read what `arrays` gave; raises ModelFormatError if it is something else."""
        try:
            embedding, mean, deviation, distances = (
                arrays[name] for name in ("embedding", "mean", "deviation", "distances")
            )
            mean_distance, threshold = map(float, distances)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFormatError(
                f"the embeddings of training parcels are incomplete: {error!r}."
            ) from error
        return cls(
            embedding=embedding,
            mean=mean,
            deviation=deviation,
            mean_distance=mean_distance,
            threshold=threshold,
        )


def _distances(standard: NDArray[np.float16]) -> NDArray[np.float64]:
    """Distances (parcel, parcel) of all rows to each other."""
    from scipy.spatial.distance import pdist, squareform

    square: NDArray[np.float64] = squareform(pdist(standard.astype(np.float64)))
    return square


def _upper_whisker(values: NDArray[np.float64]) -> float:
    """The largest value that is no outlier by Tukey's rule."""
    low, high = np.percentile(values, (25, 75))
    return float(values[values <= high + 1.5 * (high - low)].max())
