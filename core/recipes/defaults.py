"""Every shipped default, once."""

from __future__ import annotations

STEPS = 25
EDIT_GUIDANCE = 1.5  # of inversion and of the way back
LEARN_GUIDANCE = 2.0  # of the target prompt where Latent SVD learns from it: it speaks more clearly under guidance
DH_BRANCH_STEP = 8  # where the prompts of an h-space direction part: later keeps more of the picture
READOUT_BRANCH_STEP = 6  # and of a readout, which keeps it from earlier on
BRANCH_STEP = 6  # of a prompt swap that keeps the layout, to compare with
BRANCH_STEPS = (4, 6, 8, 10, 12)  # where the prompts of a pair may part: each takes the latest that will do
T_X_STEP = 17  # T_x: where a pair is learned from and an attribute applied
SVD_STRENGTH = 1.0
LEARN_PERCENT = 0.8  # where learning of an h-space direction ends
EDIT_PERCENT = 0.9  # and editing, a little later: it costs nothing and reaches a few more
H_BATCH = 16
H_STRENGTH = 1.5  # 1 is about an edit on average; more convinces the last pictures
CALIBRATION_NOISES = 32  # noises that the unit of strength is measured on
READOUT_CALIBRATION_NOISES = 16  # of a readout, which learns in less time than 32 would take
