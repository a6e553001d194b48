"""Checkpoints that are small on the disk and large in memory: refused before that memory is taken."""

import resource
import time
import zipfile
from pathlib import Path

import pytest
import torch

from mert_hf.common.errors import InputError
from mert_hf.conversion.checkpoints import MOST_PICKLE_BYTES
from mert_hf.conversion.deezer import convert_deezer_checkpoint
from mert_hf.conversion.fairseq import _read_layers, convert_fairseq_checkpoint

CHECKPOINT = Path(__file__).parents[1] / "equivalence" / "golden" / "fairseq_95m_like" / "checkpoint.pt"


@pytest.fixture
def state():
    return torch.load(CHECKPOINT, weights_only=True)


def compress(state, file):
    stored = file.with_suffix(".stored")
    torch.save({**state, "more": torch.zeros(10**7)}, stored)
    with zipfile.ZipFile(stored) as archive, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in archive.infolist():
            packed.writestr(member.filename, archive.read(member))
    stored.unlink()


def grow_model(state, file):
    model = {**state["cfg"]["model"], "encoder_embed_dim": 4096, "encoder_ffn_embed_dim": 65536, "encoder_layers": 4}
    torch.save({**state, "cfg": {**state["cfg"], "model": model}}, file)


def expand(state, file):
    endless = torch.zeros(1, dtype=torch.float16).expand(50_000, 50_000)
    torch.save({**state, "model": {**state["model"], "mask_emb": endless}}, file)


def share(state, file):
    one = torch.zeros(10**6, dtype=torch.float16)
    torch.save({**state, "model": {**state["model"], **{f"more{number}": one for number in range(2000)}}}, file)


def count(state, file):
    torch.save({**state, "more": list(range(2**20 + 2 * MOST_PICKLE_BYTES // 5))}, file)


def fill(state, file):
    file.write_bytes(b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x7f\x85R.")


def fill_zip(state, file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x7f\x85R.")
        archive.writestr("x/version", b"3\n")


def claim(state, file):
    content = bytearray(CHECKPOINT.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 20 : place + 28] = 2 * (0x7FFFFFF0).to_bytes(4, "little")
    file.write_bytes(content)


BOMBS = {
    compress: "is compressed, which torch never does",
    grow_model: "does not fit its own configuration: mert.encoder.layers.3.attention.k_proj.weight is missing",
    expand: r"mask_emb has the shape \(50000, 50000\), its bytes do not",
    share: "its weights claim .* MB, more than the file has",
    count: "MB of other things",
    fill: "names bytearray",
    fill_zip: "names bytearray",
    claim: "directory names more bytes than it has",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_never_takes_much_memory(state, tmp_path, bomb):
    file = tmp_path / "bomb.pt"
    bomb(state, file)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(InputError, match=BOMBS[bomb]) as refused:
        convert_fairseq_checkpoint(file, tmp_path / "model")
    assert time.perf_counter() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "model").exists()
    with pytest.raises(InputError):
        convert_deezer_checkpoint(file, tmp_path / "model")


@pytest.mark.parametrize(
    "text",
    [
        "[(512,10,5)] * 10**9",
        "[(512,10,5)] * 1000000000",
        "[(8,3,2)]" + " * 50" * 9,
        "+".join(["[(8,3,2)]"] * 101),
        "(" * 500,
        "-" * 900 + "1",
        "[(1" + "0" * 900 + ",3,2)]",
        "[(0,3,2)]",
        "[(8,3)]",
        "[]",
        "3 * [(8,3,2)]\0",
    ],
)
def test_lists_of_convolutions_are_bounded_before_they_are_made(text):
    with pytest.raises(InputError, match="is no list of up to 100 convolutions") as refused:
        _read_layers(text)
    assert len(str(refused.value)) < 250


def test_the_official_lists_are_read():
    assert _read_layers("[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2") == [
        (512, 10, 5),
        *[(512, 3, 2)] * 4,
        *[(512, 2, 2)] * 2,
    ]


def test_a_flipped_bit_in_a_weight_is_noticed(state, tmp_path):
    content = bytearray(CHECKPOINT.read_bytes())
    place = content.index(state["model"]["mask_emb"].numpy().tobytes())
    content[place + 3] ^= 1
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(InputError, match="a checksum in it differs"):
        convert_fairseq_checkpoint(tmp_path / "checkpoint.pt", tmp_path / "model")


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("model", {"encoder_layers": 10**9}, r"encoder_layers=1e\+09; models have up to 100"),
        ("model", {"encoder_embed_dim": 2**40}, "encoder_embed_dim=.*; models have up to 65,536"),
        ("model", {"encoder_layers": "12"}, "cfg.model is damaged: encoder_layers is '12'"),
        ("model", {"dropout": float("nan")}, "cfg.model is damaged: dropout is nan"),
        ("model", {"final_dim": 0}, "final_dim=0"),
        ("model", {"activation_fn": "nothing"}, "hidden_act='nothing'; accepted"),
        ("model", {"encoder_attention_heads": 0}, "cannot be loaded: .*num_attention_heads"),
        ("task", {"sample_rate": [24000]}, "cfg.task is damaged: sample_rate"),
        ("criterion", {"loss_weights": 10}, "cfg.criterion is damaged: loss_weights"),
    ],
)
def test_absurd_settings_are_refused_by_name(state, tmp_path, part, change, message):
    state["cfg"][part] = {**state["cfg"][part], **change}
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=message):
        convert_fairseq_checkpoint(tmp_path / "checkpoint.pt", tmp_path / "model")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        lambda tensor: tensor.to("meta"),
        lambda tensor: None,
    ],
)
def test_weights_are_plain_tensors(state, tmp_path, spoil):
    state["model"]["mask_emb"] = spoil(state["model"]["mask_emb"])
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="mask_emb is"):
        convert_fairseq_checkpoint(tmp_path / "checkpoint.pt", tmp_path / "model")
