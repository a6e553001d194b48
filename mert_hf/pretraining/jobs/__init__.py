"""From settings to what is trained, one file a kind of objective."""

from mert_hf.common.errors import InputError
from mert_hf.pretraining.jobs.base import Job
from mert_hf.pretraining.jobs.data2vec import Data2VecJob
from mert_hf.pretraining.jobs.masked_prediction import MaskedPredictionJob
from mert_hf.pretraining.jobs.multiview import MultiViewJob
from mert_hf.pretraining.settings import PretrainSettings

# all others compare two crops
JOBS: dict[str, type[Job]] = {
    "masked_prediction": MaskedPredictionJob,
    "data2vec": Data2VecJob,
}


def make_job(settings: PretrainSettings) -> Job:
    """The job that trains `settings.objective`; its model's configuration is checked.

    Raises:
        InputError: settings no model can be made of, or that this one does not know; labels that would not be used.
    """
    job = JOBS.get(settings.objective, MultiViewJob)(settings)
    if settings.data.labels is not None and not isinstance(job, MaskedPredictionJob):
        raise InputError(f"data.labels holds codes, which objective {settings.objective!r} does not predict; leave it out.")
    if settings.validation.labels is not None and settings.data.labels is None:
        raise InputError(
            "validation.labels are for a run that learns from data.labels, which is not given; leave them out, or give both."
        )
    _check_model(job)
    return job


def _check_model(job: Job) -> None:
    training, model = job.settings.training, job.model_class.__name__
    relax = getattr(job.config, "attention_relax", None)
    if training.attention == "relaxed" and relax is None:
        raise InputError(f"training.attention=relaxed is for MERT encoders, not {model}; give another training.attention.")
    if training.attention == "relaxed" and relax <= 0:
        raise InputError(
            f"training.attention=relaxed divides by model.attention_relax, which is {relax:g}; give a positive one, such as"
            " --model.attention_relax 32, or another training.attention."
        )
    if training.gradient_checkpointing and not job.model_class.supports_gradient_checkpointing:
        raise InputError(f"training.gradient_checkpointing cannot be used with {model}; leave it out.")


__all__ = ["JOBS", "Job", "make_job"]
