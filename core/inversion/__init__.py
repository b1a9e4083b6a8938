"""From a picture to the code from which a sampler gives the picture back."""
