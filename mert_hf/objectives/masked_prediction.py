"""MERT's objective: predict the teachers' targets of the clean clip on frames hidden from the encoder (MERT, section 3)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from mert_hf.architectures import ARCHITECTURES, architecture_of
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws
from mert_hf.common.settings import check_values, require, setting
from mert_hf.models.code_head_mert import IGNORED_LABEL
from mert_hf.objectives.base import Batch, Counts, Objective, ObjectiveOutput, Outcome, Teachers
from mert_hf.objectives.health import CollapseWatch, Sign
from mert_hf.objectives.masking import MaskingSettings
from mert_hf.objectives.mixture import MixtureSettings, NoiseMixture, mix_in
from mert_hf.objectives.pictures import plot_code_accuracy, plot_code_usage, plot_constant_q, plot_training_curves

ENCODERS = ", ".join(name for name, architecture in ARCHITECTURES.items() if architecture.pretraining_class is not None)
# Rows that a converted fairseq checkpoint may have behind the codes: its dictionary's special symbols.
FAIRSEQ_SPECIALS = 4
# A model that hears raw samples knows no more than how often codes occur for its first several hundred updates.
FIRST_JUDGED_STEP = 1000
SIGNS = (
    Sign(
        "predicted_perplexity",
        "the model predicts one code for nearly all masked frames",
        "Lower training.learning_rate or lengthen training.warmup_steps.",
        low=1.5,
    ),
)


@dataclass
class PredictionSettings:
    """What is trained to predict."""

    encoder: str | None = setting(None, f"{ENCODERS}; null is mert. model.* are the fields of its configuration")

    def __post_init__(self):
        check_values(self, "prediction")
        known = self.encoder is None or getattr(ARCHITECTURES.get(self.encoder), "pretraining_class", None) is not None
        require(known, f"prediction.encoder={str(self.encoder)[:60]!r}: there are {ENCODERS}.")


class MaskedPrediction(Objective):
    """Draws masks and mixtures, asks the teachers, and compares.

    Args:
        model: what is trained, an encoder with [`mert_hf.models.pretraining_heads_mert.MaskedPredictionHeads`].
        teachers: give codes, or hold those that the batches' labels are from, and the constant-Q spectrum; of either None
            trains without.
        masking: which frames are hidden, and under how many masks each clip is heard in training.
        mixture: noise laid over the clips the model hears in training, and another level, drawn anew for each mask; the
            teachers hear the clean ones.
        codebooks_per_update: number of codebooks, drawn anew for each update, that are trained in it; 0 is all of them. The
            loss sums over those (the official code's option `random_codebook`).

    Raises:
        InputError: no teacher, one whose rate, frame rate, codebooks or bins are not the model's, or more codebooks in an
            update than there are.
    """

    sections = {"prediction": PredictionSettings, "masking": MaskingSettings, "mixture": MixtureSettings}
    uses_teachers = True
    can_be_compiled = True
    can_be_sharded = True
    heads = ("code_head", "cqt_head", "mask_embedding")

    def __init__(
        self,
        model: PreTrainedModel,
        teachers: Teachers,
        masking: MaskingSettings,
        mixture: NoiseMixture,
        codebooks_per_update: int = 0,
    ):
        super().__init__()
        _check_fit(model, teachers)
        books = len(model.config.codebook_sizes)
        if not 0 <= codebooks_per_update <= books:
            raise InputError(f"codebooks_per_update={codebooks_per_update} must lie within 0 (all) and {books}, all there are.")
        self.model = model
        self.masking = masking
        self.mixture = mixture
        self.codebooks_per_update = codebooks_per_update
        self._steps = 0
        self._watch = CollapseWatch(type(self).__name__, SIGNS, FIRST_JUDGED_STEP)
        # a tuple, so that torch does not see them: teachers are no part of checkpoints or of the exchange between processes
        self._teachers = teachers

    @classmethod
    def architecture(cls, settings):
        return ARCHITECTURES[settings.prediction.encoder or "mert"]

    @classmethod
    def model_class(cls, settings):
        return cls.architecture(settings).pretraining_class

    @classmethod
    def head_fields(cls, settings):
        """Codebooks, bins and what is predicted of them follow from the teachers."""
        names = ("bins", "compression", "log_level", "standardise")
        spectrum = {f"cqt_{name}": getattr(settings.cqt, name) for name in names}
        return {"codebook_sizes": settings.teacher.codebook_sizes, "code_offset": 0, **spectrum}

    @classmethod
    def check(cls, settings):
        mixture, shortest_s = settings.mixture, min(settings.data.min_track_s, settings.data.crop_s)
        require(
            mixture.probability == 0 or settings.training.batch_size > 1,
            f"training.batch_size={settings.training.batch_size} with mixture.probability={mixture.probability}: noise mixture"
            " needs 2 or more clips in a batch; use a larger batch or --mixture.probability 0.",
        )
        require(
            mixture.probability == 0 or mixture.max_s <= shortest_s,
            f"mixture.max_s={mixture.max_s} is longer than the shortest clip, {shortest_s} s (data.crop_s, data.min_track_s).",
        )

    @classmethod
    def describe(cls, settings, teachers):
        return teachers.codes.description

    @classmethod
    def from_settings(cls, settings, model, teachers):
        mixture = NoiseMixture.from_settings(settings.mixture, model.config.sample_rate)
        shortest_s = min(settings.data.crop_s, settings.data.min_track_s)
        standardised = (settings.cqt.standardise, model.config.cqt_standardise)
        require(
            not settings.cqt.enabled or standardised[0] == standardised[1],
            f"cqt.standardise={standardised[0]}, but model.cqt_standardise={standardised[1]}; make them equal.",
        )
        settings.masking.require_room(model.count_frames(round(shortest_s * model.config.sample_rate)))
        if teachers.spectrum_mean is not None:
            with torch.no_grad():
                model.cqt_head.bias.copy_(teachers.spectrum_mean)
        return cls(model, teachers, settings.masking, mixture, settings.training.codebooks_per_update)

    @torch.no_grad()
    def prepare(self, waveforms: torch.Tensor, draws: Draws, labels: torch.Tensor | None = None) -> Batch:
        """Mask, mixture and targets of clean clips: the arguments of the model.

        In `eval()` there is one mask a clip, nothing is mixed in and every codebook is asked for. Without `labels` (batch,
        codebooks, frames) the teacher is asked; where `code_loss_weight` is 0 there are none: of a head that does not learn
        there is nothing to tell. With several masks a clip (data2vec 2.0, arXiv 2212.07525) the teachers are asked once, and
        masks and targets have masks * batch rows; so have the clips where something is changed, each time otherwise.
        """
        batch, samples = waveforms.shape
        masks = self.masking.masks if self.training else 1
        mask = self.masking.draw(masks * batch, self.model.count_frames(samples), draws.for_batch("mask"))
        teachers = self._teachers
        if self.model.config.code_loss_weight == 0:
            labels = None
        elif labels is None and teachers.codes is not None:
            labels = teachers.codes(waveforms)
        spectrum = None if teachers.spectrum is None else teachers.spectrum(waveforms)
        return {
            "input_values": self._mix(waveforms, masks, draws),
            "mask_time_indices": mask.to(waveforms.device),
            "labels": None if labels is None else self._choose_codebooks(labels, draws).repeat(masks, 1, 1),
            "cqt_labels": None if spectrum is None else spectrum.repeat(masks, 1, 1),
        }

    def _mix(self, waveforms: torch.Tensor, masks: int, draws: Draws) -> torch.Tensor:
        """(masks * batch, samples) of which each has its own mixture and level; (batch, samples) where nothing is changed."""
        batch, samples = waveforms.shape
        if not self.training or not self.mixture.changes_clips:
            return waveforms
        noise, levels = draws.for_batch("mixture"), draws.for_batch("level")
        heard = []
        for _ in range(masks):
            # of a batch whose other clips could not be read, one is left: nothing to mix in
            excerpts = [] if batch < 2 else self.mixture.draw(batch, samples, noise)
            heard.append(mix_in(waveforms, excerpts))
        heard = torch.cat(heard)
        if self.mixture.gain_db > 0:
            heard = heard * self.mixture.draw_gains(masks * batch, levels).to(heard)
        return heard

    def count(self, batch: Batch) -> Counts:
        """Frames, masked frames, masked frames with a label in each codebook, and what else the model's loss is made of."""
        return self.model.count_loss_items(batch["mask_time_indices"], batch["labels"], cqt_labels=batch["cqt_labels"])

    def forward(self, batch: Batch, totals: Counts) -> ObjectiveOutput:
        """Share of the loss; in `eval()` the logs also hold how often each code was right and how often it was predicted."""
        outputs = self.model(**batch, loss_totals=totals)
        names = ("loss", "code_loss", "cqt_loss", "unmasked_code_loss", "unmasked_cqt_loss", "feature_penalty", "code_accuracy")
        logs = {name: outputs[name].detach() for name in names if outputs.get(name) is not None}
        if not self.training:
            logs |= self._count_codes(batch, outputs.last_hidden_state)
            if "cqt_loss" in logs:
                squares = batch["cqt_labels"][:, : batch["mask_time_indices"].shape[1]][batch["mask_time_indices"]].square()
                # in the unit of the loss, whatever that is
                count = totals["masked_frames"] * squares.shape[-1]
                logs["cqt_power"] = squares.sum() / count / self.model.cqt_scale(totals)
        return ObjectiveOutput(outputs.loss, logs)

    def summarise(self, logs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Of validation: relative error of the constant-Q spectrum, and how many codes are in use.

        `cqt_error` is the Frobenius norm of the error over that of the target, both compressed. A perplexity is exp(entropy) of
        how often each code occurs, the number of codes that would be as varied if all occurred equally often: (codebooks,).
        """
        report = {name: value for name, value in logs.items() if name not in ("cqt_power", "label_counts", "predicted_counts")}
        if "cqt_power" in logs:
            report["cqt_error"] = (logs["cqt_loss"] / logs["cqt_power"]).sqrt()
        for name in ("label", "predicted"):
            if f"{name}_counts" in logs:
                report[f"{name}_perplexity"] = perplexity(logs[f"{name}_counts"])
        if "predicted_perplexity" in report:
            self._watch.look({"predicted_perplexity": report["predicted_perplexity"].min()}, self._steps)
        return report

    def after_step(self, step: int) -> None:
        """Count, so that validation knows when to judge."""
        self._steps = step + 1

    def state(self) -> dict[str, torch.Tensor]:
        """The temperatures, where they are learnt."""
        head = self.model.code_head
        return {} if head.log_temperatures is None else {"temperature": head.temperatures().detach()}

    def export(self) -> PreTrainedModel:
        return self.model

    def layers(self):
        return architecture_of(self.model.config).layers(self.model)

    def draw(self, folder: Path, outcome: Outcome) -> None:
        """Curves; of a validation also accuracy and use of the codes, and a predicted spectrum."""
        title, validations = outcome.title, outcome.validations
        plot_training_curves(outcome.reports, folder / "training_curves.png", title, validations)
        if "label_counts" in outcome.counts:
            counts = outcome.counts["label_counts"].numpy(), outcome.counts["predicted_counts"].numpy()
            sizes, accuracy = self.model.config.codebook_sizes, validations[-1]["code_accuracy"]
            plot_code_accuracy(validations, folder / "code_accuracy.png", title, accuracy, counts[0], sizes)
            plot_code_usage(folder / "code_usage.png", title, *counts, sizes)
        clip = self._predict_spectrum(outcome)
        if clip is not None:
            rate, frequencies_hz = self.model.config.frame_rate, outcome.settings.cqt.frequencies_hz()
            compression = outcome.model.config.cqt_compression
            plot_constant_q(folder / "constant_q.png", title, *clip, rate, frequencies_hz, compression)

    @torch.no_grad()
    def _predict_spectrum(self, outcome: Outcome) -> tuple[Any, ...] | None:
        """Target and prediction (frames, bins) of a clip, and its mask (frames,); None without a clip or a spectrum."""
        if outcome.clip is None or outcome.model is None or self._teachers.spectrum is None:
            return None
        device = next(self.parameters()).device
        waveforms, labels = (None if part is None else part.to(device) for part in outcome.clip)
        prepared = self.eval().prepare(waveforms, Draws(outcome.seed), labels)
        batch = {name: value if value is None else value.cpu() for name, value in prepared.items()}
        # the model as it was saved: this one may be compiled, or lie in shards
        outputs = outcome.model(batch["input_values"], mask_time_indices=batch["mask_time_indices"])
        predicted = outcome.model.cqt_head(outputs.last_hidden_state)[0]
        return batch["cqt_labels"][0, : len(predicted)].numpy(), predicted.numpy(), batch["mask_time_indices"][0].numpy()

    def _choose_codebooks(self, labels: torch.Tensor, draws: Draws) -> torch.Tensor:
        books = labels.shape[1]
        if not self.training or self.codebooks_per_update in (0, books):
            return labels
        left_out = draws.for_update("codebooks").permutation(books)[self.codebooks_per_update :]
        labels = labels.clone()
        labels[:, left_out.tolist()] = IGNORED_LABEL
        return labels

    @torch.no_grad()
    def _count_codes(self, batch: Batch, hidden_states: torch.Tensor) -> dict[str, torch.Tensor]:
        """(codebooks, largest codebook) float64: how often each code is the label, and the prediction, on masked frames."""
        if batch["labels"] is None:
            return {}
        head, mask = self.model.code_head, batch["mask_time_indices"]
        labels = batch["labels"].mT[:, : mask.shape[1]][mask]
        predicted = torch.stack([logits.argmax(-1) for logits in head(hidden_states[mask])], dim=1)
        predicted = torch.where(labels == IGNORED_LABEL, IGNORED_LABEL, predicted)
        labels = torch.where(labels == IGNORED_LABEL, IGNORED_LABEL, labels + head.code_offset)
        largest = max(head.codebook_sizes)
        counts = (
            torch.stack([torch.bincount(column[column >= 0], minlength=largest) for column in codes.T]).double()
            for codes in (labels, predicted)
        )
        return dict(zip(("label_counts", "predicted_counts"), counts, strict=True))


def perplexity(counts: torch.Tensor) -> torch.Tensor:
    """exp(entropy) of the shares of (..., codes) counts: 1 where one code is all, the number of codes where all are equal."""
    shares = counts / counts.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1).exp()


def _check_fit(model: PreTrainedModel, teachers: Teachers) -> None:
    config = model.config
    if teachers.codes is None and teachers.spectrum is None:
        raise InputError("masked prediction needs a teacher of codes, the constant-Q spectrum, or both; got neither.")
    for name, teacher in (("code", teachers.codes), ("constant-Q", teachers.spectrum)):
        if teacher is None:
            continue
        given = (teacher.sampling_rate, teacher.frame_rate)
        if given != (config.sample_rate, config.frame_rate):
            raise InputError(
                f"the {name} teacher works at {given[0]} Hz and {given[1]:g} frames per second, the model at"
                f" {config.sample_rate} Hz and {config.frame_rate:g}; make them equal."
            )
    if teachers.codes is not None:
        _check_codebooks(config, list(teachers.codes.codebook_sizes))
    if teachers.spectrum is not None:
        _check_spectrum(config, teachers.spectrum)


def _check_spectrum(config, spectrum) -> None:
    if spectrum.num_bins != config.cqt_bins:
        raise InputError(
            f"the constant-Q teacher has {spectrum.num_bins} bins, the model is made for {config.cqt_bins}; leave"
            " model.cqt_bins out, it follows from cqt.bins."
        )
    given = (spectrum.compression, spectrum.log_level)
    wanted = (config.cqt_compression, config.cqt_log_level)
    if given[0] != wanted[0] or (given[0] == "log" and given[1] != wanted[1]):
        raise InputError(
            f"cqt.compression={given[0]} with cqt.log_level={given[1]:g}, the model predicts {wanted[0]} with {wanted[1]:g};"
            " leave model.cqt_compression and model.cqt_log_level out, they follow, or begin with init.new_heads."
        )


def _check_codebooks(config, sizes: list[int]) -> None:
    """Classes are the teacher's codes; a converted official checkpoint has fairseq's special symbols beside them."""
    classes, offset = list(config.codebook_sizes), config.code_offset
    specials = FAIRSEQ_SPECIALS if classes == [size + FAIRSEQ_SPECIALS for size in sizes] else 0
    if classes != [size + specials for size in sizes]:
        raise InputError(
            f"the code teacher has codebooks of {sizes} codes, the model is made for {classes}; leave model.codebook_sizes out,"
            " it follows from the teacher."
        )
    if offset not in (0, specials):
        raise InputError(
            f"model.code_offset={offset} shifts the teacher's codes out of codebooks of {classes} classes; it is for converted"
            " checkpoints."
        )
