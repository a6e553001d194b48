"""A fine-tuning run from its settings to its results: corpus, model, Trainer, evaluation, and what is published."""

import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    EvalPrediction,
    PreTrainedConfig,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    set_seed,
)

from mert_hf.architectures import Architecture, architecture_of
from mert_hf.common.errors import InputError
from mert_hf.common.files import fill_folder, to_json, write_atomically
from mert_hf.common.packages import require_packages
from mert_hf.common.redaction import name_only
from mert_hf.common.seeding import seed_torch
from mert_hf.encoding.licences import note_licence
from mert_hf.encoding.loading import load_extractor, load_model, loading
from mert_hf.finetuning.clips import Collator, EvaluationClips, TrainingClips
from mert_hf.finetuning.data import FinetuneData, open_data
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.scores import chance_scores, probabilities, score_tracks
from mert_hf.finetuning.settings import FinetuneSettings, FinetuneTrainingSettings
from mert_hf.finetuning.trainer import FinetuneTrainer
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor

logger = logging.getLogger(__name__)

HEADS = ["layer_sum", "projector", "classifier"]


def finetune(settings: FinetuneSettings, run: FinetuneFolder) -> tuple[np.ndarray, np.ndarray, dict[str, Any]] | None:
    """Fine-tune in a folder held by this process, measure, and write down what came of it. All processes call it.

    A run that was stopped, or killed at any moment, and resumed ends with the same weights, bit for bit (CPU, float32), as one
    that never was.

    Returns:
        Targets of the test tracks, predictions (tracks, classes), and what `results.json` holds, in the process that wrote it;
        None in the others.

    Raises:
        InputError: settings, a base, audio or labels that cannot be used; another run in the folder, one of other settings or
            data, or one without a whole checkpoint.
    """
    rate = read_sampling_rate(settings.model.base)
    arguments = make_arguments(settings, run)
    first = arguments.process_index == 0
    # one process checks the corpus, the others read what it wrote
    with arguments.main_process_first(local=False):
        if first:
            run.claim(settings, settings.training.resume)
        data = open_data(settings, run, rate)
        if first:
            run.require_data({**data.facts(), "number of processes": arguments.world_size})
    model, extractor = build_model(settings, data.labels)
    set_seed(settings.training.seed)
    trainer = build_trainer(adapt(model, settings), extractor, data, settings, run, arguments)
    trainer.resume()
    targets, predicted, results = measure(trainer, data, settings, rate)
    save_model(trainer, extractor, run, results)
    return (targets, predicted, results) if first else None


def read_sampling_rate(base: str) -> int:
    """Samples per second of the base; InputError where it cannot be loaded or is no MERT."""
    with loading(f"model.base={base!r}", base):
        config = AutoConfig.from_pretrained(base)
    return _architecture(config, base).sampling_rate(config)


def _architecture(config: PreTrainedConfig, base: str) -> Architecture:
    found = architecture_of(config)
    if found is None or found.clip_classifier is None:
        raise InputError(f"model.base={base!r} is a {config.model_type!r} model; a MERT is needed.")
    return found


def build_model(settings: FinetuneSettings, names: list[str]) -> tuple[PreTrainedModel, MERTFeatureExtractor]:
    """The base's encoder with a new head drawn from the seed, and its feature extractor.

    Raises:
        InputError: the base cannot be loaded or is no MERT.
    """
    base, model = settings.model.base, settings.model
    with loading(f"model.base={base!r}", base):
        config = AutoConfig.from_pretrained(base)
        classifier = _architecture(config, base).clip_classifier
        if classifier.__name__ in (config.architectures or []):
            logger.warning("%s has a head for %d labels; it is left out, a new one is trained", base, config.num_labels)
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
        config.problem_type = model.problem_type
        config.use_weighted_layer_sum = model.weighted_layers
        extractor = MERTFeatureExtractor.for_model(load_extractor(base, f"model.base={base!r}"), config)
        seed_torch(settings.training.seed, "weights")
        built = classifier(config)
        if not model.random_weights:
            encoder = built.base_model
            options = {"config": encoder.config, "dtype": torch.float32}
            loaded = load_model(type(encoder), base, f"model.base={base!r}", **options)
            setattr(built, built.base_model_prefix, loaded)
    note_licence(base)
    return built, extractor


def adapt(model: PreTrainedModel, settings: FinetuneSettings):
    """Freeze what the method does not train; with "lora", wrap the attention's projections in adapters."""
    chosen = settings.model
    if chosen.method == "frozen":
        model.freeze_base_model()
    if chosen.method != "lora":
        return model
    require_packages("finetune", "peft")
    from peft import LoraConfig, get_peft_model

    projections = architecture_of(model.config).attention_projections
    heads = [name for name in HEADS if getattr(model, name) is not None]
    lora = LoraConfig(
        r=chosen.lora_rank,
        lora_alpha=chosen.lora_alpha,
        lora_dropout=chosen.lora_dropout,
        target_modules=list(projections),
        modules_to_save=heads,
    )
    return get_peft_model(model, lora)


def make_arguments(settings: FinetuneSettings, run: FinetuneFolder) -> TrainingArguments:
    """Trainer's arguments, but for those that depend on the data: the warm-up and the measure of the best epoch.

    One process trains on one device. Trainer alone would spread the batches of a process over all GPUs it sees, each batch as
    many times larger.
    """
    training = settings.training
    arguments = TrainingArguments(
        str(run.checkpoints),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=training.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        bf16=training.mixed_precision == "bf16",
        fp16=training.mixed_precision == "fp16",
        seed=training.seed,
        dataloader_num_workers=training.workers,
        use_cpu=training.use_cpu,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        greater_is_better=True,
        logging_strategy="epoch",
        report_to=[],
        remove_unused_columns=False,
        label_names=["labels"],
    )
    if arguments.n_gpu > 1:
        logger.warning(
            "%d GPUs are there, and one is used; accelerate launch --config_file training/launch/multi_gpu.yaml"
            " training/finetune.py ... uses all",
            arguments.n_gpu,
        )
        arguments._n_gpu = 1  # as Trainer itself sets it where a model is spread over GPUs
    return arguments


def count_updates(tracks: int, training: FinetuneTrainingSettings, processes: int) -> int:
    """Updates of a whole run: all processes together make one of a batch of each."""
    return int(np.ceil(tracks / (training.batch_size * processes) / training.gradient_accumulation_steps) * training.epochs)


def build_trainer(
    model,
    extractor: MERTFeatureExtractor,
    data: FinetuneData,
    settings: FinetuneSettings,
    run: FinetuneFolder,
    arguments: TrainingArguments,
) -> FinetuneTrainer:
    """Transformers' Trainer, which keeps the best epoch by the validation tracks."""
    training, problem_type = settings.training, settings.model.problem_type
    clip_samples, rate = round(settings.data.clip_s * extractor.sampling_rate), extractor.sampling_rate
    train = TrainingClips(data.tracks, data.targets, data.splits["train"], clip_samples, rate, seed=training.seed)
    validation = evaluation_clips(data, "validation", clip_samples, rate)

    def score(found: EvalPrediction) -> dict[str, float]:
        answers = validation.answers(probabilities(found.predictions, problem_type))
        return score_tracks(answers, validation.references, data.task, data.labels)

    arguments.warmup_steps = round(training.warmup_share * count_updates(len(train), training, arguments.world_size))
    arguments.metric_for_best_model = data.task.monitor
    return FinetuneTrainer(
        run,
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=validation,
        data_collator=Collator(extractor),
        compute_metrics=score,
    )


def evaluation_clips(data: FinetuneData, split: str, clip_samples: int, sampling_rate: int) -> EvaluationClips:
    """All clips of a split's tracks that the task has heard."""
    heard = (data.tracks, data.targets, data.splits[split], clip_samples, sampling_rate)
    return EvaluationClips(*heard, most=data.task.windows.most, alone=data.task.aggregation == "window")


def measure(
    trainer: Trainer, data: FinetuneData, settings: FinetuneSettings, sampling_rate: int
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Targets and predictions (tracks, classes) of the test tracks, and results that go with them."""
    problem_type = settings.model.problem_type
    clips = evaluation_clips(data, "test", round(settings.data.clip_s * sampling_rate), sampling_rate)
    validation = trainer.evaluate()
    trainer.compute_metrics = None  # it knows the validation tracks
    predicted, targets = clips.answers(probabilities(trainer.predict(clips).predictions, problem_type)), clips.references
    monitor, trained_on = data.task.monitor, data.targets[data.splits["train"]]
    results = {
        "test": score_tracks(predicted, targets, data.task, data.labels),
        "test_without_hearing": chance_scores(trained_on, targets, data.task, data.labels),
        "validation": {monitor: validation[f"eval_{monitor}"]},
        "tracks": {split: len(tracks) for split, tracks in data.splits.items()},
        "tracks_of_each_class": {split: data.counts(split) for split in data.splits},
        "split": data.task_data.split_by,
        "classes": data.labels,
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
    if settings.task is not None:
        results |= {"task": settings.task, "revisions": dict(data.task_data.revisions), "notes": list(data.notes)}
    return targets, predicted, results


def save_model(trainer: Trainer, extractor: MERTFeatureExtractor, run: FinetuneFolder, results: dict[str, Any]) -> None:
    """The model in `model/` (adapters merged, and by themselves in `adapter/`), its card and, last of all, `results.json`.

    All processes call it, and one writes.
    """
    if not trainer.is_world_process_zero():
        return
    model = trainer.accelerator.unwrap_model(trainer.model)
    if results["method"] == "lora":
        for adapter in model.peft_config.values():  # what is saved names the base, not where it lies on this machine
            adapter.base_model_name_or_path = results["base"]
        wrapped = model.get_base_model()  # whose names stand on the adapter's page
        wrapped.name_or_path = wrapped.config.name_or_path = results["base"]
        # there are no embeddings of words, for which the Hub would be asked
        with fill_folder(run.adapter) as folder:
            model.save_pretrained(folder, save_embedding_layers=False)
        model = model.merge_and_unload()
    with fill_folder(run.model) as folder:
        model.save_pretrained(folder)
        extractor.save_pretrained(folder)
        (folder / "README.md").write_text(_card(results, run.model, extractor.sampling_rate), encoding="utf-8")
    write_atomically(run.results, to_json(results, indent=2) + "\n")


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
