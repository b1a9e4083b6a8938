"""Every shipped default that is not the default of a settings class, once.

Settings classes hold the rest, each beside what it sets: LearnSettings, EditSettings and PairSettings in
recipes/settings.py, AttributeSettings in latent_svd/learn.py, QUALITIES in inversion/report.py.
Defaults were chosen on the embedded model of drawn faces, on seeds 60000 and up, by the command beside each.
"""

from __future__ import annotations

from ..fitting import Training

STEPS = 25  # sampling steps of an edit

# Guidance of an inversion and of the way back; by hand: enough for prompts to be heard, little enough to invert.
EDIT_GUIDANCE = 1.5
# Guidance of both prompts where new pictures are drawn to learn from; an attribute comes more surely than at 1.5.
LEARN_GUIDANCE = 2.0

# Where pairs of codes are taken and attributes applied, as sampling progress, so that it means the same for every
# number of steps, spacing and shift:
# python benchmarks/latent_svd.py ablation --first 60000 --variants default "T_x step"
T_X_PERCENT = 0.68
# An attribute that replaces what it covers is applied at this share of the progress that it was learned at: the model
# then has more steps to complete it, and glasses and hats come to more faces:
# python benchmarks/latent_svd.py ablation --first 60000 --variants default "mean applied"
COVER_APPLIED_AT = 0.94
# Where two prompts may branch, likewise; each picture takes the latest that will do. From 0 on, because how early an
# attribute is decided depends on the model:
# python benchmarks/latent_svd.py ablation --first 60000 --variants default "pairs branch at step"
BRANCH_PERCENTS = (0.0, 0.08, 0.16, 0.24, 0.32, 0.4, 0.48)
# Noise levels at which pictures are asked whether they show the attribute, as sampling progress, and with how many
# noises. They are spread over where prompts matter, because which of them tell most depends on attribute and model:
# python benchmarks/latent_svd.py ablation --first 60000 --variants default "evidence"
EVIDENCE_PERCENTS = (0.2, 0.4, 0.6)
EVIDENCE_NOISES = 2
# With fewer pairs none is left out: the attribute would be learned from a single pair, which makes another kind of
# attribute (core/latent_svd/transfer_gain.py).
LEFT_OUT_PAIRS = 3
# A prompt swap that keeps the layout begins here; a baseline of the tables.
SWAP_PERCENT = 0.24
# The same as steps of the "normal" schedule with STEPS steps.
T_X_STEP = round(T_X_PERCENT * STEPS)
BRANCH_STEPS = tuple(round(percent * STEPS) for percent in BRANCH_PERCENTS)
SWAP_STEP = round(SWAP_PERCENT * STEPS)
# The strength at which an attribute is there, to begin with: 1 is a whole SVD attribute, on its own code and on others,
# and the full scale of one that carries a response (slide.py):
# python benchmarks/slider.py
THERE = 1.0
# The scale of what is learned in h-space at strength 1, in units of strength; and the strength to begin with of older
# files, which carry no response, so that their strength is the scale.
FULL_SCALE = 1.5
# The range of a slider of strength. Below and above, a picture is damaged more than it changes:
# python benchmarks/hspace.py strengths --strengths -3 -2 -1 1 2 3 4
SLIDER_LOW = -2.0
SLIDER_HIGH = 3.0
# The same of an attribute that carries a response:
# python benchmarks/slider.py
RESPONSE_LOW = -1.0
RESPONSE_HIGH = 1.4
# Sampling progress until which learning in h-space looks and edits in it are made. Later, an edit in few steps loses
# more than it brings, and samplers that look back at earlier steps damage a picture, ComfyUI's uni_pc most of all:
# python benchmarks/carry_over.py --ways readout --first 60000 --steps 10 25 --end 0.9
# python benchmarks/samplers.py
END_PERCENT = 0.8
# A picture that the full scale changes by less than this share of what it usually changes is tried at scales multiplied
# by these factors, one after the other:
# python benchmarks/retries.py
WEAK_CHANGE = 0.8
RETRY_FACTORS = (1.5, 2.0)
# A larger scale is kept where it changes a picture by this much more than in proportion. A picture that has the
# attribute answers 1.5 times the scale with .6 to 1.1 of that, one that it comes to only then with 1.1 to 5.
RETRY_JUMP = 1.1
# What a sheet of strengths shows.
SHEET_STRENGTHS = (-1.0, 0.0, 0.5, 1.0, 1.5)
# Sampling steps of a prepared picture, by its quality.
QUALITY_STEPS = {"fast": 15, "good": STEPS, "best": 50}
# Training of the paper's network predictor, where it is asked for in place of the closed form.
PREDICTOR_TRAINING = Training(steps=1000, learning_rate=1e-2)
# Pairs that an attribute is learned from where many can be drawn.
PAIRS = 24
# So many times as many are drawn at most, because some pictures have the attribute already and some never get it. Of 48
# noises of the embedded U-Net 35 make a pair of a beard, 40 of a hat and 42 of glasses.
SPARE_PAIRS = 2

# Noises that the unit of strength is measured on.
CALIBRATION_NOISES = 32
# Fewer for a readout, whose unit is measured in few steps:
# python benchmarks/learning_cost.py calibration
READOUT_CALIBRATION_NOISES = 16
# Noises that a readout learns from: so many for a bottleneck of so many places, such as the embedded model's, chosen by
# python benchmarks/learning_cost.py quality
READOUT_SAMPLES = 512
READOUT_PLACES = 16
# A bottleneck of k times as many places takes 1 / k ** READOUT_EXPONENT of these noises. By hand: SDXL at 1024 pixels
# then takes less than 1000 evaluations. What a place teaches beside a noise: python benchmarks/learning_cost.py places
READOUT_EXPONENT = 0.56
READOUT_MIN_SAMPLES = 51
# Noises, training steps and start of learning in h-space. For directions that move h they were chosen against 128
# noises, 600 training steps, a start at 0.32 and a batch of 16, glasses and hat, by
# python benchmarks/hspace.py strengths --strengths 1.5 [--samples 128 --steps 600 --start 0.32 --batch 16]
LEARN_SAMPLES = 512
TRAINING_STEPS = 1000
# Where learning in h-space may begin, as sampling progress: the latest of these from which the target prompt still
# makes the share START_SHARE of its change, measured in so many steps after the last of them. Of a start that is too
# early, a picture's layout pays; of one that is too late, the attribute:
# python benchmarks/learning_cost.py start
START_PERCENTS = (0.0, 0.08, 0.16, 0.24)
START_SHARE = 0.65
START_STEPS_AFTER = 3
# It is measured on this share of the noises that are learned from, and on no fewer than so many. Of hats on the
# embedded U-Net 8 noises measure a share at 0.24 of .53 to .83, 32 noises one of .70 to .78:
# python benchmarks/learning_cost.py start_noises
START_NOISES_SHARE = 1 / 16
START_MIN_NOISES = 8
# Pictures that a training step looks at: recorded bottlenecks for a readout, pictures through the decoder otherwise.
READOUT_TRAINING_BATCH = 16
TRAINING_BATCH = 8
# Peak learning rate of maps; networks learn at a tenth of it.
LEARNING_RATE = 3e-2
# The direction that method clip learns.
CLIP_DIRECTION = "implicit"
# How deep h of a transformer is read and moved, as a share of the blocks that have a stream of image tokens of their
# own. Late, where readouts read best. Directions that move h come nearer to the true picture from the middle, 0.5, but
# a smile then comes to fewer faces:
# python benchmarks/layers.py [--method combined --samples 96 --steps 300]
BLOCK_DEPTH = 0.8
