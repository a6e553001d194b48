"""A training run small enough to be started, killed and started again in tests, in processes of their own.

The processes are forked from a server that has imported everything, so each costs a fraction of a second.
"""

import json
import multiprocessing
import os
import socket
from pathlib import Path

import torch
import yaml

LAUNCH = Path(__file__).parents[2] / "training" / "launch"
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["support.small_runs", "mert_hf.engine.trainer", "mert_hf.teachers", "sklearn.cluster", "mert_hf.finetuning.run"]
)

# sizes that MERT and data2vec share
ENCODER = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    conv_dim=[16] * 7,
    num_conv_pos_embedding_groups=4,
)
MODEL = dict(**ENCODER, num_conv_pos_embeddings=16, codebook_sizes=[16, 12], code_dim=8, cqt_bins=24)

# of a MERT-v2 with as many frames a second as the published one
MERT2_MODEL = dict(
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=48,
    num_mel_bins=16,
    subsampling_channels=(16, 24, 32),
    subsampling_depths=(1, 2, 1),
    conv_depthwise_kernel_size=9,
    codebook_sizes=(16, 12),
    code_dim=8,
    cqt_bins=24,
    mel_mean_db=-20.0,
    mel_std_db=20.0,
)

# and with bands of a short transform beside the others
MERT2_SHORT_MODEL = MERT2_MODEL | dict(short_mel_bins=8, subsampling_channels=(24, 24, 32))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(function, *arguments, processes: int = 1) -> list:
    """Start `function(*arguments)` in so many processes that know of each other as Accelerate expects."""
    assert "test_" not in function.__module__, "a process does not find it; put it into tests/support"
    port, started = free_port(), []
    for rank in range(processes):
        process = CONTEXT.Process(target=_enter, args=(function, arguments, rank, processes, port))
        process.start()
        started.append(process)
    return started


def finish(started: list, timeout_s: float = 120) -> list[int]:
    """Wait for processes; their exit codes."""
    for process in started:
        process.join(timeout_s)
    codes = [process.exitcode for process in started]
    for process in started:
        if process.is_alive():
            process.kill()
    return codes


def _enter(function, arguments, rank, processes, port):
    os.environ |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    if processes > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        os.environ |= {"LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # for the readers: the default of the system, not of this process
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the progress bars of runs that are killed
    function(*arguments)


def make_teachers(hop_samples: int = 320):
    from mert_hf.common.seeding import seed_torch
    from mert_hf.objectives import Teachers
    from mert_hf.teachers import CQTTeacher, ResidualKMeansTeacher

    seed_torch(0, "noise")
    code_teacher = ResidualKMeansTeacher([16, 12], ["log_mel"], {"log_mel": {"bins": 40}}, hop_samples=hop_samples)
    code_teacher.fit([0.1 * torch.randn(24000).cumsum(0) / 30 for _ in range(4)])
    return Teachers(code_teacher, CQTTeacher(hop_samples=hop_samples, bins=24, bins_per_octave=12))


def make_objective(seed: int = 0, teachers=None, codebooks_per_update: int = 0, mert2: bool = False, **model):
    """Masked prediction with a small MERT, or a small MERT-v2."""
    from mert_hf import MERT2Config, MERT2ForPreTraining, MERTConfig, MERTForPreTraining
    from mert_hf.common.seeding import seed_torch
    from mert_hf.objectives import MaskedPrediction
    from mert_hf.objectives.masking import MaskingSettings
    from mert_hf.objectives.mixture import NoiseMixture

    seed_torch(seed, "weights")
    if mert2:
        model = MERT2ForPreTraining(MERT2Config(**MERT2_MODEL))
        teachers = teachers or make_teachers(model.config.hop_samples)
    else:
        model = MERTForPreTraining(MERTConfig(**{**MODEL, **model}))
    mixture = NoiseMixture(0.5, 1, 2, 2000, 4000)
    return MaskedPrediction(model, teachers or make_teachers(), MaskingSettings(), mixture, codebooks_per_update)


def train(
    music: Path, folder: Path, workers: int, stream: bool, settings: dict, model: dict | None = None, sharded: bool = False
) -> None:
    """Train on a folder of music, or on shards of it, from the newest checkpoint on."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    from mert_hf.data.corpus import open_folder
    from mert_hf.data.crops import RandomCrops
    from mert_hf.data.source import CorpusClips
    from mert_hf.data.streaming import StreamClips, open_stream
    from mert_hf.engine.run_folder import RunFolder
    from mert_hf.engine.settings import TrainingSettings
    from mert_hf.engine.trainer import Trainer

    defaults = {"max_steps": 12, "batch_size": 2, "warmup_steps": 2, "log_every": 1, "checkpoint_every": 3, "seed": 5}
    settings = TrainingSettings(**{**defaults, "resume": True, **settings})
    accelerator = Accelerator(
        mixed_precision=settings.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        fsdp_plugin=make_sharding() if sharded else None,
    )
    if stream:
        source = StreamClips(open_stream(str(music), "train", "audio"), "audio", str(music), 24000, block=2, seed=5)
    else:
        source = CorpusClips(RandomCrops(open_folder(music), 24000, seed=5))
    run = RunFolder(folder)
    run.folder.mkdir(exist_ok=True)
    trainer = Trainer(make_objective(**(model or {})), source, settings, run, accelerator, workers, max_skipped=0.5)
    if sharded:
        held = [parameter.to_local().numel() for parameter in trainer.updater.objective.parameters()]
        (folder / f"held_{accelerator.process_index}.json").write_text(json.dumps(held))
    trainer.train()
    trainer.updater.save_model(run.model)


def make_sharding():
    """FSDP2 on CPUs, as `training/launch/fsdp2.yaml` asks for on GPUs; Accelerate gives it to GPUs alone, or so it believes."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    PartialState(cpu=True).distributed_type = DistributedType.MULTI_GPU
    options = yaml.safe_load((LAUNCH / "fsdp2.yaml").read_text(encoding="utf-8"))["fsdp_config"]
    return FullyShardedDataParallelPlugin(
        fsdp_version=options["fsdp_version"],
        auto_wrap_policy=options["fsdp_auto_wrap_policy"],
        reshard_after_forward=options["fsdp_reshard_after_forward"],
        cpu_ram_efficient_loading=options["fsdp_cpu_ram_efficient_loading"],
        state_dict_type=options["fsdp_state_dict_type"],
    )


def save_global_gradient(batches: list[dict], file: Path, parts: int = 1, mert2: bool = False, **model) -> None:
    """The gradient of prepared batches, dealt out to the processes, each of which computes its share in `parts` parts."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    from mert_hf.common.seeding import Draws
    from mert_hf.engine.settings import TrainingSettings
    from mert_hf.engine.updates import Updater

    accelerator = Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])
    still = dict(hidden_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0)
    objective = make_objective(mert2=mert2, **still, **model)
    objective.double()  # so that nothing but the arithmetic of parts and processes can differ
    updater = Updater(objective, TrainingSettings(gradient_accumulation_steps=parts), accelerator)
    own = batches[accelerator.process_index :: accelerator.num_processes]
    logs = updater.compute_gradient(own, [Draws(0, batch=number) for number in range(len(own))])
    gradient = {name: parameter.grad for name, parameter in updater.plain_objective.named_parameters()}
    logs = {name: accelerator.reduce(value) for name, value in logs.items()}
    if accelerator.is_main_process:
        torch.save({"gradient": gradient, "logs": logs}, file)


def train_cells(names: list[str], cells: Path, output: Path, budget_s: float, music: Path, file: Path) -> None:
    """Train cells of a comparison; what each process learns of them is written into `file` with its rank."""
    from accelerate import PartialState

    from mert_hf.common.errors import TrainingFailedError
    from mert_hf.comparison.cells import Music, read_cells
    from mert_hf.comparison.run import train_cell

    state = PartialState(cpu=True)
    found = []
    for cell in read_cells(names, cells, output, budget_s, 1, Music(music, 3.0, 0.0), state.num_processes):
        try:
            found.append(train_cell(cell)["audio_hours"] * 3600)
        except TrainingFailedError as error:
            found.append(str(error))
    file.with_name(f"{file.name}_{state.process_index}").write_text(json.dumps(found))


def make_settings(music: Path, folder: Path, **training):
    """Of a pre-training on a folder of music, with codes alone and some tracks held out."""
    from mert_hf.engine.settings import TrainingSettings
    from mert_hf.pretraining.settings import DataSettings, PretrainSettings
    from mert_hf.teachers import TeacherSettings

    settings = PretrainSettings(
        output_dir=str(folder),
        model={name: value for name, value in MODEL.items() if name not in ("codebook_sizes", "cqt_bins")},
        data=DataSettings(folder=str(music), crop_s=2.0, workers=0),
        teacher=TeacherSettings(codebook_sizes=[8], fit_s=5),
        training=TrainingSettings(**{"max_steps": 1, "batch_size": 2, "tracker": "none", **training}),
    )
    settings.cqt.enabled, settings.validation.share, settings.validation.clips = False, 0.3, 4
    return settings


def pretrain_on_own_copies(copies: list[Path], folder: Path, told: Path) -> None:
    """Pre-train on a copy of the music for each process; what each ends with, and which files it wrote, goes into `told`."""
    from accelerate import PartialState

    from mert_hf.common import files
    from mert_hf.common.errors import InputError
    from mert_hf.data import corpus, tracks
    from mert_hf.engine.run_folder import RunFolder
    from mert_hf.pretraining.run import pretrain
    from mert_hf.pretraining.setup import Setup

    rank, written, said = int(os.environ["RANK"]), [], None
    for module in (corpus, tracks):
        module.write_atomically = lambda path, content: (written.append(Path(path).name), files.write_atomically(path, content))
    settings = make_settings(copies[rank], folder)
    try:
        with RunFolder(folder).hold() as run:
            pretrain(settings, Setup(settings), run)
    except InputError as error:
        said = str(error)
    (told / f"{rank}.json").write_text(json.dumps([said, sorted(set(written))]))
    PartialState().destroy_process_group()


def small_finetuning(base: Path, music: Path, folder: Path, method: str = "full", data: dict | None = None, **training):
    """Settings of a fine-tuning on a folder of labelled music, from the newest whole checkpoint on."""
    from mert_hf.finetuning.settings import FinetuneSettings, FinetuneTrainingSettings, LabelledDataSettings, ModelSettings

    defaults = {"epochs": 5.0, "batch_size": 3, "learning_rate": 1e-3, "resume": True, "use_cpu": True}
    given = {"clip_s": 0.5, "validation_share": 0.25, "test_share": 0.25, **(data or {})}
    return FinetuneSettings(
        output_dir=str(folder),
        model=ModelSettings(base=str(base), method=method),
        data=LabelledDataSettings(folder=str(music), **given),
        training=FinetuneTrainingSettings(**{**defaults, **training}),
    )


def finetune_small(base: Path, music: Path, folder: Path, **given) -> None:
    """Fine-tune by settings as [`small_finetuning`] makes them, all weights where nothing else is said."""
    from mert_hf.common.errors import InputError
    from mert_hf.finetuning.run import finetune
    from mert_hf.finetuning.run_folder import FinetuneFolder

    settings = small_finetuning(base, music, folder, **given)
    try:
        with FinetuneFolder(folder).hold() as run:
            finetune(settings, run)
    except InputError as error:
        (folder / "said").write_text(str(error), encoding="utf-8")
        raise SystemExit(1) from None


def finetune_and_tell(base: Path, music: Path, folder: Path, told: Path, method: str) -> None:
    """Fine-tune, have this process save the model once more, and write down what it trained by and whether it wrote."""
    from mert_hf.encoding.loading import load_extractor
    from mert_hf.finetuning import run as module
    from mert_hf.finetuning.run_folder import FinetuneFolder

    rank, original, seen = os.environ.get("RANK", "0"), module.measure, []

    def measure(trainer, *others):
        *_, results = measured = original(trainer, *others)
        seen[:] = trainer, results
        return measured

    module.measure = measure
    finetune_small(base, music, folder, method=method, batch_size=1, warmup_share=0.5)
    trainer, results = seen
    again = FinetuneFolder(told / f"by_{rank}")
    module.save_model(trainer, load_extractor(base), again, results)
    said = {"updates": trainer.state.max_steps, "warmup": trainer.args.warmup_steps, "wrote": again.folder.exists()}
    (told / f"{rank}.json").write_text(json.dumps(said))
