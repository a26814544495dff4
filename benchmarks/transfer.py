"""A network trained on simulated points alone, tested on real points of Canada.

Run ``python -m benchmarks.transfer DATA``, where DATA holds ``points/canada-2017-monthly.parquet``.
"""

from __future__ import annotations

import datetime as dt
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from sklearn.metrics import accuracy_score, f1_score

import cubecrop
from benchmarks.points import simulate_points
from cubecrop.classification import classify_pixel_sets
from cubecrop.nomenclature import NODATA, decide
from cubecrop.sample import read_worldcereal

#: Codes of the points' column CROPTYPE_LABEL, and the simulator's names.
NAMES = {
    "1110": "winter wheat",
    "1120": "spring wheat",
    "1200": "maize",
    "1500": "spring barley",
    "1520": "spring barley",
    "4100": "soybean",
    "5100": "potato",
    "7920": "forage",
    "9120": "forage",
}
#: The Canadian inventory has one class for pasture and hay, including legumes.
MERGED = {"alfalfa": "forage", "permanent grass": "forage"}
REGIONS = ("ontario", "maritimes")
#: Shares of cloud that the mask misses. The real composites hold much cloud: from June to September
#: 10 to 60 % of a month's values exceed 0.15 in the blue, and crops are darker.
MISSED = (0.8, 0.5, 0.5, 0.8)


def alike(tree: xr.DataTree, keep: np.ndarray, bands: list[str]) -> xr.DataTree:
    """Keep the satellites, the shared bands and some of the parcels."""
    nodes = {"/": tree.to_dataset().isel(parcel=keep)}
    for name in ("sentinel2", "sentinel1"):
        nodes[name] = tree[name].to_dataset(inherit=False).isel(parcel=keep)
    nodes["sentinel2"] = nodes["sentinel2"].sel(band=bands)
    return xr.DataTree.from_dict(nodes, name="pixel_sets")


def real_points(data: Path) -> tuple[xr.DataTree, np.ndarray]:
    """Read the points whose crop is simulated, and the simulator's names of their crops."""
    tree = read_worldcereal(data / "points" / "canada-2017-monthly.parquet", label="CROPTYPE_LABEL")
    names = np.array([NAMES.get(str(code), "") for code in tree["label"].to_numpy()], dtype=object)
    keep = np.flatnonzero(names != "")
    bands = [str(band) for band in tree["sentinel2"]["band"].to_numpy()]
    return alike(tree, keep, bands), names[keep]


def simulated_points(
    bands: list[str], *, n: int, seeds: tuple[int, ...]
) -> tuple[list[xr.DataTree], list[list[str]]]:
    """Simulate the Canadian regions in the year of the points, with one weather for each seed."""
    window = cubecrop.Season(2017, start=dt.date(2017, 1, 1), end=dt.date(2017, 12, 31))
    trees, labels = [], []
    for seed in seeds:
        for region in REGIONS:
            tree = simulate_points(
                region,
                2017,
                n=n,
                season=window,
                calibration="sigma0",
                seed=seed,
                missed=MISSED[len(trees) % len(MISSED)],
            )
            crop = np.array([MERGED.get(c, c) for c in tree["label"].to_numpy()], dtype=object)
            keep = np.flatnonzero(np.isin(crop, list(NAMES.values())))
            trees.append(alike(tree, keep, bands))
            labels.append(crop[keep].tolist())
    return trees, labels


def scores(
    data: Path, *, n: int = 400, seeds: tuple[int, ...] = (0, 1, 2, 3), epochs: int | None = None
) -> dict[str, float]:
    """Compute accuracy and macro-F1 on the real points, and those of chance.

    The network has the library's default configuration; the real labels choose no setting.
    Chance predicts each class as often as it occurs: its accuracy is the sum of squared shares,
    its macro-F1 one over the number of classes.
    """
    real, truth = real_points(data)
    bands = [str(band) for band in real["sentinel2"]["band"].to_numpy()]
    trees, labels = simulated_points(bands, n=n, seeds=seeds)
    config = cubecrop.TrainConfig()
    if epochs is not None:
        config = replace(config, epochs=epochs)
    model = cubecrop.fit(trees, labels, config=config, seed=0, progress=False)
    probability = classify_pixel_sets(real, model)["probability"].compute()
    index = decide(probability.to_numpy())
    predicted = np.array(["", *model.nomenclature.names], dtype=object)[
        np.where(index == NODATA, 0, index.astype(int) + 1)
    ]
    # A point without a prediction counts as wrong; its empty name is not a class.
    classes = sorted({*truth, *predicted} - {""})
    _, counts = np.unique(truth, return_counts=True)
    return {
        "points": float(truth.size),
        "accuracy": float(accuracy_score(truth.astype(str), predicted.astype(str))),
        "macro-F1": float(
            f1_score(truth.astype(str), predicted.astype(str), labels=classes, average="macro")
        ),
        "accuracy of chance": float(((counts / truth.size) ** 2).sum()),
        "macro-F1 of chance": 1 / counts.size,
    }


if __name__ == "__main__":
    for key, value in scores(Path(sys.argv[1])).items():
        sys.stdout.write(f"{key:20s} {value:.3f}\n")
