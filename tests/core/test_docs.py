"""The documentation keeps up: every error has an entry, every link and every named command leads to a file."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from singular_edit import core

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = (
    ROOT / "cli.py",
    *(
        path
        for folder in ("core", "backends", "nodes", "demo", "commands")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ),
)
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "web" / "docs").glob("*.md")),
)
README_LINES = 130

# A sentence is recognised by the first words of its first literal part that is as long as this, or of its longest one.
LITERAL = 12
WORDS = 5

# [text](target "title"), ![alt](target), <img src="target">
MARKDOWN_LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?[^)]*\)")
HTML_LINK = re.compile(r"(?:src|href)=\"([^\"]+)\"")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"python3? +(benchmarks/\S+?\.py)\b")
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def words(text: str) -> str:
    """The text on one line, without the quotes of code and of names."""
    return " ".join(re.sub(r"[`'*]", " ", text).split())


def literals(sentence: ast.expr, constants: dict[str, ast.expr]) -> list[str]:
    """The literal parts of a string, of an f-string, of a sum of those, or of a constant of the module."""
    match sentence:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return [part.value for part in values if isinstance(part, ast.Constant)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*literals(left, constants), *literals(right, constants)]
        case ast.Name(id=constant) if constant in constants:
            return literals(constants[constant], {})
    return []


def called(node: ast.AST) -> str:
    """The name that is called: "EditError" for EditError(...) and for errors.EditError(...)."""
    if not isinstance(node, ast.Call):
        return ""
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def shown(tree: ast.Module) -> Iterator[tuple[int, ast.expr]]:
    """(line, sentence) of all that a module shows a user instead of a result."""
    for node in ast.walk(tree):
        if called(node) in ("EditError", "ExecutionBlocker"):
            yield node.lineno, node.args[0]
        elif isinstance(node, ast.FunctionDef) and node.name == "validate_inputs":
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and not isinstance(inner.value, ast.Constant | None):
                    yield inner.lineno, inner.value


def sentences() -> list:
    found = []
    for path in PACKAGE:
        tree = ast.parse(path.read_text())
        constants = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for line, sentence in shown(tree):
            parts = literals(sentence, constants)
            long_enough = [part for part in parts if len(part) >= LITERAL]
            literal = long_enough[0] if long_enough else max(parts, key=len, default="")
            found.append(pytest.param(literal, id=f"{name(path)}:{line}"))
    return found


@pytest.mark.parametrize("literal", sentences())
def test_every_error_has_an_entry_in_troubleshooting(literal):
    page = words((ROOT / "docs" / "troubleshooting.md").read_text())
    beginning = " ".join(words(literal).split()[:WORDS])
    assert beginning, "an error says its sentence where it is raised, or in a constant of its module"
    assert beginning in page, f"docs/troubleshooting.md has no entry with the words: {beginning}"


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = HEADING.findall(CODE_BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_to_a_heading_of_a_file(page):
    text = CODE_BLOCK.sub("", page.read_text())
    targets = [*MARKDOWN_LINK.findall(text), *HTML_LINK.findall(text)]
    missing = []
    for target in (target for target in targets if not ELSEWHERE.match(target)):
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            missing.append(target)
    assert missing == []


@pytest.mark.parametrize("page", [*PAGES, *BENCHMARKS, *PACKAGE], ids=name)
def test_every_benchmark_that_is_named_exists(page):
    named = sorted(set(COMMAND.findall(page.read_text())))
    missing = [command for command in named if not (ROOT / command).is_file()]
    assert missing == []


def test_the_readme_can_be_read_in_one_go():
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


def test_the_api_page_names_what_the_core_exports():
    page = (ROOT / "docs" / "api.md").read_text()
    exported = set(re.findall(r"\*\*(\w+)\*\*", page.split("## Public names")[1]))
    assert exported == set(core.__all__)


ROW = re.compile(r"^\| \[(core/\S+)\.py\]\(\S+\) \| (.*) \|$", re.MULTILINE)


@pytest.mark.parametrize(("module", "names"), ROW.findall((ROOT / "docs" / "api.md").read_text()))
def test_a_row_of_the_api_page_names_what_its_module_has(module, names):
    module = importlib.import_module(f"singular_edit.{module.replace('/', '.')}")
    named = re.findall(r"(?:\*\*|`)(\w+)(?:\*\*|`)", names)
    assert [name for name in named if not hasattr(module, name)] == []


def test_the_words_of_the_glossary_are_in_order():
    words = re.findall(r"^- \*\*(.*?)\*\*", (ROOT / "docs" / "glossary.md").read_text().split("## All words")[1], re.M)
    assert words == sorted(words, key=str.casefold)


def test_the_examples_of_the_api_page_run_as_they_stand(tmp_path, monkeypatch):
    pytest.importorskip("diffusers")
    monkeypatch.chdir(tmp_path)
    script = tmp_path.with_suffix(".py")
    script.write_text("\n".join(EXAMPLE.findall((ROOT / "docs" / "api.md").read_text())))
    names = runpy.run_path(str(script))
    assert bool(names["model"].judged(names["pictures"])[0, names["faces"].ATTRIBUTES.index("glasses")])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "glasses.readout.safetensors",
        "glasses.svd.safetensors",
    ]
