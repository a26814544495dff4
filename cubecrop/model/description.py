"""A model and its scores in words: for `repr`, notebooks and the command line."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from cubecrop.display import block, day_text, html_table, listed, plain, swatches
from cubecrop.metrics import SCORE_NAMES, ScoreName
from cubecrop.model.scores import BASELINE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cubecrop.model.record import AdaptationRecord, Window
    from cubecrop.model.scores import PartScores
    from cubecrop.model.spec import ModelSpec

__all__ = [
    "SCORE_TITLES",
    "adaptation_text",
    "describe",
    "describe_html",
    "score_notes",
    "score_text",
    "share_text",
]

SCORE_TITLES: Final[Mapping[ScoreName, str]] = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "mean_iou": "mean IoU",
}
#: With fewer held-out parcels the interval of an accuracy is 0.2 to 0.4 wide.
_FEW: Final = 30
_YEARS: Final = {0: "", -1: " of the year before", 1: " of the year after"}


def share_text(value: float | None, *, digits: int = 3) -> str:
    """Format a share as ".881"; "-" if there is none."""
    if value is None or value != value:
        return "-"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def score_text(scores: PartScores, name: ScoreName) -> str:
    """Format a score with its 95 % interval: ".881 (.84-.91)"."""
    value = share_text(scores[name])
    ends = scores.get("intervals")
    if ends is None:
        return value
    low, high = ends[name]
    digits = 3 if high - low < 0.02 else 2  # two digits may be equal at both ends
    return f"{value} ({share_text(low, digits=digits)}-{share_text(high, digits=digits)})"


def score_notes(model: ModelSpec) -> list[str]:
    """Sentences that help to read the scores."""
    notes = []
    held_out = model.scores.get("held out")
    if held_out is not None and held_out["n"] < _FEW:
        n = int(held_out["n"])
        notes.append(
            f"{n} held-out parcel{'' if n == 1 else 's'}: these scores say little about other "
            f"parcels. Train with {_FEW} or more held out."
        )
    difference = model.scores[BASELINE].get("difference") if BASELINE in model.scores else None
    if difference is not None:
        low, high = difference["interval"]
        text = (
            f"Network and random forest differ by {_signed(difference['accuracy'])} in accuracy "
            f"({_signed(low)} to {_signed(high)}): "
        )
        if low <= 0 <= high:
            notes.append(text + "the difference is not significant.")
        else:
            better = "network" if low > 0 else "random forest"
            notes.append(text + f"the {better} is better on these parcels.")
    never_held_out = model.training.never_held_out
    if model.scores and held_out is None:
        notes.append("No parcel was held out: scores are those of the training parcels.")
    elif never_held_out:
        names = ", ".join(plain(name) for name in never_held_out)
        notes.append(f"Too few parcels to hold one out, so in no score: {names}.")
    return notes


def describe(model: ModelSpec, digest: str) -> str:
    """Describe a model in a few lines of text."""
    names = model.nomenclature.names
    rows = [("classes", f"{len(names)}: {listed(names)}"), *_facts(model, digest)]
    for part, values in model.scores.items():
        text = ", ".join(f"{SCORE_TITLES[n]} {score_text(values, n)}" for n in SCORE_NAMES)
        rows.append((plain(part), f"{values['n']:.0f} parcels, {text}"))
    return block(f"CropModel {plain(model.name)!r}", rows)


def describe_html(model: ModelSpec, digest: str) -> str:
    """Describe a model in small HTML tables."""
    names, colours = model.nomenclature.names, model.nomenclature.colours
    tables = html_table(
        f"CropModel {plain(model.name)!r}",
        [(f"{len(names)} classes", swatches(names, colours)), *_facts(model, digest)],
    )
    if model.scores:
        header = ("parcels", "n", *(SCORE_TITLES[name] for name in SCORE_NAMES))
        rows = [
            (plain(part), f"{values['n']:.0f}", *(score_text(values, n) for n in SCORE_NAMES))
            for part, values in model.scores.items()
        ]
        tables += html_table("Scores, with 95 % intervals", rows, header=header)
        tables += "".join(f"<div>{html.escape(note)}</div>" for note in score_notes(model))
    return tables


def _facts(model: ModelSpec, digest: str) -> list[tuple[str, str]]:
    record = model.training
    rows = [("sensors", "; ".join(_sensor(model, sensor.name, sensor.bands) for sensor
                                  in model.config.sensors))]  # fmt: skip
    features = [
        name
        for name, used in (
            ("weather", model.config.takes_weather),
            ("terrain", model.config.terrain),
            ("shape of the parcel", model.config.geometry),
        )
        if used
    ]
    if features:
        rows.append(("other inputs", ", ".join(features)))
    if model.config.may_be_missing:
        rows.append(("may be missing", ", ".join(model.config.may_be_missing)))
    steps = f", by {model.composite}" if model.composite else ", on the dates of the images"
    if model.season_window is None:
        rows.append(("season", "any" + steps))
    else:
        rows.append(("season", _window_words(model.season_window) + steps))
    n = sum(record.parcels.values()) + sum(record.validation.values())
    if n:
        years = ", ".join(map(str, record.years))
        where = f" in {listed(record.archives, most=3)}" if any(record.archives) else ""
        rows.append(("trained on", f"{n} parcels of {years}{where}"))
    if model.adaptation is not None:
        rows.append(("adapted", adaptation_text(model.adaptation)))
    calibration = model.calibration
    text = f"calibrated on {calibration.n} parcels" if calibration else "not calibrated"
    rows.append(("confidence", text))
    if (limits := model.limits) is not None:
        text = (
            f"{limits.kept:.0%} of {limits.n} parcels of known crops keep their crop, "
            f"{limits.outside:.0%} are outside of what the model knows"
        )
        rows.append(("limits", text))
        if limits.unreliable:
            areas = ", ".join(area.name for area in limits.unreliable)
            rows.append(("not usable in", areas))
    rows.append(("digest", digest[:12]))
    return rows


def adaptation_text(record: AdaptationRecord) -> str:
    """What was done to a model after its training, and what the check of it showed."""
    what = f"{record.method} on {record.parcels} parcels"
    if record.labelled:
        what += f", {record.labelled} of them labelled"
    if not record.applied:
        what = f"no: {what} did harm in the check"
    if not record.blocks:
        return f"{what}; not checked"
    tested = record.tested or (None,) * len(record.blocks)
    scores = (
        f"{plain(block)} {share_text(before, digits=2)} to {share_text(after, digits=2)}"
        + ("" if n is None else f" (n = {n})")
        for block, n, before, after in zip(
            record.blocks, tested, record.before, record.after, strict=True
        )
    )
    return (
        f"{what}; macro-F1 on held-out parts of the source: {', '.join(scores)}; mean difference "
        f"{difference_text(record)}"
    )


def difference_text(record: AdaptationRecord) -> str:
    """Mean difference in the check, and its standard error: "+.023 ± .010"."""
    sign = "-" if record.difference < 0 else "+"
    size = share_text(abs(record.difference))
    return f"{sign}{size} ± {share_text(record.error)}" if record.tested else f"{sign}{size}"


def _sensor(model: ModelSpec, name: str, bands: tuple[str, ...]) -> str:
    radar = (model.radar_calibration, *model.radar_orbits) if name == "sentinel1" else ()
    more = f", {', '.join(filter(None, radar))}" if any(radar) else ""
    return f"{name} ({' '.join(bands)}{more})"


def _window_words(window: Window) -> str:
    (before, *first), (after, *last) = window
    ends = ((before, first), (after, last))
    return " to ".join(
        day_text(month, day) + _YEARS.get(away, f" of the year {away:+d}")
        for away, (month, day) in ends
    )


def _signed(value: float) -> str:
    text = f"{value:+.2f}".replace("0.", ".", 1)
    return "0" if text in {"+.00", "-.00"} else text
