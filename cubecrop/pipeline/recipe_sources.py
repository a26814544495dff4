"""Parcels of a recipe's sources, their labels mapped to common classes, checked together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import geopandas as gpd
import pandas as pd

from cubecrop.class_lists import map_codes, plain_code, unknown_codes, unknown_text
from cubecrop.class_table import read_class_rows
from cubecrop.errors import ArgumentError, CubecropError, LabelError
from cubecrop.nomenclature import Nomenclature
from cubecrop.pipeline.inputs import as_nomenclature
from cubecrop.sample import check_parcels, labels_of
from cubecrop.sample.draw import hash_ids
from cubecrop.vector import read_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cubecrop.pipeline.recipe_file import Recipe, RecipeSource

__all__ = [
    "CROP_COLUMN", "SOURCE_COLUMN", "check_nomenclature", "check_tables", "classes_of",
    "label_columns", "table_of",
]  # fmt: skip

#: Columns of the tables that sources become.
CROP_COLUMN: Final = "crop"
SOURCE_COLUMN: Final = "source"
#: Share of a source's labels that may have codes that its list lacks.
_MOST_UNKNOWN: Final = 0.5


def check_nomenclature(recipe: Recipe) -> None:
    """Raise if the file of the classes cannot be read, before any parcels are."""
    if recipe.nomenclature is not None:
        read_class_rows(Path(recipe.nomenclature))


def label_columns(sources: Iterable[RecipeSource]) -> str:
    """The columns that the user's labels are in, as messages call them."""
    names = list(dict.fromkeys(repr(source.label) for source in sources))
    return f"column{'s' if len(names) > 1 else ''} {', '.join(names)}"


def table_of(source: RecipeSource, recipe: Recipe) -> tuple[gpd.GeoDataFrame, str]:
    """The parcels of a source, and which ones are left out for their codes, "" for none.

    The table has the columns ``id``, ``crop`` and ``source``; errors name the source.
    """
    try:
        return _table(source, recipe)
    except CubecropError as error:
        raise type(error)(f"source {source.name}: {error}") from error


def _table(source: RecipeSource, recipe: Recipe) -> tuple[gpd.GeoDataFrame, str]:
    label = source.label or ""
    found = read_part(source.parcels, bbox=source.bbox, columns=[source.id, label])
    table = found.rename(columns={source.id: "id"})
    check_parcels(table)
    if len(table) == 0:
        raise LabelError(f"{source.parcels} has no parcels within bbox {source.bbox}.")
    texts, left_out = labels_of(table, label), ""
    if source.codes is not None:
        texts, left_out = _mapped(texts, source.codes)
    table = gpd.GeoDataFrame(
        {"id": table["id"], CROP_COLUMN: texts, SOURCE_COLUMN: source.name}, geometry=table.geometry
    )
    table = table[pd.notna(table[CROP_COLUMN]).to_numpy()]
    if len(table) == 0:
        mapped = f" that the list {source.codes!r} gives a class" if source.codes else ""
        raise LabelError(f"column {label!r} has no label{mapped}. Name another column or list.")
    if recipe.nomenclature is not None:
        as_nomenclature(recipe.nomenclature, table[CROP_COLUMN])  # raises at labels that it lacks
    if recipe.most is not None:
        rank = pd.Series(hash_ids(table["id"].tolist(), "recipe", recipe.seed), index=table.index)
        order = rank.groupby(table[CROP_COLUMN]).rank(method="first")
        table = table[(order <= recipe.most).to_numpy()]
    return table.reset_index(drop=True), left_out


def _mapped(codes: list[str | None], source: str) -> tuple[list[str | None], str]:
    """Classes of codes, None for a code that the list lacks, and which those are in words.

    Registers add codes each year, and nobody can edit those at an address. A list that lacks most
    codes is the wrong one.
    """
    unknown = unknown_codes(codes, source)
    n_unknown, n = sum(unknown.values()), sum(code is not None for code in codes)
    if n_unknown > _MOST_UNKNOWN * n:
        raise LabelError(
            f"the codes of {n_unknown:,} of {n:,} parcels, more than half, are "
            f"{unknown_text(unknown, source)} Name another list or column, or map the labels by a "
            "`nomenclature` of your own."
        )
    lacking = set(unknown)
    known = [None if plain_code(source, code) in lacking else code for code in codes]
    text = (
        f"{n_unknown:,} of {n:,} parcels are left out, since their codes are "
        f"{unknown_text(unknown, source)}"
    )
    return map_codes(known, source), text if unknown else ""


def classes_of(recipe: Recipe) -> Nomenclature | str | None:
    """Classes of the labels: those of the default model where sources have codes of a list."""
    if recipe.sources[0].codes is not None:
        return Nomenclature.from_hierarchy("coarse")
    return recipe.nomenclature


def check_tables(tables: Sequence[gpd.GeoDataFrame], recipe: Recipe) -> None:
    """Raise if the sources cannot be trained on together, or those that are held out overlap."""
    _check_several_classes(tables, recipe)
    _check_apart(tables, recipe)


def _check_several_classes(tables: Sequence[gpd.GeoDataFrame], recipe: Recipe) -> None:
    """Raise if the sources to train on hold one class together."""
    pairs = zip(recipe.sources, tables, strict=True)
    trained = [(source, table) for source, table in pairs if not recipe.is_held_out(source)]
    texts = [text for _, table in trained for text in table[CROP_COLUMN]]
    if (listed := as_nomenclature(classes_of(recipe), texts)) is not None:
        texts = listed.names_of(texts)
    if len(names := set(texts)) == 1:
        where = ", ".join(f"{source.name} (column {source.label!r})" for source, _ in trained)
        raise LabelError(
            f"the sources to train on, {where}, hold only the class {names.pop()!r}, expected two "
            "or more. Name other columns, or add a source with other crops."
        )


def _check_apart(tables: Sequence[gpd.GeoDataFrame], recipe: Recipe) -> None:
    """Raise if parcels of a region that is held out lie in another one that is trained on."""
    if not recipe.holds_out_sources:
        return
    found = list(zip(recipe.sources, tables, strict=True))
    shapes = {source.name: table.geometry.to_crs("EPSG:4326") for source, table in found}
    for source, table in found:
        if not recipe.is_held_out(source):
            continue
        points = shapes[source.name].representative_point().to_numpy()
        for other, _ in found:
            if other.region == source.region or recipe.is_held_out(other):
                continue
            inside, _ = shapes[other.name].sindex.query(points, predicate="intersects")
            if n := len(set(inside.tolist())):
                names = ", ".join(repr(one) for one in table["id"].iloc[inside[:3]])
                raise ArgumentError(
                    f"{n:,} parcels of source {source.name}, which is held out, lie in parcels of "
                    f"source {other.name}, which is trained on; among them {names}. Give the "
                    "regions a `bbox` that keeps them apart."
                )
