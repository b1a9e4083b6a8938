"""``singular-edit --model`` on a checkpoint in one file: the weights of a small pipeline under a checkpoint's names."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from singular_edit import cli

pytest.importorskip("diffusers")

# The small pipeline's U-Net, as ComfyUI describes one.
UNET = {
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "transformer_depth": [0, 1],
    "transformer_depth_output": [0, 0, 1, 1],
    "transformer_depth_middle": 1,
}


@pytest.fixture(scope="module")
def files(comfy, tmp_path_factory):
    """(checkpoint, folder of the configuration, folder of the same pipeline)."""
    import comfy.utils
    from comfy.diffusers_convert import convert_vae_state_dict
    from helpers.pipelines import tiny_pipeline

    folder = tmp_path_factory.mktemp("models")
    pipe = tiny_pipeline("sd15")
    pipe.save_pretrained(folder / "whole")
    shutil.copytree(folder / "whole", folder / "config", ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    names = comfy.utils.unet_to_diffusers(UNET)
    weights = {f"model.diffusion_model.{names[key]}": value for key, value in pipe.unet.state_dict().items()}
    vae = convert_vae_state_dict(pipe.vae.state_dict())
    # ComfyUI numbers the levels of a VAE of four; this one has two.
    for here, there in (("decoder.up.3.", "decoder.up.1."), ("decoder.up.2.", "decoder.up.0.")):
        vae = {key.replace(here, there): value for key, value in vae.items()}
    weights |= {f"first_stage_model.{key}": value for key, value in vae.items()}
    text = pipe.text_encoder.state_dict()
    prefix = "cond_stage_model.transformer.text_model."
    weights |= {prefix + key.removeprefix("text_model."): value for key, value in text.items()}
    save_file({key: value.contiguous().clone() for key, value in weights.items()}, folder / "tiny.safetensors")
    return folder / "tiny.safetensors", folder / "config", folder / "whole"


def test_a_checkpoint_is_its_pipeline(files, tmp_path):
    checkpoint, config, whole = files
    generator = torch.Generator().manual_seed(0)
    pixels = (255 * torch.rand(16, 16, 3, generator=generator)).to(torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "a.png")
    noises = []
    for name, more in ((checkpoint, ["--config", str(config)]), (whole, [])):
        out = tmp_path / name.name
        command = ["invert", str(tmp_path / "a.png"), str(out), "--model", str(name), "--steps", "3", *more]
        assert cli.main([*command, "--prompt", "a face", "--size", "16", "--device", "cpu"]) == 0
        noises.append((out / "a.png.safetensors").read_bytes())
        assert json.loads((out / "manifest.jsonl").read_text())["round_trip_db"] >= 100
    assert noises[0] == noises[1]


def test_without_a_configuration_it_gets_a_sentence(files, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    assert cli.main(["invert", str(tmp_path / "a.png"), str(tmp_path / "out"), "--model", str(files[0])]) == 2
    said = capfd.readouterr().err
    assert "whose configuration is not on this machine; give --config" in said
    assert "Traceback" not in said
