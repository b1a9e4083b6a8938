"""Files of SVD attributes, and what an attribute reports."""

from dataclasses import replace

import pytest
import torch
from helpers.tensors import noise
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from singular_edit.core import EditError, SVDAttribute, apply_attribute, learn_attribute


def learn(count):
    x = noise((count, 4, 16, 16), 0)
    bump = 1.5 * torch.outer(torch.hann_window(16), torch.hann_window(16))
    return learn_attribute(x, x + bump, info={"name": "bump"})


def test_save_and_load_keep_everything(bump, tmp_path):
    path = tmp_path / "sub" / "bump.safetensors"
    bump = replace(bump, growth=torch.tensor([0.7, 1.0, 1.2, 1.5]))
    bump.save(path)
    again = SVDAttribute.load(path)
    x = noise((1, 4, 16, 16), 1)
    assert torch.equal(apply_attribute(x, bump, 1.0), apply_attribute(x, again, 1.0))
    assert again.name == "bump"
    assert again.sigma == bump.sigma
    assert torch.equal(again.growth, bump.growth)
    assert [file.name for file in path.parent.iterdir()] == ["bump.safetensors"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_file_keeps_the_source_of_one_pair(tmp_path, seed):
    attribute = learn(1)
    attribute.save(tmp_path / "one.safetensors")
    again = SVDAttribute.load(tmp_path / "one.safetensors")
    x = noise((1, 4, 16, 16), seed)  # 0 is the attribute's own code
    assert torch.equal(apply_attribute(x, again, 1.0), apply_attribute(x, attribute, 1.0))


def test_a_file_of_several_pairs_has_no_source(tmp_path):
    learn(2).save(tmp_path / "many.safetensors")
    assert SVDAttribute.load(tmp_path / "many.safetensors").source is None


def test_a_file_with_half_a_source_is_refused(tmp_path):
    path = tmp_path / "one.safetensors"
    learn(1).save(path)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        header = file.metadata()
    del tensors["source.v"]
    save_file(tensors, path, header)
    with pytest.raises(EditError, match=r"lacks source\.v"):
        SVDAttribute.load(path)
