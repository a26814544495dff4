"""Score tables against the naive loop, and on predictions whose scores are known."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_predictions import RIGHT, known, predictions_of

from cubecrop.errors import LabelError
from cubecrop.evaluation.about import FoldFacts
from cubecrop.evaluation.score_tables import ScoreTables
from cubecrop.metrics import SCORE_NAMES, intervals, scores, wilson

NAMES = ["a", "b", "c"]
ROW = st.fixed_dictionaries({
    "fold": st.sampled_from(["x", "y"]),
    "model": st.sampled_from(["network", "other"]),
    "seed": st.integers(0, 2),
    "variant": st.sampled_from(["", "cut"]),
    "truth": st.integers(0, 2),
    "guess": st.integers(0, 2),
    "group": st.sampled_from(["g", "h", "i"]),
})  # fmt: skip


@settings(max_examples=40)
@given(st.lists(ROW, min_size=1, max_size=60), st.data())
def test_values_are_those_of_the_naive_loop(rows, data):
    lost = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=3))
    made = predictions_of(rows, NAMES, lost=lost)
    tables = ScoreTables.of(made)
    frame = made.table.assign(guess=made.predicted)
    seen = 0
    for keys, part in frame.groupby(["model", "variant"], observed=True):
        by_seed = [
            scores(one["truth"], one["guess"], 3) for _, one in part.groupby("seed", observed=True)
        ]
        for score in SCORE_NAMES:
            row = only(tables.scores, model=keys[0], variant=keys[1], score=score)
            naive = np.array([getattr(one, score) for one in by_seed])
            assert row["value"] == pytest.approx(naive.mean())
            if len(naive) > 1:
                assert row["spread"] == pytest.approx(naive.std(ddof=1))
            assert row["low"] <= row["value"] <= row["high"]
            assert row["seeds"] == len(naive)
            assert row["groups"] == part["group"].nunique()
            seen += 1
        for fold, own in part.groupby("fold", observed=True) if keys[1] == "" else ():
            naive = [
                scores(one["truth"], one["guess"], 3).macro_f1 for _, one in own.groupby("seed")
            ]
            row = only(tables.folds, model=keys[0], variant=keys[1], fold=fold, score="macro_f1")
            assert row["value"] == pytest.approx(np.mean(naive))
    assert seen == len(tables.scores)


def only(table, **values):
    chosen = table[np.logical_and.reduce([table[name] == value for name, value in values.items()])]
    assert len(chosen) == 1, (values, len(chosen))
    return chosen.iloc[0]


def test_intervals_of_one_seed_are_those_of_metrics():
    rng = np.random.default_rng(0)
    n = 300
    truth, group = rng.integers(3, size=n), rng.integers(40, size=n)
    guess = np.where(rng.random(n) < 0.6, truth, rng.integers(3, size=n))
    rows = [
        {"truth": t, "guess": g, "group": k} for t, g, k in zip(truth, guess, group, strict=True)
    ]
    tables = ScoreTables.of(predictions_of(rows, NAMES), seed=5)
    expected = intervals(truth, guess, 3, groups=[str(one) for one in group], seed=5)
    for score, (low, high) in expected.items():
        row = only(tables.scores, score=score)
        assert (row["low"], row["high"]) == pytest.approx((low, high), abs=1e-12)


def test_resampled_macro_f1_is_the_mean_over_seeds_and_differences_are_paired():
    """Against resamples that are scored one at a time."""
    rng = np.random.default_rng(3)
    n, n_groups = 60, 7
    truth, group = rng.integers(3, size=n), rng.integers(n_groups, size=n)
    guesses = {
        (model, seed): np.where(rng.random(n) < share, truth, rng.integers(3, size=n))
        for model, share in (("network", 0.8), ("other", 0.4))
        for seed in range(2)
    }
    rows = [
        {"model": m, "seed": s, "truth": truth[i], "guess": g[i], "group": group[i], "parcel": i}
        for (m, s), g in guesses.items()
        for i in range(n)
    ]
    tables = ScoreTables.of(predictions_of(rows, NAMES))
    draw = np.random.default_rng(0)
    names, codes = np.unique(group.astype(str), return_inverse=True)
    f1 = {"network": [], "other": []}
    for _ in range(2000):
        times = np.bincount(draw.integers(len(names), size=len(names)), minlength=len(names))
        chosen = np.repeat(np.arange(n), times[codes])
        for model, found in f1.items():
            one = [
                scores(truth[chosen], guesses[model, seed][chosen], 3).macro_f1 for seed in range(2)
            ]
            found.append(np.mean(one))
    by_seed = {
        model: [scores(truth, guesses[model, seed], 3).macro_f1 for seed in range(2)]
        for model in f1
    }
    variance = {model: np.var(found, ddof=1) / 2 for model, found in by_seed.items()}

    def wider(value, draws, error):
        """Distances of parcels and of seeds add as those of independent errors."""
        low, high = np.percentile(draws, (2.5, 97.5))
        seeds = 1.959963984540054**2 * error
        return value - np.sqrt((value - low) ** 2 + seeds), value + np.sqrt(
            (high - value) ** 2 + seeds
        )

    for model, found in f1.items():
        row = only(tables.scores, model=model, score="macro_f1")
        expected = wider(np.mean(by_seed[model]), found, variance[model])
        assert (row["low"], row["high"]) == pytest.approx(np.clip(expected, 0, 1))
    row = only(tables.differences, score="macro_f1")
    lead = np.array(f1["other"]) - np.array(f1["network"])
    fall = np.mean(by_seed["other"]) - np.mean(by_seed["network"])
    expected = wider(fall, lead, sum(variance.values()))
    assert (row["low"], row["high"]) == pytest.approx(expected)
    assert row["model"] == "other"
    assert row["high"] < 0


def test_scores_gaps_and_differences_are_those_that_were_made():
    tables = ScoreTables.of(known())
    for (protocol, model), share in RIGHT.items():
        for score in ("accuracy", "macro_f1"):
            row = only(tables.scores, protocol=protocol, model=model, score=score)
            assert row["value"] == pytest.approx(share, abs=1e-6)
            assert (row["spread"], row["n"], row["groups"], row["seeds"]) == (
                pytest.approx(0, abs=1e-9), 400, 200, 3,
            )  # fmt: skip
            home = RIGHT.get(("random", model))
            if protocol == "random" or home is None:
                assert np.isnan(row["gap"])
            else:
                assert row["gap"] == pytest.approx(share - home, abs=1e-6)
                assert row["gap_low"] < row["gap"] < row["gap_high"] < 0
    for (protocol, model), share in RIGHT.items():
        if model != "network":
            row = only(tables.differences, protocol=protocol, model=model, score="macro_f1")
            assert row["difference"] == pytest.approx(share - RIGHT[protocol, "network"], abs=1e-6)
            assert (row["n"], row["groups"], row["seeds"]) == (400, 200, 3)
    assert "network" not in set(tables.differences["model"])
    assert list(tables.scores["protocol"].unique()) == ["random", "leave-region-out"]


def test_changes_of_the_samples_are_compared_with_them_as_they_are():
    tables = ScoreTables.of(known(variants={("dates kept", 0.5): 0.5}))
    row = only(
        tables.scores, protocol="random", model="network", variant="dates kept", score="macro_f1"
    )
    assert row["change"] == pytest.approx(0.4 - 0.8, abs=1e-6)
    assert row["change_low"] < row["change"] < row["change_high"] < 0
    assert np.isnan(row["gap"])


def test_a_change_is_that_of_the_seeds_that_have_it():
    """Curves have fewer seeds than scores; a seed that is better on its own is not a change."""
    made = known(right={("random", "network"): 0.8}, variants={("dates kept", 0.5): 1.0}, seeds=2)
    table, guess = made.table, made.predicted.copy()
    worse = (table["seed"] == 1).to_numpy() & (table["variant"] == "").to_numpy()
    guess[worse] = (table["truth"].to_numpy()[worse] + 1) % 4
    keep = ~((table["seed"] == 1) & (table["variant"] != "")).to_numpy()
    rows = table.assign(guess=guess)[keep].to_dict("records")
    row = only(
        ScoreTables.of(predictions_of(rows, made.nomenclature.names)).scores,
        variant="dates kept", score="accuracy",
    )  # fmt: skip
    assert row["change"] == pytest.approx(0)
    assert -0.1 < row["change_low"] <= 0 <= row["change_high"] < 0.1
    assert row["seeds"] == 1


def test_another_model_is_the_main_one_if_there_is_no_network():
    made = known(right={("random", "mine"): 0.8, ("random", "yours"): 0.6})
    tables = ScoreTables.of(made)
    assert tables.main == "mine"
    assert set(tables.differences["model"]) == {"yours"}


def test_a_model_without_a_fold_is_compared_on_the_others():
    made = known()
    drop = (made.table["model"] == "without radar") & (made.table["fold"] == "east")
    tables = ScoreTables.of(made.take(np.flatnonzero(~drop)))
    row = only(tables.differences, protocol="random", model="without radar", score="macro_f1")
    assert (row["n"], row["groups"]) == (200, 100)
    assert row["difference"] == pytest.approx(-0.04, abs=1e-6)
    assert row["low"] < row["difference"] < row["high"]


def test_a_fold_that_the_main_model_lacks_is_not_compared():
    made = known()
    main = made.table["model"] == "network"
    other = made.table["model"] == "without radar"
    keep = (main & (made.table["fold"] == "east")) | (other & (made.table["fold"] == "west"))
    tables = ScoreTables.of(made.take(np.flatnonzero(keep)))
    assert tables.differences.empty
    assert set(tables.scores["model"]) == {"network", "without radar"}


@pytest.mark.parametrize(("share", "value"), [(1.0, 1.0), (0.0, 0.0)])
def test_all_right_or_all_wrong_has_wilsons_interval(share, value):
    tables = ScoreTables.of(known(right={("random", "network"): share}))
    row = only(tables.scores, score="macro_f1")
    assert row["value"] == value
    assert (row["low"], row["high"]) == pytest.approx(
        (0.9812, 1) if share else (0, 0.0188), abs=1e-4
    )


def test_a_fold_of_a_single_group_has_the_interval_of_one():
    rows = [
        {"fold": fold, "group": group, "truth": i % 2, "guess": int(i % 8 == 1)}
        for fold, groups in (("x", ["g"]), ("y", ["h", "i", "j"]))
        for group in groups
        for i in range(16)
    ]
    folds = ScoreTables.of(predictions_of(rows, NAMES)).folds
    row = only(folds, fold="x", score="accuracy")
    assert (row["groups"], row["value"]) == (1, 10 / 16)
    assert (row["low"], row["high"]) == wilson(10 / 16, 1)


def test_rare_and_untrained_crops_are_named():
    rows = [{"truth": 0, "guess": 0}] * 30 + [{"truth": 1, "guess": 0}] * 9
    folds = [
        FoldFacts(protocol="random", name=f"{i} of 2", n_train=3, n_test=3, only_in_test=("b",))
        for i in (1, 2)
    ]
    tables = ScoreTables.of(predictions_of(rows, NAMES), folds)
    assert list(tables.classes["crop"]) == ["a", "b"]  # c has no test parcel
    assert list(tables.classes["few"]) == [False, True]
    assert list(tables.classes["untrained"]) == ["", "1 of 2; 2 of 2"]
    assert set(tables.scores["few"]) == {1}
    rare = only(tables.classes, crop="b")
    assert (rare["n"], rare["recall"], rare["f1"]) == (9, 0, 0)
    assert np.isnan(rare["precision"])
    assert only(tables.classes, crop="a")["precision"] == pytest.approx(30 / 39)


def test_lost_parcels_are_counted_and_wrong():
    rows = [{"truth": 0, "guess": 0}] * 8 + [{"truth": 1, "guess": 1}] * 2
    tables = ScoreTables.of(predictions_of(rows, NAMES, lost=[0, 9]))
    row = only(tables.scores, score="accuracy")
    assert (row["value"], row["unpredicted"]) == (0.8, 2)
    lost = tables.confusion[tables.confusion["predicted"] == "no prediction"]
    assert dict(zip(lost["truth"], lost["count"], strict=True)) == {"a": 1, "b": 1}


def test_confusion_is_a_mean_over_seeds():
    tables = ScoreTables.of(known())
    one = tables.confusion.query("protocol == 'leave-region-out' and model == 'self-trained'")
    matrix = one.pivot_table(index="truth", columns="predicted", values="count", fill_value=0)
    assert np.diag(matrix.to_numpy()).tolist() == [60, 60, 60, 60]
    assert matrix.to_numpy().sum() == 400


def test_a_crop_is_known_on_the_first_day_with_most_of_its_final_f1():
    factors = {60: 0.2, 120: 0.9, 180: 0.96, 240: 1.0}
    variants = {("until day", float(day)): factor for day, factor in factors.items()}
    tables = ScoreTables.of(known(right={("random", "network"): 0.8}, variants=variants))
    assert set(tables.early["day"]) == {180.0}
    assert (tables.early["low"] <= 180).all()
    assert (tables.early["n"] == 100).all()


def test_a_crop_that_is_known_on_no_day_has_none():
    variants = {("until day", 60.0): 0.5}
    tables = ScoreTables.of(known(right={("random", "network"): 0.8}, variants=variants))
    assert tables.early["day"].isna().all()
    assert len(tables.early) == 4


def test_no_prediction_is_refused():
    with pytest.raises(LabelError, match="no prediction"):
        ScoreTables.of(known().take(np.arange(0)))


def test_tables_hold_one_row_a_key():
    tables = ScoreTables.of(known(variants={("cut", 0.5): 0.5, ("without radar", np.nan): 0.9}))
    keys = ["protocol", "model", "variant", "level", "score"]
    assert not tables.scores.duplicated(keys).any()
    assert not tables.folds.duplicated([*keys, "fold"]).any()
    assert len(tables.scores) == len(RIGHT) * 3 * 3
    assert len(tables.folds) == len(RIGHT) * 3 * 2
    assert pd.api.types.is_float_dtype(tables.scores["value"])


def test_the_benchmark_runs_and_its_page_is_small(benchmarks, monkeypatch, tmp_path):
    suite = benchmarks("evaluation", "ReportOfPredictions", n_parcels=40, n_seeds=2)
    monkeypatch.chdir(tmp_path)
    one = suite()
    one.setup()
    one.time_scores()
    one.time_read_and_write()
    assert one.track_rows() == 40 * (20 * 4 * 2 + 20 * 2 * 15)
    assert 0 < one.track_page() < 5
    assert {"time_scores", "time_read_and_write"} < set(dir(suite))


def test_scores_by_area_are_shares_of_known_areas():
    rng = np.random.default_rng(0)
    area = np.where(rng.random(60) < 0.2, np.nan, rng.uniform(1e3, 1e5, 60))
    frame = {"truth": rng.integers(3, size=60), "group": np.arange(60) // 2, "area": area}
    some = np.isfinite(area)
    parts, naive = [], []
    for seed in range(2):
        guess = np.where(rng.random(60) < 0.6, frame["truth"], 0)
        parts.append(pd.DataFrame({**frame, "guess": guess, "seed": seed}))
        naive.append(scores(frame["truth"][some], guess[some], 3, weights=area[some]))
    tables = ScoreTables.of(predictions_of(pd.concat(parts, ignore_index=True), NAMES))
    for score in SCORE_NAMES:
        row = only(tables.areas, score=score)
        values = [getattr(one, score) for one in naive]
        assert row["value"].item() == pytest.approx(np.mean(values))
        assert row["spread"].item() == pytest.approx(np.std(values, ddof=1), rel=1e-4)
        assert row["low"].item() < row["value"].item() < row["high"].item()
        assert row["n"].item() == some.sum()
        assert row["hectares"].item() == pytest.approx(np.nansum(area) / 1e4)
    assert len(ScoreTables.of(predictions_of(parts[0].drop(columns="area"), NAMES)).areas) == 0
