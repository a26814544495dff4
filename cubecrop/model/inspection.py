"""A look into a network: what it makes of a parcel, and which dates it looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from cubecrop.errors import ModelMismatchError
from cubecrop.model.predict import Predictor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cubecrop.model.arrays import SampleArrays
    from cubecrop.model.networks import CropNetwork
    from cubecrop.model.series import Batch

__all__ = ["attention_of", "embedding_of"]


def embedding_of(network: CropNetwork, arrays: SampleArrays, device: str) -> NDArray[np.float32]:
    """Embedding (parcel, feature) of parcels, NaN where they cannot be predicted."""
    predictor = Predictor(network, device)
    config = network.config
    width = config.summary_width
    if config.fusion in {"late", "decision"}:
        width *= len(config.series)
    return predictor.each(
        arrays, lambda batch: predictor.network.forward_all(batch).embedding, width
    )


def attention_of(
    network: CropNetwork, arrays: SampleArrays, device: str
) -> dict[str, NDArray[np.float32]]:
    """By series, attention (parcel, time, head), NaN where parcels cannot be predicted.

    Raises
    ------
    ModelMismatchError
        The network does not attend to dates.
    """
    config = network.config
    if config.temporal not in {"ltae", "tae"}:
        raise ModelMismatchError(
            f"the network's temporal encoder is {config.temporal!r}, which does not attend to "
            "dates. Train one with `temporal='ltae'` or `'tae'`."
        )
    if config.thermal_step:
        raise ModelMismatchError(
            "the network resamples dates to steps of thermal time, so that it attends to no "
            "single date. Train one with `thermal_step=0`."
        )
    predictor = Predictor(network, device)
    heads = cast("int", config.heads)
    lengths = {name: len(one.days) for name, one in arrays.series.items()}
    if config.fusion == "early":
        lengths = {
            name: lengths[name] for name in lengths if name in {s.name for s in config.sensors}
        }

    def together(batch: Batch) -> torch.Tensor:
        found = predictor.network.forward_all(batch).attention
        blank = batch.series[next(iter(lengths))].days
        return torch.cat(
            [
                found[name].flatten(1) if name in found else blank.new_zeros(len(blank), n * heads)
                for name, n in lengths.items()
            ],
            dim=1,
        )

    flat = predictor.each(arrays, together, sum(lengths.values()) * heads)
    out, stop = {}, 0
    for name, n in lengths.items():
        start, stop = stop, stop + n * heads
        out[name] = flat[:, start:stop].reshape(len(flat), n, heads)
    return out
