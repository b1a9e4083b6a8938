"""Inversion: find, for a picture, the code from which a sampler returns the picture."""
