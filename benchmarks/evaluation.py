"""Scores and report of a million predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cubecrop.evaluation.about import About, FoldFacts, SourceFacts
from cubecrop.evaluation.predictions import COLUMNS, Predictions
from cubecrop.evaluation.report import Report
from cubecrop.evaluation.score_tables import ScoreTables
from cubecrop.nomenclature import Nomenclature

__all__ = ["ReportOfPredictions"]


class ReportOfPredictions:
    """Score predictions of several models and protocols, and write the report of them.

    Every parcel is tested once by each model, protocol, seed and variant of the test samples;
    groups have three parcels.
    """

    n_parcels = 1000
    n_classes = 20
    n_regions = 10
    protocols = ("random", "blocked", "leave-region-out", "leave-year-out")
    models = ("network", *(f"model {n}" for n in range(19)))
    n_seeds = 5
    #: Variants of the main model under one protocol, from two seeds.
    levels = tuple(
        (variant, level)
        for variant in ("optical dates kept", "radar dates kept", "until day")
        for level in (0.1, 0.2, 0.4, 0.6, 0.8)
    )
    repeat = 1
    number = 1
    timeout = 600

    def setup(self) -> None:
        rng = np.random.default_rng(0)
        self.truth = rng.integers(self.n_classes, size=self.n_parcels)
        self.region = rng.integers(self.n_regions, size=self.n_parcels)
        runs = [
            (protocol, model, seed, "", np.nan)
            for protocol in self.protocols
            for model in self.models
            for seed in range(self.n_seeds)
        ]
        runs += [
            (self.protocols[-1], model, seed, *level)
            for model in self.models[:20]
            for seed in range(2)
            for level in self.levels
        ]
        self.predictions = self.made(runs, rng)
        self.about = self.facts()
        self.report = Report(self.predictions, self.about)
        self.report.write(Path("report"))

    def made(self, runs, rng):
        n = len(runs)
        probability = rng.random((n, self.n_parcels, self.n_classes), dtype=np.float32)
        probability[:, np.arange(self.n_parcels), self.truth] += 0.5
        probability /= probability.sum(axis=-1, keepdims=True)
        region = np.array([f"region {one}" for one in self.region])
        parcel = np.arange(self.n_parcels)
        names = ("protocol", "model", "seed", "variant", "level")
        table = pd.DataFrame({
            **{
                name: np.repeat([run[i] for run in runs], self.n_parcels)
                for i, name in enumerate(names)
            },
            **{
                name: np.tile(values, n)
                for name, values in {
                    "fold": region, "region": region, "parcel": parcel.astype(str),
                    "group": (parcel // 3).astype(str), "truth": self.truth,
                }.items()
            },
            "n_train": 9 * self.n_parcels // 10, "year": 2020, "area": 1e4,
            "in_set": np.nan,
            "set_size": np.nan, "dissimilarity": np.nan,
        })  # fmt: skip
        classes = Nomenclature.from_names(f"crop {i}" for i in range(self.n_classes))
        flat = probability.reshape(-1, self.n_classes)
        return Predictions(table[list(COLUMNS)].astype(COLUMNS), flat, classes)

    def facts(self):
        regions = [f"region {i}" for i in range(self.n_regions)]
        return About(
            title="A million predictions", version="", command="", findings=(),
            models=dict.fromkeys(self.models, "a model"),
            sources=(
                SourceFacts(
                    name="made", year=2020, regions=dict.fromkeys(regions, 1), classes={},
                    dates={}, n_pixels=1,
                ),
            ),
            folds=tuple(
                FoldFacts(protocol=protocol, name=region, n_train=1, n_test=1)
                for protocol in self.protocols
                for region in regions
            ),
        )  # fmt: skip

    def time_scores(self) -> None:
        ScoreTables.of(self.predictions, self.about.folds)

    def time_read_and_write(self) -> None:
        """All that drawing a report again takes."""
        Report.read(Path("report")).write(Path("report"))

    def peakmem_read_and_write(self) -> None:
        self.time_read_and_write()

    def track_rows(self) -> int:
        return len(self.predictions)

    track_rows.unit = "rows"

    def track_page(self) -> float:
        return Path("report/report.html").stat().st_size / 1e6

    track_page.unit = "MB"
