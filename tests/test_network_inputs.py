"""Weather, terrain, shape and thermal time, end to end from an archive to a map."""

import datetime as dt

import geopandas as gpd
import numpy as np
import pytest
import xarray as xr

import cubecrop
from cubecrop.classification import classify_pixel_sets, parcel_table
from cubecrop.errors import ModelMismatchError, SchemaError
from cubecrop.model import CropModel, NetworkOptions
from cubecrop.model.thermal import degree_days, thermal_source, thermal_time
from cubecrop.testing import forbid_compute

YEAR = 2024
SEASON = cubecrop.Season(YEAR, start=dt.date(2024, 4, 1), end=dt.date(2024, 7, 15))
OPTIONS = {
    "weather and terrain": NetworkOptions(
        weather=True, terrain=True, temporal="tae", fusion="mid", auxiliary=True
    ),
    "thermal time and shape": NetworkOptions(
        time_encoding="thermal-time", thermal_step=40.0, geometry=True, fusion="early"
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    out = tmp_path_factory.mktemp("simulated") / "archive"
    return cubecrop.simulate_archive(out, years=[YEAR], size_km=0.5, seed=2, progress=False)


@pytest.fixture(scope="module")
def declared(place):
    return gpd.read_parquet(place / f"parcels-{YEAR}.parquet")


@pytest.fixture(scope="module", params=list(OPTIONS))
def model(request, place, declared):
    network = OPTIONS[request.param]
    config = cubecrop.TrainConfig(
        epochs=2, n_pixels=8, network=network, auxiliary=0.5 * network.auxiliary
    )
    return cubecrop.train(
        declared, "crop:name", YEAR, archive=place, season=SEASON, config=config, progress=False
    )


def cube_and_sets(place, declared, model):
    cube = cubecrop.open_season(declared, SEASON, archive=place)
    return cube, cubecrop.sample_pixel_sets(cube, declared, n_pixels=model.n_pixels)


def test_parcels_are_classified_as_their_pixel_sets_are(place, declared, model):
    table = cubecrop.classify_parcels(
        declared, YEAR, archive=place, season=SEASON, model=model, progress=False
    )
    _, samples = cube_and_sets(place, declared, model)
    wanted = model.predict_proba(samples).to_numpy()
    columns = [f"probability:{name}" for name in model.nomenclature.names]
    np.testing.assert_allclose(table[columns].to_numpy(), wanted, atol=1e-5)
    assert np.isfinite(wanted).all()


def test_maps_are_lazy_and_whole_or_refused(place, declared, model):
    if model.config.geometry:
        with pytest.raises(ModelMismatchError, match="shape of parcels"):
            cubecrop.classify(declared, YEAR, archive=place, season=SEASON, model=model, clip=False)
        return
    with forbid_compute():
        lazy = cubecrop.classify(
            declared, YEAR, archive=place, season=SEASON, model=model, chunks=16, clip=False
        )
    whole = cubecrop.classify(declared, YEAR, archive=place, season=SEASON, model=model, clip=False)
    first, second = lazy["probability"].compute(), whole["probability"].compute()
    assert np.isfinite(first).mean() > 0.9
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_saved_model_with_inputs_names_missing_inputs(place, declared, model, tmp_path):
    again = CropModel.load(model.save(tmp_path / "model"))
    assert again.config == model.config
    _, samples = cube_and_sets(place, declared, model)
    np.testing.assert_array_equal(again.predict_proba(samples), model.predict_proba(samples))
    bare = samples.copy()
    del bare["weather"]
    with pytest.raises(ModelMismatchError, match="no 'weather'"):
        again.predict_proba(bare)


def test_embeddings_and_attention(place, declared, model):
    _, samples = cube_and_sets(place, declared, model)
    embedding = model.embed(samples)
    assert embedding.dims == ("parcel", "feature")
    assert np.isfinite(embedding).all()
    assert np.ptp(embedding.to_numpy(), axis=0).max() > 0
    if model.config.thermal_step:
        with pytest.raises(ModelMismatchError, match="thermal_step=0"):
            model.attention(samples)
        return
    attention = model.attention(samples)
    seen = samples["sentinel2"]["valid"].any("pixel").to_numpy()
    dates = attention["sentinel2"]["attention"]
    np.testing.assert_array_equal(dates["time"], samples["sentinel2"]["time"])
    assert (dates.to_numpy()[~seen] == 0).all()
    middles = attention["weather"]["time"].values
    assert middles[0] == np.datetime64(SEASON.start, "ns") + np.timedelta64(5, "D")
    assert set(np.diff(middles)) == {np.timedelta64(10, "D")}
    total = sum(node["attention"].sum("time") for node in attention.children.values())
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_a_parcel_without_weather_has_no_class_and_says_so(place, declared, model):
    _, samples = cube_and_sets(place, declared, model)
    samples = samples.load()
    samples["weather"]["weather"][0] = np.nan
    found = model.predict_proba(samples).isnull().any("crop").to_numpy()
    assert found.tolist() == [True] + [False] * (len(declared) - 1)
    table = parcel_table(declared, classify_pixel_sets(samples, model).compute(), model)
    assert "no weather" in table["status"].iloc[0]
    assert (table["status"].iloc[1:] == "predicted").all()


def test_weather_that_ends_before_the_images_is_refused(place, declared, model):
    _, samples = cube_and_sets(place, declared, model)
    samples = samples.load()
    last = np.datetime64("2024-05-31")
    weather = samples["weather"].to_dataset(inherit=False)
    samples["weather"] = xr.DataTree(weather.sel(time=slice(None, last)))
    wanted = (
        r"weather has days from 2024-04-01 to 2024-05-31, and images from 2024-07-\d\d to 2024-"
    )
    with pytest.raises(ModelMismatchError, match=wanted):
        model.predict_proba(samples)
    assert model.predict_proba(samples, allow_gaps=True).notnull().all()
    config = cubecrop.TrainConfig(epochs=1, network=NetworkOptions(weather=True))
    with pytest.raises(SchemaError, match=wanted):
        cubecrop.fit(samples, declared["crop:name"].tolist(), config=config, progress=False)


def test_degree_days_by_hand():
    kelvin = np.array([[[273.15 + 5, 273.15 + 15], [273.15 - 4, 273.15 + 35],
                        [273.15 - 20, 273.15 - 10]]], dtype="f4")  # fmt: skip
    names = ["temperature_min", "temperature_max"]
    found = degree_days(kelvin, names, thermal_source(names))
    np.testing.assert_allclose(found, [[10, 15, 0]], atol=1e-4)
    mean = degree_days(kelvin[..., :1], ["temperature_mean"], thermal_source(["temperature_mean"]))
    np.testing.assert_allclose(mean, [[5, 0, 0]], atol=1e-4)
    with pytest.raises(ModelMismatchError, match="thermal time needs"):
        thermal_source(["precipitation"])


def test_thermal_time_by_hand():
    daily = np.array([[1.0, 2.0, np.nan, 4.0], [np.nan] * 4], dtype="f4")
    found = thermal_time(daily, np.arange(4, dtype="f4"), np.array([0, 1, 2, 3], dtype="f4"))
    np.testing.assert_allclose(found, [[1, 3, 6, 10], [np.nan] * 4])
    # Steps of ten days, each stamped with its middle day.
    steps = np.array([[2.0, 5.0]], dtype="f4")
    found = thermal_time(steps, np.array([4.5, 14.5]), np.array([9.0, 19.0]))
    np.testing.assert_allclose(found, [[20, 70]])


def test_thermal_time_is_not_known_far_from_known_weather():
    # Weather of a store that ends in the middle of the season, and two with a gap.
    daily = np.ones((4, 200), dtype="f4")
    daily[1, 100:] = np.nan
    daily[2, :50] = np.nan
    daily[3, 20:120] = np.nan
    days = np.array([0, 40, 99, 130, 131, 199], dtype="f4")
    found = thermal_time(daily, np.arange(200, dtype="f4"), days)
    np.testing.assert_array_equal(found[0], days + 1)
    np.testing.assert_array_equal(found[1], [1, 41, 100, 131, np.nan, np.nan])
    np.testing.assert_array_equal(found[2], [np.nan] * 6)
    np.testing.assert_array_equal(found[3], [1, 41, *[np.nan] * 4])
    ends = thermal_time(daily[:1, :100], np.arange(100, dtype="f4"), days)
    np.testing.assert_array_equal(ends[0], found[1])
    # Means of months, of which one is missing.
    months = np.array([[1, np.nan, 1, 1]], dtype="f4")
    stamps = np.array([15, 46, 76, 107], dtype="f4")
    np.testing.assert_array_equal(thermal_time(months, stamps, days[:3]), [[1, 41, 100]])
