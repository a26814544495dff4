"""What a crop map shows and where it comes from, whatever its grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cubecrop.nomenclature import NODATA, TOO_FEW, WITHOUT_CLASS, Mark, Nomenclature

if TYPE_CHECKING:
    from cubecrop.season import Season
    from cubecrop.write.smoothing import Smoothing

__all__ = ["Provenance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Classes, season and model of a crop map.

    ``archive`` is a name, never a path. ``calibration`` describes the model's probability
    calibration, "" if the map does not state it. ``marks`` are the codes without a class that the
    map's flags name, except nodata. ``gaps`` describes the sensors that cover less of the season
    than the model needs, "" if there are none. ``unreliable`` says where the model must not be used
    and why, "" if the map is not there. ``mask`` says which land the map is of, "" for all.
    ``smoothing`` is how the map was smoothed, None if it was not.
    """

    nomenclature: Nomenclature
    season: Season
    archive: str
    model_name: str
    model_digest: str
    calibration: str = ""
    marks: tuple[Mark, ...] = (WITHOUT_CLASS[TOO_FEW],)
    gaps: str = ""
    unreliable: str = ""
    mask: str = ""
    smoothing: Smoothing | None = None

    @property
    def title(self) -> str:
        """Title of the map, which tells of what is lacking, and names the mask."""
        gaps = ", season with gaps" if self.gaps else ""
        uncalibrated = ", uncalibrated" if self.calibration == "uncalibrated" else ""
        unreliable = ", unknown where the model is unreliable" if self.unreliable else ""
        # The text after the colon is the classes that the mask keeps.
        land = f", cropland of {self.mask.partition(': ')[0]}" if self.mask else ""
        return f"Crop types {self.season.year}{gaps}{unreliable}{uncalibrated}{land}"

    @property
    def subtitle(self) -> str:
        """The season's days, and the effect of smoothing."""
        smoothed = f", {self.smoothing.effect}" if self.smoothing else ""
        return f"{self.season.start} to {self.season.end}{smoothed}"

    @property
    def entries(self) -> list[tuple[int, str, str]]:
        """Value, name and colour of each class and mark, without nodata."""
        crops = enumerate(self.nomenclature.crops)
        return [
            *((value, crop.name, crop.colour) for value, crop in crops),
            *((mark.value, mark.title, mark.colour) for mark in self.marks),
        ]

    @property
    def without_class(self) -> tuple[Mark, ...]:
        """All codes without a class, nodata last."""
        return (*self.marks, WITHOUT_CLASS[NODATA])
