"""WorldCereal's extraction tables: small ones by hand, and the real ones if present."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cubecrop import fit
from cubecrop.errors import LabelError, ParcelError, ReadError, SchemaError
from cubecrop.sample import read_worldcereal
from cubecrop.schema import SENTINEL2_BANDS, check_pixel_sets
from cubecrop.texts import label_text
from cubecrop.training import TrainConfig

POINTS = Path(__file__).parents[2] / "shared" / "data" / "points"


def real(name):
    path = POINTS / name
    if not path.exists():
        pytest.skip(f"the real tables are not there: {path}")
    return path


def long_table(**columns):
    """Two samples: ``a`` in January and February, ``b`` in February alone."""
    table = {
        "sample_id": ["a", "a", "b"],
        "timestamp": pd.to_datetime(["2016-12-31 23:00", "2017-01-31 23:00", "2017-01-31 23:00"]),
        "lon": [3.5, 3.5, 4.0],
        "lat": [50.0, 50.0, 51.0],
        "location_id": ["x", "x", None],
        "valid_date": pd.to_datetime(["2017-07-09 22:00"] * 3),
        "crop": [0.0, 0.0, np.nan],
        "S2-L2A-B02": [769, 65535, 1234],
        "S2-L2A-B03": [1086, 65535, 0],
        "S2-L2A-B8A": [65535] * 3,
        "S1-SIGMA0-VH": [1557, 1000, 65535],
        "S1-SIGMA0-VV": [3208, 10000, 5000],
        "AGERA5-temperature-mean": [27307, 0, 28000],
        "AGERA5-precipitation-flux": [10482, 2800, 65535],
        "DEM-alt-20m": [207.0, 207.0, 65535.0],
        "DEM-slo-20m": [0.5, 0.5, 2.0],
    }
    return pd.DataFrame({**table, **columns})


def wide_table(n_steps=12, **columns):
    """Two samples whose year starts 27 and 28 October; only B02, B05, radar and weather."""
    table = {"start_date": ["2017-10-27", "2017-10-28"], "end_date": ["2018-10-26", "2018-10-27"]}
    for step in range(n_steps):
        table[f"OPTICAL-B02-ts{step}-10m"] = [100 + step, 0]
        table[f"OPTICAL-B05-ts{step}-20m"] = [2000, 3000]
        table[f"SAR-VV-ts{step}-20m"] = [10000, 1000]
        table[f"METEO-temperature_mean-ts{step}-100m"] = [28216, 27315]
        table[f"METEO-precipitation_flux-ts{step}-100m"] = [5274, 3000]
    table |= {
        "OPTICAL-l2a_obs": [352, 352],
        "DEM-alt-20m": np.array([16, 13.1875], np.float32),
        "lat": [50.5, 50.6],
        "lon": [3.0, 3.1],
        "CT": [0, 1110],
        "ref_id": ["2018_BE_LPIS-Flanders"] * 2,
    }
    return pd.DataFrame({**table, **columns})


def read(tmp_path, table, label="crop"):
    path = tmp_path / "table.parquet"
    table.to_parquet(path)
    return read_worldcereal(path, label=label)


def test_long_values_by_hand(tmp_path):
    samples = read(tmp_path, long_table())
    check_pixel_sets(samples, needs=["sentinel2", "sentinel1", "weather", "terrain"])
    optical = samples["sentinel2"]
    assert optical["band"].to_numpy().tolist() == ["B02", "B03"]  # B8A has no value
    reflectance = optical["reflectance"]
    assert reflectance.dims == ("parcel", "time", "band", "pixel")
    assert reflectance.dtype == np.float32
    assert reflectance.attrs["units"] == "1"
    expected = [[[0.0769, 0.1086], [np.nan, np.nan]], [[np.nan, np.nan], [0.1234, 0.0]]]
    np.testing.assert_array_equal(reflectance[..., 0], np.float32(expected))
    np.testing.assert_array_equal(optical["valid"][..., 0], [[True, False], [False, True]])

    radar = samples["sentinel1"]
    assert radar["backscatter"].attrs["calibration"] == "sigma0"
    assert radar["backscatter"].attrs["units"] == "dB"
    assert radar["band"].to_numpy().tolist() == ["vv", "vh"]
    # 20 log10(3208) = 70.1247, 20 log10(1557) = 63.8458, 20 log10(5000) = 73.9794
    expected = [[[-12.8753, -19.1542], [-3, -23]], [[np.nan, np.nan], [-9.0206, np.nan]]]
    np.testing.assert_allclose(radar["backscatter"][..., 0], expected, atol=1e-4)
    np.testing.assert_array_equal(radar["valid"][..., 0], [[True, True], [False, False]])


@pytest.mark.parametrize(
    ("number", "decibel"),
    [
        (0, np.nan),
        (1, np.nan),  # what has no power at all is clipped to it
        (2, -50),
        (44, -50),
        (45, 20 * np.log10(45) - 83),  # -49.94
        (65534, 20 * np.log10(65534) - 83),  # 13.33
        (65535, np.nan),
    ],
)
@pytest.mark.parametrize("form", ["long", "wide"])
def test_radar_has_a_floor_and_no_power_is_missing(tmp_path, form, number, decibel):
    if form == "long":
        table, label = long_table(**{"S1-SIGMA0-VH": [number, 1000, 65535]}), "crop"
    else:
        columns = {"SAR-VH-ts0-20m": [number, 1000], "SAR-VH-ts1-20m": [1000, 1000]}
        table, label = wide_table(**columns), "CT"
    radar = read(tmp_path, table, label)["sentinel1"]
    vv, vh = radar["backscatter"].to_numpy()[0, 0, :, 0]
    np.testing.assert_allclose(vh, decibel, rtol=1e-6)
    assert np.isfinite(vv)
    assert radar["valid"].to_numpy()[0, 0, 0] == np.isfinite(decibel)


def test_numbers_that_nothing_measures_are_missing(tmp_path):
    table = long_table(**{
        "S2-L2A-B02": [32767, 32768, 65534],
        "S2-L2A-B03": [1086, 54496, 100],
        "AGERA5-temperature-mean": [65534, 14999, 35000],
        "AGERA5-precipitation-flux": [65534, 65533, 0],
        "DEM-alt-20m": [-9999.0, -9999.0, -3.0],
        "DEM-slo-20m": [90.5, 90.5, 90.0],
    })  # fmt: skip
    samples = read(tmp_path, table)
    blue = samples["sentinel2/reflectance"].sel(band="B02").to_numpy()[..., 0]
    np.testing.assert_allclose(blue, [[3.2767, np.nan], [np.nan, np.nan]], rtol=1e-6)
    valid = samples["sentinel2/valid"].to_numpy()[..., 0]
    assert valid.tolist() == [[True, False], [False, False]]
    weather = samples["weather/weather"].transpose("variable", "parcel", "time").to_numpy()
    np.testing.assert_allclose(weather[0], [[np.nan, np.nan], [np.nan, 350]])
    np.testing.assert_allclose(weather[1], [[np.nan, 655.33 / 28], [np.nan, 0]], rtol=1e-6)
    terrain = samples["terrain/terrain"].to_numpy()[..., 0]
    np.testing.assert_array_equal(terrain, [[np.nan, np.nan], [-3, 90]])


def test_weather_and_terrain_by_hand(tmp_path):
    samples = read(tmp_path, long_table())
    weather = samples["weather"]["weather"]
    assert weather.dims == ("parcel", "time", "variable")
    assert weather["variable"].to_numpy().tolist() == ["temperature_mean", "precipitation"]
    assert weather["units"].to_numpy().tolist() == ["K", "mm d-1"]
    assert weather["step_days"].to_numpy().tolist() == [31, 28]
    # 104.82 mm in 31 days of January, 28 mm in 28 of February; 0 K is no temperature.
    expected = [[[273.07, 104.82 / 31], [np.nan, 1]], [[np.nan, np.nan], [280, np.nan]]]
    np.testing.assert_allclose(weather, expected, rtol=1e-6)
    terrain = samples["terrain"]["terrain"]
    assert terrain["variable"].to_numpy().tolist() == ["elevation", "slope"]  # no aspect
    np.testing.assert_array_equal(terrain[..., 0], [[207, 0.5], [np.nan, 2]])


def test_labels_ids_groups_and_places(tmp_path):
    samples = read(tmp_path, long_table())
    labels = [label_text(one) for one in samples["label"].to_numpy()]
    assert labels == ["0", None]  # zero is a class
    assert samples["parcel"].to_numpy().tolist() == ["a", "b"]
    assert samples["group"].to_numpy().tolist() == ["x", "b"]  # without location: its own
    assert samples["lon"].to_numpy().tolist() == [3.5, 4.0]
    assert samples["lat"].to_numpy().tolist() == [50.0, 51.0]
    assert samples["pixel_count"].to_numpy().tolist() == [1, 1]
    assert "geometry" not in samples
    assert samples.attrs == {
        "season_year": 2017,
        "season_start": "2017-01-01",
        "season_end": "2017-02-28",
        "archive": "table.parquet",
        "composite": "month",
        "items": [],
        "item_hrefs": [],
        "n_pixels": 1,
        "seed": 0,
    }
    time = samples["sentinel2"]["time"].to_numpy().astype("datetime64[D]").astype(str)
    assert time.tolist() == ["2017-01-16", "2017-02-15"]  # middle days, as composites have


@pytest.mark.parametrize(
    ("stamps", "months"),
    [
        (["2016-12-31 23:00", "2017-03-31 22:00"], ["2017-01", "2017-04"]),  # Brussels
        (["2017-01-01", "2017-04-01"], ["2017-01", "2017-04"]),
        (["2017-01-01 05:00", "2017-04-01 04:00"], ["2017-01", "2017-04"]),  # Toronto
    ],
)
def test_local_midnights(tmp_path, stamps, months):
    stamps = pd.to_datetime([*stamps, stamps[1]])
    samples = read(tmp_path, long_table(timestamp=stamps))
    time = samples["sentinel2"]["time"].to_numpy().astype("datetime64[M]")
    assert time.astype(str).tolist() == months


def test_dekads_and_their_lengths(tmp_path):
    stamps = ["2017-02-11", "2017-02-21", "2017-03-01"]
    table = long_table(timestamp=stamps, sample_id=["a"] * 3, lon=3.0, lat=50.0, crop="wheat")
    samples = read(tmp_path, table)
    assert samples.attrs["composite"] == "dekad"
    assert samples["weather"]["step_days"].to_numpy().tolist() == [10, 8, 10]
    assert samples.attrs["season_start"] == "2017-02-11"
    assert samples.attrs["season_end"] == "2017-03-10"


def test_steps_after_the_harvest_year_are_left_out(tmp_path):
    stamps = pd.to_datetime(["2017-11-01", "2018-01-01", "2017-12-01"])
    samples = read(tmp_path, long_table(timestamp=stamps))
    assert samples.attrs["season_end"] == "2017-12-31"
    assert samples["sentinel2"].sizes["time"] == 2


@pytest.mark.parametrize(
    ("columns", "year"),
    [({"year": 2018}, 2018), ({"ref_id": "2019_FRA"}, 2019), ({"valid_time": "2017-06-01"}, 2017)],
)
def test_harvest_year(tmp_path, columns, year):
    table = long_table().drop(columns="valid_date").assign(**columns)
    assert read(tmp_path, table).attrs["season_year"] == year


def test_no_data_of_a_resolution(tmp_path):
    table = long_table(**{"S2-L2A-B02": [0, 5, 5], "S2-L2A-B03": [0, 0, 5], "S2-L2A-B05": 7})
    reflectance = read(tmp_path, table)["sentinel2/reflectance"].to_numpy()[0, :, :, 0]
    expected = np.float32([[np.nan, np.nan, 0.0007], [0.0005, 0, 0.0007]])
    np.testing.assert_array_equal(reflectance, expected)


def test_rows_in_any_order_give_the_same(tmp_path):
    table = long_table()
    one = read(tmp_path, table)
    other = read(tmp_path, table.iloc[[2, 1, 0]]).isel(parcel=[1, 0])
    assert one.identical(other)


def test_wide_values_by_hand(tmp_path):
    samples = read(tmp_path, wide_table(), "CT")
    check_pixel_sets(samples, needs=["sentinel2", "sentinel1", "weather", "terrain"])
    assert samples["parcel"].to_numpy().tolist() == [0, 1]
    assert samples["label"].to_numpy().tolist() == ["0", "1110"]
    assert "group" not in samples.coords
    time = samples["sentinel2"]["time"].to_numpy().astype("datetime64[D]")
    # 30 days each: the middle of the first is 15 days after 27 October.
    assert (time == np.datetime64("2017-11-11") + 30 * np.arange(12)).all()
    reflectance = samples["sentinel2/reflectance"].to_numpy()[..., 0]
    np.testing.assert_allclose(reflectance[0, :, 0], (100 + np.arange(12)) / 1e4, rtol=1e-6)
    assert np.isnan(reflectance[1, :, 0]).all()  # all of the 10 m bands are 0
    assert (reflectance[1, :, 1] == np.float32(0.3)).all()
    assert not samples["sentinel2/valid"].to_numpy()[1].any()
    np.testing.assert_allclose(samples["sentinel1/backscatter"][:, 3, 0, 0], [-3, -23])
    weather = samples["weather/weather"].to_numpy()[:, 5]
    np.testing.assert_allclose(weather, [[282.16, 52.74 / 30], [273.15, 1]], rtol=1e-6)
    np.testing.assert_array_equal(samples["terrain/terrain"][:, 0, 0], [16, 13.1875])
    assert samples.attrs["season_year"] == 2018
    assert samples.attrs["season_start"] == "2017-11-01"
    assert samples.attrs["season_end"] == "2018-10-31"


def test_wide_dekads(tmp_path):
    samples = read(tmp_path, wide_table(36), "CT")
    assert samples.attrs["composite"] == "dekad"
    assert (samples["weather"]["step_days"] == 10).all()
    np.testing.assert_allclose(samples["weather/weather"][0, 0, 1], 5.274, rtol=1e-6)


def test_wide_samples_of_different_months_share_their_dates(tmp_path):
    table = wide_table(
        start_date=["2017-10-27", "2017-12-28"], end_date=["2018-10-26", "2018-12-27"]
    )
    valid = read(tmp_path, table, "CT")["sentinel1/valid"].to_numpy()[..., 0]
    assert valid.shape == (2, 14)  # 62 days are two steps
    assert valid[0].tolist() == [True] * 12 + [False] * 2
    assert valid[1].tolist() == [False] * 2 + [True] * 12


def test_missing_file_and_no_parquet(tmp_path):
    with pytest.raises(ReadError, match=r"absent\.parquet"):
        read_worldcereal(tmp_path / "absent.parquet", label="crop")
    (tmp_path / "text.parquet").write_text("id,crop\n1,wheat\n")
    with pytest.raises(ReadError, match="Parquet"):
        read_worldcereal(tmp_path / "text.parquet", label="crop")


def test_label_column_must_be_there(tmp_path):
    with pytest.raises(LabelError, match=r"no label 'ct'.*'crop'"):
        read(tmp_path, long_table(), "ct")
    for measured in ("S2-L2A-B02", "timestamp", "DEM-alt-20m"):
        with pytest.raises(LabelError, match=f"no label '{measured}'"):
            read(tmp_path, long_table(), measured)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"id": [1], "crop": ["wheat"]}), r"\['id', 'crop'\].*lacks"),
        (long_table().drop(columns="timestamp"), r"lacks \['timestamp'\]"),
        (long_table().filter(regex="^(?!S[12]-)"), "none of them of Sentinel-2"),
        (long_table(**{"S2-L2A-B99": 1}), r"unknown.*drop\(columns=\['S2-L2A-B99'\]\)"),
        (long_table(**{"AGERA5-TMEAN": 1}), "the same measurement in two"),
        (long_table(timestamp=["2017-01-05", "2017-02-01", "2017-02-01"]), "2017-01-05"),
        (long_table(timestamp=["2017-01-01", None, "2017-02-01"]), "1 rows without 'timestamp'"),
        (long_table(timestamp="spring"), "does not hold dates"),
        (long_table().drop(columns="valid_date"), r"harvest year.*assign\(year"),
        (long_table(valid_date=["2016", "2016", "2017"]), r"years \[2016, 2017\]"),
        (long_table(year=None).drop(columns="valid_date"), "'year' that is not whole"),
        (long_table(year=2018.5).drop(columns="valid_date"), r"'year' that is not whole: 2018\.5"),
        (long_table(year=np.nan).drop(columns="valid_date"), "'year' that is not whole: nan"),
        (long_table(valid_date="2015-06-01"), "no date up to the end of its harvest year 2015"),
        (long_table(lat=5_600_000.0), r"column 'lat' with 5\.6e\+06, expected degrees up to 90"),
        (long_table().iloc[:0], "no row"),
    ],
)
def test_another_table_is_refused(tmp_path, table, message):
    with pytest.raises(SchemaError, match=message):
        read(tmp_path, table)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("S2-L2A-B02", [0.0769, np.nan, 0.1234]),
        ("S1-SIGMA0-VV", [-12.5, -9.25, np.nan]),
        ("S1-SIGMA0-VV", [-12, -9, -10]),
        ("S1-SIGMA0-VH", [0.01, 0.02, np.nan]),
        ("AGERA5-temperature-mean", [-1.5, 3.25, 18.0]),
        ("AGERA5-temperature-mean", [273.15, 280.5, 291.0]),
    ],
)
def test_values_that_are_not_encoded_are_refused(tmp_path, column, values):
    with pytest.raises(SchemaError, match=f"'{column}' with values from .* encoding"):
        read(tmp_path, long_table(**{column: values}))


def test_encoded_numbers_may_be_means_and_have_other_codes_for_missing(tmp_path):
    table = long_table(
        **{"S2-L2A-B02": [769.5, -9999, -12], "S1-SIGMA0-VV": [3208.5, -32768, 5000]}
    )
    sets = read(tmp_path, table.drop(columns=["S2-L2A-B03", "S2-L2A-B8A"]))
    blue = sets["sentinel2/reflectance"].sel(band="B02").to_numpy()[..., 0]
    np.testing.assert_allclose(blue, [[0.07695, np.nan], [np.nan, np.nan]], rtol=1e-6)
    radar = sets["sentinel1/backscatter"].sel(band="vv").to_numpy()
    assert np.isnan(radar).sum() == 2


def test_no_satellite_value(tmp_path):
    columns = ["S2-L2A-B02", "S2-L2A-B03", "S1-SIGMA0-VV", "S1-SIGMA0-VH"]
    with pytest.raises(SchemaError, match="no satellite value"):
        read(tmp_path, long_table(**dict.fromkeys(columns, 65535)))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"sample_id": "a", "lon": 3.0, "lat": 5.0, "crop": 1},
            r"two rows for the same month.*'a'",
        ),
        ({"sample_id": ["a", "a", None]}, "1 rows without sample_id"),
        ({"lon": [1.0, 2.0, 3.0]}, "different values of 'lon' for the sample 'a'"),
        ({"crop": [1.0, 2.0, 3.0]}, "different values of 'crop' for the sample 'a'"),
    ],
)
def test_samples_must_be_told_apart(tmp_path, columns, message):
    with pytest.raises(ParcelError, match=message):
        read(tmp_path, long_table(**columns))


def test_wide_must_make_sense(tmp_path):
    with pytest.raises(ParcelError, match=r"sample ids \['a'\] more than once"):
        read(tmp_path, wide_table(sample_id="a"), "CT")
    with pytest.raises(SchemaError, match=r"18 steps of 20\.3 days"):
        read(tmp_path, wide_table(18), "CT")
    with pytest.raises(SchemaError, match=r"OPTICAL-B99-ts0-10m"):
        read(tmp_path, wide_table(**{"OPTICAL-B99-ts0-10m": 1}), "CT")
    with pytest.raises(SchemaError, match=r"lacks \['start_date'\]"):
        read(tmp_path, wide_table().drop(columns="start_date"), "CT")


def test_fit_takes_such_samples(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.concat(
        [
            long_table(sample_id=["a", "a", f"b{n}"], crop=[7, 7, n % 2]).iloc[2 * (n > 0) :]
            for n in range(8)
        ]
    ).assign(**{"S1-SIGMA0-VH": rng.integers(500, 5000, 10)})
    table.loc[table["sample_id"] == "b3", "crop"] = None
    samples = read(tmp_path, table)
    labels = samples["label"].to_numpy()
    model = fit(samples, labels, config=TrainConfig(epochs=1), progress=False)
    assert model.nomenclature.names == ["0", "1", "7"]
    assert model.radar_calibration == "sigma0"
    probability = model.predict_proba(samples)
    assert probability.sizes == {"parcel": 9, "crop": 3}
    assert np.isfinite(probability).all()


def test_canada():
    samples = read_worldcereal(real("canada-2017-monthly.parquet"), label="CROPTYPE_LABEL")
    assert samples.sizes["parcel"] == 2638
    time = samples["sentinel2"]["time"].to_numpy().astype("datetime64[M]")
    assert (time == np.arange("2017-01", "2018-01", dtype="datetime64[M]")).all()
    assert samples.attrs["season_start"] == "2017-01-01"
    assert samples.attrs["season_end"] == "2017-12-31"
    assert "0" in samples["label"].to_numpy()
    assert len(set(samples["group"].to_numpy())) == 2636
    assert samples["sentinel2"]["band"].to_numpy().tolist() == [
        band for band in SENTINEL2_BANDS if band != "B8A"
    ]
    weather = samples["weather/weather"].sel(variable="temperature_mean")
    assert (weather.mean("parcel").argmax("time") == 6).all()  # July


@pytest.mark.parametrize(
    ("name", "n", "composite", "missing"),
    [
        ("france-2023-dekad.parquet", 291, "dekad", 0.551),
        ("corsica-2022-monthly.parquet", 500, "month", 0.005),
    ],
)
def test_france_and_corsica(name, n, composite, missing):
    path = real(name)
    samples = read_worldcereal(path, label="ewoc_code")
    assert samples.sizes["parcel"] == n
    assert samples.attrs["composite"] == composite
    assert "B8A" not in samples["sentinel2"]["band"]
    assert samples.attrs["season_start"][4:] == "-09-01"
    assert samples.attrs["season_end"][4:] == "-12-31"
    valid = samples["sentinel2/valid"]
    assert float(1 - valid.mean()) == pytest.approx(missing, abs=0.001)
    table = pd.read_parquet(path)
    table = table[table["timestamp"] < f"{samples.attrs['season_year'] + 1}-01-01"]
    assert int(valid.sum()) == (table["S2-L2A-B02"] != 65535).sum()


def test_flanders():
    samples = read_worldcereal(real("flanders-2018-monthly-wide.parquet"), label="CT")
    labels = samples["label"].to_numpy()
    assert labels.shape == (500,)
    assert (labels == "0").sum() == 215
    assert len(set(samples["group"].to_numpy())) == 37
    assert samples["sentinel2"]["band"].to_numpy().tolist() == list(SENTINEL2_BANDS)
    assert samples["sentinel2"].sizes["time"] == 12
    assert samples["sentinel1/valid"].all()
    assert float(samples["sentinel2/reflectance"].min()) > 0
