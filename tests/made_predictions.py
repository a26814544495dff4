"""Predictions whose truth and scores are known, for the tests of scores and of the report."""

import numpy as np
import pandas as pd

from cubecrop.evaluation.about import About, Finding, FoldFacts, Refusal, SourceFacts
from cubecrop.evaluation.predictions import COLUMNS, Predictions
from cubecrop.nomenclature import Nomenclature

#: Share of parcels that are right, by protocol and model.
RIGHT = {
    ("random", "network"): 0.8,
    ("random", "random forest"): 0.7,
    ("random", "without radar"): 0.76,
    ("leave-region-out", "network"): 0.5,
    ("leave-region-out", "random forest"): 0.3,
    ("leave-region-out", "without radar"): 0.4,
    ("leave-region-out", "self-trained"): 0.6,
}


def predictions_of(rows, names, *, probability=None, lost=()):
    """Predictions of rows (dicts with ``guess`` and columns); other columns have usual values.

    A guess gets ``probability``, by default .7; the other classes share the rest.
    """
    frame = pd.DataFrame(rows)
    guess = frame.pop("guess").to_numpy(int)
    n = len(names)
    sure = np.full(len(frame), 0.7) if probability is None else np.asarray(probability)
    values = np.repeat(((1 - sure) / max(n - 1, 1))[:, None], n, axis=1)
    values[np.arange(len(frame)), guess] = sure
    values[list(lost)] = np.nan
    usual = {
        "protocol": "random", "fold": "1 of 1", "model": "network", "seed": 0, "variant": "",
        "level": np.nan, "n_train": 100, "region": "", "year": 2020, "area": np.nan,
        "in_set": np.nan, "set_size": np.nan, "dissimilarity": np.nan,
    }  # fmt: skip
    for name, value in usual.items():
        if name not in frame:
            frame[name] = value
    frame["parcel"] = frame.get("parcel", pd.Series(np.arange(len(frame)))).astype(str)
    frame["group"] = frame.get("group", frame["parcel"]).astype(str)
    return Predictions(
        frame[list(COLUMNS)].astype(COLUMNS),
        values.astype(np.float32),
        Nomenclature.from_names(names),
    )


def exact_guess(truth, share, n_classes, rng):
    """Guesses of which exactly the given share of each class is right; the others are the next."""
    guess = truth.copy()
    for crop in range(n_classes):
        members = rng.permutation(np.flatnonzero(truth == crop))
        wrong = members[round(share * len(members)) :]
        guess[wrong] = (crop + 1) % n_classes
    return guess


def known(
    *,
    right=None,
    names=("maize", "winter wheat", "grassland", "potatoes"),
    regions=("east", "west"),
    per_class=50,
    seeds=3,
    variants=None,
):
    """Predictions whose accuracy and macro-F1 are exactly those of ``right`` in every region.

    Classes have the same number of parcels and each one's wrong parcels are predicted as the next
    class, so accuracy, macro-F1, recall and precision are one number. ``variants`` maps
    (variant, level) to a factor of the share that is right; groups have two parcels.
    """
    rng = np.random.default_rng(1)
    truth = np.tile(np.repeat(np.arange(len(names)), per_class), len(regions))
    region = np.repeat(regions, per_class * len(names))
    parts = []
    for (protocol, model), share in (right or RIGHT).items():
        for (variant, level), factor in {("", np.nan): 1.0, **(variants or {})}.items():
            for seed in range(seeds):
                guess = truth.copy()
                for name in regions:
                    some = region == name
                    guess[some] = exact_guess(truth[some], share * factor, len(names), rng)
                parts.append(
                    pd.DataFrame({
                        "protocol": protocol, "model": model, "variant": variant, "level": level,
                        "seed": seed, "fold": region, "region": region, "truth": truth,
                        "guess": guess, "parcel": np.arange(len(truth)),
                        "group": np.arange(len(truth)) // 2,
                    })
                )  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    return predictions_of(rows, list(names))


def about_of(predictions, *, findings=(), refusals=(), models=None, title="Made points"):
    """Facts that fit predictions."""
    table = predictions.table
    names = predictions.nomenclature.names
    per_class = table["truth"].value_counts()
    folds = [
        FoldFacts(protocol=protocol, name=fold, n_train=100, n_test=len(part))
        for (protocol, fold), part in table.groupby(["protocol", "fold"], observed=True)
    ]
    source = SourceFacts(
        name="table", year=2020, regions={str(r): 10 for r in table["region"].unique()},
        classes={names[i]: int(per_class.get(i, 0)) for i in range(len(names))},
        dates={"sentinel2": 12, "sentinel1": 12}, n_pixels=1,
    )  # fmt: skip
    return About(
        title=title, version="0.1", command="cubecrop evaluate table.parquet", sources=(source,),
        folds=tuple(folds), findings=tuple(findings), refusals=tuple(refusals), seconds=7200.0,
        models=models or dict.fromkeys(table["model"].unique(), "a model of the test"),
    )  # fmt: skip


LEAK = Finding(protocol="random", level="leak", text="12 parcels are in both parts.")
REFUSED = Refusal(
    model="random forest", protocol="random", fold="east", variant="without radar",
    reason="a random forest needs every sensor.",
)  # fmt: skip
