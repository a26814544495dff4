"""Facts about the samples and the folds of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cubecrop.evaluation.about import FoldFacts, SourceFacts
from cubecrop.training.sets import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cubecrop.evaluation.population import Population
    from cubecrop.evaluation.protocols import Fold

__all__ = ["fold_facts", "source_facts"]


def source_facts(population: Population) -> Iterable[SourceFacts]:
    """Of each source: its regions, classes, dates and pixels."""
    names = population.nomenclature.names
    for number, source in enumerate(population.sources):
        tree = tree_of(source)
        own = population.source == number
        regions, n_regions = np.unique(population.region[own].astype(str), return_counts=True)
        classes, n_classes = np.unique(population.label[own], return_counts=True)
        yield SourceFacts(
            name=str(tree.attrs.get("archive", "")) or f"samples {number + 1}",
            year=int(population.year[own][0]) if own.any() else 0,
            regions=dict(zip(regions.tolist(), n_regions.tolist(), strict=True)),
            classes={names[i]: int(n) for i, n in zip(classes, n_classes, strict=True)},
            dates={
                name: node.sizes["time"]
                for name, node in tree.children.items()
                if "time" in node.sizes
            },
            n_pixels=int(tree.attrs.get("n_pixels", 1)),
        )


def fold_facts(population: Population, fold: Fold) -> FoldFacts:
    """Of a fold: its parts, and the classes that one of them lacks."""
    names = population.nomenclature.names
    train, test = (set(population.label[part].tolist()) for part in (fold.train, fold.test))
    return FoldFacts(
        protocol=fold.protocol,
        name=fold.name,
        n_train=len(fold.train),
        n_test=len(fold.test),
        only_in_test=tuple(names[i] for i in sorted(test - train)),
        only_in_train=tuple(names[i] for i in sorted(train - test)),
    )
