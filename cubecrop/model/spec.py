"""ModelSpec: a model's description and the data it needs, without its weights. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final

from cubecrop.errors import ModelFormatError, ModelMismatchError
from cubecrop.model.record import AdaptationRecord, TrainingRecord, window_text
from cubecrop.schema import SERIES
from cubecrop.season import Season, windows_alike

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.coverage import Coverage
    from cubecrop.model.config import NetworkConfig, NetworkOptions
    from cubecrop.model.knowledge_limits import KnowledgeLimits
    from cubecrop.model.probability_calibration import Calibration
    from cubecrop.model.record import Window
    from cubecrop.model.scores import PartScores
    from cubecrop.nomenclature import Nomenclature
    from cubecrop.schema import Modality
    from cubecrop.season import Hemisphere

__all__ = ["ModelSpec", "beside_satellites"]

#: Degrees from the equator within which seasons follow the rain and not the hemisphere.
_TROPICS: Final = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelSpec:
    """A model without its weights: the network's sizes, the classes and the data that it needs.

    Parameters
    ----------
    config : NetworkConfig
        Sensors, bands and sizes of the network.
    nomenclature : Nomenclature
        Classes by index of the network's output.
    season_window : tuple
        First and last day as (years from the harvest year, month, day); see `Season.window`.
        None for published weights, which have no season.
    sub_windows : bool
        Whether data of a shorter season inside ``season_window`` is accepted, if ``coverage`` finds
        it long enough. True for a model that was trained on windows cut at random.
    radar_calibration : str
        ``gamma0`` or ``sigma0``; both, with a comma between them, for a model that takes either;
        empty for a network without radar.
    radar_orbits : tuple of str
        Orbit states of the training data.
    composite : str
        ``dekad``, ``month``, or empty for series of single dates.
    clouds : str
        Name of the cloud mask in training, as in a season cube's attribute ``clouds``; empty if
        the samples did not state it, as tables do not.
    resolution : float, optional
        Pixel size in training in metres; None if the samples did not state it or had several.
    n_pixels : int
        Number of pixels drawn from a parcel to predict it.
    coverage : mapping
        Sensor to the `Coverage` of its season in training. Data that covers less is refused.
        Parcels and pixels with fewer valid dates than `Coverage.least_dates` get no
        prediction. A sensor without an entry is not checked.
    training : TrainingRecord
        The data that the model was trained on.
    scores : mapping
        Part ("train", "held out") to its `PartScores`.
    calibration : Calibration, optional
        Temperature of the probabilities, and the threshold of crop sets.
    limits : KnowledgeLimits, optional
        What the model is sure of, and what is outside of what it knows. Without them, tables and
        maps state the most probable class of the finest level only.
    adaptation : AdaptationRecord, optional
        How the model was changed for a place and year after its training.
    name, licence : str
        Text for users.

    Raises
    ------
    ModelFormatError
        Network and nomenclature differ in their number of classes.
    """

    config: NetworkConfig
    nomenclature: Nomenclature
    season_window: Window | None
    sub_windows: bool = False
    radar_calibration: str = ""
    radar_orbits: tuple[str, ...] = ()
    composite: str = ""
    clouds: str = ""
    resolution: float | None = None
    n_pixels: int = 64
    coverage: Mapping[str, Coverage] = field(default_factory=dict)
    training: TrainingRecord = field(default_factory=TrainingRecord)
    scores: Mapping[str, PartScores] = field(default_factory=dict)
    calibration: Calibration | None = None
    limits: KnowledgeLimits | None = None
    adaptation: AdaptationRecord | None = None
    name: str = "crop model"
    licence: str = "unspecified"

    def __post_init__(self) -> None:
        # A file stores a float: an int here would have another digest than the float read back.
        if self.resolution is not None:
            object.__setattr__(self, "resolution", float(self.resolution))
        if len(self.nomenclature) != self.config.n_classes:
            raise ModelFormatError(
                f"network has {self.config.n_classes} classes, the nomenclature has "
                f"{len(self.nomenclature)}; expected as many."
            )

    @property
    def spec(self) -> ModelSpec:
        """The specification only, without the fields of a subclass."""
        return ModelSpec(**{f.name: getattr(self, f.name) for f in fields(ModelSpec)})

    @property
    def sensors(self) -> tuple[str, ...]:
        """Children of a season cube that the network takes."""
        return tuple(sensor.name for sensor in self.config.sensors)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What a season cube must hold: the sensors, weather and terrain."""
        return (
            *(name for name in SERIES if name in self.sensors),  # type: ignore[arg-type]
            *beside_satellites(self.config),
        )

    @property
    def least_dates(self) -> dict[str, int]:
        """By sensor, number of valid dates below which the sensor counts as absent in a parcel."""
        return {
            name: self.coverage[name].least_dates if name in self.coverage else 1
            for name in self.sensors
        }

    @property
    def cube_resolution(self) -> float:
        """The resolution to open a season cube with, in metres."""
        return 10.0 if self.resolution is None else self.resolution

    @property
    def cloud_mask(self) -> str:
        """The mask to open a season cube with: ``scl`` or ``probability``.

        Raises
        ------
        ModelMismatchError
            The cloud mask in training was a function, which a model does not store.
        """
        if self.clouds.startswith("function "):
            raise ModelMismatchError(
                f"the model was trained under the cloud mask {self.clouds!r}, and no mask was "
                "given. Pass the same mask, `clouds=...`, or train a model under another one."
            )
        return self.clouds or "scl"

    def season_for(self, usual: Season, latitude: float) -> Season:
        """The model's season window, moved to the year of another season.

        Parameters
        ----------
        usual : Season
            The season of the year where the area lies.
        latitude : float
            Latitude of the area in degrees.

        Returns
        -------
        Season
            ``usual`` itself if the model was trained on its window.

        Raises
        ------
        ModelMismatchError
            The model was trained on the other side of the equator, where crops grow half a
            year apart.
        """
        if self.season_window is None:
            return usual
        windows = (self.season_window, *self.training.windows)
        if any(windows_alike(usual.window, window) for window in windows):
            return usual
        season = usual.with_window(self.season_window)
        if self._trained_across_the_equator(usual, latitude):
            raise ModelMismatchError(
                f"the area lies {usual.hemisphere} of the equator and the model was trained on "
                f"the other side of it, on the window {window_text(self.season_window)}: crops "
                "grow half a year apart. Train a model there; or, if you want the same dates, "
                f"pass `season=Season({usual.year}, start=..., end=...)` (`--start {season.start} "
                f"--end {season.end}`)."
            )
        return season

    def _trained_across_the_equator(self, usual: Season, latitude: float) -> bool:
        latitudes = [(south + north) / 2 for _, south, _, north in self.training.bboxes]
        if latitudes:
            tropical = abs(latitude) <= _TROPICS and min(map(abs, latitudes)) <= _TROPICS
            return not tropical and all((latitude < 0) != (trained < 0) for trained in latitudes)
        other: Hemisphere = "north" if usual.hemisphere == "south" else "south"
        return self.season_window == Season(usual.year, hemisphere=other).window


def beside_satellites(options: NetworkOptions) -> tuple[Modality, ...]:
    """Modalities that a network takes in addition to the satellites."""
    weather: tuple[Modality, ...] = ("weather",) if options.takes_weather else ()
    return (*weather, "terrain") if options.terrain else weather
