"""Parcel tables as GeoParquet that other programs open."""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import duckdb
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely

from cubecrop.errors import OutputError, ParcelError
from cubecrop.write import write_parcels
from cubecrop.write.columns import check_columns


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
    with pytest.raises(OutputError, match=r"there already.*overwrite=True"):
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
    with pytest.raises(OutputError, match=r"'\.gpkg'.*Name it 'parcels\.parquet'"):
        write_parcels(parcels, tmp_path / "parcels.gpkg")
    with pytest.raises(OutputError, match=r"Name it 'parcels\.parquet'"):
        write_parcels(parcels, "/")
    with pytest.raises(ParcelError, match=r"no CRS.*set_crs"):
        write_parcels(parcels.set_crs(None, allow_override=True), tmp_path / "p.parquet")
    with pytest.raises(ParcelError, match="DataFrame without geometries"):
        write_parcels(parcels.drop(columns="geometry"), tmp_path / "p.parquet")
    assert names(tmp_path) == []


def test_values_of_two_types_are_an_error_of_ours(tmp_path, parcels):
    with pytest.raises(OutputError, match="values of one type"):
        write_parcels(parcels.assign(id=[1, "1", 2]), tmp_path / "p.parquet")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "values",
    [
        [2**70, 1, 2],
        ["a", 1, None],
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
