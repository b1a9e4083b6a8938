"""Where the core meets a model: diffusers U-Nets (engineers, tests) and any MODEL inside ComfyUI (nodes).

Beside them stand perceptual distances between pictures, and the search for an installed ComfyUI.
"""
