"""Synthetic checkpoints of the released form: names, prefixes and front end of Deezer's code."""

import re

import pytest
import torch
import torchaudio
from support.multiview_runs import RESNET
from support.sounds import make_tones

from mert_hf import MultiViewConfig, MultiViewModel
from mert_hf.cli import main
from mert_hf.common.errors import InputError
from mert_hf.conversion.deezer import convert_deezer_checkpoint

# width 4 and one block a stage; heads are not stored, and 8 in all of Deezer's models
SMALL = {**RESNET, "num_attention_heads": 8}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MultiViewModel(MultiViewConfig(**SMALL)).eval()


@pytest.fixture(scope="module")
def their_weights(model):
    """Our weights under Deezer's names, in the order of their module, with the tables of torchaudio's front end."""
    weights = {}
    for name, tensor in model.state_dict().items():
        name = re.sub(r"^stages\.(\d)", lambda match: f"layer{int(match[1]) + 1}", name)
        name = name.replace(".skip.1.", ".downsample.0.").replace(".skip.2.", ".downsample.1.").replace("pooling.", "attnpool.")
        weights[f"embedding.{name}"] = tensor
    with pytest.warns(UserWarning, match="mel filterbank"):
        mel = torchaudio.transforms.MelSpectrogram(
            16000, n_fft=1024, f_min=0, f_max=11025, n_mels=128, normalized=True, mel_scale="slaney"
        )
    return weights | {f"spec.spec.{name}": tensor for name, tensor in mel.state_dict().items()}


def write(file, prefix, weights, **more):
    state = {prefix + name: tensor for name, tensor in weights.items()} | {"module.head.ops.0.weight": torch.zeros(3, 3)}
    torch.save({"model": state, "gin_info": "NT_Xent.temp = 0.1", "epoch": 999, **more}, file)
    return file


@pytest.mark.parametrize("prefix", ["module.backbone.", "student.module.backbone."])
def test_the_converted_model_gives_the_same(model, their_weights, tmp_path, prefix):
    file = tmp_path / "weights.pt"
    others = {f"teacher.backbone.{name}": torch.zeros_like(tensor) for name, tensor in their_weights.items()}
    write(file, prefix, their_weights)
    state = torch.load(file)
    torch.save({**state, "model": {**others, **state["model"]}}, file)
    assert {"spec.spec.mel_scale.fb", "spec.spec.spectrogram.window"} <= set(their_weights)
    convert_deezer_checkpoint(file, tmp_path / "model")
    converted = MultiViewModel.from_pretrained(tmp_path / "model").eval()
    assert not converted.config.peak_normalize
    clip = torch.from_numpy(make_tones(4.0, 16000))[None]
    with torch.no_grad():
        torch.testing.assert_close(converted(clip).pooler_output, model(clip).pooler_output)


def test_the_command_converts_and_mistakes_are_one_line(their_weights, tmp_path, capsys):
    file = write(tmp_path / "contrastive.pt", "module.backbone.", their_weights)
    main(["convert-deezer", str(file), str(tmp_path / "out")])
    assert re.search(r"out: [\d,]+ parameters", capsys.readouterr().out)
    with pytest.raises(SystemExit, match="error: .*nothing.pt does not exist"):
        main(["convert-deezer", str(tmp_path / "nothing.pt"), str(tmp_path / "out")])


class Rogue:
    def __reduce__(self):
        return (print, ("run",))


def test_other_files_are_refused_and_never_run(their_weights, tmp_path, capsys):
    file = tmp_path / "weights.pt"
    cases = [
        (lambda: write(file, "module.backbone.", their_weights, state=Rogue()), "is refused: it names [a-z.]*print"),
        (lambda: write(file, "backbone.", their_weights), "no weight's name begins with student.module.backbone."),
        (lambda: torch.save([1, 2], file), "holds no dictionary with 'model'"),
        (lambda: file.write_bytes(b"not a pickle at all"), "is refused: it holds something that weights have no need of"),
        (lambda: torch.save({}, file) or file.write_bytes(file.read_bytes()[:100]), "cannot be read as a checkpoint"),
    ]
    for make, message in cases:
        make()
        with pytest.raises(InputError, match=message):
            convert_deezer_checkpoint(file, tmp_path / "model")
    assert "run" not in capsys.readouterr().out
    changes = [
        ({"embedding.conv1.weight": torch.zeros(2, 2, 3, 3)}, "trained on 2 channels; MultiViewModel is mono"),
        ({"embedding.bn1.extra": torch.zeros(1)}, "bn1.extra is unknown"),
        ({"embedding.layer4.0.conv1.weight": torch.zeros(1, 1, 1, 1)}, "stages.3.0.conv1.weight has the shape"),
        ({"spec.spec.mel_scale.fb": torch.zeros(513, 128)}, "another mel spectrum"),
    ]
    for change, message in changes:
        write(file, "module.backbone.", {**their_weights, **change})
        with pytest.raises(InputError, match=message):
            convert_deezer_checkpoint(file, tmp_path / "model")
    missing = {name: tensor for name, tensor in their_weights.items() if "c_proj" not in name}
    write(file, "module.backbone.", missing)
    with pytest.raises(InputError, match=r"pooling.c_proj.weight is missing"):
        convert_deezer_checkpoint(file, tmp_path / "model")
