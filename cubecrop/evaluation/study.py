"""`generalisation_report`: how far models carry to other places and years, and under stress."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cubecrop._version import __version__
from cubecrop.checks import check_flag, check_folder
from cubecrop.errors import ArgumentError
from cubecrop.evaluation.about import About, Finding
from cubecrop.evaluation.adaptation_runs import AdaptationRun, adapted_name
from cubecrop.evaluation.candidates import (
    FOREST,
    NETWORK,
    Candidate,
    ablations,
)
from cubecrop.evaluation.leakage import findings
from cubecrop.evaluation.one_season import in_one_season
from cubecrop.evaluation.places import united_groups
from cubecrop.evaluation.population import Population
from cubecrop.evaluation.predictions import Predictions
from cubecrop.evaluation.protocols import folds, regions_of
from cubecrop.evaluation.report import Report
from cubecrop.evaluation.runs import CalibrationRun, Run, run_all
from cubecrop.evaluation.stress import OTHER_CLOUDS
from cubecrop.evaluation.study_facts import fold_facts, source_facts
from cubecrop.evaluation.study_options import StudyOptions
from cubecrop.progress import progress_bar
from cubecrop.training import TrainConfig, as_config
from cubecrop.training.sets import tree_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from distributed import Client

    from cubecrop.evaluation.outcomes import Outcome
    from cubecrop.evaluation.protocols import Fold
    from cubecrop.evaluation.runs import AnyRun
    from cubecrop.model import Calibration
    from cubecrop.nomenclature import Nomenclature
    from cubecrop.training import Init
    from cubecrop.training.sets import Labels, Samples

__all__ = ["Study", "generalisation_report", "study"]

#: Seeds of stress, early seasons, numbers of parcels and ablations: they ask for many trainings.
_FEW_SEEDS: Final = 2
#: Protocols that leave whole places or years out, which the further questions are about.
_AWAY: Final = ("leave-region-out", "leave-year-out", "region-and-year", "blocked", "knndm")
#: Labelled parcels of the test part that are given to fine-tuning; the widest change comes first.
_LABELS: Final = (100, 20, 50, 5)
_SIZES: Final = (25, 50, 100, 200, 500, 1000, 2000, 5000)


def generalisation_report(
    samples: Samples,
    labels: Labels,
    *,
    protocols: Sequence[str] = ("random", "blocked"),
    models: Sequence[str] | Mapping[str, TrainConfig] = (NETWORK, FOREST),
    seeds: int = 3,
    regions: Labels | None = None,
    nomenclature: Nomenclature | None = None,
    config: TrainConfig | None = None,
    init: Init | None = None,
    stress: bool | Sequence[str] = False,
    early: bool = False,
    ablation: bool = False,
    adaptation: bool = False,
    others: xr.DataTree | None = None,
    out: str | Path | None = None,
    title: str = "How far the models carry",
    client: Client | None = None,
    progress: bool = True,
) -> Report:
    """Train and test models under several protocols, and report how far they carry.

    The test part of a fold is predicted and nothing else. No setting is chosen on it.

    Parameters
    ----------
    samples, labels
        Pixel sets and labels, as for `cubecrop.fit`: one, or a list of several regions, years or
        tables. Parcels with a null label are left out. If season windows differ, all samples get
        one that contains them all, and thermal time is not among the ablations.
    protocols : sequence of str
        How parcels are split, see `cubecrop.evaluation.folds`. ``"random"`` is the reference.
    models : sequence of str, or mapping of str to TrainConfig
        ``"network"``, ``"random forest"`` and ``"network for missing sensors"``; or settings of
        networks by name.
    seeds : int, default 3
        Trainings of each model on each fold, from seeds 0, 1 and so on.
    regions : sequence, or a sequence of sequences, optional
        The name of each parcel's region. By default parcels further than 200 km from all others
        form another region.
    nomenclature : Nomenclature, optional
        The classes; by default the labels that occur.
    config : TrainConfig, optional
        Settings of the networks.
    init : CropModel, Encoders or PrestoWeights, optional
        What the networks start from, as in `cubecrop.fit`. If it has learned from the test parts,
        all scores are too good. Not together with ``ablation``.
    stress : bool or sequence of str
        Also test under stress: all kinds in `cubecrop.evaluation.STRESSES`, or some.
    early : bool, default False
        Also test with series that end early in the season.
    ablation : bool, default False
        Also train the network with other inputs, fusions and temporal encoders, one change a time.
    adaptation : bool, default False
        Also adapt the network to the test part, without its labels and with few of them.
    others : xarray.DataTree, optional
        Pixel sets of another place, whose clouds are laid over the test samples under stress.
    out : path, optional
        Folder for the report and for the result of every run. The same call goes on after an
        interruption. By default nothing is kept but what is returned.
    title : str
        Title of the report.
    client : distributed.Client, optional
        Train on the workers of a cluster; by default in this process, one run after the other.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.

    Returns
    -------
    Report
        Tables of scores with intervals, and `Report.write`.

    Raises
    ------
    ArgumentError
        A protocol, a model or a kind of stress is unknown, or the samples do not allow it.
    LabelError, SchemaError
        As for `cubecrop.fit`.
    OutputError
        ``out`` cannot be written.

    References
    ----------
    Roberts et al. 2017, doi:10.1111/ecog.02881 (blocks); Linnenbrink et al. 2024,
    doi:10.5194/gmd-17-5897-2024 (kNNDM).
    """
    options = StudyOptions(
        protocols=protocols, models=models, seeds=seeds, config=as_config(config), init=init,
        stress=stress, early=early, ablation=ablation, adaptation=adaptation, title=title,
    )  # fmt: skip
    return study(
        samples, labels, options, nomenclature=nomenclature, regions=regions, others=others,
        out=out, client=client, progress=progress,
    )  # fmt: skip


def study(
    samples: Samples,
    labels: Labels,
    options: StudyOptions,
    *,
    nomenclature: Nomenclature | None = None,
    regions: Labels | None = None,
    others: xr.DataTree | None = None,
    out: str | Path | None = None,
    client: Client | None = None,
    progress: bool = True,
) -> Report:
    """`generalisation_report` with its options as one value."""
    check_flag("progress", progress)
    check_folder("out", out)
    wanted = OTHER_CLOUDS in options.kinds
    if (others is not None and not wanted) or (
        others is None and wanted and not isinstance(options.stress, bool)
    ):
        raise ArgumentError(
            f"the stress {OTHER_CLOUDS!r} and samples of another place (`others=`, "
            "`--clouds-from`) belong together: give both or neither."
        )
    population = Population.of(samples, labels, nomenclature=nomenclature, regions=regions)
    sources, of_one_window = in_one_season(
        population.sources, [one.config.network for one in options.candidates()]
    )
    population = replace(population, sources=sources)
    # Regions that are given must be right; without any, other protocols are possible.
    with suppress(*([ArgumentError] if regions is None else [])):
        population = replace(population, region=regions_of(population))
    population = replace(population, group=united_groups(population))
    plan = Study(
        population=population,
        folds=tuple(f for protocol in options.protocols for f in folds(population, protocol)),
        options=options,
        others=others,
        of_one_window=of_one_window,
    )
    with ExitStack() as stack:
        folder = Path(out) if out else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        first = plan.calibrations()
        n = len(first) + len(plan.runs({})) + len(plan.adaptations())
        bar = stack.enter_context(
            progress_bar("Evaluating", total=n, unit="trainings", progress=progress)
        )

        def performed(runs: Sequence[AnyRun]) -> list[Outcome]:
            return run_all(runs, population, folder / "runs", others=others, client=client, bar=bar)

        found = findings(population, plan.folds)
        outcomes = performed(first)
        calibrations = {
            (run.candidate.name, run.fold): outcome.calibration
            for run, outcome in zip(first, outcomes, strict=True)
        }
        outcomes += performed(plan.runs(calibrations))
        outcomes += performed(plan.adaptations())
        report = Report(_joined(outcomes), plan.about(outcomes, found))
        if out is not None:
            report.write(folder)
    return report


@dataclass(frozen=True, kw_only=True)
class Study:
    """Every model on every fold from every seed."""

    population: Population
    folds: tuple[Fold, ...]
    options: StudyOptions
    others: xr.DataTree | None
    #: Whether all samples came with the same season window, so that thermal time has one start.
    of_one_window: bool = True

    @property
    def away(self) -> list[Fold]:
        """Folds of the protocol under which further questions are asked."""
        names = {fold.protocol for fold in self.folds}
        chosen = next((name for name in _AWAY if name in names), "random")
        return [fold for fold in self.folds if fold.protocol == chosen]

    @property
    def ablations(self) -> list[Candidate]:
        """The network with one choice changed each time."""
        if not self.options.ablation:
            return []
        trees = [tree_of(source) for source in self.population.sources]
        children = set.intersection(*(set(tree.children) for tree in trees))
        shapes = all("geometry" in tree.data_vars for tree in trees)
        found = ablations(self.options.config, children, shapes=shapes)
        if self.of_one_window:
            return found
        return [one for one in found if not one.config.network.needs_thermal_time]

    def calibrations(self) -> list[CalibrationRun]:
        """Runs that calibrate the first network."""
        networks = [one for one in self.options.candidates() if one.kind == "network"]
        return [
            CalibrationRun(candidate=candidate, fold=fold)
            for candidate in networks[:1]
            if candidate.config.alpha > 0
            for fold in self.folds
        ]

    def adaptations(self) -> list[AdaptationRun]:
        """Runs that adapt the first network to the test part."""
        networks = [one for one in self.options.candidates() if one.kind == "network"]
        if not self.options.adaptation or not networks:
            return []
        return [
            AdaptationRun(candidate=networks[0], fold=fold, seed=seed, n_labels=n)
            for n in (0, *_LABELS)
            for seed in range(self.options.seeds if n == 0 else min(self.options.seeds, _FEW_SEEDS))
            for fold in self.away
            if 2 * n <= len(fold.test)
        ]

    def runs(self, calibrations: Mapping[tuple[str, Fold], Calibration | None]) -> list[Run]:
        """All other runs; those of seed 0 first, so that an early look shows every model."""
        main, kinds, away = self.options.candidates(), self.options.kinds, self.away
        out = []
        for seed in range(self.options.seeds):
            further = seed < _FEW_SEEDS
            for fold in self.folds:
                stress = kinds if further and fold in away else ()
                tolerant = self.options.tolerant if stress else []
                out += [
                    Run(
                        candidate=candidate, fold=fold, seed=seed, stress=stress,
                        calibration=calibrations.get((candidate.name, fold)),
                    )
                    for candidate in (*main, *tolerant)
                ]  # fmt: skip
            if further and kinds:
                out += [
                    Run(candidate=main[0], fold=fold, seed=seed, n_train=n)
                    for fold in away
                    for n in _SIZES
                    if n < len(fold.train)
                ]
            if further:
                out += [
                    Run(candidate=candidate, fold=fold, seed=seed)
                    for candidate in self.ablations
                    for fold in away
                ]
        return out

    def about(self, outcomes: Sequence[Outcome], found: tuple[Finding, ...]) -> About:
        """The facts beside the scores."""
        options = self.options
        candidates = [*options.candidates(), *options.tolerant, *self.ablations]
        return About(
            title=self.options.title,
            version=__version__,
            command=self.options.command,
            sources=tuple(source_facts(self.population)),
            folds=tuple(fold_facts(self.population, fold) for fold in self.folds),
            findings=found,
            models={
                **{candidate.name: candidate.text for candidate in candidates},
                **{
                    adapted_name(run.candidate.name, run.n_labels): _ADAPTED[run.n_labels > 0]
                    for run in self.adaptations()
                },
            },
            refusals=tuple(
                dict.fromkeys(refusal for outcome in outcomes for refusal in outcome.refusals)
            ),
            seconds=sum(outcome.seconds for outcome in outcomes),
        )


_ADAPTED: Final = (
    "the network, then `cubecrop.adapt` with the test parcels without their labels",
    "the network, then `cubecrop.fine_tune` with few labels of the test part, drawn at random; the "
    "other parcels are tested",
)


def _joined(outcomes: Sequence[Outcome]) -> Predictions:
    found = [outcome.predictions for outcome in outcomes if outcome.predictions is not None]
    if not found:
        reasons = {refusal.reason for outcome in outcomes for refusal in outcome.refusals}
        raise ArgumentError(f"no model could be trained: {'; '.join(sorted(reasons))}")
    return Predictions.concatenated(found)
