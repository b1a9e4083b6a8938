"""Run lint, format check, types and all tests, in an environment beside the pack: ``python tests/run.py``.

The environment is made once. Where a ComfyUI is found its requirements are installed too, with the torch release that
its torchvision and torchaudio go with; otherwise the tests that need one are skipped. Tests run in two to four
processes, a file in each: models this small gain little from threads. Further arguments go to pytest.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "backends"))  # nothing of the pack is installed yet
from find_comfyui import find_comfyui

PACK = Path(__file__).resolve().parents[1]
PROCESSES = max(2, min(4, (os.cpu_count() or 2) // 2))
NO_COMFYUI = (
    "No ComfyUI found: its tests will be skipped (set COMFYUI_PATH, or: pip install comfy-cli && comfy install)."
)
CHECKS = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"])
TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]


def main() -> int:
    """Install what is missing, check, test; return the exit status."""
    comfyui = find_comfyui()
    scripts = _environment(comfyui)
    if comfyui is None:
        print(NO_COMFYUI, flush=True)
    for check in CHECKS:
        if subprocess.run([scripts / check[0], *check[1:]], cwd=PACK).returncode:
            print(f"{' '.join(check)} is not content, so the tests were not run.")
            return 1
    # The console script, not "python -m pytest": that would put the root on the path, where nodes/ shadows ComfyUI's.
    tests = [scripts / "pytest", "-n", str(PROCESSES), "--dist", "loadfile", "--no-loadscope-reorder", *sys.argv[1:]]
    return subprocess.run(tests, cwd=PACK, env=_compiling_into(scripts.parent / "compiled")).returncode


def _compiling_into(folder: Path) -> dict[str, str]:
    """Return this process's variables, with which Python compiles a file once for all processes of the tests.

    ComfyUI's folder and the pack's stay as they are; what is never imported is never compiled.
    """
    variables = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def _environment(comfyui: Path | None) -> Path:
    """Install the pack with its tests' requirements and ComfyUI's, unless that was done; return the scripts' folder."""
    home = PACK / (".venv-comfyui" if comfyui else ".venv")
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    wanted = ["-e", f"{PACK}[cli,test]"]
    inputs = [PACK / "pyproject.toml"]
    if comfyui is not None:
        wanted += [*TORCH, "-r", str(comfyui / "requirements.txt")]
        inputs.append(comfyui / "requirements.txt")
    stamp = home / "installed"
    fingerprint = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    if not stamp.exists() or stamp.read_text() != fingerprint:
        if not scripts.exists():
            venv.create(home, with_pip=True)
        install = [scripts / "python", "-m", "pip", "install", "-q", "--no-compile", *wanted]
        subprocess.run(install, check=True)
        stamp.write_text(fingerprint)
    return scripts


if __name__ == "__main__":
    raise SystemExit(main())
