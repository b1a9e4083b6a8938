"""Where the core meets a model: diffusers U-Nets (engineers, tests) and any MODEL inside ComfyUI (nodes)."""
