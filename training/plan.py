"""What a pre-training would cost on your GPUs, from its operations.

    python training/plan.py mert_330m --recipe_gpus 64 --gpus 8 --gpu_tflops 312 --corpus_hours 160000

Nothing is run: time follows from the model's shape and from the share of the GPUs' speed that you assume is reached.
"""

import argparse
from pathlib import Path

import torch

from mert_hf import MERTForPreTraining
from mert_hf.common.command_line import run_tool
from mert_hf.common.errors import InputError
from mert_hf.common.settings import read_settings
from mert_hf.pretraining.plan import keep_global_batch, plan_run
from mert_hf.pretraining.settings import pretrain_settings
from mert_hf.pretraining.setup import Setup

RECIPES = Path(__file__).parent / "recipes"


def main() -> None:
    """Recipe and GPUs to a few lines of numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="name of a recipe, or a YAML file")
    meant = "GPUs the recipe's batch is meant for: 64 of mert_*, 32 of musichubert_*"
    parser.add_argument("--recipe_gpus", type=int, required=True, help=meant)
    parser.add_argument("--gpus", type=int, default=64, help="how many there are (default: 64)")
    parser.add_argument("--gpu_tflops", type=float, default=312.0, help="peak of one (default: 312, A100 in bf16, data sheet)")
    parser.add_argument("--use", type=float, default=0.2, help="share of the peak that is reached (default: 0.2, assumed)")
    parser.add_argument("--corpus_hours", type=float, default=160_000.0, help="hours of music (default: 160000)")
    given = parser.parse_args()
    if given.gpus < 1 or given.recipe_gpus < 1 or given.corpus_hours <= 0 or given.gpu_tflops <= 0 or not 0 < given.use <= 1:
        raise InputError("--gpus, --recipe_gpus, --gpu_tflops and --corpus_hours must be positive, --use within (0, 1].")
    settings = read_settings(pretrain_settings(), given.recipe, RECIPES)
    setup = Setup(settings)
    if not issubclass(setup.model_class, MERTForPreTraining):
        raise InputError(
            f"{given.recipe} trains {settings.objective}; only masked_prediction of MERT v1 (mert_*, musichubert_*) is planned."
        )
    keep_global_batch(settings, given.gpus, given.recipe_gpus)
    config = setup.config
    with torch.device("meta"):
        parameters = MERTForPreTraining(config).num_parameters()
    plan = plan_run(settings, config, parameters, given.gpus, given.gpu_tflops, given.use, given.corpus_hours)
    batch, parts = settings.training.batch_size, settings.training.gradient_accumulation_steps
    print(f"{given.recipe}: {parameters / 1e6:.1f} M parameters, {plan.clip_flop / 1e12:.2f} TFLOP a clip of training")
    print(f"{given.gpus} GPUs x {batch} clips x {parts} batches = {plan.update_audio_hours:.2f} hours of audio an update")
    print(f"the recipe's batch on these GPUs: --training.gradient_accumulation_steps {parts}")
    print(f"{settings.training.max_steps} updates: {plan.audio_hours:,.0f} hours heard, {plan.passes:.1f} times the corpus")
    print(f"{plan.days:.1f} days at {given.use:.0%} of {given.gpu_tflops:g} TFLOP/s, assumed and not measured")
    print(f"each GPU holds {plan.state_gib:.1f} GiB of weights, gradients and moments, without what a batch needs")
    print(f"corpus about {plan.corpus_tib:.1f} TiB as FLAC, {plan.labels_gib:.0f} GiB of codes")
    print(f"{plan.audio_s_per_s:,.0f} seconds of audio must be read every second")


if __name__ == "__main__":
    run_tool(main)
