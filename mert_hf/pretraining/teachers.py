"""The acoustic teacher of a run: fitted, loaded, or replaced by the labels it made before."""

import logging
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import PreTrainedConfig

from mert_hf.common.errors import InputError
from mert_hf.common.files import to_json, write_atomically
from mert_hf.common.reading import read_json
from mert_hf.data.corpus import Corpus
from mert_hf.data.label_store import LabelFolder, LabelHeader, LabelStore
from mert_hf.pretraining.settings import RunSettings
from mert_hf.teachers import CODE_TEACHERS, CodeTeacher, CodeTeacherSettings, CQTTeacher

# Of the constant-Q target, in the folder of the teacher.
MEAN = "constant_q_mean.json"

logger = logging.getLogger(__name__)


def fit_or_load_teacher(
    settings: RunSettings,
    config: PreTrainedConfig,
    clips: Iterable[torch.Tensor],
    fitted_folder: Path,
    device: torch.device | str = "cpu",
) -> CodeTeacher:
    """The acoustic teacher: a codec, or k-means codebooks that are given, were fitted before here, or are fitted now.

    Args:
        clips: waveforms (samples,) to fit on, read only where a teacher is fitted.
        fitted_folder: where a fitted teacher is saved, or was before. Where codes are made on the fly although there are
            labels (`teacher.online`), the teacher that made those is saved here instead of fitting another.
        device: where a model whose hidden states are coded runs while it is fitted.

    Raises:
        InputError: a folder without a teacher, or settings no teacher can be made of.
    """
    teacher, kind = settings.teacher, CODE_TEACHERS[settings.teacher.kind]
    rates = (config.sample_rate, config.hop_samples)
    folder = Path(teacher.folder).expanduser() if teacher.folder is not None else fitted_folder
    of_labels = LabelFolder(settings.data.labels).teacher if settings.data.labels is not None and teacher.online else folder
    try:
        if not kind.is_fitted or teacher.folder is not None:
            loaded = kind.from_pretrained(folder) if kind.is_fitted else kind.from_settings(teacher, *rates)
            _require_same_codebooks(loaded, teacher)
            return loaded
        fitted_before = [place for place in (folder, of_labels) if kind.is_saved(place)]
        if fitted_before:
            loaded = kind.from_pretrained(fitted_before[0])
            _require_same_codebooks(loaded, teacher)
            if loaded.settings() != type(loaded).describe(teacher):
                raise InputError(
                    f"{fitted_before[0]} was fitted with other settings: {loaded.settings()}; remove it to fit another."
                )
            if fitted_before[0] != folder:
                loaded.save_pretrained(folder)  # the run goes on with it, whatever becomes of the labels
            return loaded
        fitted = kind.from_settings(teacher, *rates).to(device)
        logger.info("Fitting %s: %s", fitted.description, " + ".join(map(str, fitted.codebook_sizes)))
        fitted.fit(clips, settings.training.seed, max_frames=int(teacher.fit_s * fitted.frame_rate))
    except (TypeError, ValueError) as error:
        raise InputError(f"teacher: {error}") from None
    fitted.save_pretrained(folder)
    return fitted


def mean_spectrum(
    teacher: CQTTeacher, clips: Iterable[torch.Tensor], seconds: float, folder: Path, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """(bins,) float32, the mean of the constant-Q target over the first clips, kept in the folder and read from there again.

    Args:
        clips: waveforms (samples,), on the CPU, read only where it is not known yet.
        seconds: how much audio is read, or all that there is.
        device: where the teacher is.

    Raises:
        InputError: there is no audio, or what was kept cannot be read.
    """
    file, of = folder / MEAN, {"spectrum": teacher.description, "seconds": seconds}
    kept = read_json(file) if file.is_file() else {}
    if {name: kept.get(name) for name in of} == of:
        mean = kept.get("mean")
        if not isinstance(mean, list) or len(mean) != teacher.num_bins:
            raise InputError(f"{file} is not as it was written: damaged; delete it and run again.")
        return torch.tensor(mean, dtype=torch.float32)
    total, frames, heard_s = torch.zeros(teacher.num_bins, dtype=torch.float64), 0, 0.0
    for clip in clips:
        if heard_s >= seconds:
            break
        found = teacher(clip.to(device).unsqueeze(0))[0].cpu()
        total += found.sum(0, dtype=torch.float64)
        frames, heard_s = frames + len(found), heard_s + len(clip) / teacher.sampling_rate
    if frames == 0:
        raise InputError("cqt.mean_s: there is no audio to take the mean of; all clips are unreadable.")
    mean = (total / frames).float()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(file, to_json({**of, "mean": mean.tolist()}) + "\n")
    return mean


def _require_same_codebooks(found: CodeTeacher, wanted: CodeTeacherSettings) -> None:
    if found.codebook_sizes != list(wanted.codebook_sizes):
        raise InputError(
            f"{wanted.folder or 'the fitted teacher'} holds codebooks of {found.codebook_sizes} codes,"
            f" teacher.codebook_sizes says {list(wanted.codebook_sizes)}; make them equal."
        )


def open_labels(settings: RunSettings, config: PreTrainedConfig) -> LabelStore | None:
    """The labels to train on; None where the teacher is asked on the fly (no `data.labels`, or `teacher.online`).

    Raises:
        InputError: none there, or labels of another rate or teacher.
    """
    if settings.data.labels is None or settings.teacher.online:
        return None
    return _open_store(settings.data.labels, settings.teacher, config)


def open_validation_labels(settings: RunSettings, config: PreTrainedConfig, labels: LabelStore | None) -> LabelStore | None:
    """The labels of `validation.folder`; None where that is not given, or the teacher is asked on the fly.

    Args:
        labels: what `open_labels` gave.

    Raises:
        InputError: as in `open_labels`; also where `labels` are of another teacher, or where these are missing.
    """
    validation = settings.validation
    if labels is None or validation.folder is None:
        return None
    if validation.labels is None:
        fitted = LabelFolder(labels.folder).teacher
        teacher = f" --teacher.folder {fitted}" if fitted.is_dir() else ""
        raise InputError(
            "validation.folder needs labels as data.folder does; make them by training/prepare_labels.py with --data.folder"
            f" {validation.folder} --data.labels OTHER_FOLDER{teacher}, and give them as --validation.labels OTHER_FOLDER."
        )
    store = _open_store(validation.labels, settings.teacher, config)
    fingerprints = [labels.header.fingerprint, store.header.fingerprint]
    if None not in fingerprints and fingerprints[0] != fingerprints[1]:
        raise InputError(
            f"the labels in {store.folder} and those in {labels.folder} were made by two teachers of the same settings; make"
            " them by one, which is given as --teacher.folder."
        )
    return store


def _open_store(folder: str, teacher: CodeTeacherSettings, config: PreTrainedConfig) -> LabelStore:
    labels = LabelStore(folder)
    given, wanted = (labels.sampling_rate, labels.frame_rate), (config.sample_rate, config.frame_rate)
    if given != wanted:
        raise InputError(
            f"the labels in {labels.folder} are of audio at {given[0]} Hz, {given[1]:g} a second; the model works at"
            f" {wanted[0]} Hz and {wanted[1]:g} frames per second. Make labels for this model in another data.labels."
        )
    require_same_teacher(labels.header, teacher, f"the labels in {labels.folder}")
    return labels


def keep_labelled(labels: LabelStore, corpus: Corpus, max_skipped: float, report: Path, writes: bool = True) -> Corpus:
    """The tracks that have labels; the others are listed with the skipped ones, in `report` if this process `writes` it.

    Raises:
        InputError: labels of another corpus, or more than `max_skipped` of the tracks without.
    """
    labelled = labels.match(corpus)
    if writes:
        labelled.write_skipped(report)
    labelled.require_usable(max_skipped, report)
    missing = len(corpus.tracks) - len(labelled.tracks)
    logger.info("Labels: %s, %s", labels.description, labels.folder)
    if missing:
        logger.warning(
            "%d tracks without fitting labels are left out; the reasons are listed in %s. The labels were made for %s",
            *(missing, report, labels.made_for(corpus)),
        )
    return labelled


def require_same_teacher(header: LabelHeader, teacher: CodeTeacherSettings, what: str) -> None:
    """Refuse labels that the teacher of these settings would not have made.

    A teacher that is given by its folder or name is compared by its weights, wherever it lies, all others by their settings. Of
    imported labels only the codebooks are known.

    Raises:
        InputError: they were made by another teacher, or a codec of another name cannot be loaded.
    """
    kind, found = CODE_TEACHERS[teacher.kind], header.settings or {"codebook_sizes": header.codebook_sizes}
    wanted = kind.describe(teacher) if header.settings else {"codebook_sizes": list(teacher.codebook_sizes)}
    given = kind.load_to_compare(teacher, found) if header.settings and teacher.folder is not None else None
    if given is not None:  # by its weights, wherever it lies
        wanted = given.settings()
        found = {**found, "folder": wanted["folder"]} if "folder" in wanted else found
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
    if given is not None and given.fingerprint() != header.fingerprint:
        raise InputError(f"{what} were made by another teacher than {teacher.folder}, with the same settings.")
