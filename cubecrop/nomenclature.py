"""Crop classes: their codes, names, colours and parents."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cubecrop.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["MAX_CLASSES", "NODATA", "TOO_FEW", "TOO_FEW_COLOUR", "Crop", "Nomenclature"]

#: Class index of a pixel without an observation.
NODATA = 255
#: Class index of a pixel with observations, but fewer than the model asks for.
TOO_FEW = 254
#: A grey darker than that of nodata.
TOO_FEW_COLOUR = "#A6A6A6"
#: Indices from here on are no classes; 252 and 253 are kept for other reasons to have none.
MAX_CLASSES = 252

# Paul Tol's "muted" and "bright" schemes, distinct also to colour-blind readers,
# then lighter and darker relatives. Source: https://personal.sron.nl/~pault/
_PALETTE = (
    "#DDCC77", "#117733", "#88CCEE", "#CC6677", "#332288", "#AA4499",
    "#44AA99", "#999933", "#882255", "#4477AA", "#EE6677", "#228833",
    "#CCBB44", "#66CCEE", "#AA3377", "#EE7733", "#0077BB", "#33BBEE",
    "#EE3377", "#CC3311", "#009988", "#77AADD", "#99DDFF", "#BBCC33",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """One class: its code in the source's list, its name, colour and optional parent code."""

    code: str
    name: str
    colour: str
    parent: str | None = None

    def __post_init__(self) -> None:
        if not self.name or not self.code:
            raise LabelError("a crop has an empty name or code; drop such labels first.")
        if not re.fullmatch(r"#[0-9A-Fa-f]{6}", self.colour):
            raise LabelError(f"crop {self.name!r} has colour {self.colour!r}, expected '#rrggbb'.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nomenclature:
    """An ordered set of crop classes; a class index is a position in it.

    Parameters
    ----------
    crops : tuple of Crop
        1 to 252 classes with unique codes and names. Indices 252 to 255 are no classes.
    name : str
        Name of the code list, such as ``"RPG 2022"``.

    Raises
    ------
    LabelError
        No class, more than 252, or a repeated code or name.
    """

    crops: tuple[Crop, ...]
    name: str = ""

    def __post_init__(self) -> None:
        if not self.crops:
            raise LabelError(
                "there is no class: every label is null, or there are no labels. Choose a column "
                "that names the crops."
            )
        if len(self.crops) > MAX_CLASSES:
            raise LabelError(
                f"nomenclature has {len(self.crops)} classes, expected at most {MAX_CLASSES} "
                "(a map stores the class in one byte, and the rest are for pixels without a "
                "class). Merge rare crops first."
            )
        for what in ("codes", "names"):
            seen = getattr(self, what)
            if repeated := sorted({value for value in seen if seen.count(value) > 1}):
                raise LabelError(f"nomenclature repeats the {what} {repeated}.")

    @classmethod
    def from_labels(cls, labels: Iterable[object], *, name: str = "") -> Nomenclature:
        """Make one class of each distinct label, sorted by name; nulls are left out."""
        names = sorted({text for label in labels if (text := label_text(label)) is not None})
        return cls.from_names(names, name=name)

    @classmethod
    def from_names(cls, names: Iterable[str], *, name: str = "") -> Nomenclature:
        """Make one class of each name, in their order; codes are the names."""
        crops = tuple(
            Crop(code=text, name=text, colour=_PALETTE[i % len(_PALETTE)])
            for i, text in enumerate(names)
        )
        return cls(crops=crops, name=name)

    @classmethod
    def from_json(cls, text: str) -> Nomenclature:
        """Read what `to_json` wrote."""
        try:
            raw: dict[str, Any] = json.loads(text)
            return cls(name=raw["name"], crops=tuple(Crop(**crop) for crop in raw["crops"]))
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, LabelError):
                raise
            raise LabelError(f"this is not a nomenclature: {error}.") from error

    def to_json(self) -> str:
        """Serialise to JSON text, for a model's or a map's metadata."""
        crops = [
            {"code": c.code, "name": c.name, "colour": c.colour, "parent": c.parent}
            for c in self.crops
        ]
        return json.dumps({"name": self.name, "crops": crops})

    @property
    def names(self) -> list[str]:
        """Class names by index."""
        return [crop.name for crop in self.crops]

    @property
    def codes(self) -> list[str]:
        """Class codes by index."""
        return [crop.code for crop in self.crops]

    @property
    def colours(self) -> list[str]:
        """Class colours ``#rrggbb`` by index."""
        return [crop.colour for crop in self.crops]

    def index(self, label: object) -> int:
        """Class index of a name.

        Raises
        ------
        LabelError
            No class has that name.
        """
        text = label_text(label)
        try:
            return self.names.index(text) if text is not None else NODATA
        except ValueError:
            raise LabelError(f"label {label!r} is not in the nomenclature {self.names}.") from None

    def __len__(self) -> int:
        return len(self.crops)


def label_text(label: object) -> str | None:
    """A label as text: nulls and blanks are None, whole floats lose their ``.0``."""
    # By its text first: pandas.NA has no truth value to compare with.
    if label is None or str(label) in {"<NA>", "NaT"} or label != label:
        return None
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label).strip() or None
