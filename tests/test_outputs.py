"""What end-to-end results say about classes, calibration and archive, also on the command line."""

import json
import shutil
import warnings
from contextlib import suppress

import geopandas as gpd
import numpy as np
import pytest
from fields import CORNERS, make_parcels, write_images
from test_cli import ask, run
from test_train_table import extraction

import cubecrop
from cubecrop import cli, printing
from cubecrop.errors import ArchiveError, LabelError, ModelFormatError, OutputError
from cubecrop.pipeline import tiled_samples

TABLE = (
    "code;name;colour\nMIS;maize;#010203\nAVO;oats;#040506\nBTH;wheat [bold]x[/]$\\frac{;#070809\n"
)
CONFIG = cubecrop.TrainConfig(epochs=1, n_pixels=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An archive in a private folder, and parcels whose crop is a code or a name."""
    home = tmp_path_factory.mktemp("private")
    write_images(home / "images", 2024)
    crops = [("BTH" if j else "wheat [bold]x[/]$\\frac{") if i < 2 else "MIS" for i, j in CORNERS]
    make_parcels(crops=crops).to_parquet(home / "parcels.parquet")
    (home / "crops.csv").write_text(TABLE)
    return home


@pytest.fixture(scope="module")
def model(folder):
    parcels = folder / "parcels.parquet"
    return cubecrop.train(
        parcels, "crop", 2024, archive=folder / "images", config=CONFIG, progress=False,
        nomenclature=folder / "crops.csv",
    )  # fmt: skip


def test_a_model_has_the_codes_and_colours_of_its_nomenclature(model):
    # Oats, which no parcel has, are no class.
    assert model.nomenclature.codes == ["MIS", "BTH"]
    assert model.nomenclature.names == ["maize", "wheat [bold]x[/]$\\frac{"]
    assert model.nomenclature.colours == ["#010203", "#070809"]
    assert model.nomenclature.name == "crops"
    assert sum(model.training.parcels.values()) + sum(model.training.held_out.values()) == 16


def test_predictions_have_code_and_name(model, folder):
    table = cubecrop.classify_parcels(
        folder / "parcels.parquet", 2024, archive=folder / "images", model=model, progress=False
    )
    names = dict(zip(model.nomenclature.codes, model.nomenclature.names, strict=True))
    assert table["crop:name"].tolist() == [names[code] for code in table["crop:code"]]
    assert table["crop"].iloc[0] == "wheat [bold]x[/]$\\frac{"  # as it was declared
    assert table.attrs["model_calibration"] == "uncalibrated"
    assert table.attrs["model_digest"] == model.digest


def test_labels_that_a_nomenclature_lacks_are_named_before_a_search(folder):
    parcels = gpd.read_parquet(folder / "parcels.parquet")
    odd = parcels.assign(crop=["rye", "barley", *parcels["crop"][2:]])
    for nomenclature in (
        folder / "crops.csv",
        cubecrop.Nomenclature.from_csv(folder / "crops.csv"),
    ):
        with pytest.raises(LabelError, match=r"2 labels are neither .*'barley', 'rye'\. Add"):
            cubecrop.train(odd, "crop", 2024, archive="nowhere", nomenclature=nomenclature)
        with pytest.raises(ArchiveError, match="nowhere"):
            cubecrop.train(parcels, "crop", 2024, archive="nowhere", nomenclature=nomenclature)
    with pytest.raises(LabelError, match="nomenclature is a dict, expected a Nomenclature or"):
        cubecrop.train(parcels, "crop", 2024, archive="nowhere", nomenclature={})
    one = parcels.assign(crop="MIS")
    with pytest.raises(
        LabelError, match=r"\(column 'crop'\) hold only the class 'maize', expected"
    ):
        cubecrop.train(one, "crop", 2024, archive="nowhere", nomenclature=folder / "crops.csv")


def test_a_table_of_samples_learns_a_nomenclature(tmp_path):
    samples = extraction(tmp_path / "table.parquet")
    (tmp_path / "crops.csv").write_text("code,name\n1,wheat\n2,maize\ngrass,Gras\n3,oats\n")
    model = cubecrop.train_table(
        samples, "crop", nomenclature=tmp_path / "crops.csv", config=CONFIG, progress=False
    )
    assert model.nomenclature.names == ["wheat", "maize", "Gras"]
    assert model.nomenclature.codes == ["1", "2", "grass"]
    assert set(model.training.parcels) == {"wheat", "maize", "Gras"}


def test_no_output_holds_the_path_of_the_archive(model, folder, tmp_path):
    assert model.training.archives == ("images",)
    model.save(tmp_path / "model")
    crop_map = cubecrop.classify(
        folder / "parcels.parquet", 2024, archive=folder / "images", model=model
    )
    assert crop_map.attrs["archive"] == "images"
    cubecrop.write_map(crop_map, folder / "map", progress=False)
    secret = folder.name.encode()
    for path in (*(tmp_path / "model").iterdir(), *(folder / "map").iterdir()):
        assert secret not in path.read_bytes(), path.name
    item = json.loads((folder / "map" / "item.json").read_text())
    assert item["properties"]["cubecrop:archive"] == "images"
    assert item["properties"]["cubecrop:calibration"] == "uncalibrated"


def test_two_folders_of_one_name_are_two_in_the_cache(folder, tmp_path, monkeypatch):
    keys = []

    def stop(_folder, key, _make, **_options):
        keys.append(key)
        raise InterruptedError

    monkeypatch.setattr(tiled_samples, "stored", stop)
    (tmp_path / "other").mkdir()
    twin = shutil.copytree(folder / "images", tmp_path / "other" / "images")
    monkeypatch.chdir(folder)
    # A folder has one place, however it is named.
    for archive in (folder / "images", "images", twin):
        with pytest.raises(InterruptedError):
            cubecrop.train(
                folder / "parcels.parquet", "crop", 2024, archive=archive, cache=tmp_path / "cache"
            )
    assert keys[0] == keys[1] != keys[2]


def test_the_command_line_says_what_a_confidence_is_worth(folder, tmp_path, capsys):
    parcels, where = folder / "parcels.parquet", ["--year", "2024", "--archive", folder / "images"]
    train = ["train", parcels, "--label", "crop", *where, "--epochs", "1", "--out"]
    assert run(*train, tmp_path / "model", "--nomenclature", folder / "crops.csv") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "has 2 crops. No parcel has the other crops that crops.csv lists" in told
    assert "The model is uncalibrated" in told
    use = [*where, "--model", tmp_path / "model", "--out"]
    out = tmp_path / "found [bold]x.gpkg"
    assert run("classify-parcels", parcels, *use, out, "--columns", "plain") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "The model is uncalibrated" in told
    assert "found [bold]x.gpkg" in told.replace(" ", "").replace("found[", "found [")
    found = gpd.read_file(out)
    assert set(found["predicted_code"]) <= {"MIS", "BTH"}
    np.testing.assert_allclose(
        found["probability_maize"] + found["probability_wheat_bold_x_frac"], 1, atol=1e-5
    )
    assert run("classify", "--aoi", parcels, *use, tmp_path / "map") == 0
    assert "The model is uncalibrated" in " ".join(capsys.readouterr().out.split())


def test_columns_that_a_file_cannot_hold_are_refused_before_a_search(folder, tmp_path):
    odd = tmp_path / "odd.parquet"
    gpd.read_parquet(folder / "parcels.parquet").assign(ID=1).to_parquet(odd)
    where = ["--year", "2024", "--archive", "nowhere", "--model", "none", "--out"]
    with pytest.raises(OutputError, match="columns 'id' and 'ID' would clash"):
        ask("classify-parcels", odd, *where, tmp_path / "p.gpkg")
    # By plain names they are two.
    with pytest.raises(ModelFormatError, match="none"):
        ask("classify-parcels", odd, *where, tmp_path / "p.gpkg", "--columns", "plain")


@pytest.mark.parametrize("error", [None, ArchiveError("item"), SystemExit(0)])
def test_a_warning_on_the_command_line_is_one_line_without_commands(monkeypatch, error):
    before, told = warnings.formatwarning, []

    def warn(*_, **__):
        message = UserWarning("item \x1b[2Jx")
        told.append(warnings.formatwarning(message, UserWarning, "file.py", 3))
        if error is not None:
            raise error

    monkeypatch.setattr(cli, "app", warn)
    with suppress(SystemExit):
        cli.main()
    assert told == ["warning: item x\n"]
    assert warnings.formatwarning is before


def test_untrusted_text_does_not_control_the_terminal(capsys, monkeypatch):
    console = printing.plain_console()
    table = printing.Table(title="[red]title[/] :star:")
    table.add_column("[bold]a[/]")
    table.add_row("\x1b[31mx\x1b[0m\u202e :star: [link=http://a.b]")
    console.print(table)
    console.print("folder [/] \x1b]0;title\x07\ud800")
    out = capsys.readouterr().out
    for word in ("[red]title[/] :star:", "[bold]a[/]", "x :star: [link=http://a.b]", "folder [/]"):
        assert word in out
    assert "\x1b" not in out
    assert "\u202e" not in out

    def fail(*_, **__):
        raise ArchiveError("item \x1b[2Jx\u202e of [bold]a\n  b")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    told = capsys.readouterr().err
    assert "item x of [bold]a\n  b" in told
    assert "\x1b[2J" not in told
