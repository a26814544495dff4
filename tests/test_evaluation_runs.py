"""Runs: what is trained and predicted, and what a second call does again."""

import contextlib

import numpy as np
import pytest

from cubecrop import TrainConfig
from cubecrop.errors import ArgumentError, LabelError, ReadError
from cubecrop.evaluation import Population, Predictions, runs
from cubecrop.evaluation.adaptation_runs import AdaptationRun
from cubecrop.evaluation.candidates import FOREST, NETWORK, TOLERANT, ablations, main_candidates
from cubecrop.evaluation.protocols import Fold
from cubecrop.evaluation.runs import CalibrationRun, Run, run_all
from cubecrop.evaluation.study_options import StudyOptions
from cubecrop.model import Calibration
from cubecrop.progress import progress_bar
from cubecrop.training import fit
from tests.samples import make_samples

QUICK = TrainConfig(epochs=2)


@pytest.fixture(scope="module")
def population():
    samples, labels = make_samples(n=45, n_pixels=3)
    return Population.of(samples, labels)


@pytest.fixture(scope="module")
def fold():
    return Fold(
        protocol="random", name="1 of 1", train=np.arange(0, 30), test=np.arange(44, 29, -1)
    )


def candidate(name, config=QUICK):
    return main_candidates([name], config)[0]


def run_of(name, fold, **options):
    return Run(candidate=candidate(name), fold=fold, seed=0, **options)


def test_a_population_leaves_out_parcels_without_a_label():
    samples, labels = make_samples(n=9)
    labels[4] = None
    found = Population.of([samples, samples], [labels, labels], regions=[["a"] * 9, ["b"] * 9])
    assert len(found) == 16
    assert found.ids.tolist() == [f"p{i}" for i in (0, 1, 2, 3, 5, 6, 7, 8)] * 2
    assert found.region.tolist() == ["a"] * 8 + ["b"] * 8
    chosen, texts, order = found.take(np.array([9, 3, 12]))
    assert [tree["parcel"].to_numpy().tolist() for tree in chosen] == [["p3"], ["p1", "p5"]]
    assert order.tolist() == [3, 9, 12]
    assert texts == [[labels[3]], [labels[1], labels[5]]]


def test_digest_of_a_population_depends_on_pixels():
    samples, labels = make_samples(n=6)
    first = Population.of(samples, labels).digest()
    assert Population.of(samples.copy(deep=True), labels).digest() == first
    other = samples.copy(deep=True)
    other["sentinel1"]["backscatter"][0, 0, 0, 0] = -1
    assert Population.of(other, labels).digest() != first


def test_all_test_parcels_are_predicted_once(population, fold):
    found = run_of(FOREST, fold).perform(population).predictions
    assert sorted(found.table["parcel"]) == sorted(population.ids[fold.test])
    by_id = dict(zip(population.ids, population.label, strict=True))
    assert found.truth.tolist() == [by_id[parcel] for parcel in found.table["parcel"]]
    np.testing.assert_allclose(found.probability.sum(axis=1), 1, rtol=1e-5)
    assert set(found.table["n_train"]) == {30}
    assert (found.predicted == found.truth).mean() > 0.8  # classes of these samples are easy


def test_predictions_survive_a_file(population, fold, tmp_path):
    found = run_of(FOREST, fold, stress=("no radar", "until day")).perform(population).predictions
    found.write(tmp_path / "predictions.parquet")
    again = Predictions.read(tmp_path / "predictions.parquet")
    assert again.table.astype(str).equals(found.table.astype(str))
    np.testing.assert_array_equal(again.probability, found.probability)
    assert again.nomenclature == found.nomenclature


def test_test_labels_change_no_prediction(population, fold):
    shuffled = population.label.copy()
    shuffled[fold.test] = np.roll(shuffled[fold.test], 1)
    other = Population.of(
        population.sources[0], [population.nomenclature.names[i] for i in shuffled],
        nomenclature=population.nomenclature,
    )  # fmt: skip
    for name in (NETWORK, FOREST):
        run = run_of(name, fold)
        first, second = (run.perform(p).predictions for p in (population, other))
        np.testing.assert_array_equal(first.probability, second.probability)
        assert (first.truth != second.truth).any()


def test_a_network_that_needs_a_sensor_is_refused_and_said_so(population, fold):
    refused = run_of(NETWORK, fold, stress=("no radar",)).perform(population)
    assert [(r.model, r.variant) for r in refused.refusals] == [(NETWORK, "no radar")]
    assert "no 'sentinel1'" in refused.refusals[0].reason
    assert set(refused.predictions.table["variant"]) == {""}
    taken = run_of(TOLERANT, fold, stress=("no radar",)).perform(population)
    assert taken.refusals == ()
    assert set(taken.predictions.table["variant"]) == {"", "no radar"}


def test_fewer_training_parcels(population, fold):
    run = run_of(FOREST, fold, n_train=12)
    found = run.perform(population).predictions
    assert set(found.table["n_train"]) == {12}
    assert set(found.table["variant"]) == {"training parcels"}
    assert set(found.table["level"]) == {12.0}


def test_the_same_call_goes_on(population, fold, tmp_path, monkeypatch):
    wanted = [run_of(FOREST, fold), run_of(FOREST, fold, n_train=12), run_of(NETWORK, fold)]
    performed = []

    def counted(run, *rest):
        if len(performed) == 2:
            raise KeyboardInterrupt
        performed.append(run)
        return train_and_test(run, *rest)

    def call():
        with progress_bar("Evaluating", progress=False) as bar:
            return run_all(wanted, population, tmp_path, others=None, client=None, bar=bar)

    train_and_test = runs._train_and_test
    monkeypatch.setattr(runs, "_train_and_test", counted)
    with pytest.raises(KeyboardInterrupt):
        call()
    assert performed == wanted[:2]
    performed.append(None)  # the count has passed the interruption
    first = call()
    assert performed == [*wanted[:2], None, wanted[2]]
    again = call()
    assert len(performed) == 4
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.predictions.probability, two.predictions.probability)


def test_a_damaged_result_is_made_again(population, fold, tmp_path):
    run = run_of(FOREST, fold)
    with progress_bar("Evaluating", progress=False) as bar:
        (first,) = run_all([run], population, tmp_path, others=None, client=None, bar=bar)
        file = next(tmp_path.glob("*.parquet"))
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        (second,) = run_all([run], population, tmp_path, others=None, client=None, bar=bar)
    np.testing.assert_array_equal(first.predictions.probability, second.predictions.probability)
    assert file.read_bytes() == content


def test_what_changes_a_result_changes_its_key(population, fold):
    key = run_of(NETWORK, fold).key("p")
    other_fold = Fold(protocol="random", name="1 of 1", train=fold.train[1:], test=fold.test)
    same_parts = Fold(protocol="blocked", name="1 of 1", train=fold.train, test=fold.test)
    other = Run(candidate=candidate(NETWORK, TrainConfig(epochs=3)), fold=fold, seed=0)
    keys = [
        run_of(NETWORK, fold).key("q"),
        run_of(FOREST, fold).key("p"),
        run_of(NETWORK, other_fold).key("p"),
        run_of(NETWORK, same_parts).key("p"),
        run_of(NETWORK, fold, n_train=5).key("p"),
        run_of(NETWORK, fold, stress=("no radar",)).key("p"),
        other.key("p"),
    ]
    assert len({key, *keys}) == 8
    assert run_of(NETWORK, fold).key("p") == key


def test_ablations_change_one_choice_each():
    found = ablations(QUICK, ["sentinel2", "sentinel1", "weather", "terrain"], shapes=True)
    names = [one.name for one in found]
    assert len(set(names)) == len(names)
    for name in ("optical only", "radar only", "early fusion", "mid fusion", "decision fusion",
                 "temporal encoder tae", "temporal encoder tempcnn", "temporal encoder gru",
                 "temporal encoder transformer", "weather", "thermal time", "thermal sampling",
                 "terrain", "shape of parcels", "random forest, weather and terrain"):  # fmt: skip
        assert name in names
    alone = [one.name for one in ablations(QUICK, ["sentinel2"], shapes=False)]
    assert "early fusion" not in alone
    assert "weather" not in alone
    assert "radar only" not in alone


@pytest.mark.parametrize("name", ["optical only", "radar only", "shape of parcels", "no dates"])
def test_ablations_train(population, fold, name):
    chosen = {one.name: one for one in ablations(QUICK, ["sentinel2", "sentinel1"], shapes=True)}
    found = Run(candidate=chosen[name], fold=fold, seed=0).perform(population)
    assert found.refusals == ()
    assert len(found.predictions) == len(fold.test)


def test_a_network_adapts_to_the_test_part(fold):
    samples, labels = make_samples(n=120, n_pixels=2)
    population = Population.of(samples, labels)
    whole = Fold(protocol="random", name="1", train=np.arange(60), test=np.arange(60, 120))
    run = AdaptationRun(candidate=candidate(NETWORK), fold=whole, seed=0)
    found = run.perform(population)
    assert found.refusals == ()
    assert set(found.predictions.table["model"]) == {"network, adapted without labels"}
    assert len(found.predictions) == 60


def test_labels_that_are_given_are_not_tested():
    samples, labels = make_samples(n=120, n_pixels=2)
    population = Population.of(samples, labels)
    whole = Fold(protocol="random", name="1", train=np.arange(60), test=np.arange(60, 120))
    few, more = (
        AdaptationRun(candidate=candidate(NETWORK), fold=whole, seed=0, n_labels=n) for n in (6, 20)
    )
    given = [set(run._drawn(population)[0]) for run in (few, more)]
    assert given[0] < given[1]
    assert given[1] <= set(whole.test)
    found = few.perform(population).predictions
    tested = np.array([i for i in whole.test if i not in given[0]])
    assert set(found.table["parcel"]) == set(population.ids[tested])
    # Labels of tested parcels are not seen: without them the result is the same.
    hidden = population.label.copy()
    hidden[tested] = np.roll(hidden[tested], 1)
    other = Population.of(
        samples, [population.nomenclature.names[i] for i in hidden],
        nomenclature=population.nomenclature,
    )  # fmt: skip
    again = few.perform(other).predictions
    np.testing.assert_array_equal(again.probability, found.probability)


def test_other_clouds_are_another_result(population, fold, tmp_path):
    run = run_of(TOLERANT, fold, stress=("clouds of another place",))
    found = []
    for cloud in (0.0, 0.9):
        others, _ = make_samples(n=9, n_pixels=1, cloud=cloud)
        with progress_bar("Evaluating", progress=False) as bar:
            (one,) = run_all([run], population, tmp_path, others=others, client=None, bar=bar)
        changed = one.predictions.where(variant="clouds of another place")
        assert len(changed) == len(fold.test)
        found.append(changed.probability)
    assert (found[0] != found[1]).any()


def test_a_parcel_without_a_prediction_has_no_crop_set(population, fold):
    calibration = Calibration(temperature=1.0, alpha=0.1, threshold=0.2, n=50)
    run = run_of(NETWORK, fold, stress=("optical dates kept",), calibration=calibration)
    table = run.perform(population).predictions
    known = np.isfinite(table.probability).all(axis=1)
    assert 0 < known.sum() < len(known)
    assert table.table["in_set"].isna().to_numpy().tolist() == (~known).tolist()
    assert (table.table["set_size"][known] >= 1).all()


def test_parcels_beside_those_whose_labels_are_given_are_not_tested():
    samples, labels = make_samples(n=120, n_pixels=2)
    pairs = [f"pair {i // 2}" for i in range(120)]
    samples.dataset = samples.to_dataset().assign_coords(group=("parcel", pairs))
    population = Population.of(samples, labels)
    whole = Fold(protocol="random", name="1", train=np.arange(60), test=np.arange(60, 120))
    run = AdaptationRun(candidate=candidate(NETWORK), fold=whole, seed=0, n_labels=20)
    labelled, others = run._drawn(population)
    assert len(labelled) == 20
    assert not set(population.group[labelled]) & set(population.group[others])


def test_a_variant_that_one_source_lacks_is_no_variant(fold):
    samples, labels = make_samples(n=30, n_pixels=2)
    other, _ = make_samples(n=30, n_pixels=2, dates=(3, 7))
    population = Population.of([samples, other], [labels, labels])
    whole = Fold(protocol="random", name="1", train=np.r_[0:20, 30:50], test=np.r_[20:30, 50:60])
    found = Run(
        candidate=candidate(FOREST), fold=whole, seed=0, stress=("optical month lost",)
    ).perform(population)
    table = found.predictions.table
    counts = table.groupby(["variant", "level"], dropna=False, observed=True).size()
    assert set(counts) == {20}
    assert len(counts) > 1


def test_models_on_threads_of_a_cluster_are_those_of_this_process(population, fold, tmp_path):
    from distributed import Client, LocalCluster

    wanted = [
        run_of(FOREST, fold, n_train=10),
        run_of(NETWORK, fold),
        Run(candidate=candidate(NETWORK), fold=fold, seed=1),
    ]
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(
            LocalCluster(
                n_workers=1,
                threads_per_worker=2,
                processes=False,
                protocol="tcp",
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
            )
        )
        client = stack.enter_context(Client(cluster))
        bar = stack.enter_context(progress_bar("Evaluating", progress=False))
        # A second call must not lose the data that the first call releases.
        found = [
            *run_all(wanted[:1], population, tmp_path / "a", others=None, client=client, bar=bar),
            *run_all(wanted[1:], population, tmp_path / "a", others=None, client=client, bar=bar),
        ]
        alone = run_all(wanted, population, tmp_path / "b", others=None, client=None, bar=bar)
    for one, two in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one.predictions.probability, two.predictions.probability)


def test_a_fault_of_the_disk_is_no_result(population, fold, tmp_path, monkeypatch):
    def unreadable(self, members):
        raise ReadError("the disk is not there")

    run = run_of(FOREST, fold)
    monkeypatch.setattr(type(run.candidate), "train", lambda *_, **__: unreadable(None, None))
    with pytest.raises(ReadError), progress_bar("Evaluating", progress=False) as bar:
        run_all([run], population, tmp_path, others=None, client=None, bar=bar)
    assert not list(tmp_path.glob("*.json"))


def test_networks_start_from_init_and_forests_do_not(population, fold):
    samples, labels = make_samples(n=30, n_pixels=3, seed=9)
    init = fit(samples, labels, config=QUICK, progress=False)
    network, forest = main_candidates([NETWORK, FOREST], QUICK, init)
    assert network.text.endswith("from the encoders of another model")
    assert network.identity != candidate(NETWORK).identity
    assert forest.identity == candidate(FOREST).identity
    samples, labels, _ = population.take(fold.train)
    found = network.train(samples, labels, nomenclature=population.nomenclature, seed=0)
    expected = fit(
        samples, labels, nomenclature=population.nomenclature, config=QUICK, init=init, seed=0,
        progress=False,
    )  # fmt: skip
    assert found.digest == expected.digest
    calibrated = CalibrationRun(candidate=network, fold=fold)
    assert calibrated.key("p") != CalibrationRun(candidate=candidate(NETWORK), fold=fold).key("p")
    options = StudyOptions(models=[NETWORK], init=init)
    assert [one.init for one in options.candidates()] == [init]
    with pytest.raises(LabelError, match="init is 'default', expected a CropModel"):
        StudyOptions(init="default")
    with pytest.raises(ArgumentError, match="ablation and init"):
        StudyOptions(init=init, ablation=True)
