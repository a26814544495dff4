"""Recipes of trainings: which parcels of which years and archives, and what is held out."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from cubecrop.aoi import parse_aoi
from cubecrop.checks import brief, check_names, check_path, check_share, check_whole
from cubecrop.class_lists import MAPPED_LISTS
from cubecrop.errors import ArgumentError, CubecropError
from cubecrop.evaluation.protocols import PROTOCOLS
from cubecrop.schema import SERIES
from cubecrop.vector import is_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["HeldOut", "Recipe", "RecipeReport", "RecipeSource"]

_TABLES: Final = ("source", "held_out", "report")
_NUMBER: Final = (int, float)
#: Types of a field's values by its annotation, and what messages call them.
_SCALARS: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "int": (int, "a whole number"),
    "float": (_NUMBER, "a number"),
    "str": (str, "text"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSource:
    """Declared parcels of one region and year in one archive: a table ``[[source]]``.

    Parameters
    ----------
    region : str
        Name of the region; sources of one region may be of several years.
    year : int
        Harvest year.
    parcels : str
        A vector file, or the address of a GeoParquet file, such as one of fiboa.
    archive : str, optional
        Archive of the images, by default the recipe's.
    bbox : tuple of float, optional
        West, south, east, north in degrees; parcels beyond are left out.
    id : str
        Column that identifies a parcel.
    label : str
        Column that holds the crop, by default the recipe's.
    codes : str, optional
        Packaged list of the labels (see `cubecrop.map_codes`), by default the recipe's. They are
        mapped to the classes of the default model; ``"coarse"`` holds these, and is not mapped.
    """

    region: str
    year: int
    parcels: str
    archive: str | None = None
    bbox: tuple[float, float, float, float] | None = None
    id: str = "id"
    label: str | None = None
    codes: str | None = None

    @property
    def name(self) -> str:
        """Region and year."""
        return f"{self.region} {self.year}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What is only scored: a table ``[held_out]``; without it, a share of all parcels.

    Parameters
    ----------
    regions, years : tuple
        Regions and harvest years whose sources are held out.
    share : float
        Share of the parcels of each class that is held out if no region or year is.
    """

    regions: tuple[str, ...] = ()
    years: tuple[int, ...] = ()
    share: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeReport:
    """The report at the end: a table ``[report]``; see `cubecrop.generalisation_report`.

    By default regions and years are left out, whichever there are several of; else blocks.
    """

    protocols: tuple[str, ...] | None = None
    seeds: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is trained, as a file that others can run again.

    Parameters
    ----------
    sources : tuple of RecipeSource
        Tables ``[[source]]``.
    held_out : HeldOut
        Table ``[held_out]``.
    report : RecipeReport
        Table ``[report]``.
    name, licence : str
        Text for users of the model.
    label, codes, archive : str, optional
        Of all sources that name none.
    nomenclature : str, optional
        CSV with the classes of labels that have no packaged list.
    most : int, optional
        At most so many parcels of each class and source, drawn by their ids.
    sensors : tuple of str
        As for `cubecrop.train`.
    may_be_missing : tuple of str
        Sensors that may be missing where the model is used.
    composite, weather : str, optional
        As for `cubecrop.train`.
    init : str, optional
        Start from the encoders of a model: ``"default"``, or its folder.
    epochs : int, optional
        Passes over the parcels.
    seed : int
        Of the draw of parcels, of the split and of the training.
    """

    sources: tuple[RecipeSource, ...]
    held_out: HeldOut = field(default_factory=HeldOut)
    report: RecipeReport = field(default_factory=RecipeReport)
    name: str = "crop model"
    licence: str = "unspecified"
    label: str | None = None
    codes: str | None = None
    archive: str | None = None
    nomenclature: str | None = None
    most: int | None = None
    sensors: tuple[str, ...] = ("sentinel2", "sentinel1")
    may_be_missing: tuple[str, ...] = ()
    composite: str | None = None
    weather: str | None = None
    init: str | None = None
    epochs: int | None = None
    seed: int = 0

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a recipe; relative paths in it are relative to its folder.

        Raises
        ------
        ArgumentError
            The file is not there, is not TOML, or is not a recipe; the message names the entry.
        """
        path = check_path("recipe", path)
        try:
            # Editors on Windows write a byte order mark.
            raw = tomllib.loads(path.read_text("utf-8-sig"))
        except OSError as error:
            raise ArgumentError(
                f"{path} cannot be read: {error.strerror or error}. Name a recipe, a TOML file."
            ) from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ArgumentError(f"{path} is not TOML: {error}.") from error
        try:
            return cls.from_dict(raw, folder=path.parent)
        except CubecropError as error:
            raise ArgumentError(f"{path}: {error}") from error

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], *, folder: Path) -> Self:
        """Check a parsed recipe.

        Raises
        ------
        ArgumentError
            An entry is unknown, missing, or has a wrong value.
        """
        entries = {key: value for key, value in raw.items() if key not in _TABLES}
        listed = raw.get("source", [])
        if not isinstance(listed, list) or not listed:
            raise ArgumentError("it has no [[source]]; add one for each region and year.")
        top = _entries(entries, cls, "the recipe")
        for key in ("archive", "weather", "nomenclature", "init"):
            top[key] = _located(top.get(key), folder, known_names=key != "nomenclature")
        sources = tuple(
            _source(one, number, top, folder) for number, one in enumerate(listed, start=1)
        )
        recipe = cls(
            **top,
            sources=sources,
            held_out=HeldOut(**_entries(raw.get("held_out", {}), HeldOut, "[held_out]")),
            report=RecipeReport(**_entries(raw.get("report", {}), RecipeReport, "[report]")),
        )
        recipe._check()
        return recipe

    def is_held_out(self, source: RecipeSource) -> bool:
        """Whether all parcels of a source are only scored."""
        return source.region in self.held_out.regions or source.year in self.held_out.years

    @property
    def holds_out_sources(self) -> bool:
        """Whether regions or years are held out, and not a share of the parcels."""
        return bool(self.held_out.regions or self.held_out.years)

    @property
    def protocols(self) -> tuple[str, ...]:
        """Protocols of the report."""
        if self.report.protocols is not None:
            return self.report.protocols
        regions = {source.region for source in self.sources}
        years = {source.year for source in self.sources}
        several = (
            *(("leave-region-out",) if len(regions) > 1 else ()),
            *(("leave-year-out",) if len(years) > 1 else ()),
        )
        return ("random", *(several or ("blocked",)))

    def _check(self) -> None:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ArgumentError(
                f"several sources are {', '.join(twice)}. Give each a region of its own."
            )
        for key, held, known in (
            ("regions", self.held_out.regions, {source.region for source in self.sources}),
            ("years", self.held_out.years, {source.year for source in self.sources}),
        ):
            if unknown := [one for one in held if one not in known]:
                raise ArgumentError(
                    f"[held_out] names the {key} {unknown}, expected some of {sorted(known)}."
                )
        if all(map(self.is_held_out, self.sources)):
            raise ArgumentError("[held_out] leaves no source to train on; hold out fewer.")
        check_names("sensors", self.sensors, tuple(SERIES))
        check_share("[held_out] share", self.held_out.share)
        _check_among("may_be_missing", self.may_be_missing, self.sensors)
        _check_among("[report] protocols", self.report.protocols or (), tuple(PROTOCOLS))
        if self.report.protocols == ():
            raise ArgumentError(
                f"[report] has no protocols, expected some of {list(PROTOCOLS)}. Leave the entry "
                "out for the default."
            )
        if self.composite not in {None, "dekad", "month"}:
            raise ArgumentError(f"composite is {self.composite!r}, expected 'dekad' or 'month'.")
        check_whole("[report] seeds", self.report.seeds, minimum=1)
        check_whole("seed", self.seed, minimum=0)
        for key in ("most", "epochs"):
            if getattr(self, key) is not None:
                check_whole(key, getattr(self, key), minimum=1)
        with_codes = {source.codes is not None for source in self.sources}
        if len(with_codes) > 1 or (True in with_codes and self.nomenclature is not None):
            raise ArgumentError(
                "some sources have `codes`, whose classes are those of the default model, and "
                "others have not. Name `codes` for all, or map all labels to one `nomenclature`."
            )


def _source(raw: object, number: int, top: Mapping[str, Any], folder: Path) -> RecipeSource:
    where = f"[[source]] {number}"
    values = _entries(raw, RecipeSource, where)
    where_codes = where if values.get("codes") else "the recipe"
    for key in ("label", "codes", "archive"):
        values[key] = values.get(key) or top.get(key)
    values["region"] = values["region"].strip()
    if not values["region"]:
        raise ArgumentError(f"{where} has an empty region; give each region a name.")
    values["parcels"] = _located(values["parcels"], folder)
    values["archive"] = _located(values["archive"], folder, known_names=True)
    source = RecipeSource(**values)
    if source.label is None:
        raise ArgumentError(
            f"{where} has no `label`, the column that holds the crop; add it there, or at the top."
        )
    if source.codes is not None and source.codes not in MAPPED_LISTS:
        raise ArgumentError(
            f"{where_codes} has codes {source.codes!r}, expected one of {sorted(MAPPED_LISTS)}, "
            "whose codes are mapped to classes of the default model. Map other labels by a "
            "`nomenclature`."
        )
    if source.bbox is not None:
        parse_aoi(source.bbox)
    return source


def _located(value: str | None, folder: Path, *, known_names: bool = False) -> str | None:
    """A path relative to the recipe's folder; addresses and names of archives stay as they are."""
    if value is None or is_address(value):
        return value
    path = folder / Path(value).expanduser()
    return value if known_names and not path.exists() else str(path)


def _entries(raw: object, kind: type, where: str) -> dict[str, Any]:
    """The entries of a table, checked against the fields of a class."""
    if not isinstance(raw, dict):
        raise ArgumentError(f"{where} is {brief(raw)}, expected a table.")
    known = {one.name: one for one in fields(kind) if one.name not in (*_TABLES, "sources")}
    if unknown := sorted(set(raw) - set(known)):
        raise ArgumentError(f"{where} has unknown entries {unknown}, expected {sorted(known)}.")
    if missing := [
        name
        for name, one in known.items()
        if one.default is MISSING and one.default_factory is MISSING and name not in raw
    ]:
        raise ArgumentError(f"{where} lacks {missing}.")
    return {name: _value(value, str(known[name].type), name, where) for name, value in raw.items()}


def _value(value: object, kind: str, name: str, where: str) -> Any:  # noqa: ANN401
    """A value of the type that a field's annotation says."""
    if kind.startswith("tuple"):
        item = int if "int" in kind else (float if "float" in kind else str)
        length = kind.count("float") or None
        if isinstance(value, list) and (length is None or len(value) == length):
            return tuple(_value(one, item.__name__, name, where) for one in value)
        raise ArgumentError(
            f"{where} has {name} = {brief(value)}, expected a list"
            f"{f' of {length} numbers' if length else ''}."
        )
    wanted, text = _SCALARS[kind.split(" ")[0]]
    if isinstance(value, bool) or not isinstance(value, wanted):
        raise ArgumentError(f"{where} has {name} = {brief(value)}, expected {text}.")
    return float(value) if wanted is _NUMBER else value  # type: ignore[arg-type]


def _check_among(name: str, given: Sequence[str], known: Sequence[str]) -> None:
    if unknown := [one for one in given if one not in known]:
        raise ArgumentError(f"{name} has {unknown}, expected some of {list(known)}.")
