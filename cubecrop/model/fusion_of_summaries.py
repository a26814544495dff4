"""Late and decision fusion: each series is summarised over its own dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, cast

import torch
from torch import Tensor

from cubecrop.model.config import WEATHER
from cubecrop.model.fast.gathering import gathered, spread_dates
from cubecrop.model.fusion_of_dates import embedded_dates
from cubecrop.model.outputs import FUSED, Outputs, spread
from cubecrop.model.positions import Positions, numbers_of, positions_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.model.networks import CropNetwork
    from cubecrop.model.series import Series

__all__ = ["Summaries", "fuse_decisions", "fuse_late", "part_of", "summaries_of"]

Summaries: TypeAlias = tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]


def summaries_of(
    network: CropNetwork, batch: Mapping[str, Series], extras: Tensor | None, attentive: bool
) -> Summaries:
    """Summaries by series, and attention by series if requested.

    A summary (member, width) is that of the members which have the series; a mask (batch,)
    bool marks these.
    """
    out, attention = {}, {}
    for name, whole in batch.items():
        present = whole.seen
        if not present.any():
            continue
        some = not bool(present.all())
        series = whole.take(present) if some else whole
        features = extras[present] if some and extras is not None else extras
        if network.training:
            dates = embedded_dates(network, name, series, features)
            summary, weight = network.temporal[name](
                dates.rows, dates.mask, dates.days, dates.position
            )
        else:
            summary, weight = _summary_in_blocks(network, name, series, features, attentive)
        out[name] = summary, present
        if weight is not None and attentive:
            attention[name] = spread(weight, present)
    return out, attention


def _summary_in_blocks(
    network: CropNetwork, name: str, series: Series, extras: Tensor | None, attentive: bool
) -> tuple[Tensor, Tensor | None]:
    """Summary (member, width) and attention of a series that all members have.

    Members with equally many valid dates are computed together; masked dates are skipped.
    """
    n, n_dates = series.days.shape
    position, summary, attention = numbers_of(series, network.config), None, None
    shared = None if position is None or position.stride(0) else Positions(position[:1])
    for part in gathered(series):
        features = None if name == WEATHER or extras is None else extras[part.members]
        rows, _ = network.encoders[name](part.series, features)
        part_summary, weight = network.temporal[name](
            rows, part.mask, part.series.days, positions_of(position, shared, part)
        )
        if summary is None:
            summary = part_summary.new_empty(n, part_summary.shape[1])
        summary[part.members] = part_summary
        if weight is not None and attentive:
            if attention is None:
                attention = weight.new_empty(n, n_dates, weight.shape[2])
            attention[part.members] = spread_dates(weight, part.dates, n_dates)
    return cast("Tensor", summary), attention


def fuse_late(network: CropNetwork, batch: Mapping[str, Series], summaries: Summaries) -> Outputs:
    """Late fusion: classify the summaries of all series side by side."""
    present, attention = summaries
    n = len(next(iter(batch.values())).valid)
    parts = {name: part_of(network, name, present.get(name), n) for name in network.config.series}
    joined = torch.cat(list(parts.values()), dim=1)
    inputs, droppable = [joined], _droppable(network, present)
    for name, members in droppable.items():
        others = parts | {name: part_of(network, name, None, n)}
        inputs.append(torch.cat(list(others.values()), dim=1)[members])
    # One batch, so that the normalisations also learn from inputs that lack a sensor.
    logits = network.decoders[FUSED](torch.cat(inputs)).split([len(rows) for rows in inputs])
    auxiliary = {
        name: (head(present[name][0]), present[name][1])
        for name, head in network.auxiliary.items()
        if name in present
    }
    without = dict(zip(droppable, zip(logits[1:], droppable.values(), strict=True), strict=True))
    return Outputs(logits[0], joined, auxiliary, without, attention)


def part_of(
    network: CropNetwork, name: str, summary_of: tuple[Tensor, Tensor] | None, n: int
) -> Tensor:
    """Summary (batch, width) of a series; its token for members that lack the series."""
    width = network.config.summary_width
    token = (
        network.missing[name] if name in network.missing else network.extras_mean.new_zeros(width)
    )
    part = token.expand(n, width)
    if summary_of is None:
        return part
    summary, present = summary_of
    if len(summary) == n:
        return summary
    # Under autocast the summary has a lower precision than the token.
    return part.to(summary.dtype).clone().index_copy(0, present.nonzero()[:, 0], summary)


def _droppable(
    network: CropNetwork, summaries: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """By sensor, which members (batch,) have it and another sensor; empty at prediction.

    In training these members are also predicted without the sensor.
    """
    if not network.training:
        return {}
    out = {}
    for name in [sensor.name for sensor in network.config.sensors if sensor.name in summaries]:
        others = [present for key, (_, present) in summaries.items() if key not in {name, WEATHER}]
        if others:
            members = summaries[name][1] & torch.stack(others).any(dim=0)
            if members.any():
                out[name] = members
    return out


def fuse_decisions(
    network: CropNetwork, batch: Mapping[str, Series], summaries: Summaries
) -> Outputs:
    """Decision fusion: classify each series, and average the probabilities."""
    present, attention = summaries
    n = len(next(iter(batch.values())).valid)
    total = next(network.parameters()).new_zeros(n, network.config.n_classes)
    count = total.new_zeros(n, 1)
    auxiliary, parts, shares = {}, [], {}
    for name in network.config.series:
        if name not in present:
            parts.append(total.new_zeros(n, network.config.summary_width))
            continue
        summary, members = present[name]
        logits = network.decoders[name](summary)
        shares[name] = spread(torch.softmax(logits, dim=1).to(total.dtype), members)
        total = total + shares[name]
        count = count + members.unsqueeze(1)
        parts.append(spread(summary.to(total.dtype), members))
        if network.config.auxiliary:
            auxiliary[name] = logits, members
    without = {}
    for name, members in _droppable(network, present).items():
        # Summed again: a difference of sums would lose probabilities smaller than its rounding.
        others = torch.stack([share for key, share in shares.items() if key != name])
        without[name] = _log_mean(others.sum(dim=0), count - 1)[members], members
    joined = torch.cat(parts, dim=1)
    return Outputs(_log_mean(total, count), joined, auxiliary, without, attention)


def _log_mean(total: Tensor, count: Tensor) -> Tensor:
    """Logits of mean probabilities (batch, class), from their sum and count."""
    return torch.log((total / count.clamp_min(1)).clamp_min(torch.finfo(total.dtype).tiny))
