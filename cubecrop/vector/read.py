"""Reading vector files: one spatial layer, its text in the right encoding."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any, Final

import geopandas as gpd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pyogrio

from cubecrop.errors import AoiError
from cubecrop.vector.forms import PLAIN_DRIVERS, form_of
from cubecrop.vector.text import MOST_BYTES, encoding_of_csv, encoding_of_dbf

__all__ = ["read_vector"]

_LAYER: Final = "|layername="
#: Suffixes of vector files in a zip.
_HOLD_GEOMETRIES: Final = {
    ".shp", ".gpkg", ".geojson", ".json", ".geojsonl", ".fgb", ".kml", ".gml", ".sqlite", ".csv",
    ".tab", ".mif",
}  # fmt: skip


def read_vector(path: str | Path) -> gpd.GeoDataFrame:
    """Read a vector file: GeoParquet, GeoPackage, GeoJSON, shapefile (also in a .zip), KML, ….

    The file must hold its geometries. A file that reads other files or services, such as an OGR
    VRT, is refused, whatever its suffix. Empty layers and tables without geometries, such as
    QGIS's ``layer_styles``, are ignored.

    Parameters
    ----------
    path : path
        The file; ``parcels.gpkg|layername=fields`` names one of several layers, as in QGIS.

    Returns
    -------
    geopandas.GeoDataFrame

    Raises
    ------
    AoiError
        The file does not exist, cannot be read, reads other sources, has no geometries, or has
        several layers.
    """
    file, layer = _file_and_layer(Path(path).expanduser())
    try:
        form = form_of(file)
        if form in {"parquet", "feather"}:
            return _read_arrow(file, form)
        return _read_gdal(file, form, layer)
    except AoiError:
        raise
    except UnicodeError as error:
        raise AoiError(
            f"{path} holds text in another encoding than UTF-8 ({error}). Name the encoding: "
            f"`geopandas.read_file({str(path)!r}, encoding='cp1252')`, and pass the table."
        ) from error
    except Exception as error:  # drivers raise their own types
        text = " ".join(str(error).split())
        raise AoiError(
            f"{path} cannot be read as a vector file: {text} Expected geometries with a CRS, as "
            "geopandas writes them to .parquet, .gpkg, .geojson or .shp."
        ) from error


def _file_and_layer(path: Path) -> tuple[Path, str | None]:
    name, mark, layer = str(path).partition(_LAYER)
    try:
        if path.exists():
            return path, None
        if mark and Path(name).exists():
            return Path(name), layer.split("|")[0]
    except OSError:  # a name too long for any file
        name = f"{name[:60]}…"
    raise AoiError(
        f"no file {name}; expected a vector file (.parquet, .gpkg, .geojson, .shp) or a "
        "bbox 'west,south,east,north' in degrees."
    )


def _read_arrow(path: Path, form: str) -> gpd.GeoDataFrame:
    if form == "feather":
        with pa.memory_map(str(path)) as source:
            schema = pa.ipc.open_file(source).schema
    else:
        schema = pq.ParquetDataset(path).schema
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        raise AoiError(
            f"{path} has the columns {twice} more than once, expected each name once. Write it "
            "again with a unique name for each."
        )
    if b"geo" not in (schema.metadata or {}):
        kind = "Parquet" if form == "parquet" else "Feather"
        binary = [one.name for one in schema if pa.types.is_binary(one.type)
                  or pa.types.is_large_binary(one.type)]  # fmt: skip
        column = binary[0] if binary else "geometry"
        reader = "read_parquet" if form == "parquet" else "read_feather"
        raise AoiError(
            f"{path} cannot be read as a vector file: it is {kind} without the geometry metadata "
            f"'geo', with the columns {schema.names}. Expected geometries as "
            f"geopandas writes them: `table = pandas.{reader}({str(path)!r})`, then "
            f"`geopandas.GeoDataFrame(table, geometry=geopandas.GeoSeries.from_wkb(table"
            f"[{column!r}]), crs='EPSG:…')`."
        )
    return gpd.read_feather(path) if form == "feather" else gpd.read_parquet(path)


def _read_gdal(path: Path, form: str, layer: str | None) -> gpd.GeoDataFrame:
    source = str(path.absolute())
    if "!" in source or ";" in source:
        # pyogrio reads these characters as separators.
        raise AoiError(
            f"{path} has '!' or ';' in its path, which cannot be opened. Rename it, or read it "
            "with geopandas and pass the table."
        )
    if form == "zip" and path.suffix.lower() != ".kmz":
        source = f"/vsizip/{source}{_member(path)}"
    layer = _choose_layer(path, source, layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # reading the layer warns again
        info = pyogrio.read_info(source, layer=layer)
    if info["driver"] not in PLAIN_DRIVERS:
        raise AoiError(
            f"{path} has the format {info['driver']}, expected one that holds its own data. "
            f"Convert it: `ogr2ogr parcels.gpkg {path.name}`."
        )
    options: dict[str, Any] = {"layer": layer, "engine": "pyogrio"}
    if encoding := _encoding(path, form, layer):
        options["encoding"] = encoding
    if info.get("fid_column") == "id" and "id" not in list(info["fields"]):
        table = gpd.read_file(source, fid_as_index=True, **options)
        return table.rename_axis(index="id").reset_index()
    table = gpd.read_file(source, **options)
    if not isinstance(table, gpd.GeoDataFrame):
        raise AoiError(_bare(path, list(table.columns)))
    return table


def _member(path: Path) -> str:
    """Path of the only vector file in a zip, in any folder; "" if there are several."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
    bases = {str(Path(name).parent) for name in names if ".gdb/" in name.lower()}
    found = [name for name in names if Path(name).suffix.lower() in _HOLD_GEOMETRIES] + [
        base for base in bases if base.lower().endswith(".gdb")
    ]
    return f"/{found[0]}" if len(found) == 1 else ""


def _choose_layer(path: Path, source: str, wanted: str | None) -> str:
    layers = pyogrio.list_layers(source).tolist()
    names = [str(name) for name, _ in layers]
    if wanted is not None:
        if wanted not in names:
            raise AoiError(f"{path} has no layer {wanted!r}, expected one of {names}.")
        return wanted
    spatial = [str(name) for name, kind in layers if kind is not None]
    if len(spatial) > 1:  # one may be the only layer that is not empty
        filled = [
            name
            for name in spatial
            if pyogrio.read_info(source, layer=name, force_feature_count=True)["features"]
        ]
        spatial = filled or spatial
    if len(spatial) > 1:
        raise AoiError(
            f"{path} holds the layers {spatial}, expected one. Name it: "
            f"'{path}{_LAYER}{spatial[0]}', or pass `geopandas.read_file({str(path)!r}, "
            f"layer={spatial[0]!r})`."
        )
    if not spatial:
        columns = pyogrio.read_info(source, layer=names[0])["fields"] if names else []
        raise AoiError(_bare(path, list(columns)))
    return spatial[0]


def _bare(path: Path, columns: list[object]) -> str:
    return (
        f"{path} has no geometries, only the columns {sorted(map(str, columns))}. Add geometries, "
        "as in `geopandas.GeoDataFrame(table, geometry=..., crs=...)`."
    )


def _encoding(path: Path, form: str, layer: str) -> str | None:
    if form == "csv":
        return encoding_of_csv(path)
    if path.is_dir() and (path / f"{layer}.shp").exists():
        path, form = path / f"{layer}.shp", "shapefile"
    if form == "shapefile":
        table = _beside(path, ".dbf")
        declared = _beside(path, ".cpg")
        if table is None:
            return None
        with table.open("rb") as file:
            return encoding_of_dbf(
                file.read(MOST_BYTES),
                None if declared is None else declared.read_text("ascii", errors="replace"),
                str(path),
            )
    if form == "zip":
        return _encoding_in_zip(path, layer)
    return None


def _beside(path: Path, suffix: str) -> Path | None:
    """The file with the same name and another suffix, in lower or upper case."""
    for ending in (suffix, suffix.upper()):
        if (sibling := path.with_suffix(ending)).exists():
            return sibling
    return None


def _encoding_in_zip(path: Path, layer: str) -> str | None:
    with zipfile.ZipFile(path) as archive:
        found = {Path(name).name.lower(): name for name in archive.namelist()}
        table, declared = (found.get(f"{layer.lower()}{end}") for end in (".dbf", ".cpg"))
        if table is None:
            return None
        with archive.open(table) as file:
            text = file.read(MOST_BYTES)
        word = None if declared is None else archive.read(declared).decode("ascii", "replace")
    return encoding_of_dbf(text, word, str(path))
