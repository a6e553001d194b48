"""From the settings of a run to the clips it trains on and those it validates on."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mert_hf.common.errors import InputError
from mert_hf.common.threads import count_cores
from mert_hf.data.corpus import Corpus, load_audio_dataset, open_dataset, open_folder
from mert_hf.data.crops import RandomCrops
from mert_hf.data.label_store import LabelFolder, LabelStore
from mert_hf.data.labelled_crops import LabelledCrops
from mert_hf.data.pairs import PairedCrops
from mert_hf.data.source import ClipSource, CorpusClips
from mert_hf.data.streaming import StreamClips, open_stream
from mert_hf.engine.run_folder import RunFolder
from mert_hf.objectives import OBJECTIVES
from mert_hf.pretraining.settings import RunSettings
from mert_hf.pretraining.teachers import keep_labelled
from mert_hf.synthetic import write_corpus

logger = logging.getLogger(__name__)


@dataclass
class Sources:
    """Where the clips of a run come from."""

    training: ClipSource
    validation: ClipSource | None  # clips of other tracks; None where none are held out
    facts: dict[str, Any]  # numbers of the corpus for the results


def open_sources(
    settings: RunSettings,
    sampling_rate: int,
    run: RunFolder,
    labels: LabelStore | None = None,
    validation_labels: LabelStore | None = None,
    writes: bool = True,
) -> Sources:
    """Open the corpus or the stream, and hold out what is validated on.

    Args:
        run: folder that keeps what is found of the tracks.
        labels: stored codes of the corpus, which the clips then bring along.
        validation_labels: those of `validation.folder`, needed where that and `labels` are given.
        writes: whether this process writes down what it finds; the others read it, and so come behind.

    Raises:
        InputError: nothing usable, or labels that cannot go with the audio.
    """
    if labels is not None and settings.data.streaming:
        raise InputError(
            "data.labels holds codes of tracks that are known, and a stream has none to come back to; leave one of the two out,"
            " or make the codes on the fly with --teacher.online true."
        )
    held_out = _open_validation_folder(settings, run, validation_labels, writes)
    if settings.data.streaming:
        training = _open_stream(settings, sampling_rate)
        facts: dict[str, Any] = {"stream": settings.data.dataset, "shards": training.dataset.num_shards}
    else:
        corpus = open_corpus(settings, sampling_rate, run, writes)
        if labels is not None:
            corpus = keep_labelled(labels, corpus, settings.data.max_skipped, run.skipped, writes)
        facts = {
            "corpus_hours": corpus.duration_s / 3600,
            "tracks": len(corpus.tracks),
            "tracks_skipped": len(corpus.skipped),
            "tracks_silent": corpus.num_silent,
        }
        if held_out is None and settings.validation.share > 0:
            corpus, held_out = corpus.split(settings.validation.share, settings.training.seed)
            validation_labels = labels
        training = _make_clips(settings, corpus, sampling_rate, labels)
    facts["tracks_validated_on"] = len(held_out.tracks) if held_out else 0
    if held_out is None:
        return Sources(training, None, facts)
    logger.info("Validation: %d tracks, %.2f hours", len(held_out.tracks), held_out.duration_s / 3600)
    return Sources(training, _make_clips(settings, held_out, sampling_rate, validation_labels), facts)


def open_corpus(settings: RunSettings, sampling_rate: int, run: RunFolder | LabelFolder, writes: bool = True) -> Corpus:
    """The folder, the dataset, or synthetic music rendered into the run's folder; what cannot be used is listed.

    Args:
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
    hours, skipped = corpus.duration_s / 3600, len(corpus.skipped)
    logger.info(
        "Corpus: %d tracks, %.2f hours, in %s; %d skipped, %d silent",
        *(len(corpus.tracks), hours, corpus.title, skipped, corpus.num_silent),
    )
    if corpus.num_silent > len(corpus.tracks) / 2:
        logger.warning("Most tracks are silent: there is little to learn from")
    if corpus.skipped:
        logger.warning("%d tracks are left out; the reasons are listed in %s", len(corpus.skipped), run.skipped)
    return corpus


def _make_clips(settings: RunSettings, corpus: Corpus, sampling_rate: int, labels: LabelStore | None) -> CorpusClips:
    seed, crop_samples = settings.training.seed, round(settings.data.crop_s * sampling_rate)
    if labels is not None:
        return CorpusClips(LabelledCrops(corpus, labels, crop_samples, sampling_rate, seed))
    distances_s = OBJECTIVES[settings.objective].pair_distances_s(settings)
    if distances_s is not None:
        return CorpusClips(PairedCrops(corpus, crop_samples, sampling_rate, seed, *distances_s))
    return CorpusClips(RandomCrops(corpus, crop_samples, sampling_rate, seed))


def _open_stream(settings: RunSettings, sampling_rate: int) -> StreamClips:
    data, crop_samples = settings.data, round(settings.data.crop_s * sampling_rate)
    stream = open_stream(data.dataset, data.dataset_split, data.dataset_column)
    logger.info("Corpus: a stream of %d shards, %s", stream.num_shards, data.dataset)
    order = (data.min_track_s, data.stream_block, settings.training.seed)
    return StreamClips(stream, data.dataset_column, data.dataset, crop_samples, sampling_rate, *order)


def _open_validation_folder(settings: RunSettings, run: RunFolder, labels: LabelStore | None, writes: bool) -> Corpus | None:
    folder, made, data = settings.validation.folder, settings.validation.labels, settings.data
    if folder is None:
        return None
    found = run.folder / "validation_tracks.json"
    checked = None if made is None else LabelFolder(made).tracks
    index, known_from = (found, checked) if writes else (None, found)
    try:
        corpus = open_folder(folder, data.min_track_s, data.check, index, data.check_threads, known_from)
    except InputError as error:
        raise InputError(str(error).replace("data.folder", "validation.folder")) from None
    if corpus.tracks and labels is not None:
        corpus = labels.match(corpus)
    for track in corpus.skipped:
        logger.warning("Left out of the validation: %s: %s", track.name, track.skipped_because)
    if not corpus.tracks:
        raise InputError(f"validation.folder: none of the {len(corpus.skipped)} tracks in {folder} can be used.")
    return corpus


def _render_synthetic_music(settings: RunSettings, sampling_rate: int, run: RunFolder) -> Path:
    data = settings.data
    folder = run.folder / "synthetic_music"
    logger.info("No data.folder is given: rendering %d pieces of synthetic music into %s", data.synthetic_pieces, folder)
    how = (data.synthetic_piece_s, settings.training.seed, sampling_rate, data.synthetic_renderer)
    write_corpus(folder, data.synthetic_pieces, *how, data.synthetic_workers or count_cores())
    return folder
