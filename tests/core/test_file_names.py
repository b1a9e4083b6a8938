"""Names of files stay in their folder, on any platform, and nobody overwrites a stranger's file."""

from __future__ import annotations

import pytest
from singular_edit.core import EditError
from singular_edit.core.errors import QUOTED, plain_text
from singular_edit.core.file_names import check_file_name, claim


@pytest.mark.parametrize(
    "name", ["hat", "people/hat", "gro\u00dfe H\u00fcte/a b", "attributes/attribute", "%year%/hat", "\u5e3d\u5b50"]
)
def test_plain_names_are_accepted(name):
    assert check_file_name(name, "filename_prefix") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/hat",
        "../hat",
        "people/../../hat",
        "people/./hat",
        "people//hat",
        "C:hat",
        "C:\\hat",
        "..\\hat",
        "people\\hat",
        "hat.",
        "hat ",
        " hat",
        "NUL",
        "con.txt",
        "people/COM1",
        "a\0b",
        "a\nb",
        "a\ud800b",
        "\u202egnp",
        "h" * 300,
        "\u5e3d" * 100,
        "a/" * 20 + "b",
        "what?",
        "hat.safetensors:stream",
    ],
)
def test_names_that_leave_the_folder_or_are_impossible_somewhere_get_a_sentence(name):
    with pytest.raises(EditError, match="filename_prefix is") as raised:
        check_file_name(name, "filename_prefix")
    assert len(str(raised.value)) <= 300
    assert str(raised.value).isprintable()


def test_a_name_is_taken_once(tmp_path):
    path = tmp_path / "people" / "hat.safetensors"
    assert claim(path)
    path.write_bytes(b"mine")
    assert not claim(path)
    assert path.read_bytes() == b"mine"


def test_a_name_below_a_file_gets_a_sentence(tmp_path):
    (tmp_path / "people").write_bytes(b"")
    with pytest.raises(EditError, match=r"'hat' cannot be saved"):
        claim(tmp_path / "people" / "hat")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a\tb\n c", "a b c"),
        ("x\0\ud800\u202ey", "x y"),
        ("k" * 1000, "k" * (QUOTED - 3) + "..."),
        ("k" * QUOTED, "k" * QUOTED),
        ("", ""),
    ],
)
def test_texts_of_strangers_become_plain(text, plain):
    assert plain_text(text) == plain
