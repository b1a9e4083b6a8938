"""The mathematics of Singular Edit: tensors and a denoiser, nothing of ComfyUI or diffusers.

>>> from singular_edit.core import fixed_point_inversion, integrate, sample_asyrp
"""

from .asyrp import Window, sample_asyrp, step_asyrp
from .attribute import SVDAttribute, apply_attribute, learn_attribute
from .avi import Weights, integrate
from .calibration import calibrate
from .denoiser import Denoiser, HEdit, denoise_pair, euler_step, sample_euler, to_d
from .direction import HDirection, load_hdirection, random_like
from .errors import EditError
from .files import read_kind
from .inversion import InversionReport, ddim_inversion, fixed_point_inversion
from .learning import Trajectories, learn_direction, record_trajectories
from .svd import atoms, channel_svd, principal_angles, standardise, truncate

__all__ = [
    "Denoiser", "EditError", "HDirection", "HEdit", "InversionReport", "SVDAttribute", "Trajectories", "Weights",
    "Window", "apply_attribute", "atoms", "calibrate", "channel_svd", "ddim_inversion", "denoise_pair",
    "euler_step", "fixed_point_inversion", "integrate", "learn_attribute", "learn_direction", "load_hdirection",
    "principal_angles", "random_like", "read_kind", "record_trajectories", "sample_asyrp", "sample_euler",
    "standardise", "step_asyrp", "to_d", "truncate",
]
