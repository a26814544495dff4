"""What `repr` and a notebook show: one screen, with untrusted text escaped."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from samples import CROPS, make_samples

import cubecrop
from cubecrop.archive import StacApiArchive
from cubecrop.archive.providers import PROVIDERS
from cubecrop.display import listed, plain
from cubecrop.model import TrainingRecord, part_scores
from cubecrop.nomenclature import Crop, Nomenclature
from cubecrop.testing import Place, season_scenes, write_archive

EVIL = "<script>alert('x')</script>"


class Tags(HTMLParser):
    """Tags and texts of a piece of HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert "url(" not in value
            assert "//" not in value

    def handle_data(self, data):
        self.texts.append(data)


def shown(thing):
    """Texts of an object's HTML, which holds tables and swatches and nothing that is fetched."""
    found = Tags(thing._repr_html_())
    assert set(found.tags) <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "span"}
    return " ".join(found.texts)


def one_screen(thing):
    lines = repr(thing).splitlines()
    assert len(lines) <= 24
    return "\n".join(lines)


@pytest.fixture(scope="module")
def model():
    samples, labels = make_samples()
    names = dict(zip(CROPS, (EVIL, "maize", "wheat"), strict=True))
    config = cubecrop.TrainConfig(epochs=1, n_pixels=4, validation=0.4)
    model = cubecrop.fit(samples, [names[x] for x in labels], config=config, progress=False)
    values = part_scores([0, 1, 2, 2], [0, 1, 2, 1], model.nomenclature.names)
    return replace(model, scores={"held out": values}, name=EVIL)


def test_a_model_shows_classes_season_and_scores(model):
    for text in (one_screen(model), shown(model)):
        for part in (
            EVIL, "maize", "wheat", "sentinel2 (B02 B03", "sentinel1 (vv vh, gamma0, ascending)",
            "1 September of the year before to 31 October", "12 parcels of 2018 in made by hand",
            ".750 (.30-.95)", "not calibrated", model.digest[:12],
        ):  # fmt: skip
            assert part in text
        assert "Linear" not in text
    assert "say little" in shown(model)


def test_a_model_of_252_classes_is_one_screen(model):
    crops = tuple(
        Crop(code=f"{i}", name=f"crop {i} " + "long " * 40, colour="#123456") for i in range(252)
    )
    many = Nomenclature(crops=crops, name="many\nlines")
    text = one_screen(many)
    assert "many lines" in text
    assert "252 classes" in text
    assert "and 240 more" in text
    assert max(map(len, text.splitlines())) < 600
    assert "and 212 more" in shown(many)


def test_a_calibrated_model_says_so(model):
    from cubecrop.model import Calibration

    calibration = Calibration(temperature=1.2, alpha=0.1, threshold=0.2, n=300)
    assert "confidence: calibrated on 300 parcels" in repr(model.with_calibration(calibration))


def test_unknown_properties_of_a_model_are_not_shown(model):
    bare = replace(model, scores={}, season_window=None, training=TrainingRecord())
    text = one_screen(bare)
    assert "season: any, on the dates of the images" in text
    assert "trained on" not in text
    assert "Scores" not in shown(bare)
    monthly = replace(model, composite="month", season_window=((-2, 12, 1), (0, 2, 29)))
    told = "1 December of the year -2 to 29 February, by month"
    assert told in repr(monthly)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_archive(tmp_path_factory.mktemp("shown") / "archive", season_scenes(2018))


def test_an_archive_is_a_line(archive):
    found = cubecrop.open_archive(archive)
    text = repr(found)
    assert re.fullmatch(
        r"<FileArchive '.*' of provider 'local', \d+ items: .*sentinel-2-l2a \(\d+\)>", text
    )
    api = StacApiArchive("https://example.org/\x1b[31m", PROVIDERS["planetary-computer"])
    assert "sentinel-2-l2a" in repr(api)
    assert "\x1b" not in repr(api)
    cached = cubecrop.open_archive("earth-search", cache="answers")
    assert repr(cached).startswith("<CachedArchive of <StacApiArchive 'https://earth-search.aws")
    assert "answers kept in 'answers'" in repr(cached)


def test_scenes_are_counted(archive):
    scenes = cubecrop.search(Place().bbox, 2018, archive=archive)
    optical = scenes.of("sentinel2")
    days = sorted({scene.solar_day for scene in optical})
    told = f"{len(optical)} scenes on {len(days)} dates, {days[0]} to {days[-1]}"
    older = replace(scenes, superseded=optical[:3], archive=EVIL)
    for text in (one_screen(older), shown(older)):
        assert told in text
        assert "3 older processings" in text
        assert EVIL in text
        assert "2018 (2017-09-01 to 2018-10-31)" in text
    assert "older" not in repr(scenes)


def test_a_season_in_words():
    text = shown(cubecrop.Season(2018))
    assert "1 September 2017" in text
    assert "31 October 2018" in text
    assert "426" in text


def test_plain_text_is_one_printable_line():
    assert plain("a\n\x1b[31mb\u202e") == "a b"
    assert plain("x" * 100, longest=10) == "x" * 9 + "…"
    assert listed("abc", most=2) == "a, b and 1 more"
