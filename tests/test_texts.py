"""Untrusted text in messages: visible, on one line, without markup or paths."""

from pathlib import Path

import pytest

from cubecrop.texts import (
    cell_text,
    json_text,
    one_line,
    place_name,
    printable,
    slug,
    without_paths,
)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("maize\n (grain)\t x", "maize (grain) x"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b1mbold", "bold"),
        ("\x1b]8;;https://example.org\x1b\\here\x1b]8;;\x07", "here"),
        ("bell\x07 nul\x00 del\x7f c1\x84", "bell nul del c1"),
        ("\u202eesrever\u202c \u2066x\u2069 \ufeffy", "esrever x y"),
        ("line\u2028separator\u0085next", "line separator next"),
        ("half \ud800 pair, none \uffff", "half \ufffd pair, none \ufffd"),
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d🌾 大豆 Blé $x$ [bold] <b>", "👩\u200d🌾 大豆 Blé $x$ [bold] <b>"),
        (b"", "b''"),
    ],
)
def test_a_line_is_what_a_reader_sees(given, shown):
    assert one_line(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [("=1+1", "'=1+1"), ("@x", "'@x"), ("+ maize\n", "'+ maize"), ("-1.5", "-1.5"), ("", "")],
)
def test_a_cell_is_no_formula(given, shown):
    assert cell_text(given) == shown


def test_long_lines_are_cut_where_asked():
    assert one_line("x" * 10_000, length=5) == "xxxx…"
    assert one_line("x" * 5, length=5) == "xxxxx"
    assert len(one_line("x" * 10_000)) == 10_000


def test_a_message_keeps_its_lines():
    assert printable("  a\x1b[2J\n\tb\x07") == "  a\n        b"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("/home/someone/archives/flanders", "flanders"),
        ("/home/someone/archives/flanders/", "flanders"),
        ("/home/someone/flanders/catalog.json", "flanders"),
        ("/home/someone/items.json", "items.json"),
        ("~/archives/flanders", "flanders"),
        ("../archives/flanders", "flanders"),
        ("C:\\Users\\someone\\flanders", "flanders"),
        ("\\\\server\\share\\flanders", "flanders"),
        ("file:///home/someone/my%20archive", "my archive"),
        ("https://user:word@example.org:8080/stac/v1?key=1#x", "https://example.org:8080/stac/v1"),
        ("s3://bucket/weather.zarr", "s3://bucket/weather.zarr"),
        ("planetary-computer", "planetary-computer"),
        ("made by hand/2", "made by hand/2"),
        ("", ""),
        ("http://[half", "http://[half"),
        ("x" * 5000, "x" * 5000),
    ],
)
def test_an_archive_has_a_name_and_no_path(place, name):
    assert place_name(place) == name


def test_a_relative_path_that_is_there_is_a_path(tmp_path, monkeypatch):
    (tmp_path / "data" / "flanders").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "data")
    assert place_name(Path("flanders")) == "flanders"
    assert place_name(".") == "data"
    assert place_name("..") == tmp_path.name
    monkeypatch.chdir(tmp_path)
    assert place_name("data/flanders") == "flanders"


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ("asset 'B02' cannot be read (/home/me/a b/B02.tif). Try", "(B02.tif)"),
        ("'/home/me/a b/B02.tif' not recognized", "'B02.tif'"),
        ("/home/me/archive/B02.tif: No such file", "B02.tif: No such file"),
        ("open C:\\Users\\me\\B02.tif failed", "open B02.tif failed"),
        ("(https://example.org/home/B02.tif).", "(https://example.org/home/B02.tif)."),
        ("3/4 of the file and 10 m/s", "3/4 of the file and 10 m/s"),
        ("EPSG:32631 lies at lon 3.0/lat 50", "EPSG:32631 lies at lon 3.0/lat 50"),
    ],
)
def test_messages_name_files_and_no_folders(told, left):
    short = without_paths(told)
    assert left in short
    assert "/home/me" not in short
    assert "Users" not in short


def test_what_lies_beside_an_item_keeps_its_last_folders():
    item = "/srv/some one/archive/s2/S2A_1/S2A_1.json"
    told = "/srv/some one/archive/s2/S2A_1/B02.tif is cut short"
    assert without_paths(told, [item, "", "https://example.org/x.json"]) == "B02.tif is cut short"


def test_slugs_and_json():
    assert slug("Blé tendre, d'hiver") == "ble_tendre_d_hiver"
    assert slug("大豆") == ""
    assert len(slug("x" * 10_000)) == 50
    assert json_text(["大"]) == '["大"]'
    assert json_text(["\ud800"]) == '["\\ud800"]'
