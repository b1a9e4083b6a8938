"""Loaded diffusers pipelines: invert, learn, edit, and the pieces that work in a plain ``pipe(...)`` call.

    attached        singular_edit.attach and what it returns
    plain_calls     its parts that work in a plain pipe(...) call
    arguments       what callers give, checked
    code            an inverted picture
    pictures        PIL pictures, arrays and tensors of any size, and back
    masks           the same of masks
    pixels          one reader for both; ../cropping.py cuts both
    recognise       which kind of pipeline this is
    model           what every pipeline gives: prompts, VAE, noise; unet_model and flow_model say the rest
    lesson          what is to be learned, and by which settings
    learning        attributes from two texts
    network_use     one call at a time on a network
    step_callback   Latent SVD as a callback_on_step_end
    slider          readouts as hooks

The recipes of core/recipes do the work.
"""
