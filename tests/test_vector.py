"""Vector files: one spatial layer, correct characters, and no other file or service read."""

import shutil
import sqlite3
import struct
import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from cubecrop.aoi import parse_aoi
from cubecrop.errors import AoiError
from cubecrop.sample import labels_of, read_parcels
from cubecrop.vector import read_vector

BOXES = [shapely.box(3, 50.8, 3.1, 50.9), shapely.box(4, 50.8, 4.1, 50.9)]
CROPS = ["blé", "œillette"]


@pytest.fixture
def parcels():
    return gpd.GeoDataFrame({"id": ["x", "y"], "crop": CROPS}, geometry=BOXES, crs=4326)


@pytest.fixture
def gpkg(tmp_path, parcels):
    parcels.to_file(tmp_path / "a.gpkg")
    return tmp_path / "a.gpkg"


def shapefile(parcels, folder, encoding, *, declared=None, page=0):
    """A shapefile whose text is in one encoding, and which says so or not."""
    parcels.to_file(folder / "s.shp", encoding=encoding)
    (folder / "s.cpg").unlink()
    if declared:
        (folder / "s.cpg").write_text(declared)
    table = bytearray((folder / "s.dbf").read_bytes())
    table[29] = page
    (folder / "s.dbf").write_bytes(table)
    return folder / "s.shp"


# Layers


def test_the_spatial_layer_is_read_beside_tables_and_empty_layers(gpkg, parcels):
    with sqlite3.connect(gpkg) as database:
        database.execute("CREATE TABLE layer_styles (id INTEGER PRIMARY KEY, styleQML TEXT)")
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier) VALUES "
            "('layer_styles', 'attributes', 'layer_styles')"
        )
    parcels.iloc[:0].to_file(gpkg, layer="nothing")
    assert read_vector(gpkg)["crop"].tolist() == CROPS
    assert parse_aoi(str(gpkg)).bbox == pytest.approx((3, 50.8, 4.1, 50.9))


def test_one_of_several_layers_is_named_as_in_qgis(gpkg, parcels):
    parcels.iloc[:1].to_file(gpkg, layer="b")
    with pytest.raises(AoiError, match=r"layers \['a', 'b'\].*a\.gpkg\|layername=a'"):
        read_vector(gpkg)
    assert len(read_parcels(f"{gpkg}|layername=b")) == 1
    assert len(read_parcels(Path(f"{gpkg}|layername=a"))) == 2
    with pytest.raises(AoiError, match="has no layer 'c'"):
        read_vector(f"{gpkg}|layername=c")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.geojsonl", {"driver": "GeoJSONSeq"}),
        ("a.fgb", {}),
        ("a.kml", {"driver": "KML"}),
        ("a.gml", {"driver": "GML"}),
        ("a.sqlite", {"driver": "SQLite"}),
        ("a.gdb", {"driver": "OpenFileGDB"}),
        ("a.mif", {"driver": "MapInfo File"}),
    ],
)
def test_plain_formats_are_read(tmp_path, parcels, name, options):
    parcels.to_file(tmp_path / name, **options)
    found = read_vector(tmp_path / name)
    assert sorted(found["crop"]) == CROPS
    assert found.crs.to_epsg() == 4326


def test_geoparquet_and_feather_are_known_by_content(tmp_path, parcels):
    parcels.to_parquet(tmp_path / "A.PARQUET")
    parcels.to_parquet(tmp_path / "odd.gpkg")
    parcels.to_feather(tmp_path / "a.feather")
    for name in ("A.PARQUET", "odd.gpkg", "a.feather"):
        assert read_vector(tmp_path / name)["crop"].tolist() == CROPS


def test_parquet_without_the_metadata_of_geometries_says_how_to_read_it(tmp_path):
    table = pd.DataFrame({"id": [1], "shape": [BOXES[0].wkb]})
    table.to_parquet(tmp_path / "w.parquet")
    table.to_feather(tmp_path / "w.feather")
    for name in ("w.parquet", "w.feather"):
        with pytest.raises(AoiError, match=r"without the geometry.*from_wkb\(table\['shape'\]\)"):
            read_vector(tmp_path / name)


def test_a_csv_of_wkt_has_geometries_and_no_crs(tmp_path):
    wkt = ",".join(["", f'"{BOXES[0].wkt}"'])
    (tmp_path / "a.csv").write_bytes(f"id,crop,WKT\n1,blé{wkt}\n".encode("cp1252"))
    found = read_vector(tmp_path / "a.csv")
    assert found["crop"].tolist() == ["blé"]
    assert found.geometry.iloc[0].equals(BOXES[0])
    assert found.crs is None


def test_a_curved_polygon_is_read_as_a_fine_one(gpkg):
    circle = struct.pack("<BII", 1, 10, 1) + struct.pack("<BII", 1, 8, 5)
    circle += struct.pack("<10d", 3, 50, 3.1, 50.1, 3.2, 50, 3.1, 49.9, 3, 50)
    with sqlite3.connect(gpkg) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            database.execute(f'DROP TRIGGER "{name}"')
        header = b"GP\0\1" + struct.pack("<i", 4326)
        database.execute("UPDATE a SET geom = ?", (header + circle,))
        database.execute("UPDATE gpkg_geometry_columns SET geometry_type_name = 'CURVEPOLYGON'")
        database.execute("PRAGMA writable_schema = 1")
        database.execute("UPDATE sqlite_master SET sql = replace(sql, 'POLYGON', 'CURVEPOLYGON')")
    assert read_vector(gpkg).geometry.iloc[0].area == pytest.approx(np.pi * 0.01, rel=2e-3)


def test_a_key_named_id_is_a_column(tmp_path, parcels):
    table = parcels.drop(columns="id")
    table.to_file(tmp_path / "a.gpkg", layer_options={"FID": "id"})
    assert read_parcels(tmp_path / "a.gpkg")["id"].tolist() == [1, 2]


# Letters


@pytest.mark.parametrize(
    ("encoding", "declared", "page"),
    [
        ("cp1252", None, 0),
        ("cp1252", None, 0x57),
        ("cp1252", None, 0x03),
        ("cp1252", "1252", 0),
        ("cp1252", "ISO-8859-1", 0),
        ("cp1252", "ANSI 1252", 0x57),
        ("utf-8", None, 0),
        ("utf-8", None, 0x57),
        ("utf-8", "1252", 0),
        ("utf-8", "UTF-8", 0),
    ],
)
def test_characters_of_a_shapefile_are_decoded(tmp_path, parcels, encoding, declared, page):
    path = shapefile(parcels, tmp_path, encoding, declared=declared, page=page)
    assert labels_of(read_parcels(path), "crop") == CROPS


def test_other_declared_encodings_are_believed(tmp_path, parcels):
    named = parcels.assign(crop=["łąka", "żyto"])
    path = shapefile(named, tmp_path, "cp1250", declared="windows-1250")
    assert read_vector(path)["crop"].tolist() == ["łąka", "żyto"]


@pytest.mark.parametrize("declared", ["UTF-8", "nonsense"])
def test_an_impossible_encoding_is_refused(tmp_path, parcels, declared):
    path = shapefile(parcels, tmp_path, "cp1252", declared=declared)
    with pytest.raises(AoiError, match=rf"s\.shp .*encoding {declared!r}.*encoding='cp1252'"):
        read_vector(path)


def test_a_zip_of_a_shapefile_in_a_folder(tmp_path, parcels):
    shapefile(parcels, tmp_path, "cp1252")
    with zipfile.ZipFile(tmp_path / "s.ZIP", "w") as archive:
        for end in ("shp", "shx", "dbf", "prj"):
            archive.write(tmp_path / f"s.{end}", f"parcels/s.{end}")
    assert read_vector(tmp_path / "s.ZIP")["crop"].tolist() == CROPS


def test_geojson_that_is_not_utf8_is_refused(tmp_path, parcels):
    parcels.to_file(tmp_path / "a.geojson")
    text = (tmp_path / "a.geojson").read_text("utf-8")
    (tmp_path / "a.geojson").write_bytes(text.encode("cp1252"))
    with pytest.raises(AoiError, match=r"another encoding than UTF-8.*encoding='cp1252'"):
        read_vector(tmp_path / "a.geojson")


# Files that read others


def vrt(source):
    return (
        f"<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{source}</SrcDataSource>"
        "</OGRVRTLayer></OGRVRTDataSource>"
    )


@pytest.mark.parametrize("end", ["vrt", "gpkg", "geojson", "shp", "csv", "parquet", "kml"])
def test_a_vrt_is_refused_whatever_its_ending(tmp_path, gpkg, end):
    path = tmp_path / f"leak.{end}"
    path.write_text(vrt(gpkg))
    with pytest.raises(AoiError, match=rf"leak\.{end} is an OGR VRT"):
        read_vector(path)


def test_disguised_files_that_refer_elsewhere_are_refused(tmp_path, gpkg):
    (tmp_path / "a.csv").write_text(f"id,crop\n1,{vrt(gpkg)}\n")
    (tmp_path / "wide.gpkg").write_bytes(vrt(gpkg).encode("utf-16"))
    (tmp_path / "pipe.geojson").write_text(
        '{"type": "gdal_streamed_alg", "command_line": "gdal vector filter a.gpkg"}'
    )
    (tmp_path / "wfs.xml").write_text("<OGRWFSDataSource><URL>http://a/</URL></OGRWFSDataSource>")
    (tmp_path / "ask.moaw").write_text('{"process": "http://127.0.0.1:1/"}')
    (tmp_path / "a.gml").write_text(
        '<FeatureCollection xmlns="http://www.opengis.net/gml" schemaLocation="x '
        'http://127.0.0.1:1/?REQUEST=DescribeFeatureType"/>'
    )
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.vrt", vrt(gpkg))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.shp").write_text(vrt(gpkg))
    for name in ("a.csv", "wide.gpkg", "pipe.geojson", "wfs.xml", "ask.moaw", "a.gml", "a.zip",
                 "folder"):  # fmt: skip
        with pytest.raises(AoiError, match=r"no data of its own|content is not supported"):
            read_vector(tmp_path / name)


def test_a_database_whose_table_reads_a_file_is_refused(tmp_path, gpkg):
    shutil.copy(gpkg, tmp_path / "b.gpkg")
    with sqlite3.connect(tmp_path / "b.gpkg") as database:
        database.execute("PRAGMA writable_schema = 1")
        database.execute(
            "INSERT INTO sqlite_master VALUES ('table', 'leak', 'leak', 0, "
            f"'CREATE VIRTUAL TABLE leak USING VirtualOGR(''{gpkg}'')')"
        )
    with pytest.raises(AoiError, match="table 'leak', which reads other files"):
        read_vector(tmp_path / "b.gpkg")
    assert len(read_vector(gpkg)) == 2  # whose spatial index is a virtual table too


@pytest.mark.parametrize(
    "path",
    ["/vsicurl/http://127.0.0.1/a.gpkg", "/vsizip/a.zip", "PG:dbname=a", "http://127.0.0.1/a.gpkg",
     "/dev/null", "x" * 5000, "a\0b"],
)  # fmt: skip
def test_addresses_and_devices_are_no_files(path):
    with pytest.raises(AoiError, match=r"no file|neither a file nor a folder"):
        read_vector(path)


def test_links_are_followed_and_marks_of_addresses_are_not(tmp_path, gpkg):
    (tmp_path / "link.gpkg").symlink_to(gpkg)
    assert len(read_vector(tmp_path / "link.gpkg")) == 2
    shutil.copy(gpkg, tmp_path / "a!b.gpkg")
    with pytest.raises(AoiError, match="Rename it"):
        read_vector(tmp_path / "a!b.gpkg")
