"""Models that are part of the package: where they lie, and their records. Needs no torch.

Each model has a folder here, as `CropModel.save` writes it, with a third file ``card.json``: the
record of its training data and of its scores, from which its card is made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from cubecrop.checks import brief
from cubecrop.errors import ModelFormatError

__all__ = ["CARD", "DEFAULT", "read_card", "shipped_folder", "shipped_models"]

#: Name of the model that is used where none is given.
DEFAULT: Final = "default"
#: File with the record of a model's data and scores.
CARD: Final = "card.json"


def shipped_models() -> list[str]:
    """Names of the models that are part of the package."""
    here = Path(__file__).parent
    return sorted(path.parent.name for path in here.glob(f"*/{CARD}"))


def shipped_folder(name: str = DEFAULT) -> Path:
    """Folder of a model of the package.

    Raises
    ------
    ModelFormatError
        There is no such model.
    """
    known = shipped_models()
    if name not in known:
        raise ModelFormatError(
            f"model is {brief(name)}, expected one that is part of cubecrop: {known}."
        )
    return Path(__file__).parent / name


def read_card(name: str = DEFAULT) -> dict[str, Any]:
    """The record of a model's training data and scores, as JSON types.

    Raises
    ------
    ModelFormatError
        There is no such model.
    """
    record: dict[str, Any] = json.loads((shipped_folder(name) / CARD).read_text("utf-8"))
    return record
