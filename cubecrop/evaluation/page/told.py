"""Texts that the page and the Markdown share: facts, findings, and how to read numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cubecrop.display import listed
from cubecrop.evaluation.page.numbers import named, protocol_title, spanned
from cubecrop.texts import one_line

if TYPE_CHECKING:
    from cubecrop.evaluation.about import About, Finding, SourceFacts

__all__ = [
    "CHANGED_NOTE", "EARLY_NOTE", "LEVELS", "facts", "finding_text", "reading", "sorted_findings",
]  # fmt: skip

#: Word that opens a finding of each level, gravest first.
LEVELS: Final = {"leak": "Leak", "caution": "Caution", "fine": "Checked"}
#: Below the table of changed samples.
CHANGED_NOTE: Final = (
    "Test samples under stress and that end early, and models from fewer training parcels. The "
    "difference to unchanged samples is taken on the folds and seeds of both."
)
#: Below the table of crops early in the season.
EARLY_NOTE: Final = (
    "Day of the season on which F1 first reaches 95 % of its final value (95 % interval)."
)


def facts(about: About) -> list[str]:
    """What was evaluated, in a few lines."""
    lines = [_source(source) for source in about.sources]
    hours = about.seconds / 3600
    spent = f"{hours:,.1f} hours" if hours >= 0.1 else f"{about.seconds:,.0f} seconds"
    models = "1 model" if len(about.models) == 1 else f"{len(about.models)} models"
    folds = "1 fold" if len(about.folds) == 1 else f"{len(about.folds)} folds"
    lines.append(f"{models}, {folds}, {spent} of processor time.")
    return lines


def _source(source: SourceFacts) -> str:
    n = sum(source.regions.values())
    regions = [name for name in source.regions if name]
    where = f" in {listed(regions)}" if regions else ""
    dates = ", ".join(f"{count} of {named(name)}" for name, count in source.dates.items())
    pixels = "1 pixel" if source.n_pixels == 1 else f"up to {source.n_pixels} pixels"
    return (
        f"{named(source.name)}, {source.year}: {n:,} labelled parcels of {len(source.classes)} "
        f"classes{where}; {pixels} a parcel; dates: {dates or 'none'}."
    )


def sorted_findings(about: About) -> list[Finding]:
    """Findings, the gravest first."""
    order = list(LEVELS)
    return sorted(about.findings, key=lambda one: order.index(one.level))


def finding_text(finding: Finding) -> str:
    """A finding as one line."""
    text = one_line(finding.text)
    return f"{protocol_title(finding.protocol)}: {text}" if finding.protocol else text


def reading(main: str) -> list[str]:
    """How the numbers were made, in sentences."""
    return [
        f"A number such as .50 ± .02 ({spanned(0.45, 0.55)}) is the mean over seeds of a score of "
        "all test parcels of a protocol together, its standard deviation over seeds, and its 95 % "
        "interval over 2,000 resamples of groups and over seeds. Parcels of one group are not "
        "independent, so groups are drawn, and not parcels. All models share the resamples. With "
        "one seed, the interval does not say how much another training would differ. It holds for "
        "other parcels of the same places and years; it does not cover the choice of regions.",
        "Macro-F1 and mean IoU are means over the classes that have a test parcel, with equal "
        "weight. A parcel without prediction counts as wrong.",
        f"A difference to “{named(main)}” is taken on the same parcels, folds and seeds. It is "
        "called not distinguishable where its interval contains 0; that is no proof of equality.",
    ]
