"""Inspection of a network: its embedding of a parcel, and its attention to dates."""

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
    """Embedding (parcel, feature) of parcels; NaN for parcels that cannot be predicted."""
    predictor = Predictor(network, device)
    return predictor.each(
        arrays,
        lambda batch: predictor.network.forward_all(batch).embedding,
        network.config.embedding_width,
    )


def attention_of(
    network: CropNetwork, arrays: SampleArrays, device: str
) -> dict[str, NDArray[np.float32]]:
    """Attention (parcel, time, head) by series; NaN for parcels that cannot be predicted.

    Raises
    ------
    ModelMismatchError
        The network has no attention to single dates.
    """
    config = network.config
    if config.temporal not in {"ltae", "tae"}:
        raise ModelMismatchError(
            f"the network's temporal encoder is {config.temporal!r}, which has no attention to "
            "dates. Train one with `temporal='ltae'` or `'tae'`."
        )
    if config.thermal_step:
        raise ModelMismatchError(
            "the network resamples dates to steps of thermal time, so it has no attention to "
            "single dates. Train one with `thermal_step=0`."
        )
    predictor = Predictor(network, device)
    heads = cast("int", config.heads)
    lengths = {name: len(sensor.days) for name, sensor in arrays.series.items()}
    if config.fusion == "early":
        lengths = {
            name: lengths[name] for name in lengths if name in {s.name for s in config.sensors}
        }

    def concatenated(batch: Batch) -> torch.Tensor:
        attention = predictor.network.forward_all(batch).attention
        days = batch.series[next(iter(lengths))].days
        return torch.cat(
            [
                attention[name].flatten(1)
                if name in attention
                else days.new_zeros(len(days), n * heads)
                for name, n in lengths.items()
            ],
            dim=1,
        )

    flat = predictor.each(arrays, concatenated, sum(lengths.values()) * heads)
    out, stop = {}, 0
    for name, n in lengths.items():
        start, stop = stop, stop + n * heads
        out[name] = flat[:, start:stop].reshape(len(flat), n, heads)
    return out
