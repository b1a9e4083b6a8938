"""What is typed: help, the version, arguments in another order, empty ones, ctrl-C and what the system refuses."""

from __future__ import annotations

import shlex
import tomllib
from pathlib import Path

import pytest
from singular_edit import cli
from singular_edit.commands.models import ModelChoice

pytest.importorskip("diffusers")

PACK = Path(__file__).resolve().parents[2]


def said(capsys, *command) -> str:
    """What a command prints that ends before anything is done."""
    with pytest.raises(SystemExit):
        cli.main(command)
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).split())


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("apply", ("usage: singular-edit apply ATTRIBUTE", "smile, glasses, hat, beard", "that the file advises")),
        ("invert", ("usage: singular-edit invert IN OUT [options]", "traced is exact", "(default: traced)")),
        ("learn", ("usage: singular-edit learn SOURCE TARGET", "how many pictures it learns from", "(default: good)")),
        ("demo", ("usage: singular-edit demo [options]", "(default: output)")),
        ("evaluate", ("usage: singular-edit evaluate [options]", "(default: 0)", "(default: 48)")),
    ],
)
def test_help_says_what_happens_and_its_example_can_be_typed(capsys, command, words):
    help_text = said(capsys, command, "--help")
    for some in words:
        assert some in help_text
    if command in ("apply", "invert"):
        assert "sampling steps (default: 25)" in help_text
        assert "coarser (default: 1.5)" in help_text
        assert "is read (default: 89478485)" in help_text
    assert "None" not in help_text
    example = shlex.split(help_text.split("example: ")[1])
    assert example[:2] == ["singular-edit", command]
    cli._parser().parse_args(example[1:])


def test_the_version_is_that_of_the_project(capsys):
    project = tomllib.loads((PACK / "pyproject.toml").read_text())["project"]
    assert said(capsys, "--version") == f"singular-edit {project['version']}"


def test_strengths_before_the_pictures_get_a_sentence(capsys):
    printed = said(capsys, "apply", "--strength", "0", "1", "hat", "pictures", "out")
    assert "usage: singular-edit apply ATTRIBUTE [ATTRIBUTE ...] IN OUT [options]" in printed
    assert "'hat' is no number; ATTRIBUTE, IN and OUT stand before --strength" in printed


@pytest.mark.parametrize(
    "command",
    [
        ("apply", "hat", "", "out"),
        ("apply", "hat", ".", ""),
        ("apply", "hat", ".", "out", "--mask", ""),
        ("invert", "", "out"),
        ("learn", "a face", "a hat", "--pictures="),
        ("demo", "--output", ""),
    ],
)
def test_an_empty_path_is_not_the_folder_one_is_in(capsys, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    assert "'' is no path" in said(capsys, *command)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_ctrl_c_is_said_in_one_line(tmp_path, capsys, monkeypatch):
    def interrupted(choice):
        raise KeyboardInterrupt

    monkeypatch.setattr(ModelChoice, "open", interrupted)
    assert cli.main(["learn", "a face", "a hat", "--output", str(tmp_path / "hat.safetensors")]) == 130
    assert capsys.readouterr().err == "\nsingular-edit: stopped.\n"


@pytest.mark.parametrize("command", ["demo", "evaluate"])
def test_a_file_in_the_place_of_a_folder_gets_a_sentence(tmp_path, capsys, command):
    file = tmp_path / "a file"
    file.touch()
    assert cli.main([command, "--output", str(file)]) == 2
    assert "is a file; a folder for the results is accepted" in capsys.readouterr().err


def test_what_the_system_refuses_gets_a_sentence(tmp_path, capsys):
    file = tmp_path / "a file"
    file.touch()
    assert cli.main(["demo", "--output", str(file / "folder")]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("singular-edit: '")
    assert "a file/folder' cannot be read or written (Not a directory)" in printed
    assert printed.count("\n") == 1
