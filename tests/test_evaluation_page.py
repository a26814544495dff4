"""The report: its numbers, its words, its files, and its page as text."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from made_predictions import REFUSED, known, predictions_of
from made_reports import (
    AWAY,
    EVIL,
    HOME,
    NAN,
    RIGHT,
    VARIANTS,
    Tags,
    markdown_of,
    report_of,
    whole_report,
)

from cubecrop.errors import OutputError, ReadError, SchemaError
from cubecrop.evaluation.about import Finding, FoldFacts
from cubecrop.evaluation.page.answers import answers
from cubecrop.evaluation.page.numbers import level_text, scored, share, signed
from cubecrop.evaluation.page.svg import Scale, nice_range, ticks
from cubecrop.evaluation.predictions import Predictions
from cubecrop.evaluation.report import Report


@pytest.fixture(scope="module")
def whole():
    return whole_report()


@pytest.fixture(scope="module")
def page(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    whole.write(folder)
    return folder / "report.html"


# Numbers and scales


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, ".50"), (1, "1.00"), (0, ".00"), (-0.05, "−.05"), (-0.001, ".00"), (NAN, "–")],  # noqa: RUF001
)
def test_a_share_has_two_digits(value, text):
    assert share(value) == text


def test_a_score_and_a_difference():
    row = {"value": 0.5, "spread": 0.02, "low": 0.45, "high": 0.55}
    assert scored(row) == ".50 ± .02 (.45–.55)"  # noqa: RUF001
    assert scored(row | {"spread": NAN}) == ".50 (.45–.55)"  # noqa: RUF001
    assert signed(-0.05, -0.08, 0.02) == "−.05 (−.08 to +.02)"  # noqa: RUF001


@pytest.mark.parametrize(
    ("variant", "level", "text"),
    [
        ("optical dates kept", 0.1, "10 %"), ("optical month lost", 6.0, "June"),
        ("no radar", NAN, ""), ("pixels", 16.0, "16"),
    ],
)  # fmt: skip
def test_a_level_in_words(variant, level, text):
    assert level_text(variant, level) == text


def test_scales_and_ticks():
    assert Scale(low=0, high=2, start=10, stop=30)(1) == 20
    assert Scale(low=1, high=100, start=0, stop=2, log=True)(10) == pytest.approx(1)
    assert nice_range([0.31, NAN, 0.58]) == pytest.approx((0.3, 0.6))
    assert nice_range([0.3, 0.3]) == pytest.approx((0.3, 0.4))
    assert nice_range([]) == (0, 1)
    assert ticks(0.3, 0.6, most=3) == pytest.approx([0.3, 0.4, 0.5, 0.6])
    assert ticks(-0.2, 0.1, most=3) == pytest.approx([-0.2, -0.1, 0, 0.1])


# Words


def answered(report):
    found = answers(report.tables, report.about, report.trust)
    assert len({one.question for one in found}) == len(found)
    return {one.question: " ".join([one.verdict, *one.sentences]) for one in found}


def test_each_answer_has_its_numbers(whole):
    found = answered(whole)
    assert "macro-F1 .80 ± .00" in found["How good is the model where it was trained?"]
    region = found["What does a new region cost?"]
    assert "Macro-F1 is .30 less than under random folds" in region
    assert "n = 400 parcels in 200 groups, 2 seeds" in region
    assert "“east”" in region
    assert "“west”" in region
    radar = found["Does radar help?"]
    assert "Radar helps in a new region: without it, macro-F1 changes by −.20" in radar  # noqa: RUF001
    assert "not distinguishable under random folds .00" in radar
    assert "No radar" in radar
    weather = found["Do weather and terrain help, and how should they enter?"]
    assert "“thermal sampling” (+.20, " in weather
    assert "forest" not in weather
    assert "random forest, weather" in found["How do other models compare?"]
    cloud = found["What does cloud cost?"]
    assert "Optical dates kept, 20 %: macro-F1 falls by .48" in cloud
    assert "80 %: not distinguishable" in cloud
    assert "June: lower" in cloud
    assert "From 50 on" in found["How many labelled parcels are enough?"]
    assert "4 of 4 crops" in found["How early in the season are crops known?"]
    assert "on day 200" in found["How early in the season are crops known?"]
    trust = found["Can its confidence be believed?"]
    assert "under random folds .80 " in trust
    assert "2.0 crops a set (n = 400)" in trust
    assert "Expected calibration error: under random folds .10 " in trust
    assert "outside of the known range" in trust


def test_an_answer_needs_data():
    found = answered(report_of(known(right={HOME: 0.8})))
    assert set(found) == {
        "How good is the model where it was trained?", "Which crops are hard?",
        "Can its confidence be believed?",
    }  # fmt: skip
    assert "crop set" not in found["Can its confidence be believed?"]


def test_no_difference_is_said_where_none_can_be_told():
    found = answered(report_of(known(right={HOME: 0.6, AWAY: 0.6, ("random", "terrain"): 0.6})))
    assert "No difference to random folds can be told" in found["What does a new region cost?"]
    terrain = found["Do weather and terrain help, and how should they enter?"]
    assert "“terrain” is not distinguishable" in terrain
    for word in ("higher", "lower"):
        assert word not in terrain


def test_a_crop_without_training_and_a_rare_one_are_named():
    rows = [{"truth": 0, "guess": 0}] * 30 + [{"truth": 1, "guess": 0}] * 9
    made = predictions_of(rows, ["maize", "flax"])
    report = report_of(made)
    fold = FoldFacts(protocol="random", name="1 of 5", n_train=3, n_test=39, only_in_test=("flax",))
    report = Report(made, replace(report.about, folds=(fold,)))
    text = answered(report)["Which crops are hard?"]
    assert "“flax” has fewer than 10 test parcels" in text
    assert "“flax” is absent from the training parts of 1 of 5" in text
    for rendered in (report.to_html(), markdown_of(report)):
        assert ".00 (.00–.00)†" in rendered  # noqa: RUF001


# Files


def test_a_report_is_written_and_read_again(whole, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "kept").write_text("a run")
    whole.write(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"about.json", "report.html", "report.md", "runs", "scores.parquet"}
    assert (tmp_path / "runs" / "kept").read_text() == "a run"
    again = Report.read(tmp_path)
    assert again.about == whole.about
    pd.testing.assert_frame_equal(again.tables.scores, whole.tables.scores)
    assert again.to_html() == (tmp_path / "report.html").read_text("utf-8")


def test_a_folder_without_a_report_is_refused(tmp_path, whole):
    with pytest.raises(ReadError, match=r"about\.json"):
        Report.read(tmp_path)
    (tmp_path / "about.json").write_text("{}")
    with pytest.raises(ReadError, match=r"scores\.parquet"):
        Report.read(tmp_path)
    whole.predictions.write(tmp_path / "scores.parquet")
    with pytest.raises(SchemaError, match="does not describe"):
        Report.read(tmp_path)


def test_a_report_that_cannot_be_written_is_an_error(tmp_path, whole):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        whole.write(tmp_path / "file")


def test_repr_names_leaks_and_scores(whole):
    text = repr(whole)
    assert text.startswith("<Report 'Made points' of ")
    assert "Leak: Random folds: 12 parcels are in both parts." in text
    assert "Random folds, network: macro-F1 .80 ± .00" in text
    assert "no duplicate" not in text
    html = whole._repr_html_()
    assert html.index("12 parcels") < html.index("<td") or "Leak" in html
    assert html.count("<tr>") == 1 + 1 + len(RIGHT)


def test_long_reports_have_short_reprs():
    right = {("random", f"model {n}"): 0.5 for n in range(15)}
    report = report_of(known(right=right, per_class=2, seeds=1))
    assert "and: 3 more" in repr(report)
    assert "12 of 15 rows" in report._repr_html_()


# The page as text


def test_leaks_come_first_and_all_findings_are_there(page):
    text = page.read_text("utf-8")
    leak, fine = text.index("12 parcels are in both"), text.index("no duplicate across folds")
    assert (
        text.index("<h1>") < leak < fine < text.index('id="answers"') < text.index('id="figures"')
    )
    assert 'class="finding leak" role="alert"' in text


def test_folds_without_a_check_are_called_unchecked():
    report = report_of(known(right={HOME: 0.8}))
    assert "not known whether they leak" in report.to_html()
    assert "not known whether they leak" in markdown_of(report)


def test_every_figure_has_a_title_and_a_description(page):
    text = page.read_text("utf-8")
    tags = Tags(text)
    figures = [one["id"] for one in tags.named("figure")]
    assert figures == [
        "figure-scores", "figure-gap", "figure-differences", "figure-parts", "figure-stress",
        "figure-sensors", "figure-early", "figure-days", "figure-sizes", "figure-reliability",
        "figure-coverage", "figure-calibration", "figure-applicability", "figure-confusion-0",
        "figure-confusion-1",
    ]  # fmt: skip
    ids = [one["id"] for _, one in tags.tags if "id" in one]
    assert len(set(ids)) == len(ids)
    for one in tags.named("svg"):
        assert one["role"] == "img"
        assert set(one["aria-labelledby"].split()) <= set(ids)
    links = [one["href"].removeprefix("#") for one in tags.named("a")]
    assert set(links) <= set(ids)
    assert len(links) == 6


def test_the_page_requests_nothing(page):
    text = page.read_text("utf-8")
    tags = Tags(text)
    kinds = {tag for tag, _ in tags.tags}
    assert not kinds & {
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "video",
        "audio",
        "base",
        "form",
    }
    assert [one for one in tags.named("script") if "src" in one] == []
    assert not re.search(r"url\(|@import|https?:", text)
    assert not any(name.startswith("on") for _, one in tags.tags for name in one)


def test_numbers_of_the_page_are_in_its_tables(whole, page):
    text = page.read_text("utf-8")
    for row in whole.tables.scores.query("variant == '' and score == 'macro_f1'").to_dict(
        "records"
    ):
        assert scored(row) in text
    assert "95 % interval" in text


def test_scores_by_area_are_in_both_forms(whole, page):
    for text in (page.read_text("utf-8"), markdown_of(whole)):
        assert "Scores by area" in text
        for row in whole.tables.areas.query("score == 'accuracy'").to_dict("records"):
            assert scored(row) in text
        assert "By area, its accuracy is" in text
    assert "Scores by area" not in markdown_of(report_of(known(right={HOME: 0.8})))


def test_scores_of_each_region_are_in_both_forms(whole, page):
    rows = whole.tables.folds.query("protocol == 'leave-region-out' and score == 'macro_f1'")
    assert {*rows["fold"]} == {"east", "west"}
    written = markdown_of(whole)
    assert "| New region | west | network |" in written
    for text in (page.read_text("utf-8"), written):
        assert "Scores by test part" in text
        for row in rows.to_dict("records"):
            assert scored(row) in text


def rows_below(text, heading):
    """Cells of the table below a heading of Markdown, without its head."""
    lines = text.split(f"\n## {heading}\n\n")[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_changed_samples_are_in_the_markdown(whole):
    scores = whole.tables.scores.query("variant != ''")
    f1 = scores.query("score == 'macro_f1'").to_dict("records")
    accuracy = scores.query("score == 'accuracy'").to_dict("records")
    found = rows_below(markdown_of(whole), "Scores under change")
    assert len(found) == len(f1) == len(VARIANTS) * len(RIGHT)
    assert [row[2:7] for row in found] == [
        [
            one["variant"], level_text(one["variant"], one["level"]), scored(one), scored(other),
            signed(one["change"], one["change_low"], one["change_high"]),
        ]
        for one, other in zip(f1, accuracy, strict=True)
    ]  # fmt: skip
    assert ["Random folds", "network", "optical dates kept", "20 %"] in [row[:4] for row in found]
    assert "Scores under change" not in markdown_of(report_of(known(right={HOME: 0.8})))


def test_early_seasons_are_in_the_markdown(whole):
    early = whole.tables.early.query("model == 'network'").to_dict("records")
    found = rows_below(markdown_of(whole), "Crops early in the season by network")
    assert [(row[1], row[3], row[4].split(" ")[0]) for row in found] == [
        (one["crop"], share(one["final_f1"]), f"{one['day']:.0f}") for one in early
    ]
    assert "200 (200 to never)" in {row[4] for row in found}
    assert "Crops early" not in markdown_of(report_of(known(right={HOME: 0.8})))


def test_names_from_strangers_are_text(tmp_path):
    right = {(p, m): 0.5 for p in ("random", EVIL[0]) for m in ("network", *EVIL)}
    variants = {(EVIL[1], 0.5): 0.5, (EVIL[2], NAN): 0.5}
    made = known(right=right, names=EVIL, regions=EVIL[:2], per_class=4, seeds=1, variants=variants)
    findings = [Finding(protocol=EVIL[0], level="leak", text=EVIL[0])]
    refusal = replace(REFUSED, model=EVIL[1], reason=EVIL[2], fold=EVIL[0])
    report = report_of(
        made, findings=findings, refusals=[refusal], title=EVIL[2],
        models=dict.fromkeys(("network", *EVIL), EVIL[1]),
    )  # fmt: skip
    about = replace(report.about, command=EVIL[0], version=EVIL[1])
    report = Report(made, about)
    html = report.to_html()
    tags = Tags(html)
    assert len(tags.named("script")) == 1
    assert "img" not in {tag for tag, _ in tags.tags}
    assert "onerror" not in {name for _, one in tags.tags for name in one}
    text = re.sub(r"(?<!\\)`[^`]*`", "", markdown_of(report))  # a code span holds no markup
    assert "<script" not in text
    assert "<img" not in text
    assert "[z](" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in rows} == {5, 7, 9}
    assert "<script" not in report._repr_html_()


# Size


def test_many_rows_make_a_small_page(tmp_path):
    """All models, protocols and crops of a large study, with few parcels of each crop."""
    right = {
        (protocol, model): 0.5
        for protocol in ("random", "blocked", "leave-region-out", "leave-year-out")
        for model in ("network", *(f"model {n}" for n in range(19)))
    }
    names = [f"crop {n}" for n in range(60)]
    made = known(
        right=right, names=names, regions=[f"r{n}" for n in range(10)], per_class=1, seeds=1
    )
    report = report_of(made)
    text = report.to_html()
    assert len(report.predictions) == 80 * 600
    assert len(text.encode()) < 5e6
    assert "all other classes" in text
    assert text.count("<figure") == 3 + 1 + 4 + 2


def test_a_table_of_very_many_rows_is_cut_with_a_word():
    right = {("leave-region-out", f"model {n}"): 0.5 for n in range(101)}
    made = known(right=right, regions=[f"r{n}" for n in range(10)], per_class=1, seeds=1)
    html = report_of(made).to_html()
    assert "The first 1,000 of 1,010 rows" in html


def test_predictions_that_are_all_missing_still_make_a_report():
    rows = [{"truth": i % 2, "guess": 0} for i in range(20)]
    made = predictions_of(rows, ["a", "b"], lost=range(20))
    report = report_of(made)
    assert "20 of these parcels have no prediction" in report.to_html()
    assert "no prediction" in report.to_html()
    assert isinstance(report.predictions, Predictions)
