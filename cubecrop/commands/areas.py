"""The command `area-estimates`."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from cubecrop.display import plain
from cubecrop.errors import OutputError
from cubecrop.options import Overwrite
from cubecrop.printing import plain_console

if TYPE_CHECKING:
    from cubecrop.evaluation import MapAreas

__all__ = ["area_estimates"]


def area_estimates(
    crop_map: Path,
    reference: Path,
    *,
    label: str,
    out: Path | None = None,
    overwrite: Overwrite = False,
) -> None:
    """Estimate the area of each crop from a map and reference points, with 95 % intervals.

    The points must be a random sample, or one that is random within each mapped crop, and must
    not have been used in training.

    Parameters
    ----------
    crop_map
        crop_type.tif, or the folder of a map or of a region.
    reference
        Vector file of points with a CRS and the true crop.
    label
        Column of the true crop: a name or a code of the map's classes.
    out
        CSV file to write the table to.
    """
    from cubecrop.evaluation import map_areas
    from cubecrop.files import new_file
    from cubecrop.texts import cell_text

    if out is not None and out.exists() and (out.is_dir() or not overwrite):
        raise OutputError(f"{out} exists already. Name another file, or pass --overwrite.")
    found = map_areas(crop_map, reference, label)
    console = plain_console()
    console.print(_table(found))
    for line in found.lines():
        console.print(line)
    if out is not None:
        table = found.table()
        table["crop"] = table["crop"].map(cell_text)
        with new_file(out, cure="Choose another file.") as staging:
            table.to_csv(staging, index=False)
        console.print(f"Written to {out}")


def _table(found: MapAreas) -> Table:
    """A table for a terminal of 80 columns; no text is read as markup."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("crop", no_wrap=True)
    for title in ("points", "mapped ha", "estimated ha (95 %)", "user's", "producer's"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in found.table().to_dict("records"):
        half = row["area_high_ha"] - row["area_ha"]
        table.add_row(
            Text(plain(row["crop"], longest=28)),
            f"{row['points']:,}",
            f"{row['mapped_ha']:,.1f}",
            f"{row['area_ha']:,.1f} ± {half:,.1f}",
            _share(row["users"]),
            _share(row["producers"]),
        )
    return table


def _share(value: float) -> str:
    return "" if isnan(value) else f"{value:.2f}"
