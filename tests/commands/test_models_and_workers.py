"""The commands with models of other people, and on Ray's workers."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import torch
from folders import workers_below
from helpers.folder_commands import FEW, apply, records, results
from singular_edit import cli

pytest.importorskip("diffusers")


@pytest.mark.parametrize("folder", [True, False])
def test_other_models_are_opened(tmp_path, faces, capfd, folder):
    """A folder that save_pretrained wrote; a damaged checkpoint."""
    from helpers.pipelines import tiny_pipeline

    pytest.importorskip("transformers")
    model = tmp_path / "model"
    tiny_pipeline("sd15").save_pretrained(model)
    if not folder:
        checkpoint = tmp_path / "a.safetensors"
        checkpoint.write_bytes(b"no checkpoint")
        command = ["invert", str(faces / "1.png"), str(tmp_path / "out"), "--model", str(checkpoint)]
        assert cli.main(command) == 2
        assert "is no checkpoint that diffusers knows" in capfd.readouterr().err
        assert cli.main([*command, "--config", str(model)]) == 2
        assert "cannot be loaded" in capfd.readouterr().err
        return
    command = ["invert", str(faces / "1.png"), str(tmp_path / "out"), "--model", str(model), *FEW, "--size", "16"]
    assert cli.main([*command, "--precision", "bfloat16", "--device", "cpu"]) == 0
    record = records(tmp_path / "out")["1.png"]
    assert record["size"] == [16, 16]
    assert record["round_trip_db"] >= 100


def test_ray_does_the_same_also_with_a_lost_worker(faces, whole, tmp_path, monkeypatch):
    pytest.importorskip("ray.data")
    import ray

    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    killed = []

    def kill_one():
        while not list(tmp_path.glob("*.png")):
            time.sleep(0.02)
        for pid in workers_below(os.getpid())[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    thread = threading.Thread(target=kill_one, daemon=True)
    thread.start()
    try:
        assert cli.main(apply(faces, tmp_path, "--ray", "--workers", "2")) == 0
    finally:
        ray.shutdown()
    thread.join()
    assert len(killed) == 1
    assert results(tmp_path) == whole
    assert len(records(tmp_path)) == 6
