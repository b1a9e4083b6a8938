"""Singular Edit: learn an attribute from one pair of prompts, save it, slide it on any picture, inside ComfyUI.

With diffusers, ``singular_edit.attach(pipe)`` does the same; importing the package imports nothing else until then.
"""

WEB_DIRECTORY = "./web"
__version__ = "0.1.0"

# What type checkers and editors take for true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .backends.pipeline.attached import attach as attach


async def comfy_entrypoint():
    """What ComfyUI calls; nothing is imported before."""
    from .nodes import SingularEditExtension

    return SingularEditExtension()


def __getattr__(name):
    """Import ``attach`` when it is first asked for."""
    if name == "attach":
        from .backends.pipeline.attached import attach

        return attach
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return [*globals(), "attach"]
