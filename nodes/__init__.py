"""The nodes, one file a family. A node is a schema, a conversion, and one call into the core."""

from comfy_api.latest import ComfyExtension, io

from . import asyrp, demo, directions, files, hspace, invert, pair, schedule, svd, svd_sampler, svd_tools


class SingularEditExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            node
            for family in (invert, pair, svd, svd_sampler, svd_tools, asyrp, hspace, directions, schedule, files, demo)
            for node in family.NODES
        ]
