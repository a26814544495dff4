"""The training parcels' place in the embedding of the network that learned from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cubecrop.model import MOST_PARCELS, TrainingSpace, embedding_of
from cubecrop.sample import hash_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cubecrop.model import CropNetwork
    from cubecrop.training.sets import AnySet

__all__ = ["training_space"]


def training_space(
    network: CropNetwork, sets: Sequence[AnySet], *, n_pixels: int, seed: int, device: str
) -> TrainingSpace | None:
    """Embed the training parcels, as many pixels as at prediction; reads their pixels.

    Of more than 2,000 parcels, those are taken whose ids have the smallest hashes.

    Returns
    -------
    TrainingSpace or None
        None if there are too few parcels; see `TrainingSpace.of`.
    """
    hashes = np.concatenate([hash_ids(part.ids, "applicability") for part in sets])
    chosen = np.zeros(len(hashes), dtype=bool)
    chosen[np.argsort(hashes, kind="stable")[:MOST_PARCELS]] = True
    embeddings, groups, stop = [], [], 0
    for whole in sets:
        start, stop = stop, stop + len(whole.labels)
        members = np.flatnonzero(chosen[start:stop])
        if len(members) == 0:
            continue
        part = whole.take(members).drawn_once(n_pixels, seed)
        embeddings += [embedding_of(network, block, device) for block in part.blocks()]
        groups += list(part.groups or part.ids)
    return TrainingSpace.of(np.concatenate(embeddings), groups)
