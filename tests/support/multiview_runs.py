"""Small encoders and objectives for the tests of the multi-view methods and of data2vec, also in processes of their own."""

import inspect
from pathlib import Path

import torch
from support.small_runs import MODEL

from mert_hf.objectives import OBJECTIVES, MultiView

# those of two crops of a track, which take any encoder; the views of another are of one crop, see test_token_dropping.py
MULTIVIEW = [name for name, objective in OBJECTIVES.items() if issubclass(objective, MultiView) and name != "token_dropping"]
RESNET = dict(width=4, hidden_size=32, num_attention_heads=4, blocks=[1, 1, 1, 1])
DATA2VEC = dict(
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=64,
    conv_dim=(16,) * 7,
    num_conv_pos_embedding_groups=4,
)
NO_DROPOUT = dict(hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0)


def make_encoder(kind: str = "resnet", seed: int = 0):
    from mert_hf import MERTConfig, MERTModel, MultiViewConfig, MultiViewModel

    torch.manual_seed(seed)
    if kind == "resnet":
        model = MultiViewModel(MultiViewConfig(**RESNET))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # fresh residual branches are silent
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        return model
    return MERTModel(MERTConfig(**MODEL, **NO_DROPOUT))


def make_multiview(name: str, kind: str = "resnet", **options):
    """A method with heads 64 times smaller than its own: those of its arguments whose defaults are sizes of layers."""
    objective = OBJECTIVES[name]
    defaults = {argument: given.default for argument, given in inspect.signature(objective).parameters.items()}
    heads = {
        argument: tuple(size // 64 for size in sizes)
        for argument, sizes in defaults.items()
        if isinstance(sizes, tuple) and all(isinstance(size, int) for size in sizes)
    }
    return objective(make_encoder(kind), 100, **{**heads, **options})


def make_data2vec(**options):
    from transformers import Data2VecAudioConfig, Data2VecAudioModel

    from mert_hf.objectives.data2vec import Data2Vec, Data2VecSettings
    from mert_hf.objectives.masking import MaskingSettings

    torch.manual_seed(0)
    model = Data2VecAudioModel(Data2VecAudioConfig(**DATA2VEC, **NO_DROPOUT))
    return Data2Vec(model, MaskingSettings(0.65, 5, 1), Data2VecSettings(**{"top_layers": 2, **options}))


def save_gradients(batches: dict[str, list[dict]], file: Path) -> None:
    """Gradients, logs and buffers after one update of each objective, whose batches are dealt out to the processes."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    from mert_hf.common.seeding import Draws
    from mert_hf.engine.settings import TrainingSettings
    from mert_hf.engine.updates import Updater

    kwargs = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    accelerator = Accelerator(kwargs_handlers=[kwargs])
    results = {}
    for name, dealt in batches.items():
        objective = make_data2vec() if name == "data2vec" else make_multiview(name)
        updater = Updater(objective.double().train(), TrainingSettings(gradient_accumulation_steps=1), accelerator)
        logs = updater.compute_gradient([dealt[accelerator.process_index]], [Draws(0)])
        results[name] = {
            "gradient": {key: parameter.grad for key, parameter in updater.plain_objective.named_parameters()},
            "logs": {key: accelerator.reduce(value) for key, value in logs.items()},
            "buffers": dict(updater.plain_objective.named_buffers()),
        }
    if accelerator.is_main_process:
        torch.save(results, file)
