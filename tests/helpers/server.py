"""An unmodified ComfyUI server with the pack in custom_nodes, and comfy-cli's commands."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import torch

PACK = Path(__file__).resolve().parents[2]


def comfy_cli(*arguments: str, cwd: Path, home: Path) -> subprocess.CompletedProcess:
    """Run comfy-cli, with its settings in a folder of its own and its telemetry off."""
    program = Path(sys.executable).parent / ("comfy.exe" if os.name == "nt" else "comfy")
    settings = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "DO_NOT_TRACK": "1", "COMFY_NO_WATCH": "1"}
    return subprocess.run(
        [program, "--skip-prompt", *arguments],
        cwd=cwd,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=600,
    )


def copied_pack(folder: Path) -> Path:
    """Copy what git knows or would add of the pack into a new repository: comfy-cli packs what git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PACK,
        capture_output=True,
        text=True,
    )
    names = [name for name in listed.stdout.split("\0") if name and (PACK / name).is_file()]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACK / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    return folder


class Server:
    """A ComfyUI server on the CPU, on a free port.

    Args:
        comfyui: Where ComfyUI is.
        base: A folder for models and outputs, with the pack in its custom_nodes.
    """

    def __init__(self, comfyui: Path, base: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = base / "server.log"
        options = ["--cpu", "--base-directory", str(base), "--port", str(self.port), "--disable-auto-launch"]
        self.process = subprocess.Popen(
            [sys.executable, "main.py", *options],
            cwd=comfyui,
            stdout=self.log.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )
        self._wait()

    def _wait(self) -> None:
        for _ in range(240):
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.5)
        raise RuntimeError("ComfyUI did not start:\n" + self.log.read_text()[-3000:])

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path) as response:
            return json.load(response)

    def picture(self, image: dict) -> np.ndarray:
        """An image of /history as [H, W, 3] numbers from 0 to 255."""
        from PIL import Image

        query = "&".join(f"{key}={value}" for key, value in image.items())
        with urllib.request.urlopen(f"{self.url}/view?{query}") as response:
            return np.asarray(Image.open(io.BytesIO(response.read())).convert("RGB"), dtype=float)

    def queue(self, prompt: dict) -> dict:
        """Queue an API workflow and wait, long enough for a busy machine.

        Returns the entry of /history, or what /prompt refused it with.
        """
        body = json.dumps({"prompt": prompt}).encode()
        request = urllib.request.Request(f"{self.url}/prompt", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as response:
                key = json.load(response)["prompt_id"]
        except urllib.error.HTTPError as refused:
            return json.load(refused)
        return self.finished(key)

    def finished(self, key: str) -> dict:
        """Wait for a queued prompt to end, and return its entry of /history."""
        for _ in range(3600):
            history = self.get(f"/history/{key}")
            if history:
                return history[key]
            time.sleep(0.25)
        raise TimeoutError(self.log.read_text()[-3000:])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
