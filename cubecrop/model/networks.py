"""The network: series are embedded, summarised over time, fused and classified."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from cubecrop.model.config import WEATHER
from cubecrop.model.fusion_of_dates import fuse_early, fuse_mid
from cubecrop.model.fusion_of_summaries import fuse_decisions, fuse_late, part_of, summaries_of
from cubecrop.model.layers import mlp
from cubecrop.model.outputs import FUSED, Outputs
from cubecrop.model.presto import BandStatistics, Presto, scaling_of
from cubecrop.model.series import Batch, Series, resample_thermal
from cubecrop.model.set_encoder import PixelSetEncoder
from cubecrop.model.temporal import temporal_encoder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.model.config import NetworkConfig

__all__ = ["CropNetwork", "Outputs"]


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
                return fuse_early(self, series, extras)
            case "mid":
                return fuse_mid(self, series, extras)
            case "late":
                return fuse_late(self, series, summaries_of(self, series, extras, attention))
        return fuse_decisions(self, series, summaries_of(self, series, extras, attention))

    def summary(self, series: Mapping[str, Series]) -> Tensor:
        """Summary (batch, feature) of all series of late fusion, without a classification.

        A member that lacks a series has its token, or zeros.
        """
        n = len(next(iter(series.values())).valid)
        present, _ = summaries_of(self, self._sampled(Batch(series)), None, attentive=False)
        return torch.cat([part_of(self, k, present.get(k), n) for k in self.config.series], dim=1)

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


def _decoder(width: int, config: NetworkConfig) -> nn.Sequential:
    widths = (width, *config.decoder)
    return nn.Sequential(*mlp(widths), nn.Linear(widths[-1], config.n_classes))
