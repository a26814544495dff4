"""Early and mid fusion: the dates of all series are summarised as one series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from cubecrop.model.config import WEATHER
from cubecrop.model.layers import dense, packed
from cubecrop.model.outputs import FUSED, Outputs, spread
from cubecrop.model.positions import Positions, joined, numbers_of, positions
from cubecrop.model.series import Series, interpolate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from cubecrop.model.networks import CropNetwork

__all__ = ["EmbeddedDates", "embedded_dates", "fuse_early", "fuse_mid"]


@dataclass(frozen=True, slots=True)
class EmbeddedDates:
    """Embedded dates of a series: rows (row, embedding) of the dates of a mask (batch, time)."""

    rows: Tensor
    mask: Tensor
    days: Tensor
    position: Positions | None


def embedded_dates(
    network: CropNetwork, name: str, series: Series, extras: Tensor | None
) -> EmbeddedDates:
    """Encode the pixels of each date of a series."""
    extras = None if name == WEATHER else extras
    rows, mask = network.encoders[name](series, extras)
    position = numbers_of(series, network.config)
    return EmbeddedDates(rows, mask, series.days, positions(position, mask))


def fuse_mid(network: CropNetwork, batch: Mapping[str, Series], extras: Tensor | None) -> Outputs:
    """Mid fusion: summarise the embedded dates of all series as one series."""
    parts, auxiliary = [], {}
    batch = {name: series for name, series in batch.items() if series.seen.any()} or batch
    for name, series in batch.items():
        dates = embedded_dates(network, name, series, extras)
        parts.append(dates)
        if name in network.auxiliary:
            present = series.seen
            count = dates.mask.sum(dim=1, keepdim=True).clamp_min(1)
            mean = dense(dates.rows, dates.mask).sum(dim=1) / count
            auxiliary[name] = network.auxiliary[name](mean[present]), present
    mask = torch.cat([part.mask for part in parts], dim=1)  # (batch, time of all)
    rows = packed(torch.cat([dense(part.rows, part.mask) for part in parts], dim=1), mask)
    days = torch.cat([part.days for part in parts], dim=1)
    merged = EmbeddedDates(rows, mask, days, joined([part.position for part in parts]))
    summary, weight = _summarise(network, merged)
    attention = {}
    if weight is not None:
        stop = 0
        for name, part in zip(batch, parts, strict=True):
            start, stop = stop, stop + part.mask.shape[1]
            attention[name] = weight[:, start:stop]
    return Outputs(network.decoders[FUSED](summary), summary, auxiliary, attention=attention)


def fuse_early(network: CropNetwork, batch: Mapping[str, Series], extras: Tensor | None) -> Outputs:
    """Early fusion: stack the bands of all series, and encode them as one series."""
    stacked = _stacked(network, batch)
    rows, mask = network.encoders[FUSED](stacked, extras)
    position = positions(numbers_of(stacked, network.config), mask)
    dates = EmbeddedDates(rows, mask, stacked.days, position)
    summary, weight = _summarise(network, dates)
    attention = {}
    if weight is not None:
        stop = 0
        for sensor in network.config.sensors:
            if sensor.name in batch:
                start, stop = stop, stop + batch[sensor.name].days.shape[1]
                attention[sensor.name] = weight[:, start:stop]
    return Outputs(network.decoders[FUSED](summary), summary, attention=attention)


def _summarise(network: CropNetwork, dates: EmbeddedDates) -> tuple[Tensor, Tensor | None]:
    """Summary (batch, width) of merged dates; zeros for members without any."""
    some = dates.mask.any(dim=1)
    width = network.config.summary_width
    if not some.any():
        return dates.rows.new_zeros(len(some), width), None
    if bool(some.all()):
        result: tuple[Tensor, Tensor | None] = network.temporal[FUSED](
            dates.rows, dates.mask, dates.days, dates.position
        )
        return result
    position = dates.position
    if position is not None and len(position.numbers) > 1:
        position = Positions(position.numbers[some])
    summary, weight = network.temporal[FUSED](
        dates.rows, dates.mask[some], dates.days[some], position
    )
    return spread(summary, some), None if weight is None else spread(weight, some)


def _stacked(network: CropNetwork, batch: Mapping[str, Series]) -> Series:
    """Interpolate all series to the dates of the first, and add an indicator per series.

    A member without a date of the first series takes the dates of the next that it has.
    """
    sensors = [s.name for s in network.config.sensors if s.name in batch]
    sets = [batch[name] for name in sensors]
    pixels = max(series.valid.shape[2] for series in sets)
    undated = torch.ones_like(sets[0].seen)
    days, valid = [], []
    for series in sets:
        days.append(series.days)
        valid.append(series.valid & undated[:, None, None])
        undated = undated & ~series.seen
    when, dated = torch.cat(days, dim=1), torch.cat(valid, dim=1)
    values, flags = [], []
    for name, n_bands in network.n_bands.items():
        shape = (*when.shape, pixels)
        # Unknown values get the band's mean, which is 0 once standardised.
        mean = network.normalisation(name)[0]
        if name not in batch:
            values.append(mean.expand(*shape, n_bands))
            flags.append(when.new_zeros(*shape))
            continue
        filled, known = interpolate(batch[name], when)
        filled = torch.where(known[:, None, :, None], filled, mean)
        values.append(filled.expand(*shape, n_bands))
        flags.append(known[:, None, :].to(when.dtype).expand(shape))
    indicators = torch.stack(flags, dim=-1)
    thermal = [series.thermal for series in sets if series.thermal is not None]
    return Series(
        torch.cat([*values, indicators], dim=-1),
        dated,
        when,
        torch.cat(thermal, dim=1) if thermal else None,
    )
