"""The embedded face model: a renderer with counterfactuals, and a latent diffusion model trained on its faces."""
