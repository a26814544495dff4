"""`pretrain`: let a network learn series without labels, by reconstructing what is hidden of them.

Of each series some months, a run of months, a whole sensor or some bands are hidden. The network
summarises what is left, and a small decoder reconstructs every date from that summary. So the
encoders learn how fields change over a season, also from fields whose crop nobody knows. The
recipe is that of Presto (Tseng et al. 2023, arXiv:2304.14065) with this package's own encoders.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cubecrop.checks import brief, check_number, check_share, check_whole
from cubecrop.errors import LabelError
from cubecrop.model import (
    CropNetwork,
    NetworkConfig,
    NetworkOptions,
    one_thread,
    season_of,
    usable_device,
)
from cubecrop.model.positions import sinusoid
from cubecrop.nomenclature import Nomenclature
from cubecrop.progress import progress_bar
from cubecrop.schema import SERIES
from cubecrop.training.batches import batches, n_batches
from cubecrop.training.config import TrainConfig
from cubecrop.training.loop import cosine_schedule, seeded
from cubecrop.training.sets import (
    Samples,
    Source,
    as_lists,
    band_statistics,
    training_set,
    tree_of,
)
from cubecrop.training.together import as_one_season, sensors_together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from cubecrop.model import Batch, Series
    from cubecrop.season import Window
    from cubecrop.training.sets import AnySet

__all__ = ["Encoders", "PretrainConfig", "pretrain"]

#: Bands of Sentinel-2 that are hidden together, as neighbours tell much of each other.
_BAND_GROUPS: Final = (
    ("B02", "B03", "B04"), ("B05", "B06", "B07"), ("B08", "B8A"), ("B11", "B12"), ("vv",), ("vh",),
)  # fmt: skip
#: Features of the position of a date that is reconstructed.
_POSITION: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """Settings of a pre-training.

    Parameters
    ----------
    network : NetworkOptions
        The network; its fusion must be ``"late"``.
    epochs : int
        Passes over the series.
    batch_size : int
        Series per step.
    learning_rate : float
        Highest rate of a cosine schedule with warm-up.
    hidden : float
        Share of the dates that are hidden, where dates or a run of them are.
    width : int
        Width of the decoder, which is thrown away afterwards.
    n_pixels : int
        Pixels per parcel in a step.
    jitter, offset, shift_days
        As for `TrainConfig`.
    """

    network: NetworkOptions = field(default_factory=NetworkOptions)
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 2e-3
    hidden: float = 0.6
    width: int = 128
    n_pixels: int = 16
    jitter: float = 0.05
    offset: float = 0.2
    shift_days: float = 10.0

    def __post_init__(self) -> None:
        if not isinstance(self.network, NetworkOptions) or self.network.fusion != "late":
            raise LabelError(
                f"network is {brief(self.network)}, expected NetworkOptions with fusion 'late': "
                "only these have one summary of each sensor to reconstruct series from."
            )
        if self.network.takes_weather or self.network.terrain or self.network.geometry:
            raise LabelError(
                "network takes weather, terrain or geometry, which pre-training does not know. "
                "Use `NetworkOptions()` without them."
            )
        for name in ("epochs", "batch_size", "width", "n_pixels"):
            check_whole(name, getattr(self, name), minimum=1, error=LabelError)
        check_share("hidden", self.hidden, error=LabelError)
        check_number(
            "learning_rate", self.learning_rate, above=0, what="more than 0", error=LabelError
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoders:
    """A pre-trained network, from which `cubecrop.fit` starts; it has no classes yet.

    Parameters
    ----------
    network : CropNetwork
        Its encoders and its normalisation are trained, its decoder is not.
    season_window : tuple
        Window of the season from whose start it counts days; see `Season.window`.
    losses, of_mean : tuple of float
        Mean loss of each epoch on hidden values (smooth L1, in standard deviations of the band),
        and the loss of predicting the mean of the band instead.
    """

    network: CropNetwork
    season_window: Window
    losses: tuple[float, ...] = ()
    of_mean: tuple[float, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 over the weights."""
        hashed = hashlib.sha256()
        for name, values in self.network.state_dict().items():
            hashed.update(name.encode())
            hashed.update(np.ascontiguousarray(values.numpy()).tobytes())
        return hashed.hexdigest()


def pretrain(
    samples: Samples,
    *,
    config: PretrainConfig | None = None,
    seed: int = 0,
    device: str | None = None,
    progress: bool = True,
) -> Encoders:
    """Train the encoders of a network on series without labels; reads their pixels.

    Parameters
    ----------
    samples : xarray.DataTree, StoredSets or sequence of them
        Pixel sets, as for `cubecrop.fit`. No label is read. Several samples may differ in dates,
        composites, season window and bands, and each may lack a sensor.
    config : PretrainConfig, optional
        Settings.
    seed : int, default 0
        The same samples, config and seed give the same encoders on the CPU.
    device : str, optional
        As for `cubecrop.fit`.
    progress : bool, default True
        Show a progress bar on a terminal or in a notebook.

    Returns
    -------
    Encoders
        For ``cubecrop.fit(..., init=encoders)``.

    Raises
    ------
    SchemaError
        Samples do not fit together, or have no valid pixel of a sensor.

    References
    ----------
    Tseng et al. 2023, Lightweight, Pre-trained Transformers for Remote Sensing Timeseries,
    arXiv:2304.14065.
    """
    config = PretrainConfig() if config is None else config
    check_whole("seed", seed, minimum=0)
    device = usable_device(device)
    sets, network_config, window, n_days = _sets(samples, config.network)
    with seeded(seed), one_thread():
        network = CropNetwork(network_config)
        for name in network_config.series:
            mean, deviation = band_statistics(sets, name)
            network.normalise_by(name, torch.from_numpy(mean), torch.from_numpy(deviation))
        decoder = _Decoder(network_config, config.width)
        history = _learn(
            network, decoder, sets, config, n_days=n_days, seed=seed, device=device,
            progress=progress,
        )  # fmt: skip
    losses, of_mean = (tuple(part) for part in zip(*history, strict=True))
    return Encoders(
        network=network.cpu().eval(), season_window=window, losses=losses, of_mean=of_mean
    )


def _learn(
    network: CropNetwork,
    decoder: _Decoder,
    sets: Sequence[AnySet],
    config: PretrainConfig,
    *,
    n_days: int,
    seed: int,
    device: str,
    progress: bool,
) -> list[tuple[float, float]]:
    """Train in place; mean loss of each epoch, and that of predicting the mean."""
    plain = TrainConfig(
        batch_size=max(2, config.batch_size), n_pixels=config.n_pixels, small_sets=0.5,
        date_dropout={}, jitter=config.jitter, offset=config.offset, shift_days=config.shift_days,
    )  # fmt: skip
    classifier = {id(weight) for weight in network.decoders.parameters()}
    own = [w for w in network.to(device).train().parameters() if id(w) not in classifier]
    weights = [*own, *decoder.to(device).parameters()]
    optimiser = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=1e-2)
    schedule = cosine_schedule(optimiser, config.epochs * n_batches(sets, plain), 0.05)
    deviations = {n: network.normalisation(n)[1].cpu().numpy() for n in network.config.series}
    history = []
    with progress_bar("Pre-training", total=config.epochs, unit="epochs", progress=progress) as bar:
        for epoch in range(config.epochs):
            rng, found = np.random.default_rng([seed, epoch, 1]), []
            for batch, _ in batches(sets, deviations, plain, seed=seed, epoch=epoch, n_days=n_days):
                loss, of_mean = _loss(network, decoder, batch.to(device), config.hidden, rng)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(weights, 1.0)
                optimiser.step()
                schedule.step()
                found.append((float(loss.detach()), float(of_mean)))
            mean = np.mean(found, axis=0)
            history.append((float(mean[0]), float(mean[1])))
            bar.update(completed=epoch + 1, description=f"Pre-training, loss {mean[0]:.3f}")
    return history


def _loss(
    network: CropNetwork,
    decoder: _Decoder,
    batch: Batch,
    share: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Mean error of the hidden values of a batch, and that of predicting the mean instead.

    In standard deviations. Large errors weigh less: clouds that no mask has found are such errors,
    and cannot be learned.
    """
    seen, targets = _hide(network, batch.series, share, rng)
    summary = network.summary(seen)
    losses, of_mean = [], []
    for name, (values, hidden) in targets.items():
        if hidden.any():
            predicted, truth = decoder(name, summary, batch.series[name].days), values[hidden]
            losses.append(functional.smooth_l1_loss(predicted[hidden], truth))
            of_mean.append(functional.smooth_l1_loss(torch.zeros_like(truth), truth))
    if not losses:  # a batch of very few dates
        return summary.sum() * 0, summary.new_zeros(())
    return torch.stack(losses).mean(), torch.stack(of_mean).mean()


def _hide(
    network: CropNetwork, series: Mapping[str, Series], share: float, rng: np.random.Generator
) -> tuple[dict[str, Series], dict[str, tuple[Tensor, Tensor]]]:
    """The series with a part of each member hidden, and the targets of each series.

    A target is standardised values (batch, time, band), and which of them are hidden.

    Each member loses dates at random, a run of dates, a sensor, or groups of bands.
    """
    whole = {name: one.spread() for name, one in series.items()}
    n = len(next(iter(whole.values())).valid)
    device = next(iter(whole.values())).valid.device
    kind = rng.integers(4, size=n)  # 0: dates, 1: a run of dates, 2: a sensor, 3: bands
    names = list(whole)
    lost = np.array(names)[rng.integers(len(names), size=n)]
    span = max(float(one.days.max()) for one in whole.values())
    begin = rng.uniform(0, 1 - share, n) * span
    seen, targets = {}, {}
    for name, one in whole.items():
        dated = one.valid.any(dim=2)  # (batch, time)
        random = rng.random(dated.shape) < share
        days = one.days.cpu().numpy()
        run = (days >= begin[:, None]) & (days <= (begin + share * span)[:, None])
        gone = np.where((kind == 1)[:, None], run, (kind == 0)[:, None] & random)
        if len(names) > 1:
            gone |= ((kind == 2) & (lost == name))[:, None]
        else:
            gone |= (kind == 2)[:, None] & random
        hidden_date = torch.from_numpy(gone).to(device) & dated
        bands = _hidden_bands(network, name, kind == 3, rng).to(device)  # (batch, band)
        mean, deviation = (part.to(device) for part in network.normalisation(name))
        count = one.valid.sum(dim=2).clamp_min(1)[..., None]
        total = torch.where(one.valid[..., None], one.values, 0.0).sum(dim=2)
        values = (total / count - mean) / deviation  # (batch, time, band)
        hidden = (hidden_date[..., None] | bands[:, None, :]) & dated[..., None]
        targets[name] = values, hidden
        covered = torch.where(bands[:, None, None, :], mean, one.values)
        seen[name] = replace(one, values=covered, valid=one.valid & ~hidden_date[..., None])
    return seen, targets


def _hidden_bands(
    network: CropNetwork, name: str, members: NDArray[np.bool_], rng: np.random.Generator
) -> Tensor:
    """Which bands (member, band) are hidden on all dates: each group with a chance of a half."""
    bands = next(s.bands for s in network.config.sensors if s.name == name)
    group = [next((i for i, g in enumerate(_BAND_GROUPS) if b in g), -1) for b in bands]
    drawn = rng.random((len(members), len(_BAND_GROUPS) + 1)) < 0.5
    return torch.from_numpy(drawn[:, group] & members[:, None])


class _Decoder(nn.Module):
    """Reconstructs standardised values of a series on a date from a summary of all series."""

    def __init__(self, config: NetworkConfig, width: int) -> None:
        super().__init__()
        self.period = config.period
        joined = config.summary_width * len(config.series)
        self.summary = nn.ModuleDict({s.name: nn.Linear(joined, width) for s in config.sensors})
        self.position = nn.ModuleDict(
            {s.name: nn.Linear(_POSITION, width, bias=False) for s in config.sensors}
        )
        self.out = nn.ModuleDict(
            {
                s.name: nn.Sequential(
                    nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(s.bands))
                )
                for s in config.sensors
            }
        )

    def forward(self, name: str, summary: Tensor, days: Tensor) -> Tensor:
        """Values (batch, time, band) from a summary (batch, feature) and days (batch, time)."""
        place = self.position[name](sinusoid(days, _POSITION, self.period))
        values: Tensor = self.out[name](self.summary[name](summary)[:, None, :] + place)
        return values


def _sets(
    samples: Samples, options: NetworkOptions
) -> tuple[list[AnySet], NetworkConfig, Window, int]:
    """Training sets without labels, and the network that they need."""
    given: Sequence[Source] = [samples] if isinstance(samples, Source) else samples
    # Sources of another kind are refused by `as_lists`.
    trees = [tree_of(one) if isinstance(one, Source) else None for one in given]
    counts = [0 if tree is None else tree.sizes.get("parcel", 0) for tree in trees]
    sources, texts = as_lists(given, [["series"] * n for n in counts])
    known = [tree_of(source) for source in sources]
    sensors = sensors_together(known, tuple(SERIES))
    placed = as_one_season(known, options)
    season = season_of(placed[0])
    config = NetworkConfig(
        **{f.name: getattr(options, f.name) for f in fields(NetworkOptions)},
        sensors=sensors,
        n_classes=1,
        may_be_missing=tuple(s.name for s in sensors) if len(sensors) > 1 else (),
        start_day=season.start.timetuple().tm_yday,
    )
    one = Nomenclature.from_names(["series"])
    sets = [
        training_set(source, tree, part, config, one)
        for source, tree, part in zip(sources, placed, texts, strict=True)
    ]
    return sets, config, season.window, season.n_days
