"""A fine-tuning run from its settings to its results: corpus, model, Trainer, evaluation, and what is published."""

import logging
from contextlib import closing, nullcontext
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
from mert_hf.encoding.released import describe_model
from mert_hf.finetuning.data import FinetuneData, open_data
from mert_hf.finetuning.features import encoder_taken_out
from mert_hf.finetuning.progress import Progress
from mert_hf.finetuning.report import Answers, draw_pictures, read_curve, write_predictions
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.scores import chance_scores, probabilities, score_tracks
from mert_hf.finetuning.settings import FinetuneSettings, FinetuneTrainingSettings
from mert_hf.finetuning.splits import Clips, Inputs, cut_clips, make_inputs
from mert_hf.finetuning.trainer import FinetuneTrainer
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.publishing.model_card import write_own_card

logger = logging.getLogger(__name__)

HEADS = ["layer_sum", "projector", "classifier"]


def finetune(
    settings: FinetuneSettings, run: FinetuneFolder, template: Path | None = None
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]] | None:
    """Fine-tune in a folder held by this process, measure, and write down what came of it. All processes call it.

    A run that was stopped, or killed at any moment, and resumed ends with the same weights, bit for bit (CPU, float32), as one
    that never was.

    Args:
        template: of the model's card, `model_cards/template.md`; without it no card is written.

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
    if first:
        logger.info("Fine-tuning %s", describe_model(settings.model.base))
    # one process checks the corpus, the others read what it wrote
    with arguments.main_process_first(local=False):
        run.keep_former(settings)
        if first:
            run.claim(settings, settings.training.resume)
        data = open_data(settings, run, rate)
        if first:
            run.require_data({**data.facts(), "number of processes": arguments.world_size})
    model, extractor = build_model(settings, data.labels)
    clips = cut_clips(data, settings, rate)
    work = clips.work(settings.training.epochs, settings.model.method == "frozen")
    with closing(Progress(work, data.task.monitor, shown=first)) as progress:
        inputs = make_inputs(clips, model, extractor, data, settings, run, arguments, progress)
        set_seed(settings.training.seed)
        trained = adapt(model, settings)
        with nullcontext() if clips.grid is None else encoder_taken_out(model):
            trainer = build_trainer(trained, inputs, clips, data, settings, run, arguments)
            trainer.add_callback(progress)
            trainer.resume()
            answers, results = measure(trainer, inputs, clips, data, settings)
        if first:
            write_predictions(answers, data, settings.data.label_separator, run.predictions)
            draw_pictures(answers[-1], data, results, run)
        save_model(trainer, extractor, run, results, template)
        progress.finish()
    test = answers[-1]
    return (test.clips.references, test.values, results) if first else None


def read_sampling_rate(base: str) -> int:
    """Samples per second of the base; InputError where it cannot be loaded or is no MERT."""
    with loading(f"model.base={base!r}", base) as place:
        config = AutoConfig.from_pretrained(place)
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
    with loading(f"model.base={base!r}", base) as place:
        config = AutoConfig.from_pretrained(place)
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
        disable_tqdm=True,  # there is one bar for all of it
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
    inputs: Inputs,
    clips: Clips,
    data: FinetuneData,
    settings: FinetuneSettings,
    run: FinetuneFolder,
    arguments: TrainingArguments,
) -> FinetuneTrainer:
    """Transformers' Trainer, which keeps the best epoch by the validation tracks."""
    training, validation = settings.training, clips.validation

    def score(found: EvalPrediction) -> dict[str, float]:
        answers = validation.answers(probabilities(found.predictions, settings.model.problem_type))
        return score_tracks(answers, validation.references, data.task, data.labels)

    arguments.warmup_steps = round(training.warmup_share * count_updates(len(inputs.training), training, arguments.world_size))
    arguments.metric_for_best_model = data.task.monitor
    return FinetuneTrainer(
        run,
        model=model,
        args=arguments,
        train_dataset=inputs.training,
        eval_dataset=inputs.validation,
        data_collator=inputs.collate,
        compute_metrics=score,
    )


def measure(
    trainer: Trainer, inputs: Inputs, clips: Clips, data: FinetuneData, settings: FinetuneSettings
) -> tuple[list[Answers], dict[str, Any]]:
    """What the model answers for the tracks of validation and test, and results that go with it."""
    problem_type, monitor = settings.model.problem_type, data.task.monitor
    trainer.compute_metrics = None  # it knows the validation tracks
    answers = [
        Answers(split, heard, heard.answers(probabilities(trainer.predict(given).predictions, problem_type)))
        for split, heard, given in (("validation", clips.validation, inputs.validation), ("test", clips.test, inputs.test))
    ]
    validation, test = (score_tracks(one.values, one.clips.references, data.task, data.labels) for one in answers)
    trained_on = data.targets[data.splits["train"]]
    results = {
        "test": test,
        "test_without_hearing": chance_scores(trained_on, clips.test.references, data.task, data.labels),
        "validation": {monitor: validation[monitor]},
        "tracks": {split: len(tracks) for split, tracks in data.splits.items()},
        "tracks_of_each_class": {split: data.counts(split) for split in data.splits},
        "split": data.task_data.split_by,
        "classes": data.labels,
        "problem_type": problem_type,
        "clip_s": settings.data.clip_s,
        "clips_per_track": settings.data.clips_per_track,
        "base": name_only(settings.model.base),
        "random_weights": settings.model.random_weights,
        "method": settings.model.method,
        "epochs": trainer.state.epoch,
        "updates": trainer.state.global_step,
        "curve": read_curve(trainer.state.log_history, monitor),
        "trained_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "base_licence": note_licence(settings.model.base),
        "seed": settings.training.seed,
        "versions": {name: version(name) for name in ("mert_hf", "torch", "transformers")},
    }
    if settings.task is not None:
        results |= {"task": settings.task, "revisions": dict(data.task_data.revisions), "notes": list(data.notes)}
    return answers, results


def save_model(
    trainer: Trainer,
    extractor: MERTFeatureExtractor,
    run: FinetuneFolder,
    results: dict[str, Any],
    template: Path | None = None,
) -> None:
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
        if template is not None:
            write_own_card(template, folder, run.model, model, results)
    write_atomically(run.results, to_json(results, indent=2) + "\n")
