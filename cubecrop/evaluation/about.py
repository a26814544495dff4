"""What an evaluation was made of, for the report beside the predictions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from cubecrop.errors import SchemaError

__all__ = ["About", "Finding", "FoldFacts", "Refusal", "SourceFacts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """One source of samples: its name, year, labelled parcels by region and class, and dates."""

    name: str
    year: int
    regions: dict[str, int]
    classes: dict[str, int]
    dates: dict[str, int]  # by child
    n_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldFacts:
    """One fold: numbers of parcels, and classes that only one of its parts has."""

    protocol: str
    name: str
    n_train: int
    n_test: int
    only_in_test: tuple[str, ...] = ()
    only_in_train: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about the honesty of a protocol; a leak makes its scores too good."""

    protocol: str
    level: Literal["leak", "caution", "fine"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A model that could not be trained, or did not take a variant of the test samples."""

    model: str
    protocol: str
    fold: str
    variant: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """All that a report says besides scores.

    ``models`` describes each model's row in a few words. ``seconds`` are processor seconds of all
    runs.
    """

    title: str
    version: str
    command: str
    sources: tuple[SourceFacts, ...]
    folds: tuple[FoldFacts, ...]
    findings: tuple[Finding, ...]
    models: dict[str, str]
    refusals: tuple[Refusal, ...] = ()
    seconds: float = 0.0

    def to_json(self) -> str:
        """Serialise to JSON text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> About:
        """Read what `to_json` wrote."""
        try:
            raw: dict[str, Any] = json.loads(text)
            for name, kind in _PARTS.items():
                raw[name] = tuple(_restored(kind, part) for part in raw[name])
            return cls(**raw)
        except (ValueError, KeyError, TypeError) as error:
            raise SchemaError(
                f"the text does not describe an evaluation: {error}. Make it again with `cubecrop "
                "evaluate`."
            ) from error


_PARTS: dict[str, type] = {
    "sources": SourceFacts, "folds": FoldFacts, "findings": Finding, "refusals": Refusal,
}  # fmt: skip


def _restored(kind: type, part: dict[str, Any]) -> Any:  # noqa: ANN401 (one of _PARTS)
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in part.items()}
    return kind(**values)
