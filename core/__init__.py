"""The mathematics of Singular Edit: tensors and a denoiser, nothing of ComfyUI or diffusers.

>>> from singular_edit.core import fixed_point_inversion, integrate, sample_asyrp
"""

from .asyrp import Window, sample_asyrp, step_asyrp
from .attribute import SVDAttribute, apply_attribute, learn_attribute
from .average import average_direction, over_steps, step_likeness
from .avi import Weights, integrate
from .belm import belm_inversion, sample_belm
from .calibration import Ends, calibrate, sample_ends
from .changes import Changes, learn_readout, record_changes
from .clip import learn_clip_direction
from .combine_attributes import combine_attributes
from .combine_directions import combine_directions
from .denoiser import Denoiser, HEdit, denoise_pair, euler_step, sample_euler, to_d
from .diagnostics import CodeStatistics, code_recovery, code_statistics
from .direction import HDirection, load_hdirection, random_like
from .errors import EditError
from .files import read_kind
from .inversion import QUALITIES, InversionReport, ddim_inversion, fixed_point_inversion
from .learning import Trajectories, learn_direction, record_trajectories
from .pairs import Pair, sample_pair
from .pca import pca_directions
from .predictor import Predictor, Training, train_predictor
from .readout import ReadoutDirection
from .samplers import SAMPLERS, sample
from .subspace import attribute_profile, geodesic_distance, leading_distance, random_distance, trajectory_distances
from .svd import atoms, channel_svd, principal_angles, standardise, truncate
from .swap import scale_atoms, swap_atoms

__all__ = [
    "QUALITIES",
    "SAMPLERS",
    "Changes",
    "CodeStatistics",
    "Denoiser",
    "EditError",
    "Ends",
    "HDirection",
    "HEdit",
    "InversionReport",
    "Pair",
    "Predictor",
    "ReadoutDirection",
    "SVDAttribute",
    "Training",
    "Trajectories",
    "Weights",
    "Window",
    "apply_attribute",
    "atoms",
    "attribute_profile",
    "average_direction",
    "belm_inversion",
    "calibrate",
    "channel_svd",
    "code_recovery",
    "code_statistics",
    "combine_attributes",
    "combine_directions",
    "ddim_inversion",
    "denoise_pair",
    "euler_step",
    "fixed_point_inversion",
    "geodesic_distance",
    "integrate",
    "leading_distance",
    "learn_attribute",
    "learn_clip_direction",
    "learn_direction",
    "learn_readout",
    "load_hdirection",
    "over_steps",
    "pca_directions",
    "principal_angles",
    "random_distance",
    "random_like",
    "read_kind",
    "record_changes",
    "record_trajectories",
    "sample",
    "sample_asyrp",
    "sample_belm",
    "sample_ends",
    "sample_euler",
    "sample_pair",
    "scale_atoms",
    "standardise",
    "step_asyrp",
    "step_likeness",
    "swap_atoms",
    "to_d",
    "train_predictor",
    "trajectory_distances",
    "truncate",
]
