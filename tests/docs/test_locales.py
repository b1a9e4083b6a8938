"""Every language says all that English says, about the nodes as they are."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCALES = ROOT / "locales"
TRANSLATIONS = ("zh", "ja", "ko")
# What vue-i18n, by which the page shows these texts, takes for its own syntax.
SYNTAX = re.compile(r"[{}|@]|\$t")


def definitions(language: str) -> dict:
    return json.loads((LOCALES / language / "nodeDefs.json").read_text(encoding="utf-8"))


def texts(tree: dict, path: tuple = ()) -> dict[tuple, str]:
    """Every text by the keys that lead to it."""
    found = {}
    for key, value in tree.items():
        found |= texts(value, (*path, key)) if isinstance(value, dict) else {(*path, key): value}
    return found


def test_english_is_what_the_nodes_say(pack_nodes):
    spec = importlib.util.spec_from_file_location("locales_build", LOCALES / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    assert definitions("en") == build.definitions(list(pack_nodes.values())), "run: python locales/build.py"


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_a_language_is_complete(language):
    english, translated = texts(definitions("en")), texts(definitions(language))
    assert set(english) == set(translated)
    for keys, text in translated.items():
        assert text.strip(), keys
        if keys[-1] in ("tooltip", "description"):
            assert text != english[keys], keys


@pytest.mark.parametrize("language", ["en", *TRANSLATIONS])
def test_the_page_can_show_every_text(language):
    for keys, text in texts(definitions(language)).items():
        assert not SYNTAX.search(text), keys


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_every_help_page_is_there(language):
    for node in definitions("en"):
        page = ROOT / "web" / "docs" / node / f"{language}.md"
        assert page.read_text(encoding="utf-8").startswith("# "), node
