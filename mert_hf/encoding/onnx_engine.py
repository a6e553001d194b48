"""An ONNX file that `mert-hf export-onnx --all_layers` wrote, computed by onnxruntime."""

import os
import re
from pathlib import Path

import torch

from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_file, digest_json, is_there
from mert_hf.common.packages import require_packages
from mert_hf.encoding.engines import Engine
from mert_hf.encoding.licences import warn_of_licence
from mert_hf.encoding.onnx_facts import OnnxFacts
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor

# Weights beyond ONNX's limit lie in a file beside it, of its name and this.
DATA_SUFFIX = ".data"
DTYPES = {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}
# Of onnxruntime's log: it warns of every operation in float16 that a CPU computes in float32.
ERRORS_ALONE = 3
PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


class OnnxEngine(Engine):
    """The encoder in an ONNX file; see [`mert_hf.encoding.engines.Engine`].

    All its layers are computed, whichever are asked for. Clips of several lengths share a batch where the file takes a mask.
    onnxruntime uses as many threads as torch is set to when the file is opened.

    Args:
        file: written with all layers.
        device: "cpu" or "cuda", where the installed onnxruntime has it; the faster of these by default.
        dtype: that of the file, which computes as it was exported, or float32, which says nothing.

    Raises:
        InputError: there is no such file, it is none of ours or not whole, lacks the layers, or another device or type is
            asked for; the packages of the extra `onnx` are missing.
    """

    remedy = "export the model with --dtype float32, and see that its weights are finite"

    def __init__(self, file: str | os.PathLike, device: torch.device | None = None, dtype: torch.dtype | str = torch.float32):
        self._file = file = Path(file).expanduser()
        self.model, self.device = _open_session(file, device)
        facts = OnnxFacts.from_metadata(self.model.get_modelmeta().custom_metadata_map, file)
        outputs = {output.name: output.shape for output in self.model.get_outputs()}
        if "hidden_states" not in outputs:
            raise InputError(
                f"{file} holds the output {next(iter(outputs))} alone; MusicEncoder needs the layers: export it again with"
                " --all_layers."
            )
        if outputs["hidden_states"][1] != len(facts.layers) or not facts.layers or facts.dtype not in DTYPES:
            raise InputError(f"{file}: its metadata do not fit its graph; export it again.")
        if str(dtype).removeprefix("torch.") not in ("float32", facts.dtype):
            raise InputError(
                f"{file} computes as it was exported; leave dtype out, and export another one with --dtype float16 or int8."
            )
        self.facts, self.dtype = facts, DTYPES[facts.dtype]
        self.grid, self.sampling_rate = facts.grid, facts.grid.sampling_rate
        self.hidden_size = outputs["hidden_states"][3]
        self.num_layers, self.context_seconds = len(facts.layers) - 1, facts.context_seconds
        self.commit = facts.revision
        self.may_pad = any(given.name == "attention_mask" for given in self.model.get_inputs())
        # the file scales clips itself
        self.feature_extractor = MERTFeatureExtractor(sampling_rate=self.sampling_rate, min_samples=self.grid.shortest_samples)
        warn_of_licence(facts.model or str(file), facts.licence)

    def up_to(self, deepest: int | None = None) -> "OnnxEngine":
        return self

    def run(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Every layer's (batch, frames, hidden) of (batch, samples); `attention_mask` is 0 where there is padding."""
        given = {"input_values": input_values.float().numpy()}
        if self.may_pad:
            mask = torch.ones_like(input_values) if attention_mask is None else attention_mask
            given["attention_mask"] = mask.long().numpy()
        (states,) = self.model.run(["hidden_states"], given)
        return torch.from_numpy(states).unbind(1)

    def fingerprint(self) -> str:
        data = self._file.with_name(self._file.name + DATA_SUFFIX)
        return digest_json([digest_file(part) for part in (self._file, data) if part.is_file()])


def _open_session(file: Path, device: torch.device | None):
    """A session of onnxruntime, and where it computes."""
    if not is_there(file):
        raise InputError(f"{file} does not exist; mert-hf export-onnx MODEL FILE --all_layers writes such a file.")
    require_packages("onnx", "onnxruntime")
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    there = [kind for kind, provider in PROVIDERS.items() if provider in onnxruntime.get_available_providers()]
    wanted = there if device is None else [device.type]
    if not set(wanted) <= set(there):
        raise InputError(f"device={str(device)!r}: the installed onnxruntime computes on {' and '.join(there)} alone.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = ERRORS_ALONE
    # threads that wait sleep, and leave the cores to those that decode audio or run another session
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    failures = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf, errors.NoSuchFile)
    failures = (*failures, errors.NotImplemented, errors.RuntimeException)
    try:
        session = onnxruntime.InferenceSession(file, options, providers=[PROVIDERS[kind] for kind in wanted])
    except failures as error:
        said = " ".join(str(error).split())
        weights = re.search(rf"([^/\\\"]+{re.escape(DATA_SUFFIX)})\"", said)
        said = f"its weights, {weights[1]}, must lie beside it." if weights else said[:300]
        raise InputError(f"{file} cannot be loaded: {said}") from None
    used = next(kind for kind, provider in PROVIDERS.items() if provider in session.get_providers())
    if device is not None and used != device.type:
        raise InputError(f"device={str(device)!r}: onnxruntime finds no such device, or lacks what it needs there.")
    return session, torch.device(used)
