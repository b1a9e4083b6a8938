"""The nodes, one file a family. A node is a schema, a conversion, and one call into the core."""

from comfy_api.latest import ComfyExtension, io

from . import (
    apply_attribute,
    asyrp_sampler,
    asyrp_schedule,
    demo,
    edit_picture,
    files,
    hspace_directions,
    hspace_learn,
    hspace_pca,
    inversion,
    latent_svd,
    latent_svd_learn,
    latent_svd_sampler,
    latent_svd_spectrum,
    latent_svd_tools,
    learn_attribute,
    prepare_picture,
    prompt_pair,
    traced_sampler,
)
from .input_checks import with_checked_inputs

FAMILIES = (
    learn_attribute,
    apply_attribute,
    prepare_picture,
    edit_picture,
    inversion,
    traced_sampler,
    prompt_pair,
    latent_svd_learn,
    latent_svd,
    latent_svd_sampler,
    latent_svd_tools,
    latent_svd_spectrum,
    asyrp_sampler,
    hspace_learn,
    hspace_directions,
    hspace_pca,
    asyrp_schedule,
    files,
    demo,
)


class SingularEditExtension(ComfyExtension):
    """What ComfyUI asks for the pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return every node, in the order of the families."""
        nodes: list[type[io.ComfyNode]] = []
        for family in FAMILIES:
            nodes += [with_checked_inputs(node) for node in family.NODES]
        return nodes
