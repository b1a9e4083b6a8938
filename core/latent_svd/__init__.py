"""Latent SVD: attributes as singular atoms of latents (arXiv 2502.02225)."""
