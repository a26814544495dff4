"""Where the knowledge of a model ends: what it is sure of, and what it does not know at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cubecrop.errors import ModelFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["KnowledgeLimits", "Limit", "UnreliableArea"]

Box = tuple[float, float, float, float]


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
class UnreliableArea:
    """An area where a test has shown that a model must not be used.

    Parameters
    ----------
    name : str
        The area, for users.
    bbox : tuple of float
        West, south, east and north in degrees.
    reason : str
        What the test has shown, as a clause.
    """

    name: str
    bbox: Box
    reason: str

    def __post_init__(self) -> None:
        west, south, east, north = bbox = tuple(map(float, self.bbox))
        object.__setattr__(self, "bbox", bbox)
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise ModelFormatError(
                f"the bbox of the unreliable area {self.name!r} is {bbox}, expected west < east "
                "and south < north in degrees."
            )


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
    unreliable : tuple of UnreliableArea
        Where all is outside of what the model knows, whatever a parcel looks like.
    """

    parcel: Limit
    pixel: Limit
    kept: float
    outside: float
    n: int
    unreliable: tuple[UnreliableArea, ...] = ()

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
            unreliable=tuple(UnreliableArea(**area) for area in raw.get("unreliable", ())),
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON types; files of models without unreliable areas do not name them."""
        return {key: value for key, value in asdict(self).items() if value or key != "unreliable"}

    def with_probability(self, probability: float) -> KnowledgeLimits:
        """The same limits with another least probability of a class, of parcels and pixels.

        A higher one names a crop less often, and more often the right one.
        """
        parcel, pixel = (
            replace(limit, probability=probability) for limit in (self.parcel, self.pixel)
        )
        return replace(self, parcel=parcel, pixel=pixel)

    def unreliable_at(
        self, longitude: NDArray[np.floating], latitude: NDArray[np.floating]
    ) -> NDArray[np.bool_]:
        """Whether places, in degrees, lie in an unreliable area; False for NaN."""
        found = np.zeros(np.shape(longitude), dtype=bool)
        for west, south, east, north in (area.bbox for area in self.unreliable):
            within = (west <= longitude) & (longitude <= east)
            found |= within & (south <= latitude) & (latitude <= north)
        return found

    def unreliable_near(self, bounds: Box) -> str:
        """What tests have shown of the unreliable areas that bounds touch, "" if there are none.

        Bounds are west, south, east and north in degrees; west > east across 180 degrees.
        """
        west, south, east, north = bounds
        across = west > east
        return "; ".join(
            f"{area.name}: {area.reason}"
            for area in self.unreliable
            if area.bbox[1] <= north
            and south <= area.bbox[3]
            and (across or (area.bbox[0] <= east and west <= area.bbox[2]))
        )
