"""Singular Edit: learn an attribute from one pair of prompts, save it, slide it on any picture, inside ComfyUI."""

WEB_DIRECTORY = "./web"
__version__ = "0.1.0"


async def comfy_entrypoint():
    """What ComfyUI calls; nothing is imported before."""
    from .nodes import SingularEditExtension

    return SingularEditExtension()
