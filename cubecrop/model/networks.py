"""The network: series are embedded, summarised over time, fused and classified."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from cubecrop.model.config import WEATHER
from cubecrop.model.fast.gathering import gathered, spread_dates
from cubecrop.model.layers import dense, mlp, packed
from cubecrop.model.positions import Positions, joined, numbers_of, positions, positions_of
from cubecrop.model.presto import BandStatistics, Presto, scaling_of
from cubecrop.model.series import Batch, Series, interpolate, resample_thermal
from cubecrop.model.set_encoder import PixelSetEncoder
from cubecrop.model.temporal import temporal_encoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.model.config import NetworkConfig

__all__ = ["CropNetwork", "Outputs"]

#: Name of the one series that early and mid fusion summarise over time.
FUSED = "fused"


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of a network for a batch.

    - ``logits`` (batch, class).
    - ``embedding`` (batch, feature).
    - ``auxiliary``, by series: logits (member, class) of the members that have the series, and
      a mask (batch,) bool of these members.
    - ``without``, by sensor: the same for members that have this sensor and another, predicted
      without this sensor. Only in training with late and decision fusion.
    - ``attention``, by series: (batch, time, head).
    """

    logits: Tensor
    embedding: Tensor
    auxiliary: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    without: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    attention: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Dates:
    """Embedded dates of a series: rows (row, embedding) of the dates of a mask (batch, time)."""

    rows: Tensor
    mask: Tensor
    days: Tensor
    position: Positions | None


_Summaries = tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]


class CropNetwork(nn.Module):
    """The network that a configuration describes; see `NetworkOptions`.

    A sensor may be absent from a batch, or have no valid date in a member. Late fusion then takes
    the sensor's learned token, mid fusion no dates of it, early fusion zeros with an indicator,
    and decision fusion leaves it out. `predictable` says for which members this is allowed.
    """

    extras_mean: Tensor
    extras_deviation: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("extras_mean", torch.zeros(config.n_extras))
        self.register_buffer("extras_deviation", torch.ones(config.n_extras))
        self.n_bands = {s.name: len(s.bands) for s in config.sensors}
        if config.weather:
            self.n_bands[WEATHER] = len(config.weather_variables)
        early, width = config.fusion == "early", config.summary_width
        stacked = {FUSED: sum(self.n_bands.values()) + len(self.n_bands)}
        apart = config.fusion in {"late", "decision"}
        if config.temporal == "presto":
            encoders = {name: BandStatistics(n) for name, n in self.n_bands.items()}
            self.encoders = nn.ModuleDict(encoders)
            self.temporal = nn.ModuleDict({FUSED: Presto(config)})
        else:
            self.encoders = nn.ModuleDict(
                {
                    name: PixelSetEncoder(
                        bands, config, n_extras=0 if name == WEATHER else config.n_extras
                    )
                    for name, bands in (stacked if early else self.n_bands).items()
                }
            )
            self.temporal = nn.ModuleDict(
                {name: temporal_encoder(config) for name in (config.series if apart else (FUSED,))}
            )
        late = config.fusion == "late"
        tokens = (*config.may_be_missing, *([WEATHER] if config.weather else [])) if late else ()
        self.missing = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(width) * 0.1) for name in tokens}
        )
        joined = width * len(config.series) if late else width
        heads = config.series if config.fusion == "decision" else (FUSED,)
        self.decoders = nn.ModuleDict({name: _decoder(joined, config) for name in heads})
        self.auxiliary = nn.ModuleDict()
        if config.auxiliary and config.fusion != "decision":
            inside = width if late else config.date_width
            self.auxiliary.update({n: nn.Linear(inside, config.n_classes) for n in config.series})

    def normalise_by(self, name: str, mean: Tensor, deviation: Tensor) -> None:
        """Set the mean and deviation that standardise a series' bands, or the ``"extras"``.

        This holds for early fusion too, where the series are stacked.
        """
        own = (
            (self.extras_mean, self.extras_deviation)
            if name == "extras"
            else self.normalisation(name)
        )
        for buffer, values in zip(own, (mean, deviation), strict=True):
            buffer.copy_(values)

    def normalisation(self, name: str) -> tuple[Tensor, Tensor]:
        """Mean and deviation (band,) that standardise a series."""
        start = 0
        encoder = self.encoders[FUSED if self.config.fusion == "early" else name]
        if self.config.fusion == "early":
            order = list(self.n_bands)
            start = sum(self.n_bands[other] for other in order[: order.index(name)])
        part = slice(start, start + self.n_bands[name])
        return cast("Tensor", encoder.mean)[part], cast("Tensor", encoder.deviation)[part]

    def scaling(self, name: str) -> tuple[Tensor, Tensor]:
        """Offset and divisor (band,) that the network applies to a series."""
        if self.config.temporal == "presto":
            return scaling_of(name, self.n_bands[name])
        return self.normalisation(name)

    def forward(self, batch: Batch) -> Tensor:
        """Logits (batch, class)."""
        return self.forward_all(batch, attention=False).logits

    def forward_all(self, batch: Batch, *, attention: bool = True) -> Outputs:
        """All outputs; without attention the network is a little faster."""
        extras, series = self._extras(batch), self._sampled(batch)
        if self.config.temporal == "presto":
            summary = self.temporal[FUSED](series)
            return Outputs(self.decoders[FUSED](summary), summary)
        match self.config.fusion:
            case "early":
                return self._early(series, extras)
            case "mid":
                return self._mid(series, extras)
            case "late":
                return self._late(series, self._summaries(series, extras, attention))
        return self._decide(series, self._summaries(series, extras, attention))

    def summary(self, series: Mapping[str, Series]) -> Tensor:
        """Summary (batch, feature) of all series of late fusion, without a classification.

        A member that lacks a series has its token, or zeros.
        """
        n = len(next(iter(series.values())).valid)
        present, _ = self._summaries(self._sampled(Batch(series)), None, attentive=False)
        return torch.cat([self._part(k, present.get(k), n) for k in self.config.series], dim=1)

    def predictable(self, batch: Batch) -> Tensor:
        """Which members can be predicted: (batch,) bool.

        Every required sensor must have a valid date, and at least one sensor in any case; and
        weather a step, if the network takes it. If the network needs thermal time,
        `cubecrop.model.assemble` has masked dates without it.
        """
        device = next(self.parameters()).device
        all_required = torch.ones(len(batch), dtype=torch.bool, device=device)
        some = torch.zeros(len(batch), dtype=torch.bool, device=device)
        for sensor in self.config.sensors:
            series = batch.series.get(sensor.name)
            present = torch.zeros_like(some) if series is None else series.seen
            some |= present
            if sensor.name not in self.config.may_be_missing:
                all_required &= present
        if self.config.weather:  # a network that always had weather has not learned to do without
            weather = batch.series.get(WEATHER)
            all_required &= torch.zeros_like(some) if weather is None else weather.seen
        return all_required & some

    def _sampled(self, batch: Batch) -> Mapping[str, Series]:
        """The network's series that have dates, resampled to thermal time if so configured."""
        dated = {name: series for name, series in batch.series.items() if series.days.shape[1]}
        used = {name: dated[name] for name in self.config.series if name in dated}
        step = self.config.thermal_step
        if not self.training or step or self.config.fusion == "early":
            used = {name: series.spread() for name, series in used.items()}
        if not step:
            return used
        return {
            name: series if name == WEATHER else resample_thermal(series, step)
            for name, series in used.items()
        }

    def _extras(self, batch: Batch) -> Tensor | None:
        """Standardised features (batch, feature) of the parcels; unknown ones get the mean, 0."""
        if not self.config.n_extras:
            return None
        options = ((batch.geometry, self.config.geometry), (batch.terrain, self.config.terrain))
        parts = [part for part, used in options if used and part is not None]
        features = (torch.cat(parts, dim=1) - self.extras_mean) / self.extras_deviation
        return torch.nan_to_num(features)

    def _embed(self, name: str, series: Series, extras: Tensor | None) -> _Dates:
        """Encode the pixels of each date of a series."""
        extras = None if name == WEATHER else extras
        rows, mask = self.encoders[name](series, extras)
        position = numbers_of(series, self.config)
        return _Dates(rows, mask, series.days, positions(position, mask))

    def _summaries(
        self, batch: Mapping[str, Series], extras: Tensor | None, attentive: bool
    ) -> _Summaries:
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
            if self.training:
                dates = self._embed(name, series, features)
                summary, weight = self.temporal[name](
                    dates.rows, dates.mask, dates.days, dates.position
                )
            else:
                summary, weight = self._summary_in_blocks(name, series, features, attentive)
            out[name] = summary, present
            if weight is not None and attentive:
                attention[name] = _spread(weight, present)
        return out, attention

    def _summary_in_blocks(
        self, name: str, series: Series, extras: Tensor | None, attentive: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Summary (member, width) and attention of a series that all members have.

        Members with equally many valid dates are computed together; masked dates are skipped.
        """
        n, n_dates = series.days.shape
        position, summary, attention = numbers_of(series, self.config), None, None
        shared = None if position is None or position.stride(0) else Positions(position[:1])
        for part in gathered(series):
            features = None if name == WEATHER or extras is None else extras[part.members]
            rows, _ = self.encoders[name](part.series, features)
            part_summary, weight = self.temporal[name](
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

    def _late(self, batch: Mapping[str, Series], summaries: _Summaries) -> Outputs:
        """Late fusion: classify the summaries of all series side by side."""
        present, attention = summaries
        n = len(next(iter(batch.values())).valid)
        parts = {name: self._part(name, present.get(name), n) for name in self.config.series}
        joined = torch.cat(list(parts.values()), dim=1)
        inputs, droppable = [joined], self._droppable(present)
        for name, members in droppable.items():
            others = parts | {name: self._part(name, None, n)}
            inputs.append(torch.cat(list(others.values()), dim=1)[members])
        # One batch, so that the normalisations also learn from inputs that lack a sensor.
        logits = self.decoders[FUSED](torch.cat(inputs)).split([len(rows) for rows in inputs])
        auxiliary = {
            name: (head(present[name][0]), present[name][1])
            for name, head in self.auxiliary.items()
            if name in present
        }
        without = dict(
            zip(droppable, zip(logits[1:], droppable.values(), strict=True), strict=True)
        )
        return Outputs(logits[0], joined, auxiliary, without, attention)

    def _part(self, name: str, summary_of: tuple[Tensor, Tensor] | None, n: int) -> Tensor:
        """Summary (batch, width) of a series; its token for members that lack the series."""
        width = self.config.summary_width
        token = self.missing[name] if name in self.missing else self.extras_mean.new_zeros(width)
        part = token.expand(n, width)
        if summary_of is None:
            return part
        summary, present = summary_of
        if len(summary) == n:
            return summary
        # Under autocast the summary has a lower precision than the token.
        return part.to(summary.dtype).clone().index_copy(0, present.nonzero()[:, 0], summary)

    def _droppable(self, summaries: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """By sensor, which members (batch,) have it and another sensor; empty at prediction.

        In training these members are also predicted without the sensor.
        """
        if not self.training:
            return {}
        out = {}
        for name in [sensor.name for sensor in self.config.sensors if sensor.name in summaries]:
            others = [
                present for key, (_, present) in summaries.items() if key not in {name, WEATHER}
            ]
            if others:
                members = summaries[name][1] & torch.stack(others).any(dim=0)
                if members.any():
                    out[name] = members
        return out

    def _decide(self, batch: Mapping[str, Series], summaries: _Summaries) -> Outputs:
        """Decision fusion: classify each series, and average the probabilities."""
        present, attention = summaries
        n = len(next(iter(batch.values())).valid)
        total = next(self.parameters()).new_zeros(n, self.config.n_classes)
        count = total.new_zeros(n, 1)
        auxiliary, parts, shares = {}, [], {}
        for name in self.config.series:
            if name not in present:
                parts.append(total.new_zeros(n, self.config.summary_width))
                continue
            summary, members = present[name]
            logits = self.decoders[name](summary)
            shares[name] = _spread(torch.softmax(logits, dim=1).to(total.dtype), members)
            total = total + shares[name]
            count = count + members.unsqueeze(1)
            parts.append(_spread(summary.to(total.dtype), members))
            if self.config.auxiliary:
                auxiliary[name] = logits, members
        without = {}
        for name, members in self._droppable(present).items():
            # Summed again: a difference of sums would lose probabilities smaller than its rounding.
            others = torch.stack([share for key, share in shares.items() if key != name])
            without[name] = _log_mean(others.sum(dim=0), count - 1)[members], members
        joined = torch.cat(parts, dim=1)
        return Outputs(_log_mean(total, count), joined, auxiliary, without, attention)

    def _mid(self, batch: Mapping[str, Series], extras: Tensor | None) -> Outputs:
        """Mid fusion: summarise the embedded dates of all series as one series."""
        parts, auxiliary = [], {}
        batch = {name: series for name, series in batch.items() if series.seen.any()} or batch
        for name, series in batch.items():
            dates = self._embed(name, series, extras)
            parts.append(dates)
            if name in self.auxiliary:
                present = series.seen
                count = dates.mask.sum(dim=1, keepdim=True).clamp_min(1)
                mean = dense(dates.rows, dates.mask).sum(dim=1) / count
                auxiliary[name] = self.auxiliary[name](mean[present]), present
        mask = torch.cat([part.mask for part in parts], dim=1)  # (batch, time of all)
        rows = packed(torch.cat([dense(part.rows, part.mask) for part in parts], dim=1), mask)
        days = torch.cat([part.days for part in parts], dim=1)
        merged = _Dates(rows, mask, days, joined([part.position for part in parts]))
        summary, weight = self._summarise(merged)
        attention = {}
        if weight is not None:
            stop = 0
            for name, part in zip(batch, parts, strict=True):
                start, stop = stop, stop + part.mask.shape[1]
                attention[name] = weight[:, start:stop]
        return Outputs(self.decoders[FUSED](summary), summary, auxiliary, attention=attention)

    def _early(self, batch: Mapping[str, Series], extras: Tensor | None) -> Outputs:
        """Early fusion: stack the bands of all series, and encode them as one series."""
        stacked = self._stack(batch)
        rows, mask = self.encoders[FUSED](stacked, extras)
        position = positions(numbers_of(stacked, self.config), mask)
        dates = _Dates(rows, mask, stacked.days, position)
        summary, weight = self._summarise(dates)
        attention = {}
        if weight is not None:
            stop = 0
            for sensor in self.config.sensors:
                if sensor.name in batch:
                    start, stop = stop, stop + batch[sensor.name].days.shape[1]
                    attention[sensor.name] = weight[:, start:stop]
        return Outputs(self.decoders[FUSED](summary), summary, attention=attention)

    def _summarise(self, dates: _Dates) -> tuple[Tensor, Tensor | None]:
        """Summary (batch, width) of merged dates; zeros for members without any."""
        some = dates.mask.any(dim=1)
        width = self.config.summary_width
        if not some.any():
            return dates.rows.new_zeros(len(some), width), None
        if bool(some.all()):
            result: tuple[Tensor, Tensor | None] = self.temporal[FUSED](
                dates.rows, dates.mask, dates.days, dates.position
            )
            return result
        position = dates.position
        if position is not None and len(position.numbers) > 1:
            position = Positions(position.numbers[some])
        summary, weight = self.temporal[FUSED](
            dates.rows, dates.mask[some], dates.days[some], position
        )
        return _spread(summary, some), None if weight is None else _spread(weight, some)

    def _stack(self, batch: Mapping[str, Series]) -> Series:
        """Interpolate all series to the dates of the first, and add an indicator per series.

        A member without a date of the first series takes the dates of the next that it has.
        """
        sensors = [s.name for s in self.config.sensors if s.name in batch]
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
        for name, n_bands in self.n_bands.items():
            shape = (*when.shape, pixels)
            # Unknown values get the band's mean, which is 0 once standardised.
            mean = self.normalisation(name)[0]
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


def _decoder(width: int, config: NetworkConfig) -> nn.Sequential:
    widths = (width, *config.decoder)
    return nn.Sequential(*mlp(widths), nn.Linear(widths[-1], config.n_classes))


def _log_mean(total: Tensor, count: Tensor) -> Tensor:
    """Logits of mean probabilities (batch, class), from their sum and count."""
    return torch.log((total / count.clamp_min(1)).clamp_min(torch.finfo(total.dtype).tiny))


def _spread(part: Tensor, members: Tensor) -> Tensor:
    """Place the rows of some members (batch,) among those of all; the others get zeros."""
    if len(part) == len(members):
        return part
    whole = part.new_zeros(len(members), *part.shape[1:])
    return whole.index_copy(0, members.nonzero()[:, 0], part)
