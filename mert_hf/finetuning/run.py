"""A fine-tuning run from its settings to its results: corpus, model, Trainer, evaluation, and what is published."""

import json
import logging
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from transformers import AutoConfig, AutoFeatureExtractor, EvalPrediction, Trainer, TrainingArguments

from mert_hf.configuration_mert import MERTConfig
from mert_hf.data.corpus import Corpus, load_audio_dataset, open_dataset, open_folder
from mert_hf.engine.settings import flatten, write_settings
from mert_hf.errors import InputError
from mert_hf.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.files import to_json, write_atomically
from mert_hf.finetuning.clips import Collator, EvaluationClips, TrainingClips
from mert_hf.finetuning.labels import Labels, make_labels, read_folder_rows
from mert_hf.finetuning.scores import MONITOR, chance_scores, probabilities, score_tracks
from mert_hf.finetuning.settings import FinetuneSettings
from mert_hf.finetuning.splits import group_tracks, read_split, split_tracks
from mert_hf.licences import note_licence
from mert_hf.loading import loading
from mert_hf.modeling_mert import MERTForSequenceClassification
from mert_hf.redaction import name_only
from mert_hf.seeding import seed_torch

logger = logging.getLogger(__name__)

# Where a run may differ from its continuation.
FREE_TO_CHANGE = ("output_dir", "training.resume", "training.workers", "training.use_cpu")
HEADS = ["layer_sum", "projector", "classifier"]


@dataclass
class LabelledCorpus:
    """Tracks, their labels, and which are trained on, choose the epoch, and are measured."""

    corpus: Corpus
    labels: Labels
    splits: dict[str, list[int]]
    split_by: str


def claim_folder(settings: FinetuneSettings) -> Path:
    """Begin or continue a run in `output_dir`, and write its recipe there.

    Raises:
        InputError: another run lies there, or the one to be continued had other settings.
    """
    folder = Path(settings.output_dir).expanduser()
    recipe, begun = folder / "recipe.yaml", any((folder / "checkpoints").glob("checkpoint-*"))
    if begun and not settings.training.resume:
        raise InputError(f"{folder} already holds a run; continue it with --training.resume, or choose another --output_dir.")
    if begun:
        before, now = flatten(OmegaConf.to_container(OmegaConf.load(recipe))), flatten(settings)
        changed = [key for key in now if key not in FREE_TO_CHANGE and before.get(key) != now[key]]
        if changed:
            raise InputError(
                f"the run in {folder} was started with other settings of {', '.join(changed)}; give the same ones."
            )
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_settings(settings, recipe)
    except OSError as error:
        raise InputError(f"output_dir {folder} cannot be written: {error.strerror}.") from None
    return folder


def open_labelled_corpus(settings: FinetuneSettings, folder: Path, sampling_rate: int) -> LabelledCorpus:
    """Tracks with labels and their splits; what cannot be used is listed in `skipped.jsonl`.

    Raises:
        InputError: unusable tracks, labels or splits.
    """
    data, index, report = settings.data, folder / "tracks.json", folder / "skipped.jsonl"
    if data.dataset is not None:
        dataset = load_audio_dataset(data.dataset, data.dataset_split)
        corpus = open_dataset(dataset, data.dataset_column, data.min_track_s, index=index)
        rows = _dataset_rows(dataset, data.dataset_column, corpus)
    else:
        audio = Path(data.folder).expanduser() if data.folder is not None else _render(settings, folder, sampling_rate)
        corpus = open_folder(audio, data.min_track_s, index=index)
        rows = read_folder_rows(audio, corpus, data.label_columns[0])
    corpus.write_skipped(report)
    corpus.require_usable(data.max_skipped, report)
    labels = make_labels(rows, settings.model.problem_type, data.label_columns, data.label_separator)
    groups = group_tracks(rows, [corpus.source(track) for track in range(len(corpus.tracks))], data.group_column)
    if data.split_column in rows[0]:
        splits, split_by = read_split(rows, data.split_column, groups), f"given by the column {data.split_column!r}"
    else:
        classes = labels.targets if settings.model.problem_type == "single_label_classification" else None
        splits = split_tracks(groups, classes, data.validation_share, data.test_share, settings.training.seed)
        what = f"groups of the column {data.group_column!r}" if data.group_column in rows[0] else "tracks"
        split_by = f"drawn by {what}; equal files stay together"
    sizes = ", ".join(f"{name} {len(tracks)}" for name, tracks in splits.items())
    logger.info("Tracks: %s (%s); %d skipped", sizes, split_by, len(corpus.skipped))
    _report_imbalance(labels, splits)
    return LabelledCorpus(corpus, labels, splits, split_by)


def read_sampling_rate(base: str) -> int:
    """Samples per second of the base.

    Raises:
        InputError: it cannot be loaded or is no MERT.
    """
    with loading(f"model.base={base!r}"):
        config = AutoConfig.from_pretrained(base)
    if not isinstance(config, MERTConfig):
        raise InputError(f"model.base={base!r} is a {config.model_type!r} model; a MERT is needed.")
    return config.sample_rate


def build_model(settings: FinetuneSettings, names: list[str]) -> tuple[MERTForSequenceClassification, MERTFeatureExtractor]:
    """The base's encoder with a new head drawn from the seed, and its feature extractor.

    Raises:
        InputError: the base cannot be loaded or is no MERT.
    """
    base, model = settings.model.base, settings.model
    with loading(f"model.base={base!r}"):
        config = AutoConfig.from_pretrained(base)
        if MERTForSequenceClassification.__name__ in (config.architectures or []):
            logger.warning("%s has a head for %d labels; it is left out, a new one is trained", base, config.num_labels)
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
        config.problem_type = model.problem_type
        config.use_weighted_layer_sum = model.weighted_layers
        extractor = MERTFeatureExtractor.from_dict(AutoFeatureExtractor.from_pretrained(base).to_dict())
        seed_torch(settings.training.seed, "weights")
        built = MERTForSequenceClassification(config)
        if not model.random_weights:
            pretrained, loaded = type(built.mert).from_pretrained(
                base, config=config, dtype=torch.float32, output_loading_info=True
            )
            if loaded["missing_keys"]:
                raise InputError(f"model.base={base!r} lacks weights: {', '.join(sorted(loaded['missing_keys'])[:3])}.")
            built.mert = pretrained
    note_licence(base)
    return built, extractor


def adapt(model: MERTForSequenceClassification, settings: FinetuneSettings):
    """Freeze what the method does not train; with "lora", wrap the attention's projections in adapters."""
    if settings.model.method == "frozen":
        model.freeze_base_model()
    if settings.model.method != "lora":
        return model
    from peft import LoraConfig, get_peft_model

    heads = [name for name in HEADS if getattr(model, name) is not None]
    lora = LoraConfig(
        r=settings.model.lora_rank,
        lora_alpha=settings.model.lora_alpha,
        lora_dropout=settings.model.lora_dropout,
        target_modules=["q_proj", "k_proj", "v_proj", "out_proj"],
        modules_to_save=heads,
    )
    return get_peft_model(model, lora)


def build_trainer(model, extractor: MERTFeatureExtractor, data: LabelledCorpus, settings: FinetuneSettings, folder: Path):
    """Transformers' Trainer, which keeps the best epoch by the validation tracks."""
    training, problem_type = settings.training, settings.model.problem_type
    clip_samples, rate = round(settings.data.clip_s * extractor.sampling_rate), extractor.sampling_rate
    train = TrainingClips(data.corpus, data.labels.targets, data.splits["train"], clip_samples, rate, training.seed)
    validation = evaluation_clips(data, "validation", clip_samples, rate)

    def score(found: EvalPrediction) -> dict[str, float]:
        means = validation.mean_by_track(probabilities(found.predictions, problem_type))
        return score_tracks(means, data.labels.targets[validation.tracks], problem_type)

    updates = int(np.ceil(len(train) / training.batch_size / training.gradient_accumulation_steps) * training.epochs)
    arguments = TrainingArguments(
        str(folder / "checkpoints"),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=training.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        learning_rate=training.learning_rate,
        warmup_steps=round(training.warmup_share * updates),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        bf16=training.mixed_precision == "bf16",
        fp16=training.mixed_precision == "fp16",
        seed=training.seed,
        dataloader_num_workers=training.workers,
        use_cpu=training.use_cpu,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=MONITOR[problem_type],
        greater_is_better=True,
        logging_strategy="epoch",
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
    )
    return Trainer(
        model,
        arguments,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=Collator(extractor),
        compute_metrics=score,
    )


def evaluation_clips(data: LabelledCorpus, split: str, clip_samples: int, sampling_rate: int) -> EvaluationClips:
    """All clips of a split's tracks."""
    return EvaluationClips(data.corpus, data.labels.targets, data.splits[split], clip_samples, sampling_rate)


def measure(trainer: Trainer, data: LabelledCorpus, settings: FinetuneSettings, sampling_rate: int):
    """Predictions (tracks, classes) of the test tracks, their targets, and results that go with them."""
    problem_type = settings.model.problem_type
    clips = evaluation_clips(data, "test", round(settings.data.clip_s * sampling_rate), sampling_rate)
    validation = trainer.evaluate()
    trainer.compute_metrics = None  # it knows the validation tracks
    predicted = clips.mean_by_track(probabilities(trainer.predict(clips).predictions, problem_type))
    targets = data.labels.targets[clips.tracks]
    counts = {split: data.labels.counts(tracks) for split, tracks in data.splits.items()}
    results = {
        "test": score_tracks(predicted, targets, problem_type),
        "test_without_hearing": chance_scores(data.labels.targets[data.splits["train"]], targets, problem_type),
        "validation": {name.removeprefix("eval_"): value for name, value in validation.items() if name[5:] in MONITOR.values()},
        "tracks": {split: len(tracks) for split, tracks in data.splits.items()},
        "tracks_of_each_class": counts,
        "split": data.split_by,
        "classes": data.labels.names,
        "problem_type": problem_type,
        "clip_s": settings.data.clip_s,
        "base": name_only(settings.model.base),
        "random_weights": settings.model.random_weights,
        "method": settings.model.method,
        "epochs": trainer.state.epoch,
        "updates": trainer.state.global_step,
        "trained_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "base_licence": note_licence(settings.model.base),
        "seed": settings.training.seed,
        "versions": {name: version(name) for name in ("mert_hf", "torch", "transformers")},
    }
    return predicted, targets, results


def save_model(trainer: Trainer, extractor: MERTFeatureExtractor, folder: Path, results: dict[str, Any]) -> None:
    """The model in `model/` (adapters merged, and by themselves in `adapter/`), its card and `results.json`."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if results["method"] == "lora":
        for adapter in model.peft_config.values():  # what is saved names the base, not where it lies on this machine
            adapter.base_model_name_or_path = results["base"]
        wrapped = model.get_base_model()  # whose names stand on the adapter's page
        wrapped.name_or_path = wrapped.config.name_or_path = results["base"]
        # there are no embeddings of words, for which the Hub would be asked
        model.save_pretrained(folder / "adapter", save_embedding_layers=False)
        model = model.merge_and_unload()
    model.save_pretrained(folder / "model")
    extractor.save_pretrained(folder / "model")
    write_atomically(folder / "model" / "README.md", _card(results, folder / "model", extractor.sampling_rate))
    write_atomically(folder / "results.json", to_json(results, indent=2) + "\n")


def _card(results: dict[str, Any], model: Path, sampling_rate: int) -> str:
    lines = ["---", "library_name: transformers", "pipeline_tag: audio-classification", "tags: [mert, music]"]
    lines += [f"base_model: {results['base']}"] if "/" in results["base"] else []  # a folder's name has none
    lines += [f"license: {results['base_licence']}"] if results["base_licence"] else []
    lines += ["---", "", "# MERT, fine-tuned", ""]
    lines += [f"{len(results['classes'])} outputs: {', '.join(results['classes'])}. Method: {results['method']}.", ""]
    lines += [f"Test on {results['tracks']['test']} tracks, split {results['split']}:", ""]
    lines += ["| score | this model | without hearing |", "| --- | --- | --- |"]
    chance = results["test_without_hearing"]
    lines += [f"| {name} | {value:.4f} | {chance[name]:.4f} |" for name, value in results["test"].items()]
    lines += ["", f"The scores are of the mean over a track's clips of {results['clip_s']:g} s; below, a song is heard as one."]
    lines += ["Install mert_hf with `pip install -e .` in a clone of its repository.", ""]
    lines += ["```python", "import mert_hf", "from mert_hf.audio import read_audio", "from transformers import pipeline", ""]
    lines += [f'classify = pipeline("audio-classification", model={json.dumps(str(model), ensure_ascii=False)})']
    lines += [f'classes = classify(read_audio("song.mp3", {sampling_rate}))', "```", ""]
    return "\n".join(lines)


def _report_imbalance(labels: Labels, splits: dict[str, list[int]]) -> None:
    counts = labels.counts(splits["train"])
    if not counts:
        return
    rarest, commonest = min(counts, key=counts.get), max(counts, key=counts.get)
    logger.info(
        "Classes: %d; commonest %s (%d tracks to train on), rarest %s (%d)",
        len(counts),
        commonest,
        counts[commonest],
        rarest,
        counts[rarest],
    )
    unheard = [name for name, count in counts.items() if count == 0]
    if unheard:
        logger.warning("No track to train on for %s: the model cannot learn them", ", ".join(unheard))
    elif counts[commonest] > 10 * counts[rarest]:
        logger.warning("The classes are far from even: read balanced_accuracy and macro_f1, not accuracy")


def _render(settings: FinetuneSettings, folder: Path, sampling_rate: int) -> Path:
    from mert_hf.data.synthetic.tasks import write_labelled_corpus

    data = settings.data
    audio = folder / f"synthetic_{data.synthetic}"
    logger.info(
        "Neither data.folder nor data.dataset is given: rendering %d pieces, labelled by %s",
        data.synthetic_pieces,
        data.synthetic,
    )
    write_labelled_corpus(
        audio, data.synthetic, data.synthetic_pieces, data.synthetic_piece_s, settings.training.seed, sampling_rate
    )
    return audio


def _dataset_rows(dataset, audio_column: str, corpus: Corpus) -> list[dict[str, Any]]:
    """Rows of the usable tracks without their audio; numbers of a ClassLabel as its names."""
    table = dataset.remove_columns([audio_column])
    named = {name: feature for name, feature in table.features.items() if hasattr(feature, "int2str")}
    rows = []
    for track in corpus.tracks:
        row = dict(table[int(track.name.removeprefix("row "))]) if table.column_names else {}
        rows.append({name: named[name].int2str(value) if name in named else value for name, value in row.items()})
    return rows
