"""What a network gives for a batch, and rows of some members among those of all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["FUSED", "Outputs", "spread"]

#: Name of the one series that early and mid fusion summarise over time.
FUSED: Final = "fused"


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


def spread(part: Tensor, members: Tensor) -> Tensor:
    """Place the rows of some members (batch,) among those of all; the others get zeros."""
    if len(part) == len(members):
        return part
    whole = part.new_zeros(len(members), *part.shape[1:])
    return whole.index_copy(0, members.nonzero()[:, 0], part)
