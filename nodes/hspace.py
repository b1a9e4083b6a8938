"""h-Space Direction Learn: a direction for Asyrp from two prompts, inside ComfyUI."""

from __future__ import annotations

import comfy.model_management
import comfy.sample
import comfy.utils
import torch
from comfy_api.latest import io

from ..backends.comfyui import POSITIVE, TARGET, ComfyDenoiser, is_flow, latent_of, require_bottleneck, run, starting_noise, trainable
from ..core.asyrp import Window
from ..core.calibration import COUNT, ROUNDS, calibrate
from ..core.direction import METHODS, TableDirection
from ..core.errors import check_sigmas
from ..core.learning import learn_direction, record_trajectories
from . import plots
from .types import CATEGORY, HDirectionType, cfg_input, seed_input


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
                io.Model.Input("model", tooltip="A U-Net model (SD 1.x, SD 2.x, SDXL), with its LoRAs and other patches already applied."),
                io.Conditioning.Input("source", tooltip="What the pictures are, without the attribute: 'a face'."),
                io.Conditioning.Input("target", tooltip="The same with the attribute: 'a face with a hat'."),
                io.Conditioning.Input("negative", tooltip="The negative prompt. Not evaluated at cfg 1."),
                io.Latent.Input("latent_image", tooltip="Gives the size and, by its batch, how many pictures learn at once. An empty latent will do."),
                io.Sigmas.Input("sigmas", tooltip="The schedule to learn on, from full noise: the one you will edit with."),
                io.Combo.Input("method", options=list(METHODS), default="combined",
                               tooltip="combined: a map and a network, the strongest. global: one map for all steps. implicit: a small network that answers each picture. vector: one number a channel, fits any size. difference: no training."),
                io.Int.Input("samples", default=128, min=1, max=1024, tooltip="Noises that trajectories are sampled from."),
                io.Int.Input("steps", default=600, min=1, max=10000, tooltip="Training steps. difference has none."),
                io.Float.Input("learning_rate", default=0.03, min=1e-6, max=1.0, step=1e-4, round=False, tooltip="Peak learning rate of maps; networks learn at a tenth of it."),
                cfg_input(1.0, "Guidance while learning. 1 learns the prompts' plain difference, which guidance later strengthens as it does a prompt."),
                seed_input("seed", "Seed of the noises and of the training."),
                io.String.Input("name", default="direction", tooltip="What the direction is called in reports and in its file."),
                io.Float.Input("start_percent", default=0.28, min=0.0, max=0.95, step=0.01, round=False,
                               tooltip="Sampling progress at which the two prompts part and the edit begins. Later keeps more of the layout and reaches less of the attribute."),
                io.Float.Input("end_percent", default=0.8, min=0.05, max=1.0, step=0.01, round=False,
                               tooltip="Sampling progress at which learning ends. Set Asyrp Sampler's edit_percent to the same."),
            ],
            outputs=[
                HDirectionType.Output("direction", display_name="direction", tooltip="Wire to Asyrp Sampler or Save Attribute."),
                io.Image.Output("plot", display_name="plot", tooltip="The learning curve; for difference the size of the direction at each step."),
                io.String.Output("report", display_name="report", tooltip="How much of the way from source to target the direction goes."),
            ],
        )

    @classmethod
    def execute(cls, model, source, target, negative, latent_image, sigmas, method, samples, steps, learning_rate, cfg, seed, name, start_percent=0.28, end_percent=0.8) -> io.NodeOutput:
        check_sigmas(sigmas)
        require_bottleneck(model.model)
        shape = latent_of(latent_image, "latent_image", model)
        onset = float(model.get_model_object("model_sampling").percent_to_sigma(start_percent))
        end = float(model.get_model_object("model_sampling").percent_to_sigma(end_percent))
        shared, measured = int((sigmas > onset).sum()), min(COUNT, samples)
        recording = (2 * (len(sigmas) - 1) - shared) * -(-samples // len(shape))
        measuring = ROUNDS * (len(sigmas) - 1 - shared) * -(-measured // len(shape))
        bar = comfy.utils.ProgressBar(recording + (0 if method == "difference" else steps) + measuring)
        comfy.model_management.load_models_gpu([model])

        def algorithm(wrapped, extra_args, x, schedule):
            # The session's own tensors are inference tensors when it runs in inference mode; ours are not.
            sampling = wrapped.inner_model.inner_model.model_sampling
            schedule, device = schedule.clone(), x.device
            start = starting_noise(sampling, x, samples, schedule[0], seed)
            prompts = [ComfyDenoiser(wrapped, extra_args, prompt=prompt) for prompt in (POSITIVE, TARGET)]
            trajectories = record_trajectories(*prompts, start, schedule, onset, batch=len(x), device=device, callback=lambda: bar.update(1))
            student = ComfyDenoiser(wrapped, extra_args, prompt=POSITIVE, differentiable=True)
            flow = is_flow(sampling)
            learned, curve = learn_direction(student, trajectories, method, steps, len(x), learning_rate, seed, flow, end=end, device=device,
                                             info={"name": name}, callback=lambda i, loss: bar.update(1))
            return *calibrate(student, learned, trajectories, Window(end, start=learned.start), measured, len(x), flow, device=device,
                              callback=lambda: bar.update(1)), curve

        with torch.inference_mode(False):
            direction, scale, progress, curve = run(trainable(model), source, negative, cfg, shape.clone(), sigmas.clone(), algorithm, target=target, seed=seed)
        bar.update_absolute(bar.total)  # measuring may need fewer rounds
        report = _report(direction, curve, method, samples, cfg) + (
            f"\nscaled by {scale:.2f}: strength 1 makes {progress:.0%} of the way from the source prompt's picture to the target prompt's "
            f"(mean of {measured} noises)")
        if progress < 0.5:
            report += "\nIt comes less than half of the way: the bottleneck alone cannot say this attribute. An earlier start_percent or more samples may help."
        return io.NodeOutput(direction, _plot(direction, curve, name), report)


def _plot(direction, curve: list[float], name: str):
    if curve:
        return plots.losses(curve, name)
    norms = direction.tensors["table"].flatten(1).norm(dim=1)
    return plots.bars(norms, [f"{s:.2f}" for s in direction.sigmas.tolist()], f"{name}: size of the direction at each sigma", "norm")


def _report(direction, curve: list[float], method: str, samples: int, cfg: float) -> str:
    lines = [f"{direction.name}: {method}, {samples} noises, {len(direction.sigmas)} steps from sigma {direction.sigmas[0]:.4g}, cfg {cfg:g}"]
    if curve:
        tail = curve[-max(1, len(curve) // 10):]
        lines.append(f"loss {sum(tail) / len(tail):.3f} at the end (1 = no edit, 0 = every step as under the target prompt)")
    else:
        assert isinstance(direction, TableDirection)
        lines.append("difference of the two prompts' bottlenecks; nothing was trained")
    return "\n".join(lines)


NODES = [HDirectionLearn]
