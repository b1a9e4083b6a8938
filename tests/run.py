"""Make (once) an environment beside the pack, then run lint, format check and all tests in it: ``python tests/run.py``.

Where a ComfyUI is found its requirements are installed too, with the torch release its torchvision and torchaudio
go with; otherwise the tests that need one are skipped. Tests run in two to four processes, a file in each: models this
small gain little from threads. Further arguments go to pytest.
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
CHECKS = (["ruff", "check", "--quiet"], ["ruff", "format", "--check", "--quiet"])
TORCH = ["torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0"]


def main() -> int:
    comfyui = find_comfyui()
    home = PACK / (".venv-comfyui" if comfyui else ".venv")
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    wanted = [[*TORCH, "-r", str(comfyui / "requirements.txt")]] if comfyui else []
    wanted.append(["-e", f"{PACK}[cli,test]"])
    inputs = [PACK / "pyproject.toml"] + ([comfyui / "requirements.txt"] if comfyui else [])
    stamp, fingerprint = home / "installed", hashlib.sha256(b"".join(p.read_bytes() for p in inputs)).hexdigest()
    if not stamp.exists() or stamp.read_text() != fingerprint:
        venv.create(home, with_pip=True)
        for arguments in wanted:
            subprocess.run([python, "-m", "pip", "install", "-q", *arguments], check=True)
        stamp.write_text(fingerprint)
    if not comfyui:
        print(
            "No ComfyUI found: its tests will be skipped (set COMFYUI_PATH, or: pip install comfy-cli && comfy install).",
            flush=True,
        )
    for check in CHECKS:
        if subprocess.run([python.parent / check[0], *check[1:]], cwd=PACK).returncode:
            print(f"{' '.join(check)} found the lines above; the tests were not run.")
            return 1
    # The console script, not "python -m pytest": that would put the root on the path, where nodes/ shadows ComfyUI's.
    return subprocess.run(
        [python.parent / "pytest", "-n", str(PROCESSES), "--dist", "loadfile", "--no-loadscope-reorder", *sys.argv[1:]],
        cwd=PACK,
    ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
