"""A cheap core of docs/compatibility.md; python benchmarks/compatibility.py runs the whole of it."""

import pytest
import torch

CELLS = {
    "SD1.5 in bfloat16": ("Latent Invert, fixed_point", "Apply Attribute, readout"),
    "Flux in bfloat16": ("Apply Attribute, direction",),
    "SD2, zero terminal SNR": ("Latent Invert, fixed_point",),
    "after a v-prediction run of the same checkpoint": ("Latent Invert, traced",),
    "a LoRA hooked to the prompt": ("Latent Pair",),
    "weights cast at each use, with a LoRA (what --lowvram does)": ("learning a direction",),
    "FreeU_V2": ("learning a direction",),
    "an attention that is replaced, as by IP-Adapter": ("Asyrp Sampler",),
    "prompts with areas": ("Latent SVD Sampler",),
    "a noise mask (inpainting)": ("Apply Attribute, latent svd",),
}
REFUSED = {"video (Wan)": ("Latent Pair", "Latent SVD Sampler")}


@pytest.mark.parametrize("column", [*CELLS, *REFUSED])
def test_the_core_of_the_table(comfy, column):
    from compatibility_columns import COLUMNS
    from compatibility_rows import ROWS, outcome

    with torch.inference_mode():
        bench = COLUMNS[column]()
        before = bench.sample()
        for row in CELLS.get(column, ()):
            assert outcome(ROWS[row], bench, before) == "yes", row
        for row in REFUSED.get(column, ()):
            assert "has 5 dimensions" in outcome(ROWS[row], bench, before), row
