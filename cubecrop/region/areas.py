"""Areas of a region by crop, in pixels and in parcels."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import pandas as pd

from cubecrop.texts import cell_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.region.output import Output
    from cubecrop.region.results import Results
    from cubecrop.write.provenance import Provenance

__all__ = ["AREAS", "total_counts", "write_areas"]

AREAS: Final = "areas.csv"
_SQUARE_METRES: Final = 10_000
#: Stands for the code of a parcel without a prediction; no crop has an empty code.
_UNPREDICTED: Final = ""


def total_counts(results: Results) -> dict[int, int]:
    """Pixels of all tiles by class index or code."""
    total: Counter[int] = Counter()
    for one in results.done.values():
        total.update(one.counts)
    return dict(sorted(total.items()))


def write_areas(
    output: Output,
    counts: Mapping[int, int],
    facts: Provenance,
    *,
    resolution: float,
    parcels: pd.DataFrame | None,
) -> None:
    """Write the areas of crops, and of pixels and parcels without one, as CSV.

    Parameters
    ----------
    output : Output
        The run's folder.
    counts : mapping
        Pixels by class index or code.
    facts : Provenance
        Classes and codes without a class.
    resolution : float
        Pixel size in metres; hectares are those of the map's pixels.
    parcels : pandas.DataFrame, optional
        ``code``, null for a parcel without prediction, and ``hectares`` of each parcel.
    """
    crops = facts.nomenclature.crops
    rows = [(value, crop.code, crop.name) for value, crop in enumerate(crops)]
    rows += [(mark.value, mark.slug, mark.title) for mark in facts.without_class]
    table = pd.DataFrame(rows, columns=["value", "code", "name"])
    table["pixels"] = [counts.get(value, 0) for value, _, _ in rows]
    table["hectares"] = (table["pixels"] * resolution**2 / _SQUARE_METRES).round(4)
    if parcels is not None:
        table = _with_parcels(table, parcels, n_crops=len(crops))
    table["code"], table["name"] = table["code"].map(cell_text), table["name"].map(cell_text)
    output.write_bytes(AREAS, table.to_csv(index=False, lineterminator="\n").encode())


def _with_parcels(table: pd.DataFrame, parcels: pd.DataFrame, *, n_crops: int) -> pd.DataFrame:
    """Add number and area of parcels by predicted crop, and a row of those without one."""
    last = pd.DataFrame([{"code": "", "name": "Not predicted"}])
    codes = [*table["code"][:n_crops], *[None] * (len(table) - n_crops), _UNPREDICTED]
    found = parcels["code"].astype(object)
    groups = parcels.groupby(found.where(found.notna(), _UNPREDICTED))["hectares"]
    numbers, areas = groups.size(), groups.sum()
    table = pd.concat([table, last], ignore_index=True)
    table["parcels"] = [int(numbers.get(code, 0)) for code in codes]
    table["parcel_hectares"] = [round(float(areas.get(code, 0)), 4) for code in codes]
    return table.astype({"value": "Int64", "pixels": "Int64"})
