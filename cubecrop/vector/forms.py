"""Detect the format of a vector file by its first bytes.

GDAL opens any file that it recognises, whatever its name. Some of its formats hold no data but
point to other files, databases or services that the author of the file chose. Only formats that
hold their own data are opened.
"""

from __future__ import annotations

import re
import sqlite3
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from cubecrop.errors import AoiError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PLAIN_DRIVERS", "Form", "form_of"]

Form = Literal["parquet", "feather", "zip", "shapefile", "csv", "other"]

#: GDAL drivers of formats that hold their own data.
PLAIN_DRIVERS: Final = frozenset({
    "ESRI Shapefile", "GPKG", "SQLite", "GeoJSON", "GeoJSONSeq", "ESRIJSON", "TopoJSON", "JSONFG",
    "FlatGeobuf", "KML", "LIBKML", "GPX", "GML", "CSV", "OpenFileGDB", "MapInfo File", "ODS",
    "XLSX",
})  # fmt: skip
_HEAD: Final = 2**16
#: Text that marks files which point to other sources, and the names of their formats.
_DIRECTIONS: Final = {
    b"<ogrvrtdatasource": "an OGR VRT",
    b"<vrtdataset": "a GDAL VRT",
    b"gdal_streamed_alg": "a GDAL pipeline (GDALG)",
    b"<ogrwfsdatasource": "a description of a web service (WFS)",
    b"<ogrcswdatasource": "a description of a web service (CSW)",
    b"<gdal_wms": "a description of a web service (WMS)",
    b"describefeaturetype": "GML whose schema is on a web service",
    b"\\isseamless": "a seamless MapInfo table",
    b"create view": "a MapInfo view",
    b"type linked": "a linked MapInfo table",
}
#: Modules of SQLite's virtual tables that read only the file itself.
_OWN_MODULES: Final = (
    "rtree", "rtree_i32", "geopoly", "fts3", "fts4", "fts5", "virtualspatialindex",
    "virtualelementary", "virtualknn", "virtualknn2", "virtualfdo", "virtualgpkg", "virtualbbox",
    "virtualnetwork", "virtualrouting",
)  # fmt: skip
_REACHING: Final = re.compile(
    r"\b(ogr_geocode\w*|gdal_get_\w+|load_extension|readfile)\s*\(", re.IGNORECASE
)


def form_of(path: Path) -> Form:
    """Detect the format of a file or folder by its content.

    Parameters
    ----------
    path : pathlib.Path
        A vector file, or a folder such as a file geodatabase.

    Returns
    -------
    Form
        pyarrow reads "parquet" and "feather", GDAL the others.

    Raises
    ------
    AoiError
        The file reads other files or services, or its format is not supported.
    """
    if path.is_dir():
        return _form_of_folder(path)
    if not path.is_file():
        raise AoiError(f"{path} is neither a file nor a folder, expected a vector file.")
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1":
        return "feather"
    if head[:16] == b"SQLite format 3\0":
        _check_database(path)
        return "other"
    if head[:4] == b"PK\x03\x04":
        return _form_of_zip(path)
    if head[:4] == b"\0\0\x27\x0a" or (
        path.suffix.lower() == ".dbf" and path.with_suffix(".shp").exists()
    ):
        return "shapefile"
    if head[:3] == b"fgb":
        return "other"
    _check_text(head, path)
    return _form_of_text(head.lstrip(b"\xef\xbb\xbf\x1e \t\r\n"), path)


def _form_of_text(text: bytes, path: Path) -> Form:
    if text[:1] in (b"{", b"[") and path.suffix.lower() != ".moaw":  # .moaw requests a web service
        return "other"
    if text[:1] == b"<":
        root = re.search(rb"<(?:\w+:)?(\w+)[\s>/]", text)
        if b"opengis.net/gml" in text or (root and root[1].lower() in {b"kml", b"gpx"}):
            return "other"
    elif path.suffix.lower() in {".csv", ".tsv", ".psv", ".txt"}:
        return "csv"
    elif path.suffix.lower() in {".tab", ".mif", ".mid"}:
        return "other"
    raise AoiError(
        f"{path} cannot be read as a vector file: the format of its content is not supported. "
        "Expected geometries with a CRS, as geopandas writes them to .parquet, .gpkg, .geojson or "
        f".shp; convert it: `ogr2ogr parcels.gpkg {path.name}`."
    )


def _form_of_folder(path: Path) -> Form:
    for file in sorted(path.iterdir()):
        if file.is_file() and file.suffix.lower() not in {".gdbtable", ".gdbtablx", ".parquet"}:
            with file.open("rb") as opened:
                _check_text(opened.read(_HEAD), file)
    if path.suffix in {".parquet", ".geoparquet"}:
        return "parquet"
    return "other"


def _form_of_zip(path: Path) -> Form:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    with archive.open(member) as file:
                        _check_text(file.read(_HEAD), f"{path}, {member.filename}")
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise AoiError(
            f"{path} cannot be read as a vector file: {error}. Unpack it, and pass the file."
        ) from error
    return "zip"


def _check_text(head: bytes, where: object) -> None:
    lowered = head.lower()
    for mark, meaning in _DIRECTIONS.items():
        # UTF-16 text has a zero byte between two letters.
        if mark in lowered or mark in lowered.replace(b"\0", b""):
            raise AoiError(
                f"{where} is {meaning}: it holds no data of its own but reads other sources, "
                "expected a file that holds the geometries. Pass the file that it points to, or "
                "copy its content: `ogr2ogr parcels.gpkg ...`."
            )


def _check_database(path: Path) -> None:
    """Raise if a table or view of a database reads other files."""
    try:
        address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as database:
            rows = database.execute(
                "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND "
                "(type = 'view' OR sql LIKE '%VIRTUAL%TABLE%')"
            ).fetchall()
    except sqlite3.DatabaseError as error:
        raise AoiError(
            f"{path} cannot be read as a vector file: {error}. Copy it again, or write it again."
        ) from error
    for name, sql in rows:
        virtual = re.search(
            r"VIRTUAL\s+TABLE.*?\bUSING\s+[\"'`\[]?(\w+)", sql, re.IGNORECASE | re.DOTALL
        )
        if (virtual and virtual[1].lower() not in _OWN_MODULES) or _REACHING.search(sql):
            raise AoiError(
                f"{path} has the table {name!r}, which reads other files ({sql[:80]!r}), expected "
                "tables that hold their own data. Copy its content: "
                f"`ogr2ogr parcels.gpkg {path.name} {name}`."
            )
