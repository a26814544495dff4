"""Reports whose numbers are known, for the tests of the report and of its page."""

from html.parser import HTMLParser

import numpy as np
from made_predictions import LEAK, REFUSED, about_of, known

from cubecrop.evaluation.about import Finding
from cubecrop.evaluation.page import markdown
from cubecrop.evaluation.predictions import Predictions
from cubecrop.evaluation.report import Report

HOME, AWAY = ("random", "network"), ("leave-region-out", "network")
RIGHT = {
    HOME: 0.8, AWAY: 0.5,
    ("random", "optical only"): 0.8, ("leave-region-out", "optical only"): 0.3,
    ("leave-region-out", "thermal sampling"): 0.7,
    ("leave-region-out", "random forest, weather"): 0.4,
}  # fmt: skip
NAN = float("nan")
VARIANTS = {
    ("optical dates kept", 0.2): 0.4, ("optical dates kept", 0.8): 1.0,
    ("optical month lost", 6.0): 0.8, ("no radar", NAN): 0.8,
    ("training parcels", 25.0): 0.5, ("training parcels", 50.0): 1.0,
    ("until day", 100.0): 0.2, ("until day", 200.0): 1.0,
}  # fmt: skip
EVIL = (
    "<script>console.log('in')</script>", "\"'><img src=x onerror=alert(1)>",
    "a & b</title></svg>", "x | y ` [z](javascript:alert(1))",
)  # fmt: skip


def trusted(predictions):
    """With crop sets of two crops, every second parcel outside, and areas of 1 to 3 ha."""
    table = predictions.table.assign(
        in_set=(predictions.predicted == predictions.truth).astype(float), set_size=2.0,
        dissimilarity=np.where(np.arange(len(predictions)) % 2, 0.5, 1.5),
        area=1e4 * (1 + np.arange(len(predictions)) % 3),
    )  # fmt: skip
    return Predictions(table, predictions.probability, predictions.nomenclature)


def report_of(predictions, **facts):
    return Report(predictions, about_of(predictions, **facts))


def whole_report():
    """A report with everything that a report can have."""
    fine = Finding(protocol="leave-region-out", level="fine", text="no duplicate across folds.")
    return report_of(
        trusted(known(right=RIGHT, variants=VARIANTS, seeds=2)), findings=[fine, LEAK],
        refusals=[REFUSED],
    )  # fmt: skip


def markdown_of(report):
    return markdown(report.tables, report.about, report.trust)


class Tags(HTMLParser):
    """All tags, with their attributes, and texts by the id of a table."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]
