"""Crop classes: their codes, names, colours and parents."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cubecrop.class_table import read_class_rows
from cubecrop.colours import colours_of
from cubecrop.display import html_table, listed, plain, swatches
from cubecrop.errors import LabelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "MAX_CLASSES", "NODATA", "NOT_CROPLAND", "TOO_FEW", "WITHOUT_CLASS", "Crop", "Mark",
    "Nomenclature", "decide",
]  # fmt: skip

#: Class index of a pixel without an observation.
NODATA = 255
#: Class index of a pixel with fewer observations than the model needs.
TOO_FEW = 254
#: Class index of a pixel that a mask leaves out: no crop grows there.
NOT_CROPLAND = 252
#: Indices from here on are not classes; 253 is reserved for another reason.
MAX_CLASSES = 252


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A code of a map without a class: its slug for programs, title for people, and colour."""

    value: int
    slug: str
    title: str
    colour: str


#: Reasons why a pixel has no class, by code.
WITHOUT_CLASS: Final[Mapping[int, Mark]] = {
    mark.value: mark
    for mark in (
        Mark(
            value=NOT_CROPLAND,
            slug="not_cropland",
            title="Not cropland",
            colour="#F2EFE6",
        ),
        Mark(
            value=TOO_FEW,
            slug="too_few_observations",
            title="Too few observations",
            colour="#A6A6A6",
        ),
        Mark(value=NODATA, slug="nodata", title="No data", colour="#E0E0E0"),
    )
}


def decide(probability: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The most probable class, or 255.

    Parameters
    ----------
    probability : numpy.ndarray
        (…, crop) float, at least one crop.

    Returns
    -------
    numpy.ndarray
        Class index (…) uint8; the first of equally probable classes; 255 if any probability
        is NaN.
    """
    known = np.asarray(np.isfinite(probability).all(axis=-1))
    index = np.where(known[..., None], probability, 0).argmax(axis=-1)
    return np.where(known, index, NODATA).astype(np.uint8)


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
        try:
            f"{self.name}{self.code}".encode()
        except UnicodeEncodeError as error:
            raise LabelError(
                f"crop {self.name!r} has half a character (a lone surrogate) in its name or code, "
                "so no file can hold it. Correct the label."
            ) from error
        if not re.fullmatch(r"#[0-9A-Fa-f]{6}", self.colour):
            raise LabelError(f"crop {self.name!r} has colour {self.colour!r}, expected '#rrggbb'.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nomenclature:
    """An ordered set of crop classes; a class index is a position in this order.

    Parameters
    ----------
    crops : tuple of Crop
        1 to 252 classes with unique codes and names. Indices 252 to 255 are not classes.
    name : str
        Name of the code list, such as ``"RPG 2022"``.

    Raises
    ------
    LabelError
        There is no class, there are more than 252, or a code or name is repeated.
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
                "(a map stores the class in one byte, and reserves some values for pixels without "
                "a class). Merge rare crops first."
            )
        for what in ("codes", "names"):
            values = getattr(self, what)
            if repeated := sorted({value for value in values if values.count(value) > 1}):
                raise LabelError(f"nomenclature repeats the {what} {repeated}. Make them unique.")

    @classmethod
    def from_labels(cls, labels: Iterable[object], *, name: str = "") -> Nomenclature:
        """Make one class for each distinct label, sorted by name; nulls are ignored."""
        names = sorted({text for label in labels if (text := label_text(label)) is not None})
        return cls.from_names(names, name=name)

    @classmethod
    def from_names(cls, names: Iterable[str], *, name: str = "") -> Nomenclature:
        """Make one class for each name, in the given order; the codes are the names.

        The names determine the colours: a common crop has the same colour in every map.
        """
        texts = list(names)
        # Repeated names count once here; the constructor refuses them with a message.
        colours = dict(zip(dict.fromkeys(texts), colours_of(dict.fromkeys(texts)), strict=True))
        crops = tuple(Crop(code=text, name=text, colour=colours[text]) for text in texts)
        return cls(crops=crops, name=name)

    @classmethod
    def from_csv(
        cls, path: str | Path, *, labels: Iterable[object] | None = None, name: str | None = None
    ) -> Nomenclature:
        """Read classes from a table with one class per row.

        Parameters
        ----------
        path : path
            CSV with a header, the columns ``code`` and ``name``, and optionally ``colour`` (or
            ``color``, ``#rrggbb``) and ``parent`` (a code). Other columns are ignored. The
            delimiter is a comma, semicolon or tab; text is UTF-8, otherwise cp1252. A row
            without a colour gets the colour of its name.
        labels : iterable, optional
            Keep only the classes of these labels, given as codes or names, since a list may have
            more classes than a map can hold. By default all.
        name : str, optional
            Name of the code list; by default the file's name without its suffix.

        Returns
        -------
        Nomenclature
            In the order of the rows.

        Raises
        ------
        LabelError
            The file cannot be read, a row is not a class (the message names line and column),
            or a label is in no row.
        """
        path = Path(path)
        rows = read_class_rows(path)
        if labels is not None:
            pairs = [(row.code, row.name) for row in rows]
            wanted = set(_positions(labels, pairs, f"{path}"))
            rows = [row for position, row in enumerate(rows) if position in wanted]
        plain = [row.name for row in rows if row.colour is None]
        given = [row.colour for row in rows if row.colour is not None]
        made = dict(zip(plain, colours_of(plain, but=given), strict=True))
        crops = tuple(
            Crop(code=r.code, name=r.name, colour=r.colour or made[r.name], parent=r.parent)
            for r in rows
        )
        return cls(crops=crops, name=path.stem if name is None else name)

    @classmethod
    def from_json(cls, text: str) -> Nomenclature:
        """Read what `to_json` wrote."""
        try:
            raw: dict[str, Any] = json.loads(text)
            return cls(name=raw["name"], crops=tuple(Crop(**crop) for crop in raw["crops"]))
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, LabelError):
                raise
            raise LabelError(
                f"the text is not a nomenclature: {error}. Write it with `to_json`."
            ) from error

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

    def names_of(self, labels: Iterable[object]) -> list[str | None]:
        """Class names of labels that are codes or names; None for nulls.

        A label that is the code of one class and the name of another counts as the code.

        Raises
        ------
        LabelError
            A label is not a class; the message names such labels.
        """
        pairs = list(zip(self.codes, self.names, strict=True))
        positions = _positions(labels, pairs, f"nomenclature {self.name!r}")
        return [None if i is None else self.crops[i].name for i in positions]

    def only(self, labels: Iterable[object]) -> Nomenclature:
        """Keep only the classes whose name is among the labels, in the same order."""
        wanted = {label_text(label) for label in labels}
        crops = tuple(crop for crop in self.crops if crop.name in wanted)
        return Nomenclature(crops=crops, name=self.name)

    def __len__(self) -> int:
        return len(self.crops)

    def __repr__(self) -> str:
        called = f" {plain(self.name)!r}" if self.name else ""
        return f"<Nomenclature{called} of {len(self)} classes: {listed(self.names)}>"

    def _repr_html_(self) -> str:
        rows = [(f"{len(self)} classes", swatches(self.names, self.colours))]
        return html_table(f"Nomenclature {plain(self.name)}".rstrip(), rows)


def label_text(label: object) -> str | None:
    """A label as text: None for nulls and blanks; whole floats lose their ``.0``."""
    # Compare the text first, since pandas.NA has no truth value.
    if label is None or str(label) in {"<NA>", "NaT"} or label != label:
        return None
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label).strip() or None


#: Number of labels that an error lists.
_LISTED = 8


def _positions(
    labels: Iterable[object], pairs: Sequence[tuple[str, str]], where: str
) -> list[int | None]:
    """Positions of labels among pairs of code and name, codes before names; None for nulls."""
    places = {name: i for i, (_, name) in enumerate(pairs)}
    places |= {code: i for i, (code, _) in enumerate(pairs)}
    texts = [label_text(label) for label in labels]
    if unknown := sorted({text for text in texts if text is not None and text not in places}):
        more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
        raise LabelError(
            f"{len(unknown)} labels are neither a code nor a name of {where}: "
            f"{', '.join(map(repr, unknown[:_LISTED]))}{more}. Add them to it, or set the label "
            "of their parcels to null to leave these out."
        )
    return [None if text is None else places[text] for text in texts]
