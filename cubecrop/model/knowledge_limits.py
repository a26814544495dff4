"""Where the knowledge of a model ends: what it is sure of, and what it does not know at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cubecrop.errors import ModelFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KnowledgeLimits", "Limit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Thresholds for sets of pixels of one kind.

    Parameters
    ----------
    probability : float
        A parcel has a class of a level if this class has at least this calibrated probability.
    dissimilarity : float
        Above this dissimilarity to the training parcels (see `TrainingSpace.dissimilarity`), a
        parcel is outside of what the model knows, whatever its probabilities.
    """

    probability: float
    dissimilarity: float

    def __post_init__(self) -> None:
        # A file stores floats: an int here would have another digest than the float read back.
        for name in ("probability", "dissimilarity"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (0 < self.probability <= 1 and 0 < self.dissimilarity < float("inf")):
            raise ModelFormatError(f"this is no limit of a model's knowledge: {self}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeLimits:
    """Limits of a model's knowledge, from parcels of known crops that it did not learn from.

    Parameters
    ----------
    parcel : Limit
        For parcels, with as many pixels as the model draws.
    pixel : Limit
        For single pixels, which show a crop less clearly.
    kept : float
        Share of these parcels that come out as a class of the finest level.
    outside : float
        Share of them that count as outside of what the model knows.
    n : int
        Number of these parcels.
    """

    parcel: Limit
    pixel: Limit
    kept: float
    outside: float
    n: int

    def __post_init__(self) -> None:
        for name in ("kept", "outside"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not (0 < self.kept <= 1 and 0 <= self.outside < 1 and self.n > 0):
            raise ModelFormatError(f"these are no limits of a model's knowledge: {self}.")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> KnowledgeLimits:
        """Read from JSON types."""
        return cls(
            parcel=Limit(**raw["parcel"]),
            pixel=Limit(**raw["pixel"]),
            kept=float(raw["kept"]),
            outside=float(raw["outside"]),
            n=int(raw["n"]),
        )
