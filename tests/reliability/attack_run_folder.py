"""Runs whose folders are damaged, then gone on with and exported: what is taken must be what was written.

The weights that are loaded are compared with those of the checkpoint that the run says it goes on from; without training, so
that an input takes a fraction of a second.
"""

import json
import shutil
from pathlib import Path

import torch
from fuzzing import damage_bytes, damage_values
from support.small_runs import make_objective, make_settings
from support.sounds import make_tones

from mert_hf.common.errors import InputError

DOCUMENTED = (InputError,)

FILES = (
    *("recipe.yaml", "run.lock", "metrics.jsonl", "validation.jsonl", "skipped.jsonl"),
    *(f"checkpoints/step_0000000{step}/{name}" for step in (1, 2) for name in ("state.json", "digests.json")),
    *(f"checkpoints/step_0000000{step}/{name}" for step in (1, 2) for name in ("optimizer.bin", "model.safetensors")),
)


def prepare(folder: Path):
    """Train two updates, and remember what each checkpoint holds."""
    import soundfile
    from accelerate import Accelerator

    from mert_hf.data.corpus import open_folder
    from mert_hf.data.crops import RandomCrops
    from mert_hf.data.source import CorpusClips
    from mert_hf.engine.metrics import read_metrics
    from mert_hf.engine.run_folder import RunFolder
    from mert_hf.engine.trainer import Trainer
    from mert_hf.pretraining.checkpoint_export import export_checkpoint

    music, whole, struck = folder / "music", folder / "whole", folder / "struck"
    music.mkdir()
    for number in range(4):
        soundfile.write(music / f"{number}.wav", make_tones(3, 24000, number), 24000)
    settings = make_settings(music, whole, max_steps=2, checkpoint_every=1, log_every=1)
    source = CorpusClips(RandomCrops(open_folder(music), 24000, seed=5))

    def make_trainer(run):
        return Trainer(make_objective(), source, settings.training, run, Accelerator(cpu=True))

    with RunFolder(whole).hold() as run:
        run.claim(settings, resume=False)
        make_trainer(run).train()
    RunFolder(whole).skipped.write_text('{"file": "x.wav", "reason": "silent"}\n')
    RunFolder(whole).validation.write_text('{"step": 1, "loss": 2.0}\n')
    trainer = make_trainer(RunFolder(struck))

    def loaded():
        moments = trainer.updater.optimizer.state_dict()["state"]
        states = [value for _, state in sorted(moments.items()) for value in state.values()]
        return [value.clone() for value in (*trainer.updater.objective.state_dict().values(), *states)]

    expected = {}
    for step in (1, 2):
        trainer.run.load_checkpoint(trainer.accelerator, RunFolder(whole).checkpoint(step))
        expected[step] = loaded()

    def strike(rng) -> None:
        shutil.rmtree(struck, ignore_errors=True)
        shutil.copytree(whole, struck)
        for name in rng.choice(FILES, size=int(rng.integers(1, 3)), replace=False):
            file = struck / str(name)
            if rng.random() < 0.1:
                file.unlink()
            elif file.suffix == ".json" and rng.random() < 0.5:
                file.write_text(json.dumps(damage_values(rng, json.loads(file.read_text()))))
            elif file.suffix == ".jsonl" and rng.random() < 0.5:
                lines = [json.dumps(damage_values(rng, json.loads(line))) for line in file.read_text().splitlines()]
                file.write_text("\n".join(lines) + "\n")
            else:
                file.write_bytes(damage_bytes(rng, file.read_bytes()))
        if rng.random() < 0.3:
            export_checkpoint(struck, folder / "exported", int(rng.integers(1, 3)) if rng.random() < 0.5 else None)
            return
        with RunFolder(struck).hold() as run:
            run.claim(settings, resume=True)
            trainer.run = run
            trainer.progress.step = 0
            trainer._go_on()
            read_metrics(run.validation)
        step = trainer.progress.step
        assert step == 0 or all(map(torch.equal, loaded(), expected[step])), f"other weights than those of step {step}"

    return strike
