"""An attribute that is known by construction."""

import pytest
import torch
from helpers.tensors import noise
from singular_edit.core import LossWeights, learn_attribute
from singular_edit.core.latent_svd.learn import AttributeSettings


@pytest.fixture(scope="session")
def bump():
    """An attribute of two pairs: brighter by 1.5 in the middle, 16 x 16."""
    x = noise((2, 4, 16, 16), 0)
    z = x + 1.5 * torch.outer(torch.hann_window(16), torch.hann_window(16))
    return learn_attribute(x, z, AttributeSettings(rank=16, weights=LossWeights(1, 0, 0, 0)), info={"name": "bump"})
