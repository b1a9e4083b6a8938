"""``singular-edit demo`` and ``singular-edit evaluate``, on less than they ship with."""

import shutil

import pytest
from helpers.closed_form_faces import ClosedFormFaces
from singular_edit import cli
from singular_edit.core import SVDAttribute, load_hdirection
from singular_edit.core.recipes import defaults
from singular_edit.core.recipes.attributes import describe
from singular_edit.demo import attributes, faces, showcase
from singular_edit.demo.evaluation import edits, learning, run
from singular_edit.demo.evaluation.evaluated import open_model


@pytest.fixture
def no_loading(demo, monkeypatch):
    """The model that the tests share, in place of one loaded anew."""
    monkeypatch.setattr(showcase, "load", lambda: demo)
    monkeypatch.setattr(run, "open_model", lambda name: demo)


def test_the_demo_leaves_pictures_a_table_and_files(no_loading, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(showcase, "EFFORT", showcase.Effort(pairs=1, samples=4, training_steps=20))
    monkeypatch.setattr(showcase, "SEEDS", showcase.SEEDS[:1])
    monkeypatch.setattr(showcase, "ATTRIBUTES", ("glasses", "hat"))
    monkeypatch.setattr(defaults, "SHEET_STRENGTHS", (1.0,))
    assert cli.main(["demo", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    table = (tmp_path / "table.txt").read_text()
    assert table.strip() in printed
    assert "fixed_point" in table
    assert "ddim" in table
    for name in showcase.ATTRIBUTES:
        assert f"{name}, Latent SVD" in table
        assert f"{name}, readout" in table
    assert str(tmp_path / "contact_sheet.png") in printed
    assert "singular-edit evaluate" in printed.splitlines()[-1]
    assert (tmp_path / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    assert SVDAttribute.load(tmp_path / "glasses.svd.safetensors").name == "glasses"
    readout = load_hdirection(tmp_path / "glasses.readout.safetensors")
    assert readout.name == "glasses"
    said = describe(readout)
    assert "learned on Demo Face Model.\nFrom 'a face' to 'a face with glasses'." in said
    assert "\nLearned" in said


def test_an_evaluation_has_every_row_and_goes_on_where_it_stood(demo, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "open_model", lambda name: ClosedFormFaces.like(demo))
    command = ["evaluate", "--output", str(tmp_path), "--count", "1", "--share", "0.01", "--attributes", "glasses"]
    monkeypatch.setattr(defaults, "SHEET_STRENGTHS", (1.5,))
    shutil.copy(attributes.svd_path("glasses"), tmp_path)  # what is there already is not learned
    prompt_swap = edits.prompt_swap
    monkeypatch.setattr(edits, "prompt_swap", interrupted)
    assert cli.main(command) == 130
    assert "glasses, unedited" in (tmp_path / "evaluation.json").read_text()
    monkeypatch.setattr(edits, "prompt_swap", prompt_swap)
    for done in ("svd_attribute", "single_pairs", "readout", "trajectories"):
        monkeypatch.setattr(learning, done, interrupted)
    monkeypatch.setattr(edits, "unedited", interrupted)
    assert cli.main(command) == 0
    table = (tmp_path / "table.txt").read_text()
    rows = (
        "unedited",
        "prompt swap from T",
        "own pair",
        "one foreign pair",
        "mean of 1 pairs",
        "readout",
        "learned dh",
    )
    for row in (*rows, "difference dh", "symmetric", "random dh", "round trip"):
        assert row in table
    assert (tmp_path / "contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert cli.main([*command, "--seed", "1"]) == 2
    said = capsys.readouterr().err
    assert "count 1, share 0.01 and seed 0" in said
    assert said.count("\n") == 1


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


def test_bad_numbers_get_a_sentence(no_loading, tmp_path, capsys):
    assert cli.main(["evaluate", "--output", str(tmp_path), "--share", "0"]) == 2
    assert "share is 0" in capsys.readouterr().err
    (tmp_path / "evaluation.json").write_text("{}")
    assert cli.main(["evaluate", "--output", str(tmp_path)]) == 2
    assert "is not an evaluation" in capsys.readouterr().err


def test_a_folder_brings_a_model(tmp_path):
    (tmp_path / "model.py").write_text(
        "from singular_edit.demo.loader import load as embedded\n\n\ndef load():\n    return embedded('cpu')\n"
    )
    model = open_model(str(tmp_path))
    assert model.attributes == faces.ATTRIBUTES
    assert model.latent_shape == (4, 16, 16)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [(None, "where there is no model.py; unet, transformer and folders"), ("x = 1", "no function load")],
)
def test_a_folder_without_a_model_gets_a_sentence(tmp_path, text, sentence, capsys):
    if text is not None:
        (tmp_path / "model.py").write_text(text)
    assert cli.main(["evaluate", "--model", str(tmp_path), "--output", str(tmp_path / "output")]) == 2
    assert sentence in capsys.readouterr().err


def test_an_attribute_that_the_model_does_not_know_gets_a_sentence(no_loading, tmp_path, capsys):
    assert cli.main(["evaluate", "--attributes", "wings", "--output", str(tmp_path)]) == 2
    assert "attributes has 'wings'; this model knows smile" in capsys.readouterr().err
