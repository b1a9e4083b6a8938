"""The mathematics of Singular Edit: tensors and a denoiser, nothing of ComfyUI or diffusers.

    the seam        Denoiser, PromptDenoisers, Schedule, Run, samplers
    inversion       from a picture to the code from which a sampler gives the picture back
    latent_svd      attributes as singular atoms of latents (arXiv 2502.02225)
    hspace          directions and readouts of a U-Net's bottleneck or a transformer's tokens (arXiv 2210.10960)
    recipes         how all of it is put together, with every shipped default; import it as a module

>>> from singular_edit.core import fixed_point_inversion, sample_euler
>>> from singular_edit.core.recipes import hspace, latent_svd
"""

from .denoiser import Denoiser, HEdit, PromptDenoisers, denoise_pair
from .errors import EditError
from .files import read_kind
from .fitting import Training
from .hspace.asyrp import Boost, sample_asyrp, step_asyrp
from .hspace.calibration import calibrate
from .hspace.combine import combine_directions
from .hspace.direction import DeltaDirection, HDirection, load_hdirection
from .hspace.learn_clip import ClipObjective, learn_clip_direction
from .hspace.learn_direction import learn_direction
from .hspace.learn_readout import learn_readout
from .hspace.mean_direction import mean_direction, mean_over_steps, step_cosines
from .hspace.pca import pca_directions
from .hspace.prediction_changes import PredictionChanges, record_prediction_changes
from .hspace.random_direction import RandomDirection
from .hspace.readout import Readout
from .hspace.strength import BoundEdit, bind_edit
from .hspace.trajectories import Endpoints, Trajectories, record_trajectories, sample_endpoints
from .hspace.window import EditWindow
from .inversion.belm import belm_inversion, sample_belm
from .inversion.code_statistics import CodeStatistics, code_recovery, code_statistics
from .inversion.ddim import ddim_inversion
from .inversion.fixed_point import fixed_point_inversion
from .inversion.report import QUALITIES, InversionReport, Quality, round_trip_psnr
from .inversion.trace import Trace
from .inversion.traced import follow_trace, retraced, sample_traced, traced_inversion
from .latent_svd.apply import apply_attribute
from .latent_svd.atoms import scale_atoms, swap_atoms
from .latent_svd.attribute import SVDAttribute
from .latent_svd.avi import LossWeights, integrate
from .latent_svd.combine import combine_attributes
from .latent_svd.learn import AttributeSettings, learn_attribute
from .latent_svd.predictor import Predictor, train_predictor
from .latent_svd.prompt_pairs import PromptPair, sample_prompt_pair
from .latent_svd.subspaces import (
    attribute_profile,
    geodesic_distance,
    leading_distance,
    principal_angles,
    random_distance,
    trajectory_distances,
)
from .latent_svd.svd import atoms, channel_svd, standardise, truncate
from .samplers import SAMPLERS, Run, Schedule, euler_step, sample, sample_euler, to_d

__all__ = [
    "QUALITIES",
    "SAMPLERS",
    "AttributeSettings",
    "Boost",
    "BoundEdit",
    "ClipObjective",
    "CodeStatistics",
    "DeltaDirection",
    "Denoiser",
    "EditError",
    "EditWindow",
    "Endpoints",
    "HDirection",
    "HEdit",
    "InversionReport",
    "LossWeights",
    "PredictionChanges",
    "Predictor",
    "PromptDenoisers",
    "PromptPair",
    "Quality",
    "RandomDirection",
    "Readout",
    "Run",
    "SVDAttribute",
    "Schedule",
    "Trace",
    "Training",
    "Trajectories",
    "apply_attribute",
    "atoms",
    "attribute_profile",
    "belm_inversion",
    "bind_edit",
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
    "follow_trace",
    "geodesic_distance",
    "integrate",
    "leading_distance",
    "learn_attribute",
    "learn_clip_direction",
    "learn_direction",
    "learn_readout",
    "load_hdirection",
    "mean_direction",
    "mean_over_steps",
    "pca_directions",
    "principal_angles",
    "random_distance",
    "read_kind",
    "record_prediction_changes",
    "record_trajectories",
    "retraced",
    "round_trip_psnr",
    "sample",
    "sample_asyrp",
    "sample_belm",
    "sample_endpoints",
    "sample_euler",
    "sample_prompt_pair",
    "sample_traced",
    "scale_atoms",
    "standardise",
    "step_asyrp",
    "step_cosines",
    "swap_atoms",
    "to_d",
    "traced_inversion",
    "train_predictor",
    "trajectory_distances",
    "truncate",
]
