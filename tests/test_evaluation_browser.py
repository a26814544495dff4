"""The page of a report in a real browser."""

import json
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from chromium import look, needs_chromium
from made_predictions import known
from made_reports import EVIL, RIGHT, Tags, report_of, whole_report

from cubecrop.evaluation.about import Finding


@pytest.fixture(scope="module")
def whole():
    return whole_report()


@pytest.fixture(scope="module")
def page(whole, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    whole.write(folder)
    return folder / "report.html"


@needs_chromium
def test_every_figure_is_drawn_and_the_console_is_empty(whole, page, tmp_path):
    seen = look(page.as_uri(), tmp_path)
    assert seen.console == []
    document = Tags(seen.document)
    assert len(document.named("svg")) == len(document.named("figure")) == 15
    assert len(document.named("polyline")) > 10
    tips = [one["data-tip"] for _, one in document.tags if "data-tip" in one]
    assert any("macro-F1 .80 ± .00" in tip and "n = 400" in tip for tip in tips)
    assert len(document.named("title")) == 1 + 15, "the script has taken the details of the marks"


_HOOK = """
const report = {};
const column = (table, n) => [...document.querySelector(table).tBodies[0].rows].map(
  (row) => row.cells[n].dataset.v ?? row.cells[n].textContent);
const click = (table, n) => document.querySelectorAll(`${table} th button`)[n].click();
click("#table-all-scores", 6); report.up = column("#table-all-scores", 6);
report.sorted = document.querySelector("#table-all-scores th[aria-sort]").getAttribute("aria-sort");
click("#table-all-scores", 6); report.down = column("#table-all-scores", 6);
click("#table-all-scores", 1); report.names = column("#table-all-scores", 1);
click("#table-all-scores", 8); report.gaps = column("#table-all-scores", 8);
const filter = document.querySelector("input[data-table=table-all-changed]");
filter.value = "JUNE optical"; filter.dispatchEvent(new Event("input"));
const rows = [...document.querySelector("#table-all-changed").tBodies[0].rows];
report.left = rows.filter((row) => !row.hidden).length;
const marks = [...document.querySelectorAll("#figure-scores [data-tip]")];
const at = { bubbles: true, clientX: 50, clientY: 50 };
marks[0].dispatchEvent(new PointerEvent("pointermove", at));
const tip = document.getElementById("tip");
report.tip = tip.hidden ? null : tip.textContent;
document.body.dispatchEvent(new PointerEvent("pointermove", { bubbles: true }));
report.gone = tip.hidden;
const boxes = [...document.querySelectorAll("svg")].map((figure) => figure.getBBox());
report.boxes = boxes.map((box) => [box.width, box.height]);
report.wide = document.documentElement.scrollWidth - innerWidth;
const out = document.createElement("pre");
out.id = "hook"; out.textContent = JSON.stringify(report); document.body.append(out);
"""


def hooked(page, tmp_path, script=_HOOK, *options):
    """What a script reports that runs after the page's own, without the page's policy."""
    text, n = re.subn(r"<meta http-equiv[^>]*>", "", page.read_text("utf-8"))
    assert n == 1
    other = tmp_path / "hooked.html"
    other.write_text(text.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    seen = look(other.as_uri(), tmp_path / "profile", "--dump-dom", *options)
    assert seen.console == []
    return json.loads(re.search(r'<pre id="hook">(.*?)</pre>', seen.document)[1])


@needs_chromium
def test_tables_sort_and_filter_and_marks_tell_details(whole, page, tmp_path):
    found = hooked(page, tmp_path)
    plain = whole.tables.scores.query("variant == '' and score == 'macro_f1'")
    up = [float(value) for value in found["up"]]
    assert up == pytest.approx(sorted(plain["value"]), abs=1e-5)
    assert len(up) == len(RIGHT)
    assert found["sorted"] == "ascending"
    assert found["down"] == found["up"][::-1]
    assert found["names"] == sorted(plain["model"])
    gaps = [float(value) for value in found["gaps"]]
    known_gaps = [value for value in gaps if np.isfinite(value)]
    assert known_gaps == sorted(known_gaps)
    assert len(known_gaps) == 2
    assert all(np.isnan(gaps[2:])), "missing values come last"
    assert found["left"] == len(RIGHT)
    assert found["tip"].startswith("network, Random folds\nmacro-F1 .80 ± .00")
    assert found["gone"]
    assert all(width > 100 and height > 40 for width, height in found["boxes"])
    assert found["wide"] <= 0


@needs_chromium
@pytest.mark.parametrize("width", [500, 1280])
def test_the_page_is_no_wider_than_its_window(page, tmp_path, width):
    assert hooked(page, tmp_path, _HOOK, f"--window-size={width},900")["wide"] <= 0


@needs_chromium
def test_one_request_is_made(page, tmp_path):
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *positional, **named):
            super().__init__(*positional, directory=page.parent, **named)

        def log_message(self, *_):
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        seen = look(f"http://127.0.0.1:{server.server_port}/report.html", tmp_path)
        server.shutdown()
    assert seen.console == []
    assert asked == ["/report.html"]


@needs_chromium
def test_the_browser_would_show_a_request_a_script_and_an_error(page, tmp_path):
    """The tests above can fail: the policy refuses what is added, and the console says so."""
    bad = '<img src="http://127.0.0.1:9/x.png"><script>console.log("in")</script></body>'
    other = tmp_path / "bad.html"
    other.write_text(page.read_text("utf-8").replace("</body>", bad), "utf-8")
    console = look(other.as_uri(), tmp_path / "one").console
    assert len(console) == 2
    assert all("Content Security Policy" in line for line in console)
    text = re.sub(r"<meta http-equiv[^>]*>", "", page.read_text("utf-8"))
    other.write_text(text.replace("</body>", "<script>nothing()</script></body>"), "utf-8")
    (line,) = look(other.as_uri(), tmp_path / "two").console
    assert "nothing is not defined" in line


@needs_chromium
def test_strange_names_run_nothing_in_a_browser(tmp_path):
    made = known(
        right={("random", m): 0.5 for m in ("network", *EVIL)}, names=EVIL, regions=EVIL[:2],
        per_class=4, seeds=1,
    )  # fmt: skip
    findings = [Finding(protocol="random", level="leak", text=EVIL[0])]
    report = report_of(made, title=EVIL[2], findings=findings)
    # Without the policy, so that escaping alone protects.
    text = re.sub(r"<meta http-equiv[^>]*>", "", report.to_html())
    (tmp_path / "evil.html").write_text(text, "utf-8")
    seen = look((tmp_path / "evil.html").as_uri(), tmp_path / "profile")
    assert seen.console == []
    assert "&lt;script&gt;console.log" in seen.document


@needs_chromium
def test_it_prints(page, tmp_path):
    out = tmp_path / "report.pdf"
    seen = look(page.as_uri(), tmp_path / "profile", f"--print-to-pdf={out}")
    assert seen.console == []
    assert out.read_bytes().count(b"/Type /Page\n") > 3
