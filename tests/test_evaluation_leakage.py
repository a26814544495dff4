"""Findings about folds: a leaky split is named a leak, a clean one is not."""

import numpy as np
import pytest
from populations import METRE, canadian, crops_of, population_at, scattered, sets_at

from cubecrop.evaluation import Fold, Population, folds
from cubecrop.evaluation.leakage import findings
from cubecrop.sample import join_stores, stored


def halves(n, protocol="by hand"):
    """The first half is trained on, the second is tested."""
    train, test = np.arange(n // 2), np.arange(n // 2, n)
    return [Fold(protocol=protocol, name="second", train=train, test=test)]


def told(population, made, part):
    """The only finding whose text contains a part."""
    (found,) = [one for one in findings(population, made) if part in one.text]
    return found


PLACES, COPIES = "Coordinates alone", "exact copy"


def test_a_clean_split_has_no_leak():
    population = population_at(*scattered(300))
    found = findings(population, folds(population, "random"))
    assert {one.level for one in found} == {"fine"}
    assert {one.protocol for one in found} == {"random"}
    text = next(one.text for one in found if COPIES in one.text)
    assert text == (
        "Of 300 test parcels, 0 have an exact copy of their series among the training parcels, 0 "
        "one that is nearly the same, and 0 a training parcel of the same year within 10 m."
    )


def test_labels_that_follow_from_coordinates_are_a_leak():
    lon, lat = scattered(300)
    crops = np.array(["grass", "maize", "wheat"])
    labels = crops[np.floor(lon * 2).astype(int) % 3].tolist()  # stripes of half a degree
    population = population_at(lon, lat, labels)
    found = findings(population, folds(population, "random"))
    assert found[0].level == "leak"
    assert found[0].text.startswith(PLACES)
    assert "n = 300" in found[0].text
    gain = float(found[0].text.split("difference is ")[1].split()[0])
    assert 0.4 < gain < 0.7
    assert found[0].text.endswith(
        f"Knowing the place can explain {gain:.2f} of a model's accuracy."
    )
    # Far from the training parcels, stripes are of no use.
    far = folds(population, "blocked", block=60e3, buffer=45e3)
    assert told(population, far, PLACES).level == "fine"


def test_accuracy_from_coordinates_by_hand():
    lon = np.array([0, 1, 2, 3, 0.1, 1.1, 2.1, 3.1, 3.2, 3.3])
    labels = ["a", "b", "a", "b", *["a", "b", "a", "b", "b", "a"]]
    population = population_at(lon, np.full(10, 50.0), labels)
    made = [Fold(protocol="x", name="1", train=np.arange(4), test=np.arange(4, 10))]
    text = told(population, made, PLACES).text
    assert "reach an accuracy of 0.83" in text  # five of six
    assert "n = 6); the most frequent class of each test part reaches 0.50" in text
    assert "the difference is +0.33" in text


def with_copies(n, copies, noise=0.0, n_pixels=2, away=0.5):
    """Parcels of which the last ones look like the first ones, elsewhere."""
    lon, lat = scattered(n)
    samples = sets_at(lon, lat, cloud=0, n_pixels=n_pixels)
    rng = np.random.default_rng(0)
    for name in ("sentinel2", "sentinel1"):
        for variable, values in samples[name].data_vars.items():
            copied = values[:copies].to_numpy()
            if variable != "valid":
                copied = copied + rng.normal(0, noise, copied.shape).astype(copied.dtype)
            values[n - copies :] = copied
    return Population.of(samples, crops_of(n))


@pytest.mark.parametrize("n_pixels", [1, 3])
def test_duplicated_parcels_across_folds_are_a_leak(n_pixels):
    population = with_copies(100, 30, n_pixels=n_pixels)
    found = told(population, halves(100), COPIES)
    assert found.level == "leak"
    assert "Of 50 test parcels, 30 have an exact copy" in found.text
    # The folds of a protocol keep copies together.
    assert told(population, folds(population, "random"), COPIES).level == "fine"


def test_parcels_that_are_nearly_the_same_are_a_leak():
    population = with_copies(100, 40, noise=1e-4)
    found = told(population, halves(100), COPIES)
    assert found.level == "leak"
    assert "0 have an exact copy" in found.text
    assert "40 one that is nearly the same" in found.text


def test_one_copy_among_hundreds_is_a_caution():
    population = with_copies(300, 1)
    found = told(population, halves(300), COPIES)
    assert found.level == "caution"
    assert "Of 150 test parcels, 1 have an exact copy" in found.text


@pytest.mark.parametrize(("metres", "level", "count"), [(9, "leak", 30), (11, "fine", 0)])
def test_parcels_at_one_place_are_a_leak(metres, level, count):
    lon, lat = scattered(60)
    lon[30:], lat[30:] = lon[:30], lat[:30] + metres * METRE
    found = told(population_at(lon, lat), halves(60), COPIES)
    assert found.level == level
    assert f"{count} a training parcel of the same year within 10 m" in found.text


def test_a_place_of_another_year_is_a_caution():
    lon, lat = scattered(30)
    trees = [sets_at(lon, lat, year=year, seed=year) for year in (2018, 2019)]
    population = Population.of(trees, [crops_of(30), crops_of(30, 1)])
    made = folds(population, "leave-year-out")
    found = told(population, made, "of another year")
    assert found.level == "caution"
    assert found.text.startswith("60 of 60 test parcels lie within 10 m of a training parcel of an")
    assert told(population, made, COPIES).level == "fine"
    random = folds(population, "random")
    assert not [one for one in findings(population, random) if "of another year" in one.text]


def test_classes_of_one_region_are_named():
    lon, lat = scattered(100)
    labels = ["rice"] * 20 + ["maize", "wheat"] * 40
    regions = ["south"] * 19 + ["north"] + ["north", "north", "south", "south"] * 20
    population = population_at(lon, lat, labels, regions=regions)
    found = told(population, halves(100), "regions")
    assert found.level == "caution"
    assert "in one of 2 regions" in found.text
    assert found.text.endswith("by which a model can tell them: rice (19 of 20 in south).")
    regions[17:19] = ["north"] * 2  # 17 of 20
    population = population_at(lon, lat, labels, regions=regions)
    assert told(population, halves(100), "regions").level == "fine"
    # With one region there is nothing to tell by.
    assert told(population_at(lon, lat, labels), halves(100), "regions").level == "fine"


def test_tested_classes_without_training_parcels_are_named():
    labels = ["maize", "wheat"] * 5 + ["rice"] * 3 + ["maize", "wheat"] * 3 + ["rye"]
    population = population_at(*scattered(20), labels)
    found = told(population, halves(20), "without a training parcel")
    assert found.level == "caution"
    assert found.text == (
        "4 of 10 test parcels are of a class without a training parcel in their fold, so no model "
        "can be right about them: rice (3 in second), rye (1 in second)."
    )


def test_each_protocol_has_its_findings_and_leaks_come_first():
    population = with_copies(100, 30)
    made = folds(population, "blocked") + halves(100)
    found = findings(population, made)
    assert [one.protocol for one in found if one.level == "leak"] == ["by hand"]
    assert found[0].level == "leak"
    chosen = [one for one in found if one.text.startswith("The protocol chose")]
    assert [one.protocol for one in chosen] == ["blocked"]
    assert made[0].note in chosen[0].text
    levels = [("leak", "caution", "fine").index(one.level) for one in found]
    assert levels == sorted(levels)


def test_what_was_not_checked_is_a_caution():
    nowhere = np.full(60, np.nan)
    population = population_at(nowhere, nowhere)
    found = findings(population, folds(population, "random"))
    assert [one.level for one in found if "not checked" in one.text] == ["caution", "caution"]
    assert told(population, folds(population, "random"), COPIES).level == "fine"


def test_stored_sets_have_the_findings_of_those_in_memory(tmp_path):
    memory = with_copies(60, 10)
    samples = memory.sources[0]
    store = stored(tmp_path, "all", lambda: samples)
    ((sets, _),) = join_stores([store], [np.arange(60)], np.zeros(60, int))
    disk = Population.of(sets, crops_of(60))
    assert findings(disk, halves(60)) == findings(memory, halves(60))


def test_sources_with_other_sensors_and_windows_are_compared_within():
    lon, lat = scattered(30)
    one, other = sets_at(lon, lat), sets_at(lon + 1, lat, sensors=("sentinel1",))
    population = Population.of([one, other], [crops_of(30), crops_of(30, 1)])
    made = [Fold(protocol="x", name="1", train=np.arange(30), test=np.arange(30, 60))]
    assert told(population, made, COPIES).level == "fine"
    again = Population.of([one, sets_at(lon + 1, lat)], [crops_of(30), crops_of(30, 1)])
    assert "30 have an exact copy" in told(again, made, COPIES).text


def test_canada():
    population = canadian()
    made = [one for name in ("random", "leave-region-out") for one in folds(population, name)]
    found = findings(population, made)
    assert (found[0].level, found[0].protocol) == ("leak", "random")
    assert found[0].text.startswith(
        f"{PLACES}, by the class of the nearest training parcel, reach "
    )
    assert [one.protocol for one in found if one.level == "leak"] == ["random"]
    cautions = [one for one in found if one.level == "caution"]
    assert {one.protocol for one in cautions} == {"random", "leave-region-out"}
    assert all("1520 (66" in one.text for one in cautions)
