"""h-Space Direction Learn: a direction for Asyrp from two prompts, inside ComfyUI."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import io

from ..backends.comfyui.clip import PictureEmbedding, check_same_clip, text_direction
from ..backends.comfyui.denoiser import ComfyDenoiser, require_bottleneck, with_trainable_decoder
from ..backends.comfyui.latents import latent_of
from ..backends.comfyui.noise import is_flow, starting_noise
from ..backends.comfyui.session import POSITIVE, TARGET, run
from ..core.errors import EditError, check_sigmas
from ..core.hspace.calibration import MAX_ROUNDS, calibrate, unit_of
from ..core.hspace.direction import METHODS, TableDirection
from ..core.hspace.learn_clip import learn_clip_direction
from ..core.hspace.learn_direction import learn_direction
from ..core.hspace.learn_readout import STRIDE, learn_readout, record_prediction_changes
from ..core.hspace.trajectories import Endpoints, record_trajectories, sample_endpoints
from ..core.hspace.window import EditWindow
from ..core.recipes.defaults import CALIBRATION_NOISES, READOUT_CALIBRATION_NOISES
from . import plots
from .inputs import CATEGORY, HDirectionType, cfg_input, seed_input


class HDirectionLearn(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SingularEditHDirectionLearn",
            display_name="h-Space Direction Learn",
            category=CATEGORY,
            description="Learns from two prompts what to add to the U-Net's bottleneck so that the source prompt's picture becomes the target's. "
            "Needs no pictures and no CLIP. Use the direction in Asyrp Sampler, or save it.",
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="A U-Net model (SD 1.x, SD 2.x, SDXL), with its LoRAs and other patches already applied.",
                ),
                io.Conditioning.Input("source", tooltip="What the pictures are, without the attribute: 'a face'."),
                io.Conditioning.Input("target", tooltip="The same with the attribute: 'a face with a hat'."),
                io.Conditioning.Input("negative", tooltip="The negative prompt. Not evaluated at cfg 1."),
                io.Latent.Input(
                    "latent_image",
                    tooltip="Gives the size and, by its batch, how many pictures learn at once. An empty latent will do.",
                ),
                io.Sigmas.Input(
                    "sigmas", tooltip="The schedule to learn on, from full noise: the one you will edit with."
                ),
                io.Combo.Input(
                    "method",
                    options=["readout", *METHODS, "clip"],
                    default="readout",
                    tooltip="readout: reads the change of the picture off the bottleneck; the strongest, the quickest to sample. The others add to the bottleneck, as the paper does. combined: a map and a network. global: one map for all steps. implicit: a small network that answers each picture. vector: one number a channel, fits any size. difference: no training. clip: from two texts through CLIP (wire vae, clip_vision and clip).",
                ),
                io.Int.Input(
                    "samples",
                    default=512,
                    min=1,
                    max=4096,
                    tooltip="Noises to learn from. readout learns better from more; for the other methods, which look at each one longer, 128 will do.",
                ),
                io.Int.Input("steps", default=1000, min=1, max=10000, tooltip="Training steps. difference has none."),
                io.Float.Input(
                    "learning_rate",
                    default=0.03,
                    min=1e-6,
                    max=1.0,
                    step=1e-4,
                    round=False,
                    tooltip="Peak learning rate of maps; networks learn at a tenth of it.",
                ),
                cfg_input(
                    1.0,
                    "Guidance while learning. 1 learns the prompts' plain difference, which guidance later strengthens as it does a prompt.",
                ),
                seed_input("seed", "Seed of the noises and of the training."),
                io.String.Input(
                    "name", default="direction", tooltip="What the direction is called in reports and in its file."
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.24,
                    min=0.0,
                    max=0.95,
                    step=0.01,
                    round=False,
                    tooltip="Sampling progress at which the two prompts part and the edit begins. Later keeps more of the layout and reaches less of the attribute; methods other than readout keep more at 0.32.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=0.8,
                    min=0.05,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Sampling progress at which learning ends. Asyrp Sampler's edit_percent may go a little further: what was learned by then still holds.",
                ),
                io.String.Input(
                    "source_text",
                    default="",
                    optional=True,
                    tooltip="Method clip: what the pictures are, for CLIP: 'face'.",
                ),
                io.String.Input(
                    "target_text",
                    default="",
                    optional=True,
                    tooltip="Method clip: what they shall become, for CLIP: 'smiling face'.",
                ),
                io.Float.Input(
                    "identity_weight",
                    default=3.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=False,
                    optional=True,
                    tooltip="Method clip: how strongly the picture is held back while it changes.",
                ),
                io.Vae.Input(
                    "vae", optional=True, tooltip="Method clip: the VAE of the model, for CLIP sees pictures."
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Method clip: the picture half of a CLIP model, from Load CLIP Vision.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Method clip: the text half of the same CLIP model, with its text projection. SD 1.5's own text encoder has none.",
                ),
            ],
            outputs=[
                HDirectionType.Output(
                    "direction", display_name="direction", tooltip="Wire to Asyrp Sampler or Save Attribute."
                ),
                io.Image.Output(
                    "plot",
                    display_name="plot",
                    tooltip="The learning curve; for difference the size of the direction at each step.",
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="How much of the way from source to target the direction goes.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model,
        source,
        target,
        negative,
        latent_image,
        sigmas,
        method,
        samples,
        steps,
        learning_rate,
        cfg,
        seed,
        name,
        start_percent=0.24,
        end_percent=0.8,
        source_text="",
        target_text="",
        identity_weight=3.0,
        vae=None,
        clip_vision=None,
        clip=None,
    ) -> io.NodeOutput:
        check_sigmas(sigmas)
        require_bottleneck(model.model)
        text = _clip_text(clip, clip_vision, vae, source_text, target_text) if method == "clip" else None
        shape = latent_of(latent_image, "latent_image", model)
        onset = float(model.get_model_object("model_sampling").percent_to_sigma(start_percent))
        end = float(model.get_model_object("model_sampling").percent_to_sigma(end_percent))
        shared, measured = (
            int((sigmas > onset).sum()),
            min(READOUT_CALIBRATION_NOISES if method == "readout" else CALIBRATION_NOISES, samples),
        )
        whole = 2 * (len(sigmas) - 1) - shared
        recording = (1 + len(sigmas) // STRIDE if method == "readout" else whole) * -(-samples // len(shape))
        measuring = (
            0
            if method == "clip"
            else (MAX_ROUNDS * (len(sigmas) - 1 - shared) + (whole if method == "readout" else 0))
            * -(-measured // len(shape))
        )
        bar = comfy.utils.ProgressBar(recording + (0 if method == "difference" else steps) + measuring)
        comfy.model_management.load_models_gpu([model])

        def tick(*_):
            comfy.model_management.throw_exception_if_processing_interrupted()
            bar.update(1)

        def algorithm(wrapped, extra_args, x, schedule):
            # The session's own tensors are inference tensors when it runs in inference mode; ours are not.
            sampling = wrapped.inner_model.inner_model.model_sampling
            schedule, device = schedule.clone(), x.device
            start = starting_noise(sampling, x, samples, schedule[0], seed)
            prompts = [ComfyDenoiser(wrapped, extra_args, prompt=prompt) for prompt in (POSITIVE, TARGET)]
            recorded = dict(batch=len(x), device=device, callback=tick)
            trained = dict(learning_rate=learning_rate, seed=seed, device=device, info={"name": name}, callback=tick)
            student, flow = ComfyDenoiser(wrapped, extra_args, prompt=POSITIVE, differentiable=True), is_flow(sampling)
            if method == "readout":
                learned, curve = learn_readout(
                    record_prediction_changes(*prompts, start, schedule, onset, end, seed=seed, **recorded),
                    steps,
                    **trained,
                )
                ends = sample_endpoints(*prompts, start[:measured], schedule, onset, **recorded)
            else:
                trajectories = record_trajectories(*prompts, start, schedule, onset, **recorded)
                if method == "clip":
                    embed = PictureEmbedding(vae, clip_vision, model.model.process_latent_out, device)
                    learned, curve = learn_clip_direction(
                        student,
                        trajectories,
                        embed,
                        text.clone(),
                        steps=steps,
                        batch=len(x),
                        identity=identity_weight,
                        flow=flow,
                        end=end,
                        **trained,
                    )
                    return learned, None, None, curve
                learned, curve = learn_direction(
                    student, trajectories, method, steps, len(x), flow=flow, end=end, **trained
                )
                ends = Endpoints.of(trajectories, measured)
            return *calibrate(
                student,
                learned,
                ends,
                EditWindow(end, edit_from=learned.start),
                len(x),
                flow,
                device=device,
                callback=tick,
            ), curve

        with torch.inference_mode(False):
            direction, scale, progress, curve = run(
                with_trainable_decoder(model),
                source,
                negative,
                cfg,
                shape.clone(),
                sigmas.clone(),
                algorithm,
                target=target,
                seed=seed,
            )
        bar.update_absolute(bar.total)  # measuring may need fewer rounds
        report = _report(direction, curve, method, samples, cfg)
        if scale is not None:
            report += (
                f"\nscaled by {scale:.2f}: strength {1 / unit_of(direction).times:.2g} makes {progress:.0%} of the way from the source prompt's picture to the target prompt's "
                f"(mean of {measured} noises)"
            )
            if progress < 0.5:
                report += "\nIt comes less than half of the way: the bottleneck alone cannot say this attribute. An earlier start_percent or more samples may help."
        return io.NodeOutput(direction, _plot(direction, curve, name), report)


def _clip_text(clip, clip_vision, vae, source_text: str, target_text: str) -> torch.Tensor:
    """The direction between the texts, when everything that method clip needs is there. Raises EditError otherwise."""
    missing = [
        name
        for name, value in (
            ("vae", vae),
            ("clip_vision", clip_vision),
            ("clip", clip),
            ("source_text", source_text),
            ("target_text", target_text),
        )
        if not value
    ]
    if missing:
        raise EditError(
            f"method clip lacks {', '.join(missing)}; wire a VAE, a CLIP Vision and a CLIP, and say both texts."
        )
    text = text_direction(clip, source_text, target_text)
    check_same_clip(clip_vision, text)
    return text


def _plot(direction, curve: list[float], name: str):
    if curve:
        return plots.losses(curve, name)
    norms = direction.tensors["table"].flatten(1).norm(dim=1)
    return plots.bars(
        norms, [f"{s:.2f}" for s in direction.sigmas.tolist()], f"{name}: size of the direction at each sigma", "norm"
    )


def _report(direction, curve: list[float], method: str, samples: int, cfg: float) -> str:
    lines = [
        f"{direction.name}: {method}, {samples} noises, {len(direction.sigmas)} steps from sigma {direction.sigmas[0]:.4g}, cfg {cfg:g}"
    ]
    if curve:
        tail = curve[-max(1, len(curve) // 10) :]
        meaning = {
            "clip": "CLIP and identity together; strength is as learned",
            "readout": "1 = nothing read, 0 = all that the target prompt would change",
        }.get(method, "1 = no edit, 0 = every step as under the target prompt")
        lines.append(f"loss {sum(tail) / len(tail):.3f} at the end ({meaning})")
    else:
        assert isinstance(direction, TableDirection)
        lines.append("difference of the two prompts' bottlenecks; nothing was trained")
    return "\n".join(lines)


NODES = [HDirectionLearn]
