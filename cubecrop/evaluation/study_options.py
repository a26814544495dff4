"""Options of a study: what is trained and tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cubecrop.checks import check_flag, check_names, check_whole
from cubecrop.errors import ArgumentError
from cubecrop.evaluation.candidates import FOREST, NETWORK, TOLERANT, Candidate, main_candidates
from cubecrop.evaluation.protocols import PROTOCOLS
from cubecrop.evaluation.stress import STRESSES
from cubecrop.training import TrainConfig, as_config, check_init, config_of_init

if TYPE_CHECKING:
    from cubecrop.training import Init

__all__ = ["EARLY", "StudyOptions"]

#: The kind of stress that ends the season early.
EARLY: Final = "until day"


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What is trained and tested.

    Parameters
    ----------
    protocols, models, seeds, config, init, stress, early, ablation, adaptation, title
        As for `generalisation_report`.
    command : str
        The command that asks for the report, which its page shows; empty for a call in Python.

    Raises
    ------
    ArgumentError
        An option has a wrong type, is out of its range, or names something unknown.
    """

    protocols: Sequence[str] = ("random", "blocked")
    models: Sequence[str] | Mapping[str, TrainConfig] = (NETWORK, FOREST)
    seeds: int = 3
    config: TrainConfig = field(default_factory=TrainConfig)
    init: Init | None = None
    stress: bool | Sequence[str] = False
    early: bool = False
    ablation: bool = False
    adaptation: bool = False
    title: str = "How far the models carry"
    command: str = ""

    def __post_init__(self) -> None:
        names = check_names("protocols", self.protocols, PROTOCOLS)
        object.__setattr__(self, "protocols", tuple(dict.fromkeys(names)))
        check_whole("seeds", self.seeds, minimum=1)
        for name in ("early", "ablation", "adaptation"):
            check_flag(name, getattr(self, name))
        check_init(self.init)
        object.__setattr__(self, "config", config_of_init(self.init, as_config(self.config)))
        if not self.candidates():
            raise ArgumentError(f"models is {self.models!r}, expected one name or more.")
        if self.ablation and self.init is not None:
            raise ArgumentError(
                "ablation and init are given together, but an ablation trains other networks, "
                "which have no encoders of init: their scores would differ for that too. Leave "
                "one of them out."
            )
        _ = self.kinds  # raises for an unknown kind of stress

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of stress."""
        known = [name for name in STRESSES if name != EARLY]
        if isinstance(self.stress, bool):
            chosen = tuple(known) if self.stress else ()
        else:
            chosen = check_names("stress", self.stress, tuple(known), empty=True)
        return (*chosen, EARLY) if self.early else chosen

    def candidates(self) -> list[Candidate]:
        """The main candidates."""
        if isinstance(self.models, Mapping):
            return [
                Candidate(
                    name=str(name),
                    text="settings of the user",
                    config=as_config(own),
                    init=self.init,
                )
                for name, own in self.models.items()
            ]
        names = [self.models] if isinstance(self.models, str) else [*dict.fromkeys(self.models)]
        return main_candidates(names, self.config, self.init)

    @property
    def tolerant(self) -> list[Candidate]:
        """The network for missing sensors, if only a stress asks for it."""
        names = [candidate.name for candidate in self.candidates()]
        wanted = self.kinds and NETWORK in names and TOLERANT not in names
        return main_candidates([TOLERANT], self.config, self.init) if wanted else []
