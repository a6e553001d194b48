"""From the settings of a pre-training run to its parts: corpus, teachers, objective."""

import logging
from pathlib import Path

import torch

from mert_hf.common.errors import InputError
from mert_hf.data.corpus import Corpus, load_audio_dataset, open_dataset, open_folder
from mert_hf.data.label_store import LabelFolder, LabelStore
from mert_hf.engine.run_folder import RunFolder
from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.models.modeling_mert import MERTForPreTraining
from mert_hf.objectives import MaskedPrediction
from mert_hf.objectives.masking import SpanMasking
from mert_hf.objectives.mixture import NoiseMixture
from mert_hf.pretraining.initial_weights import build_model
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.teachers import CodeTeacher, CQTTeacher

logger = logging.getLogger(__name__)


def open_corpus(settings: PretrainSettings, sampling_rate: int, run: RunFolder | LabelFolder, writes: bool = True) -> Corpus:
    """The folder, the dataset, or synthetic music rendered into the run's folder; what cannot be used is listed.

    Args:
        settings: of the run.
        sampling_rate: of synthetic music.
        run: folder that keeps what is found.
        writes: whether this process writes that down; where several open the corpus, one of them, and first.

    Raises:
        InputError: nothing usable, or more than `data.max_skipped` unusable.
    """
    data = settings.data
    if writes:
        # what prepare_labels.py has checked is not decoded once more
        index, known_from = run.tracks, None if data.labels is None else LabelFolder(data.labels).tracks
    else:
        index, known_from = None, run.tracks
    how = (data.min_track_s, data.check, index, data.check_threads, known_from)
    if data.dataset is not None:
        dataset = load_audio_dataset(data.dataset, data.dataset_split)
        corpus = open_dataset(dataset, data.dataset_column, *how)
    else:
        folder = data.folder if data.folder is not None else _render_synthetic_music(settings, sampling_rate, run)
        corpus = open_folder(folder, *how)
    if writes:
        corpus.write_skipped(run.skipped)
    corpus.require_usable(data.max_skipped, run.skipped)
    logger.info(
        "Corpus: %d tracks, %.2f hours, in %s; %d skipped, %d silent",
        len(corpus.tracks),
        corpus.duration_s / 3600,
        corpus.title,
        len(corpus.skipped),
        corpus.num_silent,
    )
    if corpus.num_silent > len(corpus.tracks) / 2:
        logger.warning("Most tracks are silent: there is little to learn from")
    if corpus.skipped:
        logger.warning("%d tracks are left out; the reasons are listed in %s", len(corpus.skipped), run.skipped)
    return corpus


def build_objective(
    settings: PretrainSettings, config: MERTConfig, code_teacher: CodeTeacher | LabelStore, device: torch.device
) -> MaskedPrediction:
    """The model with the weights it begins with, and what it is trained to do.

    Raises:
        InputError: settings that do not fit together.
    """
    try:
        mixture = NoiseMixture(
            settings.mixture.probability,
            settings.mixture.min_excerpts,
            settings.mixture.max_excerpts,
            round(settings.mixture.min_s * config.sample_rate),
            round(settings.mixture.max_s * config.sample_rate),
            settings.mixture.min_snr_db,
            settings.mixture.max_snr_db,
        )
        cqt_teacher = None
        if settings.cqt.enabled:
            numbers = {name: value for name, value in vars(settings.cqt).items() if name != "enabled"}
            cqt_teacher = CQTTeacher(config.sample_rate, config.hop_samples, **numbers).to(device)
    except ValueError as error:
        raise InputError(str(error)) from None
    model = build_mert(settings, config)
    masking = SpanMasking(**vars(settings.masking))
    shortest = round(min(settings.data.crop_s, settings.data.min_track_s) * config.sample_rate)
    masking.require_room(model.count_frames(shortest))
    return MaskedPrediction(
        model,
        code_teacher if isinstance(code_teacher, LabelStore) else code_teacher.to(device),
        cqt_teacher,
        masking,
        mixture,
        settings.training.codebooks_per_update,
    )


def build_mert(settings: PretrainSettings, config: MERTConfig) -> MERTForPreTraining:
    """The model with the weights it begins with, compiled where that is wanted.

    Raises:
        InputError: as in [`build_model`].
    """
    model = build_model(MERTForPreTraining, config, settings, heads=("code_head", "cqt_head"))
    if settings.training.compile != "no":
        for layer in model.mert.encoder.layers:  # one by one: they share their code, which is compiled once
            layer.compile(backend=settings.training.compile)
    return model


def _render_synthetic_music(settings: PretrainSettings, sampling_rate: int, run: RunFolder) -> Path:
    from mert_hf.synthetic import write_corpus

    data = settings.data
    folder = run.folder / "synthetic_music"
    logger.info("No data.folder is given: rendering %d pieces of synthetic music into %s", data.synthetic_pieces, folder)
    write_corpus(folder, data.synthetic_pieces, data.synthetic_piece_s, settings.training.seed, sampling_rate)
    return folder
