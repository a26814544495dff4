"""How often a model is sure of a crop for parcels of a crop that it never saw.

Run ``python -m benchmarks.unknown DATA``, where DATA holds ``points/canada-2017-monthly.parquet``.
Each class of the default model with 50 points or more is left out once: a network learns from
points of the others, its limits are fitted on other points of these, and it is then shown the class
that was left out and the test points of the others. No test point and no point of the class chooses
anything. With ``--other`` the network also learns, as one more class, the points of all crops that
are in no class; a point that comes out as that class is not sure of a crop.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

import cubecrop
from cubecrop.classification import classify_pixel_sets
from cubecrop.sample import read_worldcereal, split_groups
from cubecrop.training import TrainConfig, fit_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cubecrop.model import CropModel

FEWEST = 50
OTHER = "other"
#: Shares of the known points for the test and, of the rest, for the limits.
TEST, LIMITS = 0.25, 0.25


class Row(NamedTuple):
    """Shares of the points of a class that was left out, and of the test points of the others.

    ``sure`` are those with a class of the finest level, ``outside`` those that are outside of what
    the model knows.
    """

    left_out: str
    n: int
    false_sure: float
    outside: float
    n_known: int
    known_sure: float
    known_outside: float
    accuracy: float


def taken(tree: xr.DataTree, rows: NDArray[np.int64]) -> xr.DataTree:
    nodes = {"/": tree.to_dataset().isel(parcel=rows)}
    for name in tree.children:
        node = tree[name].to_dataset(inherit=False)
        nodes[name] = node.isel(parcel=rows) if "parcel" in node.dims else node
    return xr.DataTree.from_dict(nodes, name="pixel_sets")


def points(data: Path) -> tuple[xr.DataTree, NDArray[np.object_]]:
    """Points of Canada and their classes in the default model; None is any other crop."""
    tree = read_worldcereal(data / "points" / "canada-2017-monthly.parquet", label="CROPTYPE_LABEL")
    tree = taken(tree, np.flatnonzero(tree["label"].to_numpy() != "0"))  # 0 is "unknown"
    labels = np.array(cubecrop.map_codes(tree["label"].to_numpy(), "croptype"), dtype=object)
    names, counts = np.unique(labels[labels != None].astype(str), return_counts=True)  # noqa: E711
    labels[~np.isin(labels.astype(str), names[counts >= FEWEST])] = None
    return tree, labels


def chosen(
    labels: NDArray[np.object_], groups: NDArray[np.object_], share: float, salt: str
) -> NDArray[np.bool_]:
    """Choose a share of the labelled points, whole groups at a time."""
    rows = np.flatnonzero(labels != None)  # noqa: E711
    index = np.unique(labels[rows].astype(str), return_inverse=True)[1]
    out = np.zeros(len(labels), dtype=bool)
    out[rows] = split_groups(index, groups[rows].tolist(), share, salt=salt)
    return out


def sure(
    model: CropModel, tree: xr.DataTree
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each point has a class of the finest level, whether it is outside, and its class."""
    found = classify_pixel_sets(tree, model).compute()
    limit, probability = model.limits.parcel, found["probability"].to_numpy()
    outside = found["dissimilarity"].to_numpy() > limit.dissimilarity
    best = np.nan_to_num(probability, nan=-1).argmax(axis=1)
    crop = np.array([name != OTHER for name in model.nomenclature.names])[best]
    return (probability.max(axis=1) >= limit.probability) & crop & ~outside, outside, best


def left_out(
    tree: xr.DataTree, labels: NDArray[np.object_], name: str, *, other: bool, config: TrainConfig
) -> Row:
    """Train without a class, and show it."""
    groups = tree["group"].to_numpy()
    test = chosen(labels, groups, TEST, "test")
    known = np.where(test | (labels == name), None, labels)
    limits = chosen(known, groups, LIMITS, "limits")
    learned = np.where(limits, None, known)
    if other:
        learned[labels == None] = OTHER  # noqa: E711
    rows = np.flatnonzero(learned != None)  # noqa: E711
    model = cubecrop.fit(taken(tree, rows), learned[rows].tolist(), config=config, progress=False)
    inner = np.flatnonzero(limits)
    model = model.with_limits(fit_limits(model, taken(tree, inner), known[inner].tolist()))
    is_sure, outside, _ = sure(model, taken(tree, np.flatnonzero(labels == name)))
    shown = np.flatnonzero(test & (labels != name))
    known_sure, known_outside, best = sure(model, taken(tree, shown))
    right = np.array(model.nomenclature.names)[best] == labels[shown]
    return Row(
        name, len(is_sure), is_sure.mean(), outside.mean(),
        len(shown), known_sure.mean(), known_outside.mean(), right.mean(),
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> list[Row]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--other", action="store_true")
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args(arguments)
    tree, labels = points(options.data)
    config = TrainConfig(epochs=options.epochs, validation=0.0)
    rows = []
    for name in sorted(set(labels) - {None}):
        rows.append(left_out(tree, labels, name, other=options.other, config=config))
        sys.stdout.write(
            "{:18s} {:4d} points, false-sure {:.3f}, outside {:.3f}; known: {:4d} points, "
            "sure {:.3f}, outside {:.3f}, accuracy {:.3f}\n".format(*rows[-1])
        )
        sys.stdout.flush()
    mean = np.mean([row.false_sure for row in rows])
    kept = np.mean([row.known_sure for row in rows])
    sys.stdout.write(f"mean over classes: false-sure {mean:.3f}, known sure {kept:.3f}\n")
    return rows


if __name__ == "__main__":
    main()
