"""Latent SVD: attributes as singular atoms of latents (arXiv 2502.02225), and how they reach another picture.

An *atom* is a rank-one matrix u_j v_j^T of one channel, with its singular value s_j. A *code* is a noisy latent. An
attribute is the edit that turns one code into another, kept as atoms. In the order of use:

- ``prompt_pairs``: sample a pair of codes, with and without the attribute; when two prompts branch;
- ``svd``, ``avi``, ``predictor``: integrate the pair;
- ``learn``, ``attribute``: make an attribute of it, and keep it in a file;
- ``apply``: apply it to a code;
- ``alignment``: where it lies in another picture;
- ``transfer_gain``: how strong it is on another picture, whose code is not the one it was learned from;
- ``combine``: add several attributes; ``atoms``: scale or swap single atoms of a code;
- ``subspaces``: measure how near two codes are.
"""
