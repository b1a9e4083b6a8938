"""The house keeps its plan: who may import whom, how long a file may be, and where a default stands."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACK = Path(__file__).resolve().parents[2]
ROOMS = ("core", "backends", "demo", "commands", "nodes", "workflows", "benchmarks", "docs", "tests")
FILES = [PACK / "__init__.py", PACK / "cli.py"]
for room in ROOMS:
    FILES += sorted((PACK / room).rglob("*.py"))
NAMES = [path.relative_to(PACK).as_posix() for path in FILES]
FAMILIES = ("inversion", "latent_svd", "hspace")
# What a file of each room may import of the pack, beside its own room.
BELOW = {
    "core": (),
    "backends": ("core",),
    "demo": ("core", "backends"),
    "commands": ("core", "backends", "demo"),
    "nodes": ("core", "backends", "demo"),
}


def imported(name: str) -> set[str]:
    """The modules of the pack that a file imports, as paths from its root: "core/hspace/window"."""
    path = PACK / name
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        folder = path.parent
        for _ in range(node.level - 1):
            folder = folder.parent
        base = folder.joinpath(*(node.module or "").split("."))
        for alias in node.names:
            target = base / alias.name
            whole = target.with_suffix(".py").exists() or (target / "__init__.py").exists()
            found.add((target if whole else base).relative_to(PACK).as_posix())
    return found


def room_of(module: str) -> str:
    return module.split("/")[0]


@pytest.mark.parametrize("name", [name for name in NAMES if room_of(name) in BELOW])
def test_nothing_imports_upwards(name):
    room = room_of(name)
    others = {room_of(module) for module in imported(name)} - {room}
    assert others <= set(BELOW[room])


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(tuple(f"core/{f}/" for f in FAMILIES))])
def test_families_of_the_core_do_not_import_each_other(name):
    family = name.split("/")[1]
    allowed = {
        f"core/{family}",
        "core/denoiser",
        "core/samplers",
        "core/saliency",
        "core/fitting",
        "core/prompt_evidence",
    }
    allowed |= {"core/files", "core/tensor_file", "core/limits", "core/errors", "core/layers", "core/response"}
    allowed.add("core/model_family")
    if name == "core/hspace/edit_schedule.py":  # a picture's schedule is found by inverting it
        allowed.add("core/inversion")
    outside = [m for m in imported(name) if not any(m == a or m.startswith(f"{a}/") for a in allowed)]
    assert outside == []


def test_the_core_imports_torch_and_safetensors_alone():
    outside = set()
    for name in NAMES:
        if not name.startswith("core/"):
            continue
        for node in ast.walk(ast.parse((PACK / name).read_text())):
            if isinstance(node, ast.Import):
                outside |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                outside.add((node.module or "").split(".")[0])
    import sys

    assert outside - set(sys.stdlib_module_names) == {"torch", "safetensors"}


def test_modules_of_the_core_have_no_circle():
    graph = {
        name.removesuffix(".py").removesuffix("/__init__"): imported(name) for name in NAMES if "core/" in name[:5]
    }
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module in done:
            return
        for other in graph.get(module, ()):
            # A package's own list of its modules is no dependency of them.
            if other not in ("core", "core/hspace"):
                visit(other, (*path, module))
        done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_short_and_its_characters_are_plain(name):
    text = (PACK / name).read_text()
    assert len(text.splitlines()) <= 300
    assert all(ord(character) < 256 for character in text)


def test_help_pages_and_nodes_are_as_many():
    pages = {path.stem for path in (PACK / "web" / "docs").glob("*.md")}
    ids = set()
    for path in (PACK / "nodes").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("SingularEdit"):
                ids.add(node.value)
    assert pages == ids


def test_importing_the_pack_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, singular_edit; print(sorted({'torch', 'diffusers', 'numpy', 'comfy'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
