"""Scores of a model in words, on screen and on disk."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from samples import CROPS, make_samples

import cubecrop
from cubecrop.errors import ModelFormatError
from cubecrop.model import BASELINE, CropModel, difference, part_scores
from cubecrop.model.description import score_notes, score_text, share_text
from cubecrop.scoreboard import print_classes, print_scores

#: Four held-out parcels of grass (3 right), two of maize (1 right, 1 without prediction).
TRUTH = np.array([0, 0, 0, 0, 1, 1])
GUESS = np.array([0, 0, 0, 1, 1, 255])


@pytest.fixture(scope="module")
def bare():
    samples, labels = make_samples()
    config = cubecrop.TrainConfig(epochs=1, n_pixels=4)
    return cubecrop.fit(samples, labels, config=config, progress=False)


@pytest.fixture
def model(bare):
    forest = {**part_scores(TRUTH, TRUTH, CROPS), "difference": difference(-1 / 3, (-0.7, -0.01))}
    found = {"held out": part_scores(TRUTH, GUESS, CROPS), BASELINE: forest}
    return replace(bare, scores=found)


def shown(call, model, width=80):
    text = io.StringIO()
    call(Console(file=text, width=width, highlight=False), model)
    return text.getvalue()


def test_scores_by_class_by_hand(model):
    values = model.scores["held out"]
    assert values["confusion"] == [[3, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert values["per_class"] == {
        "grass": {"n": 4, "precision": 1.0, "recall": 0.75, "f1": pytest.approx(6 / 7)},
        "maize": {"n": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5},
        "wheat": {"n": 0, "precision": None, "recall": None, "f1": None},
    }


def test_all_scores_come_back_from_disk_as_plain_json(model, tmp_path):
    folder = model.save(tmp_path / "model")
    assert CropModel.load(folder).scores == model.scores
    assert CropModel.load(folder).digest == model.digest

    def refuse(text):
        raise AssertionError(f"{text} is no JSON")

    item = json.loads((folder / "model.json").read_text(), parse_constant=refuse)
    kept = item["properties"]["cubecrop:model"]["scores"]["held out"]
    assert kept["confusion"] == [[3, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert kept["per_class"]["maize"]["precision"] == 0.5
    assert set(kept["intervals"]) == {"accuracy", "macro_f1", "mean_iou"}


def test_a_model_with_only_four_scores_is_read_and_printed(bare, tmp_path):
    four = {"n": 50.0, "accuracy": 0.881, "macro_f1": 0.5, "mean_iou": 0.25}
    old = replace(bare, scores={"held out": four})
    again = CropModel.load(old.save(tmp_path / "model"))
    assert again.scores == {"held out": four}
    assert ".881" in shown(print_scores, again)
    assert "has no scores by class" in shown(print_classes, again)
    assert "accuracy .881" in repr(again)
    with pytest.raises(ModelFormatError):
        CropModel.load(replace(bare, scores={"held out": {"n": 5.0}}).save(tmp_path / "damaged"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8814, ".881"), (1.0, "1.000"), (0.0, ".000"), (None, "-"), (float("nan"), "-")],
)
def test_a_share_in_three_digits(value, text):
    assert share_text(value) == text


def test_a_score_has_its_interval_beside_it():
    values = {"accuracy": 0.881, "intervals": {"accuracy": [0.84, 0.914]}}
    assert score_text(values, "accuracy") == ".881 (.84-.91)"
    values["intervals"]["accuracy"] = [0.8791, 0.8829]
    assert score_text(values, "accuracy") == ".881 (.879-.883)"


def test_few_parcels_and_a_better_forest_are_mentioned(model):
    notes = " ".join(score_notes(model))
    assert "6 held-out parcels: these scores say little" in notes
    assert "differ by -.33 in accuracy (-.70 to -.01): the random forest is better" in notes
    many = replace(model, scores=model.scores | {"held out": model.scores["held out"] | {"n": 30}})
    assert "say little" not in " ".join(score_notes(many))


@pytest.mark.parametrize(
    ("lead", "says"),
    [
        (
            (0.01, (-0.03, 0.05)),
            "differ by +.01 in accuracy (-.03 to +.05): the difference is not significant.",
        ),
        ((0.0, (0.0, 0.0)), "differ by 0 in accuracy (0 to 0): the difference is not significant."),
        ((0.2, (0.1, 0.3)), "differ by +.20 in accuracy (+.10 to +.30): the network is better"),
    ],
)
def test_the_difference_in_words(model, lead, says):
    row = model.scores[BASELINE] | {"difference": difference(*lead)}
    assert says in " ".join(score_notes(replace(model, scores={BASELINE: row})))


def test_no_held_out_parcel_is_mentioned(model):
    alone = replace(model, scores={"train": model.scores["held out"]})
    assert score_notes(alone) == [
        "No parcel was held out: scores are those of the training parcels."
    ]
    assert "Classes, train parcels" in shown(print_classes, alone)


def test_scores_fit_a_terminal_of_80_columns(model):
    text = shown(print_scores, model)
    assert "…" not in text
    assert "held out, random forest 6 1.000 (.61-1.00)" in text


def test_classes_and_confusion_on_screen(model):
    lines = [line.split() for line in shown(print_classes, model).splitlines()]
    assert ["1", "grass", "4", "1.000", ".750", ".857", "1.000"] in lines
    assert ["3", "wheat", "0", "-", "-", "-", "-"] in lines
    assert ["true", "\\", "predicted", "1", "2", "3", "none"] in lines
    assert ["1", "grass", "3", "1", ".", "."] in lines
    assert ["2", "maize", ".", "1", ".", "1"] in lines


def test_a_matrix_wider_than_the_terminal_becomes_a_list_of_mistakes(bare):
    names = [f"a crop of number {i}" for i in range(40)]
    truth = np.repeat(np.arange(40), 3)
    guess = np.where(np.arange(120) % 3 == 2, (truth + 1) % 40, truth)
    guess[:3] = 7
    values = part_scores(truth, guess, names)
    wide = replace(bare, scores={"held out": values})
    text = shown(print_classes, wide)
    assert "Largest confusions" in text
    assert "a crop of number 0 a crop of number 7 3" in " ".join(text.split())
    assert "…" not in text
    assert "1 a crop of number 0" in shown(print_classes, wide, width=300).split("Confusion")[1]


def test_a_crop_named_like_markup_is_only_a_name(bare):
    names = ["[red]maize[/]", "[/]", "wh\x1b[31meat\n"]
    values = part_scores(TRUTH, GUESS, names)
    record = replace(bare.training, never_held_out=("[/bold]",))
    odd = replace(bare, scores={"held out": values}, training=record)
    assert "[/bold]" in shown(print_scores, odd)
    text = shown(print_classes, odd)
    assert "1 [red]maize[/]" in text
    assert "3 wheat" in text
