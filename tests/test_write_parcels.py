"""Parcel tables as GeoParquet and GeoPackage open in other programs."""

import datetime as dt
import json
import sqlite3
from decimal import Decimal
from pathlib import Path

import duckdb
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from samples import make_samples

import cubecrop
from cubecrop.classification import classify_pixel_sets, parcel_table
from cubecrop.errors import OutputError, ParcelError
from cubecrop.write import write_parcels
from cubecrop.write.columns import check_columns
from cubecrop.write.parcels import check_table
from cubecrop.write.plain_names import plain_columns


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def parcels():
    return gpd.GeoDataFrame(
        {
            "id": ["a", "b", "c"],
            "crop:code": ["1", "2", None],
            "crop:name": ["Maize (grain)", "Potatoes", None],
            "confidence": np.array([0.9, 0.6, np.nan], "float32"),
            "probability:Potatoes": [0.1, 0.6, np.nan],
            "date": [dt.date(2018, 5, 1)] * 3,
        },
        geometry=shapely.box([0, 10, 20], 0, [5, 15, 25], 5),
        crs="EPSG:32631",
        index=[7, 3, 5],
    )


def test_parcels_open_everywhere(tmp_path, parcels):
    path = write_parcels(parcels, tmp_path / "new" / "parcels.parquet")
    back = gpd.read_parquet(path)
    assert list(back.columns) == list(parcels.columns)
    assert back.crs == parcels.crs
    assert back.geom_equals(parcels.reset_index(drop=True)).all()
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 32631}
    with duckdb.connect() as connection:
        connection.execute("SET enable_geoparquet_conversion = false")
        rows = connection.execute(
            f"""SELECT id, "crop:name", confidence FROM '{path}' ORDER BY id"""
        ).fetchall()
        keys = connection.execute(f"SELECT key FROM parquet_kv_metadata('{path}')").fetchall()
    assert rows[1][:2] == ("b", "Potatoes")
    assert (b"geo",) in keys
    assert names(path.parent) == ["parcels.parquet"]


def test_parcel_file_is_replaced_only_when_asked(tmp_path, parcels):
    path = tmp_path / "parcels.geoparquet"
    write_parcels(parcels, path)
    with pytest.raises(OutputError, match=r"already exists.*overwrite=True"):
        write_parcels(parcels[:1], path)
    assert len(gpd.read_parquet(path)) == 3
    write_parcels(parcels[:1], path, overwrite=True)
    assert len(gpd.read_parquet(path)) == 1


def test_failed_parcel_file_keeps_the_old_one(tmp_path, parcels, monkeypatch):
    path = write_parcels(parcels, tmp_path / "parcels.parquet")

    def full(_self, where, **_):
        Path(where).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(gpd.GeoDataFrame, "to_parquet", full)
    with pytest.raises(OutputError, match="no space left"):
        write_parcels(parcels, path, overwrite=True)
    assert names(tmp_path) == ["parcels.parquet"]
    assert len(gpd.read_parquet(path)) == 3


def test_parcels_that_cannot_be_written_are_refused(tmp_path, parcels):
    with pytest.raises(OutputError, match=r"'\.shp'.*Name it 'parcels\.parquet'"):
        write_parcels(parcels, tmp_path / "parcels.shp")
    with pytest.raises(OutputError, match=r"Name it 'parcels\.parquet'"):
        write_parcels(parcels, "/")
    with pytest.raises(ParcelError, match=r"no CRS.*set_crs"):
        write_parcels(parcels.set_crs(None, allow_override=True), tmp_path / "p.parquet")
    with pytest.raises(ParcelError, match="DataFrame without geometries"):
        write_parcels(parcels.drop(columns="geometry"), tmp_path / "p.parquet")
    assert names(tmp_path) == []


def test_values_of_two_types_raise_output_error(tmp_path, parcels):
    with pytest.raises(OutputError, match="values of one type"):
        write_parcels(parcels.assign(id=[1, "1", 2]), tmp_path / "p.parquet")
    assert names(tmp_path) == []


# --- plain names --------------------------------------------------------------------------


def test_plain_names_need_no_quotes(tmp_path, parcels):
    table = parcels.assign(
        **{
            "crop:set": "Potatoes | Maize (grain)", "crop:code_2": "2", "crop:name_2": "Potatoes",
            "confidence_2": 0.1, "probability:Maize (grain)": 0.9, "valid_dates:sentinel2": 3,
            "first_date:sentinel1": "2018-01-01", "declared:crop:code": "x", "status": "predicted",
        }
    )  # fmt: skip
    table.attrs["model_calibration"] = "uncalibrated"
    path = write_parcels(table, tmp_path / "p.parquet", columns="plain")
    back = gpd.read_parquet(path)
    assert set(back.columns) == {
        "id", "date", "geometry", "predicted_code", "predicted_crop", "confidence", "second_code",
        "second_crop", "second_confidence", "probability_potatoes", "probability_maize_grain",
        "crop_set", "valid_dates_sentinel2", "first_date_sentinel1", "declared_crop_code",
        "status",
    }  # fmt: skip
    assert back["predicted_crop"].tolist() == parcels["crop:name"].tolist()
    assert back.attrs == {"model_calibration": "uncalibrated"}
    assert list(table.columns)[1] == "crop:code"
    with pytest.raises(OutputError, match=r"columns is 'sql', expected one of \['fiboa', 'plain'"):
        write_parcels(table, tmp_path / "q.parquet", columns="sql")


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        # What was found has the first right to a name; what was there keeps its value.
        (["predicted_crop", "crop:name"], ["declared_predicted_crop", "predicted_crop"]),
        (["CONFIDENCE", "confidence"], ["declared_CONFIDENCE", "confidence"]),
        (
            [
                "valid_dates_sentinel2",
                "First_Date_sentinel1",
                "last_date_sentinel2",
                "longest_gap_sentinel1",
                "valid_dates:sentinel2",
                "first_date:sentinel1",
                "last_date:sentinel2",
                "longest_gap:sentinel1",
            ],
            [
                "declared_valid_dates_sentinel2",
                "declared_First_Date_sentinel1",
                "declared_last_date_sentinel2",
                "declared_longest_gap_sentinel1",
                "valid_dates_sentinel2",
                "first_date_sentinel1",
                "last_date_sentinel2",
                "longest_gap_sentinel1",
            ],
        ),
        (["Part", "declared:part", "part"], ["declared_Part", "declared_declared_part", "part"]),
        (
            ["status", "declared:status", "declared_status"],
            ["status", "declared_declared_status", "declared_status"],
        ),
        (["a:b", "a_b"], ["declared_a_b", "a_b"]),
        (["probability:Blé", "probability:ble"], ["probability_ble", "probability_ble_2"]),
        (["probability:大", "probability:豆"], ["probability_class_0", "probability_class_1"]),
        (
            ["probability_maize", "probability:maize"],
            ["declared_probability_maize", "probability_maize"],
        ),
        (["crop:name", "crop:name"], ["predicted_crop", "crop_name"]),
        (["probability:" + "x" * 99], ["probability_" + "x" * 50]),
        (["crop_name", "crop:name", "geometry"], ["crop_name", "predicted_crop", "geometry"]),
    ],
)
def test_no_two_plain_names_are_alike(given, plain):
    assert plain_columns(given) == plain


def test_plain_columns_of_last_year_are_set_aside(tmp_path):
    samples, labels = make_samples()
    config = cubecrop.TrainConfig(epochs=1, n_pixels=4)
    model = cubecrop.fit(samples, labels, config=config, progress=False)
    found = classify_pixel_sets(samples, model).compute()
    ids = samples["parcel"].to_numpy()
    first = gpd.GeoDataFrame({"id": ids}, geometry=shapely.points([0] * len(ids), 0), crs=32631)
    path = tmp_path / "first.parquet"
    write_parcels(
        parcel_table(first, found, model, part=["train"] * len(ids)), path, columns="plain"
    )
    before = gpd.read_parquet(path).assign(valid_dates_sentinel2=-1)
    again = parcel_table(before, found, model, part=["unseen"] * len(ids))
    write_parcels(again, path, columns="plain", overwrite=True)
    after = gpd.read_parquet(path)
    ours = [name for name in before.columns if name not in ("id", "geometry")]
    assert set(after.columns) == {*before.columns, *(f"declared_{name}" for name in ours)}
    assert (after["declared_valid_dates_sentinel2"] == -1).all()
    expected = found["valid_dates"].sel(sensor="sentinel2").to_numpy()
    assert after["valid_dates_sentinel2"].tolist() == expected.tolist()
    assert set(after["part"]) == {"unseen"}
    assert set(after["declared_part"]) == {"train"}


def test_a_geometry_of_another_name_stays_the_geometry(tmp_path, parcels):
    table = parcels.rename_geometry("shape:one")
    back = gpd.read_parquet(write_parcels(table, tmp_path / "p.parquet", columns="plain"))
    assert back.geometry.name == "shape_one"


def test_attrs_that_a_file_cannot_hold_are_left_out(tmp_path, parcels):
    parcels.attrs = {"model_name": "mine", "odd": object()}
    back = gpd.read_parquet(write_parcels(parcels, tmp_path / "p.parquet"))
    assert back.attrs == {"model_name": "mine"}


# --- GeoPackage ---------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["fiboa", "plain"])
def test_a_geopackage_has_one_layer_of_the_files_name(tmp_path, parcels, columns):
    path = write_parcels(parcels, tmp_path / "new" / "my parcels.GPKG", columns=columns)
    assert names(path.parent) == ["my parcels.GPKG"]
    assert gpd.list_layers(path)["name"].tolist() == ["my parcels"]
    back = gpd.read_file(path)
    assert back.crs == parcels.crs
    assert back.geom_equals(parcels.reset_index(drop=True).geometry).all()
    name = "crop:name" if columns == "fiboa" else "predicted_crop"
    assert back[name].tolist() == parcels["crop:name"].tolist()
    np.testing.assert_array_equal(back["confidence"], parcels["confidence"])


def test_a_geopackage_is_replaced_only_when_asked_and_whole(tmp_path, parcels, monkeypatch):
    path = write_parcels(parcels, tmp_path / "p.gpkg")
    with pytest.raises(OutputError, match=r"already exists.*overwrite=True"):
        write_parcels(parcels[:1], path)

    def full(_self, where, **_):
        Path(where).write_bytes(b"half")
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(gpd.GeoDataFrame, "to_file", full)
        with pytest.raises(OutputError, match="no space left"):
            write_parcels(parcels, path, overwrite=True)
    assert names(tmp_path) == ["p.gpkg"]
    assert len(gpd.read_file(path)) == 3
    write_parcels(parcels[:1], path, overwrite=True)
    assert len(gpd.read_file(path)) == 1
    assert names(tmp_path) == ["p.gpkg"]


@pytest.mark.parametrize("pages", [30, 2])
def test_a_full_disk_is_no_fault_of_the_columns(tmp_path, parcels, pages):
    """SQLite is told to take no more pages, and says what it says on a full disk."""
    many = pd.concat([parcels] * 500, ignore_index=True)
    pyogrio.set_gdal_config_options({"OGR_SQLITE_PRAGMA": f"max_page_count={pages}"})
    try:
        with pytest.raises(OutputError, match=r"No space left on device\. Free some") as caught:
            write_parcels(many, tmp_path / "p.gpkg")
    finally:
        pyogrio.set_gdal_config_options({"OGR_SQLITE_PRAGMA": None})
    assert "column" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_disk_that_fails_is_no_fault_of_the_columns(tmp_path, parcels, monkeypatch):
    """As SQLite says where a quota or a limit on files is reached."""

    def fails(*_, **__):
        raise pyogrio.errors.FeatureError("failed to execute insert : disk I/O error")

    monkeypatch.setattr(gpd.GeoDataFrame, "to_file", fails)
    with pytest.raises(OutputError, match=r"cannot be written: .*disk I/O error\. Free some"):
        write_parcels(parcels, tmp_path / "p.gpkg")


def test_a_geopackage_says_what_the_model_was(tmp_path, parcels):
    parcels.attrs = {"model_calibration": "uncalibrated", "odd": object()}
    path = write_parcels(parcels, tmp_path / "p.gpkg")
    with sqlite3.connect(path) as connection:
        (told,) = connection.execute("SELECT metadata FROM gpkg_metadata").fetchone()
    connection.close()
    assert "uncalibrated" in told


@pytest.mark.parametrize(
    ("name", "layer"),
    [("gpkg_x", "parcels_gpkg_x"), ("a'b|c", "a_b_c"), ("sqlite_x", "parcels_sqlite_x"),
     ("大豆", "大豆"), ("..a", "a")],
)  # fmt: skip
def test_a_layer_has_a_name_that_the_format_takes(tmp_path, parcels, name, layer):
    path = write_parcels(parcels, tmp_path / f"{name}.gpkg")
    assert gpd.list_layers(path)["name"].tolist() == [layer]


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([[1, 2], [3], []], ["[1, 2]", "[3]", "[]"]),
        ([{"a": 1}, None, {}], ['{"a": 1}', None, "{}"]),
        (np.array([1, 2, 3], "float16"), [1, 2, 3]),
        (np.array([1, 2, 3], "uint64"), [1, 2, 3]),
        (pd.array([1, None, 3], "Int64"), [1, None, 3]),
        (pd.Categorical(["a", "b", None]), ["a", "b", None]),
        ([None, None, None], [None, None, None]),
        (["\ud800", "大", "c"], ["?", "大", "c"]),
    ],
)
def test_values_of_types_that_the_format_lacks_are_converted(tmp_path, parcels, values, read):
    if isinstance(values, list):  # pandas 3 would make text of them, which is UTF-8
        values = pd.Series(values, dtype=object, index=parcels.index)
    path = write_parcels(parcels.assign(more=values), tmp_path / "p.gpkg")
    back = gpd.read_file(path)["more"].tolist()
    assert [None if pd.isna(one) else one for one in back] == read


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"ID": [1, 2, 3]}, "columns 'id' and 'ID' would clash"),
        ({"": [1, 2, 3]}, "no name"),
        ({"more": pd.to_timedelta([1, 2, 3])}, "cannot hold column 'more' of type timedelta"),
        ({"more": [1j, 2, 3]}, "cannot hold column 'more' of type complex"),
        ({"more": np.array([2**63, 1, 2], "uint64")}, "cannot hold column 'more' of type uint64"),
        ({"more": gpd.GeoSeries.from_xy([0] * 3, [0] * 3)}, "column 'more' of type geometry"),
    ],
)
def test_columns_that_a_geopackage_cannot_hold_are_named(tmp_path, parcels, more, message):
    table = parcels.reset_index(drop=True).assign(**more)
    with pytest.raises(OutputError, match=message):
        write_parcels(table, tmp_path / "p.gpkg")
    assert names(tmp_path) == []


def test_columns_called_like_a_geopackages_own_are_kept(tmp_path, parcels):
    table = parcels.assign(fid=["x", "y", "z"], geom=["u", "v", "w"])
    back = gpd.read_file(write_parcels(table, tmp_path / "p.gpkg"))
    assert back["fid"].tolist() == ["x", "y", "z"]
    assert back["geom"].tolist() == ["u", "v", "w"]


def test_a_geopackage_without_parcels_or_without_geometries(tmp_path, parcels):
    assert len(gpd.read_file(write_parcels(parcels[:0], tmp_path / "none.gpkg"))) == 0
    nowhere = parcels.set_geometry(gpd.GeoSeries([None] * 3, index=parcels.index, crs=parcels.crs))
    assert gpd.read_file(write_parcels(nowhere, tmp_path / "p.gpkg")).geometry.isna().all()


@pytest.mark.parametrize(
    "values",
    [
        [2**70, 1, 2],
        ["a", 1, None],
        ["a", dt.datetime(2018, 5, 1), None],
        [1j, 2j, 3j],
        [object()] * 3,
        [{}, {}, {}],
        [{"a": 1}, {"a": "x"}, None],
        [np.zeros((2, 2))] * 3,
        ["a\ud800", "b", "c"],
        pd.arrays.SparseArray([0, 0, 1]),
        pd.Categorical(["a", 1, None]),
        [pd.DateOffset(1)] * 3,
        np.array([shapely.Point(0, 0)] * 3, dtype=object),
        # What pyarrow takes, and changes without a word.
        [dt.date(2018, 5, 1), dt.datetime(2018, 5, 1, 12), None],
        ["text", b"bytes", None],
        [2**60 + 1, 2.5, None],
        [pd.Timestamp("2018-05-01"), pd.Timestamp("2018-05-01", tz="UTC"), None],
    ],
    ids=lambda values: f"{type(values[0]).__name__}, {type(values[1]).__name__}",
)
def test_columns_that_parquet_cannot_hold_are_refused_by_name(tmp_path, parcels, values):
    if isinstance(values, list):
        values = pd.Series(values, dtype=object, index=parcels.index)
    odd = parcels.assign(note=values)
    with pytest.raises(OutputError, match=r"columns \['note'\].*drop\(columns=\['note'\]\)"):
        check_columns(odd)
    with pytest.raises(OutputError, match=r"columns \['note'\]"):
        write_parcels(odd, tmp_path / "p.parquet")
    assert names(tmp_path) == []


def test_columns_that_parquet_holds_come_back(tmp_path, parcels):
    kinds = {
        "whole": [1, 2, 2**62],
        "decimal": [Decimal("1.10"), None, Decimal("22.2")],
        "set": [{1}, {2}, {3}],
        "nested": [{"a": {"b": 1}}, None, {"a": {"b": 2}}],
        "mixed numbers": [1, 2.5, None],
        "span": pd.to_timedelta([1, 2, 3], "D"),
        "period": pd.period_range("2018", periods=3),
        "category": pd.Categorical(["a", None, "b"]),
        "second geometry": gpd.GeoSeries(shapely.points([0, 1, 2], 0), parcels.index),
        "nothing": [None, None, None],
    }
    path = write_parcels(parcels.assign(**kinds), tmp_path / "p.parquet")
    back = gpd.read_parquet(path)
    assert back["whole"].tolist() == [1, 2, 2**62]
    assert back["decimal"].tolist() == kinds["decimal"]
    assert back["nested"].tolist() == kinds["nested"]
    assert back["mixed numbers"].tolist()[:2] == [1, 2.5]
    assert back["period"].tolist() == list(kinds["period"])
    assert (
        back["second geometry"].geom_equals(kinds["second geometry"].reset_index(drop=True)).all()
    )


def test_a_table_that_can_be_written_is_converted_once(tmp_path, parcels, monkeypatch):
    def refuse(_column):
        raise AssertionError("a column was converted to be checked")

    monkeypatch.setattr("cubecrop.write.columns._reason_against", refuse)
    path = write_parcels(parcels, tmp_path / "p.parquet")
    assert gpd.read_parquet(path)["id"].tolist() == ["a", "b", "c"]


def test_names_that_parquet_cannot_hold_are_refused(tmp_path, parcels):
    with pytest.raises(ParcelError, match=r"\['id'\] more than once"):
        write_parcels(parcels.rename(columns={"crop:code": "id"}), tmp_path / "p.parquet")
    with pytest.raises(ParcelError, match=r"\['geometry'\] more than once"):
        write_parcels(parcels.rename(columns={"date": "geometry"}), tmp_path / "p.parquet")
    for name in (5, ("a", "b"), None):
        with pytest.raises(OutputError, match=r"rename\(columns=str\)"):
            write_parcels(parcels.rename(columns={"date": name}), tmp_path / "p.parquet")
    assert names(tmp_path) == []
    write_parcels(parcels.rename(columns={"crop:code": "ID"}), tmp_path / "p.parquet")
    assert "ID" in gpd.read_parquet(tmp_path / "p.parquet").columns


def test_columns_that_differ_only_in_case_are_refused_before_reading(parcels):
    given = parcels[["id", "geometry"]].assign(Status="x")
    check_table(given, "p.parquet")
    check_table(given, "p.gpkg", columns="plain")
    with pytest.raises(OutputError, match=r"columns \['Status'\].*--columns plain"):
        check_table(given, "p.gpkg")
