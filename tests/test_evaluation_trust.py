"""Calibration on inner folds, calibration error, reliability table and crop sets."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import make_samples

from cubecrop.errors import ArgumentError, LabelError, SchemaError
from cubecrop.evaluation import (
    Population,
    Predictions,
    calibrate_on_folds,
    calibration_error,
    crop_set_scores,
    crop_set_table,
    reliability_table,
)
from cubecrop.evaluation import calibrating as under_test
from cubecrop.evaluation.calibrating import inner_folds
from cubecrop.evaluation.predictions import COLUMNS
from cubecrop.metrics import wilson
from cubecrop.model import tempered
from cubecrop.nomenclature import Nomenclature
from cubecrop.sample import read_worldcereal
from cubecrop.training import TrainConfig, fit
from cubecrop.training.probability_calibration import calibrate, calibrate_to_hardest

TABLE = Path(__file__).parents[2] / "shared" / "data" / "points" / "canada-2017-monthly.parquet"
QUICK = TrainConfig(epochs=2, n_pixels=4)


def predictions(probability, truth, *, group=None, in_set=None, set_size=None, names="abc"):
    n, nothing = len(truth), np.full(len(truth), np.nan)
    table = pd.DataFrame(
        {
            "protocol": ["random"] * n,
            "fold": ["1 of 2"] * n,
            "model": ["network"] * n,
            "seed": [0] * n,
            "variant": [""] * n,
            "level": nothing,
            "n_train": [9] * n,
            "parcel": [f"p{i}" for i in range(n)],
            "region": ["ON"] * n,
            "year": [2017] * n,
            "group": [f"p{i}" for i in range(n)] if group is None else group,
            "area": nothing,
            "truth": truth,
            "in_set": nothing if in_set is None else in_set,
            "set_size": nothing if set_size is None else set_size,
            "dissimilarity": nothing,
        }
    ).astype(COLUMNS)
    nomenclature = Nomenclature.from_names(list(names))
    return Predictions(table, np.asarray(probability, np.float32), nomenclature)


def drawn(n, *, exponent=1.0, seed=0):
    """Probabilities to the power of ``exponent``; the truth follows those before."""
    rng = np.random.default_rng(seed)
    chance = rng.dirichlet([1, 1, 1], n)
    truth = (chance.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    raised = chance**exponent
    return raised / raised.sum(axis=1, keepdims=True), truth


def test_reliability_by_hand():
    probability = [[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]]
    made = predictions(probability, [0, 1, 1, 2])
    table = reliability_table(made, n_bins=2)
    assert table["n"].tolist() == [2, 2]
    np.testing.assert_allclose(table["low"], [0.5, 0.8], rtol=1e-6)
    np.testing.assert_allclose(table["high"], [0.6, 0.9], rtol=1e-6)
    np.testing.assert_allclose(table["confidence"], [0.55, 0.85], rtol=1e-6)
    assert table["accuracy"].tolist() == [0.5, 1]
    assert (table["accuracy_low"][0], table["accuracy_high"][0]) == wilson(1, 2)
    # 2/4 · |0.55 - 0.5| + 2/4 · |0.85 - 1|
    assert calibration_error(made, n_bins=2).value == pytest.approx(0.1, abs=1e-6)


def test_what_is_left_out_is_counted():
    probability = [[0.9, 0.1, 0], [np.nan] * 3, [0.2, 0.8, 0], [np.nan] * 3, [0.3, 0.3, 0.4]]
    made = predictions(probability, [0, 1, 255, 255, 2])
    found = calibration_error(made)
    assert (found.n, found.n_unpredicted, found.n_without_class) == (2, 2, 1)
    assert reliability_table(made)["n"].tolist() == [1, 1]


def test_nothing_predicted_has_no_error_and_an_open_interval():
    made = predictions(np.full((3, 3), np.nan), [0, 1, 2])
    found = calibration_error(made)
    assert np.isnan(found.value)
    assert (found.interval, found.n, found.n_unpredicted) == ((0, 1), 0, 3)
    assert len(reliability_table(made)) == 0
    assert np.isnan(crop_set_scores(made).coverage)


def test_the_error_of_calibrated_predictions_is_what_chance_gives():
    found = calibration_error(predictions(*drawn(4000)))
    assert found.value == pytest.approx(found.if_calibrated, abs=0.01)
    assert found.value < 0.03
    few = calibration_error(predictions(*drawn(150)))
    assert few.if_calibrated > 3 * found.if_calibrated


def test_overconfidence_is_found_with_its_interval():
    # Of a large sample; its error is close to that of the population.
    true = calibration_error(predictions(*drawn(100_000, exponent=3))).value
    assert true > 0.1
    inside = 0
    for seed in range(40):
        found = calibration_error(predictions(*drawn(500, exponent=3, seed=seed)))
        assert found.interval[0] <= found.value <= found.interval[1]
        inside += found.interval[0] <= true <= found.interval[1]
    assert inside >= 34


def test_copies_in_a_group_do_not_narrow_the_interval():
    probability, truth = drawn(300, exponent=2)
    once = calibration_error(predictions(probability, truth))
    copied = predictions(
        np.repeat(probability, 5, axis=0), np.repeat(truth, 5), group=np.repeat(range(300), 5)
    )
    found = calibration_error(copied)
    assert found.n == 1500
    width = once.interval[1] - once.interval[0]
    assert found.interval[1] - found.interval[0] > 0.8 * width


def test_logits_are_refused():
    with pytest.raises(SchemaError, match="not logits"):
        calibration_error(predictions([[4.0, 2, 1]], [0]))


def test_crop_sets_by_hand():
    made = predictions(
        np.full((5, 3), 1 / 3),
        [0, 0, 1, 1, 1],
        in_set=[1, 0, 1, 1, np.nan],
        set_size=[1, 2, 2, 3, np.nan],
        group=list("aabcd"),
    )
    found = crop_set_scores(made)
    assert (found.coverage, found.mean_size, found.n, found.n_without_set) == (0.75, 2, 4, 1)
    assert found.interval == wilson(0.75 * 3, 3)  # three groups
    table = crop_set_table(made)
    assert table["crop"].tolist() == ["a", "b", "c"]
    assert table["n"].tolist() == [2, 2, 0]
    assert table["n_without_set"].tolist() == [0, 1, 0]
    np.testing.assert_array_equal(table["coverage"], [0.5, 1, np.nan])


def population(n, *, group=None, lon=None, labels=None):
    samples, made = make_samples(n=n)
    if group is not None:
        samples.coords["group"] = ("parcel", group)
    if lon is not None:
        samples.coords["lon"] = ("parcel", lon)
        samples.coords["lat"] = ("parcel", np.full(n, 50.0))
    return Population.of(samples, labels or made)


@pytest.mark.parametrize("kind", ["groups", "blocks"])
def test_each_parcel_is_in_one_fold_with_its_group(kind):
    group = [f"g{i // 2}" for i in range(24)]
    folds = inner_folds(population(24, group=group), kind, n_folds=3)
    assert sorted(np.concatenate(folds).tolist()) == list(range(24))
    of = {i: number for number, fold in enumerate(folds) for i in fold}
    assert all(of[i] == of[i + 1] for i in range(0, 24, 2))
    assert {len(fold) for fold in folds} == {8}


def test_blocks_are_strips_also_across_the_180th_meridian():
    lon = (np.linspace(170, 190, 12) + 180) % 360 - 180
    folds = inner_folds(population(12, lon=lon), "blocks", n_folds=3)
    strips = sorted(fold.tolist() for fold in folds)
    assert strips == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_random_folds_share_the_classes_and_follow_the_seed():
    made = population(24, labels=["rare"] + ["maize"] * 11 + ["wheat"] * 12)
    folds = inner_folds(made, "groups", n_folds=3)
    assert {int((made.label[fold] == 2).sum()) for fold in folds} <= {3, 4, 5}
    again = inner_folds(made, "groups", n_folds=3)
    assert [fold.tolist() for fold in folds] == [fold.tolist() for fold in again]
    other = inner_folds(made, "groups", n_folds=3, seed=1)
    assert [fold.tolist() for fold in folds] != [fold.tolist() for fold in other]


def test_folds_that_cannot_be_made_are_refused():
    with pytest.raises(LabelError, match="2 groups"):
        inner_folds(population(8, group=["a"] * 4 + ["b"] * 4), "groups", n_folds=3)
    with pytest.raises(LabelError, match="too large"):
        inner_folds(population(8, group=list("aaaaaabc")), "blocks", n_folds=3)
    with pytest.raises(LabelError, match="3 of 8 parcels have no known place"):
        inner_folds(population(8, lon=[1, 2, 3, 4, 5] + [np.nan] * 3), "blocks", n_folds=2)
    with pytest.raises(ArgumentError, match="expected one of"):
        inner_folds(population(8), "clusters", n_folds=2)


def test_inner_models_predict_only_what_they_have_not_learned(monkeypatch):
    samples, labels = make_samples(n=30)
    seen = []

    def spy(part, texts, **options):
        ids = {parcel for tree in part for parcel in tree["parcel"].to_numpy()}
        model = fit(part, texts, **options)
        assert not options["progress"]

        class Spy:
            def predict_proba(self, tree, **keywords):
                predicted = set(tree["parcel"].to_numpy())
                assert not predicted & ids
                assert len(predicted) + len(ids) == 30
                seen.extend(predicted)
                return model.predict_proba(tree, **keywords)

        return Spy()

    monkeypatch.setattr(under_test, "fit", spy)
    found = calibrate_on_folds(samples, labels, config=QUICK, seed=3)
    assert sorted(seen) == sorted(samples["parcel"].to_numpy())
    assert found.n == 30


def test_a_calibration_on_folds_fits_the_model_of_all_parcels():
    samples, labels = make_samples(n=60)
    found = calibrate_on_folds(samples, labels, config=QUICK, folds="blocks", n_folds=2, seed=1)
    again = calibrate_on_folds(samples, labels, config=QUICK, folds="blocks", n_folds=2, seed=1)
    assert found == again
    model = fit(samples, labels, config=QUICK, seed=1).with_calibration(found)
    assert model.calibration.alpha == QUICK.alpha
    sets = model.crop_sets(samples)
    assert sets.any("crop").all()


def test_a_class_that_a_fold_cannot_know_is_left_out():
    samples, _ = make_samples(n=90)
    labels = ["only in the west"] * 5 + ["maize", "wheat"] * 42 + ["maize"]
    found = calibrate_on_folds(samples, labels, config=QUICK, folds="blocks", n_folds=3)
    assert found.n == 85


def test_too_few_parcels_are_an_error():
    samples, labels = make_samples(n=12)
    with pytest.raises(LabelError, match=r"12 parcels .* too few"):
        calibrate_on_folds(samples, labels, config=QUICK)
    with pytest.raises(LabelError, match="too few"):  # ten in each block
        calibrate_on_folds(*make_samples(n=30), config=QUICK, folds="blocks")


def test_the_hardest_part_decides():
    easy, hard = (drawn(600, exponent=exponent, seed=9) for exponent in (1.0, 3.0))
    parts = [(p.astype(np.float32), truth) for p, truth in (easy, hard)]
    found = calibrate_to_hardest(parts, alpha=0.1)
    alone = [calibrate(*part, alpha=0.1) for part in parts]
    assert found.temperature == max(one.temperature for one in alone) > 2
    assert found.n == 1200
    for probability, truth in parts:
        sets = found.crop_sets(tempered(probability, found.temperature))
        assert sets[np.arange(600), truth].mean() >= 0.9
    few = (parts[1][0][:19], parts[1][1][:19])
    assert calibrate_to_hardest([parts[0], few], alpha=0.1).n == 600
    assert calibrate_to_hardest([few], alpha=0.1) is None
    assert calibrate_to_hardest(parts, alpha=0) is None


@pytest.mark.slow
@pytest.mark.skipif(not TABLE.exists(), reason=f"the real points are not at {TABLE}")
def test_a_block_of_ontario_as_an_unknown_region():
    samples = read_worldcereal(TABLE, label="CROPTYPE_LABEL")
    frequent = samples["label"].to_series().value_counts().index[:9]
    lon = samples["lon"].to_numpy()
    kept = np.isin(samples["label"].to_numpy(), frequent) & (lon > -85) & (lon < -79)
    samples = samples.isel(parcel=np.flatnonzero(kept))
    labels = samples["label"].to_numpy().astype(str)
    west = samples["lon"].to_numpy() <= np.quantile(samples["lon"], 1 / 3)
    learned, tested = np.flatnonzero(~west), np.flatnonzero(west)
    training = samples.isel(parcel=learned), labels[learned].tolist()
    nomenclature = Nomenclature.from_labels(labels)
    bare = fit(*training, nomenclature=nomenclature, seed=0, progress=False)
    test, truth = samples.isel(parcel=tested), labels[tested]
    calibration = calibrate_on_folds(*training, nomenclature=nomenclature, folds="blocks")
    model = bare.with_calibration(calibration)
    sets = model.crop_sets(test).to_numpy()
    known = np.array([nomenclature.index(label) for label in truth])
    assert sets[np.arange(len(truth)), known].mean() >= 0.85
    assert sets.sum(axis=1).mean() < 4  # of nine crops
    wrong = model.predict_proba(test).to_numpy().argmax(axis=1) != known
    outside = model.applicability(test).to_numpy() > 1
    assert 5 <= outside.sum() < len(outside) / 5
    assert wrong[outside].mean() > 1.5 * wrong[~outside].mean()
