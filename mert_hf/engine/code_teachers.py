"""The acoustic teacher of a run: fitted, loaded, or replaced by the labels it made before."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from mert_hf.configuration_mert import MERTConfig
from mert_hf.data.corpus import Corpus
from mert_hf.data.label_store import LabelHeader, LabelStore
from mert_hf.engine.pretrain_settings import PretrainSettings, TeacherSettings
from mert_hf.errors import InputError
from mert_hf.teachers import CODE_TEACHERS, CodecTeacher, CodeTeacher, KMeansTeacher

logger = logging.getLogger(__name__)


def fit_or_load_teacher(
    settings: PretrainSettings,
    config: MERTConfig,
    clips: Iterable[torch.Tensor],
    fitted_folder: Path,
    device: torch.device | str = "cpu",
) -> CodeTeacher:
    """The acoustic teacher: a codec, or k-means codebooks that are given, were fitted before here, or are fitted now.

    Args:
        clips: waveforms (samples,) to fit on, read only where a teacher is fitted.
        fitted_folder: where a fitted teacher is saved, or was before.
        device: where a model whose hidden states are coded runs while it is fitted.

    Raises:
        InputError: a folder without a teacher, or settings no teacher can be made of.
    """
    teacher = settings.teacher
    folder = Path(teacher.folder).expanduser() if teacher.folder is not None else fitted_folder
    try:
        if teacher.kind == "codec":
            codec = CodecTeacher.from_pretrained(teacher.folder, len(teacher.codebook_sizes))
            _require_same_codebooks(codec, teacher)
            return codec
        if teacher.folder is not None or (folder / "teacher.json").is_file():
            loaded = KMeansTeacher.from_pretrained(folder)
            _require_same_codebooks(loaded, teacher)
            if teacher.folder is None and loaded.settings() != describe(teacher):
                raise InputError(f"{folder} was fitted with other settings: {loaded.settings()}; remove it to fit another.")
            return loaded
        fitted = CODE_TEACHERS[teacher.kind](
            teacher.codebook_sizes, teacher.features, teacher.feature_options, config.sample_rate, config.hop_samples
        ).to(device)
        logger.info("Fitting %s: %s", fitted.description, " + ".join(map(str, fitted.codebook_sizes)))
        frames = int(teacher.fit_s * fitted.frame_rate)
        fitted.fit(clips, settings.training.seed, max_frames=frames)
    except (FileNotFoundError, TypeError, ValueError) as error:
        raise InputError(f"teacher: {error}") from None
    fitted.save_pretrained(folder)
    return fitted


def _require_same_codebooks(found: CodeTeacher, wanted: TeacherSettings) -> None:
    if found.codebook_sizes != list(wanted.codebook_sizes):
        raise InputError(
            f"{wanted.folder or 'the fitted teacher'} holds codebooks of {found.codebook_sizes} codes,"
            f" teacher.codebook_sizes says {list(wanted.codebook_sizes)}; make them equal."
        )


def open_labels(settings: PretrainSettings, config: MERTConfig) -> LabelStore | None:
    """The labels to train on; None where the teacher is asked on the fly (no `data.labels`, or `teacher.online`).

    Raises:
        InputError: none there, or labels of another rate or teacher.
    """
    if settings.data.labels is None or settings.teacher.online:
        return None
    labels = LabelStore(settings.data.labels)
    given, wanted = (labels.sampling_rate, labels.frame_rate), (config.sample_rate, config.frame_rate)
    if given != wanted:
        raise InputError(
            f"the labels in {labels.folder} are of audio at {given[0]} Hz, {given[1]:g} a second; the model works at"
            f" {wanted[0]} Hz and {wanted[1]:g} frames per second. Make labels for this model in another data.labels."
        )
    require_same_teacher(labels.header, settings.teacher, f"the labels in {labels.folder}")
    return labels


def keep_labelled(labels: LabelStore, corpus: Corpus, max_skipped: float, report: Path) -> Corpus:
    """The tracks that have labels; the others are listed with the skipped ones.

    Raises:
        InputError: labels of another corpus, or more than `max_skipped` of the tracks without.
    """
    labelled = labels.match(corpus)
    labelled.write_skipped(report)
    labelled.require_usable(max_skipped, report)
    missing = len(corpus.tracks) - len(labelled.tracks)
    logger.info("Labels: %s, %s", labels.description, labels.folder)
    if missing:
        logger.warning("%d tracks without fitting labels are left out; the reasons are listed in %s", missing, report)
    return labelled


def require_same_teacher(header: LabelHeader, teacher: TeacherSettings, what: str) -> None:
    """Refuse labels that the teacher of these settings would not have made.

    A fitted teacher that is given by its folder is compared by its weights, all others by their settings. Of imported labels
    only the codebooks are known.

    Raises:
        InputError: they were made by another teacher.
    """
    wanted = {"codebook_sizes": list(teacher.codebook_sizes)} if not header.settings else describe(teacher)
    if header.settings and teacher.kind != "codec" and teacher.folder is not None:
        given = KMeansTeacher.from_pretrained(Path(teacher.folder).expanduser())
        wanted = given.settings()
        if header.settings == wanted and given.fingerprint() != header.fingerprint:
            raise InputError(f"{what} were made by another teacher than {teacher.folder}, with the same settings.")
    found = header.settings or {"codebook_sizes": header.codebook_sizes}
    changed = [
        f"teacher.{name} ({found.get(name)!r} -> {wanted.get(name)!r})"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
    if changed:
        raise InputError(
            f"{what} were made by another teacher: {', '.join(changed)}. Give the settings they were made with, or make others"
            " in another data.labels."
        )


def describe(teacher: TeacherSettings) -> dict[str, Any]:
    """What [`CodeTeacher.settings`] says of the teacher of these settings."""
    names = ("folder",) if teacher.kind == "codec" else ("features", "feature_options")
    described = {"kind": teacher.kind, "codebook_sizes": list(teacher.codebook_sizes)}
    return described | {name: getattr(teacher, name) for name in names}
