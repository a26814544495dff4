"""The command ``models``: the models that are part of the package."""

from __future__ import annotations

from cyclopts import App

from cubecrop.printing import plain_console

__all__ = ["models"]

models = App(name="models", help="Models that are part of cubecrop, and their cards.")


@models.default
def list_models() -> None:
    """List the models that are part of cubecrop."""
    from cubecrop.model import read_spec
    from cubecrop.model.shipped import DEFAULT, shipped_folder, shipped_models

    console = plain_console()
    for name in shipped_models():
        spec = read_spec(shipped_folder(name))
        used = " (used where no model is given)" if name == DEFAULT else ""
        n = sum(spec.training.parcels.values())
        console.print(f"{name}{used}: {len(spec.nomenclature)} classes, {n:,} training parcels")
    console.print(f"`cubecrop models show {DEFAULT}` prints a model's card.")


@models.command
def show(name: str = "default") -> None:
    """Print the card of a model: its data, its scores, and where not to use it.

    Parameters
    ----------
    name
        Name of a model that is part of cubecrop.
    """
    from cubecrop.model.shipped import read_card
    from cubecrop.model.shipped.card import card_text

    plain_console().out(card_text(read_card(name)), end="", highlight=False)
