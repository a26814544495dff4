"""Ordered sets of crop classes with the groups above them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cubecrop.checks import check_path
from cubecrop.class_lists import hierarchy_rows, plain_code
from cubecrop.class_table import read_class_rows
from cubecrop.colours import colours_of
from cubecrop.display import html_table, listed, plain, swatches
from cubecrop.errors import LabelError
from cubecrop.nomenclature.class_tree import ClassTree
from cubecrop.nomenclature.crops import Crop, Group, classes_of_rows
from cubecrop.nomenclature.labels import positions_of_labels
from cubecrop.nomenclature.reserved import NODATA
from cubecrop.nomenclature.tree import above
from cubecrop.texts import label_text, label_texts, plain_label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cubecrop.class_table import ClassRow

__all__ = ["Nomenclature"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nomenclature(ClassTree):
    """An ordered set of crop classes; a class index is a position in this order.

    Parameters
    ----------
    crops : tuple of Crop
        1 to 252 classes with unique codes and names. Indices 252 to 255 are not classes.
    name : str
        Name of the code list, such as ``"RPG 2022"``.
    groups : tuple of Group
        Coarser classes above the crops and above each other. Without groups, the parents of the
        crops are only kept. Crops and groups together are at most 252.

    Raises
    ------
    LabelError
        There is no class, there are more than 252, or a code or name is repeated; a parent is no
        group, a group is above itself, or the order of levels is not the same everywhere.
    """

    @classmethod
    def from_labels(cls, labels: Iterable[object], *, name: str = "") -> Nomenclature:
        """Make one class for each distinct label, sorted by name; nulls are ignored."""
        names = sorted({text for text in label_texts(labels) if text is not None})
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
            ``color``, ``#rrggbb``), ``parent`` (a code) and ``level`` (of a group). Other columns
            are ignored. The delimiter is a comma, semicolon or tab; text is UTF-8, otherwise
            cp1252. A row without a colour gets the colour of its name. A row that is the parent
            of another is a group, unless the labels name it.
        labels : iterable, optional
            Keep only the classes of these labels, given as codes or names, since a list may have
            more classes than a map can hold. By default all.
        name : str, optional
            Name of the code list; by default the file's name without its suffix.

        Returns
        -------
        Nomenclature
            In the order of the rows. Groups without a level are of "level 1", "level 2" and so
            on, from the coarsest.

        Raises
        ------
        LabelError
            The file cannot be read, a row is not a class (the message names line and column),
            or a label is in no row.
        """
        path = check_path("path", path, error=LabelError)
        rows = read_class_rows(path)
        called = path.stem if name is None else name
        return cls._from_rows(rows, labels, name=called, where=f"{path}")

    @classmethod
    def from_hierarchy(
        cls, hierarchy: str, *, labels: Iterable[object] | None = None, name: str | None = None
    ) -> Nomenclature:
        """Take classes from a packaged list, with the groups above them.

        Parameters
        ----------
        hierarchy : str
            Name of a list; see `cubecrop.code_table`. ``"coarse"`` is the tree of the default
            model, ``"ewoc"`` that of WorldCereal, ``"hcat3"`` that of EuroCrops.
        labels : iterable, optional
            The classes, as codes or names. By default those that have none below them, which a
            long list has too many of.
        name : str, optional
            Name of the nomenclature; by default that of the list.

        Returns
        -------
        Nomenclature
            Classes in the order of the list. A class below another class is not part of it.

        Raises
        ------
        LabelError
            There is no such list, or a label is not in it.
        """
        rows = hierarchy_rows(hierarchy)
        if labels is not None:
            labels = [plain_code(hierarchy, text) for text in label_texts(labels)]
        called = hierarchy if name is None else name
        return cls._from_rows(rows, labels, name=called, where=f"the list {hierarchy!r}")

    @classmethod
    def _from_rows(
        cls, rows: Sequence[ClassRow], labels: Iterable[object] | None, *, name: str, where: str
    ) -> Nomenclature:
        """The classes of the labels, or those without a class below them, and their groups."""
        chosen = None
        if labels is not None:
            pairs = [(row.code, row.name) for row in rows]
            chosen = {i for i in positions_of_labels(labels, pairs, where) if i is not None}
        crops, groups = classes_of_rows(rows, chosen)
        return cls(crops=crops, name=name, groups=groups)

    @classmethod
    def from_json(cls, text: str) -> Nomenclature:
        """Read what `to_json` wrote."""
        try:
            raw: dict[str, Any] = json.loads(text)
            return cls(
                name=raw["name"],
                crops=tuple(Crop(**crop) for crop in raw["crops"]),
                groups=tuple(Group(**group) for group in raw.get("groups", ())),
            )
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
        values: dict[str, object] = {"name": self.name, "crops": crops}
        if self.groups:
            # The digest of a model covers this text, so a model without groups has no such key.
            values["groups"] = [
                {"code": g.code, "name": g.name, "colour": g.colour, "parent": g.parent,
                 "level": g.level}
                for g in self.groups
            ]  # fmt: skip
        return json.dumps(values)

    def index(self, label: object) -> int:
        """Class index of a name.

        Raises
        ------
        LabelError
            No class has that name.
        """
        text, names = label_text(label), self.names
        if text is None:
            return NODATA
        for form in (text, label):  # names that were not made of labels may have another form
            if form in names:
                return names.index(str(form))
        raise LabelError(f"label {label!r} is not in the nomenclature {names}.")

    def names_of(self, labels: Iterable[object]) -> list[str | None]:
        """Class names of labels that are codes or names; None for nulls.

        A label that is the code of one class and the name of another counts as the code.

        Raises
        ------
        LabelError
            A label is not a class; the message names such labels.
        """
        pairs = list(zip(self.codes, self.names, strict=True))
        known = {*self.codes, *self.names}
        # As `from_hierarchy` reads the codes of a packaged list.
        labels = [t if t in known else plain_code(self.name, t) for t in label_texts(labels)]
        positions = positions_of_labels(labels, pairs, f"nomenclature {self.name!r}")
        return [None if i is None else self.crops[i].name for i in positions]

    def only(self, labels: Iterable[object]) -> Nomenclature:
        """Keep only the classes whose name is among the labels, in the same order."""
        wanted = set(label_texts(labels))
        crops = tuple(crop for crop in self.crops if plain_label(crop.name) in wanted)
        parents = self._parents()
        used = {code for crop in crops if self.groups for code in above(crop.parent, parents)}
        groups = tuple(group for group in self.groups if group.code in used)
        return Nomenclature(crops=crops, name=self.name, groups=groups)

    def __repr__(self) -> str:
        called = f" {plain(self.name)!r}" if self.name else ""
        tree = f" in {len(self.levels)} levels" if self.groups else ""
        return f"<Nomenclature{called} of {len(self)} classes{tree}: {listed(self.names)}>"

    def _repr_html_(self) -> str:
        rows = [(f"{len(self)} classes", swatches(self.names, self.colours))]
        for level in self.levels[1:]:
            found = [group for group in self.groups if group.level == level]
            names = [group.name for group in found]
            rows.append((f"level {level}", swatches(names, [group.colour for group in found])))
        return html_table(f"Nomenclature {plain(self.name)}".rstrip(), rows)
