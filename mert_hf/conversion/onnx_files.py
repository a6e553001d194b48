"""ONNX files on the disk: what they say of themselves, weights in 8 bits, and a large file's weights beside it."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mert_hf.common.packages import require_packages
from mert_hf.encoding.onnx_engine import DATA_SUFFIX

# Bytes of weights from which on they go into a file of their own: a file of ONNX ends at 2 GiB, and torch's exporter draws the
# line here too.
LARGEST_INLINE_BYTES = 1536 * 1024**2


@contextmanager
def write_in_place(file: Path) -> Iterator[Path]:
    """A path to write an ONNX file at, whose weights may lie beside it; both are moved to `file`, wholly or not at all.

    Whoever is killed while they are moved leaves what was there, or nothing: never one export's graph and another's weights.
    """
    with tempfile.TemporaryDirectory(prefix=f"{file.name}.", suffix=".partial", dir=file.parent) as folder:
        written = Path(folder, file.name)
        yield written
        _move(written, file)


def _move(written: Path, file: Path) -> None:
    weights, place = data_beside(written), data_beside(file)
    for part in (weights, written):
        if part.is_file():
            _flush(part)
    if weights.is_file():
        file.unlink(missing_ok=True)
        weights.replace(place)
        written.replace(file)
    else:
        written.replace(file)
        place.unlink(missing_ok=True)  # of the file that lay here


def _flush(file: Path) -> None:
    with file.open("r+b") as opened:
        os.fsync(opened.fileno())


def data_beside(file: Path) -> Path:
    """Where the weights of a large file lie."""
    return file.with_name(file.name + DATA_SUFFIX)


def quantise(source: Path, target: Path) -> None:
    """Write a file whose matrices, (in, out), are int8 with a scale for each column; what they meet is quantised as it comes.

    Only matrices of weights: convolutions in 8 bits are slower on CPUs, and lose more. Those of a front end, such as the bank
    of a mel spectrum, stay as they are: 8 bits do not hold the range of powers, and the decibels would be others.

    Args:
        source: as the exporter wrote it, with its notes on every node; it is changed.
        target: is written.
    """
    require_packages("onnx", "onnx", "onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    # its pre-processing fuses what torch's exporter has fused already; without the mark it warns of it, by the root logger
    front_end: list[str] = []

    def edit(model: Any) -> None:
        add_pre_process_metadata(model)
        front_end.extend(node.name for node in model.graph.node if _is_of_front_end(node))

    _rewrite(source, edit)
    options = {"op_types_to_quantize": ["MatMul"], "per_channel": True, "weight_type": QuantType.QInt8}
    quantize_dynamic(source, target, nodes_to_exclude=front_end, **options)


def _is_of_front_end(node: Any) -> bool:
    """Whether a node computes a part of the model that is called `feature_extractor`, or `feature_extractor_cqt`."""
    scopes = [note.value for note in node.metadata_props if note.key == "pkg.torch.onnx.name_scopes"]
    return any("feature_extractor" in scope for scope in scopes)


def describe(file: Path, metadata: Mapping[str, str], axes: Mapping[str, Sequence[str]]) -> None:
    """Write into a file what it tells of itself.

    The exporter's notes on every node, which quote source code by its path on this machine, are taken out.

    Args:
        file: is changed; weights beside it are not read.
        metadata: becomes its `metadata_props`.
        axes: names of the axes of inputs and outputs. One of a fixed size keeps the size, and is named by its denotation.
    """

    def edit(model: Any) -> None:
        import onnx

        onnx.helper.set_model_props(model, dict(metadata))
        graph = model.graph
        for part in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
            del part.metadata_props[:]
            part.ClearField("doc_string")
        del graph.value_info[:]  # shapes in between, by the exporter's names
        for value in (*graph.input, *graph.output):
            for dimension, name in zip(value.type.tensor_type.shape.dim, axes[value.name], strict=True):
                dimension.denotation = name
                if not dimension.HasField("dim_value"):
                    dimension.dim_param = name

    _rewrite(file, edit)


def _rewrite(file: Path, edit: Callable[[Any], None]) -> None:
    require_packages("onnx", "onnx")
    import onnx

    model = onnx.load(file, load_external_data=False)
    edit(model)
    file.write_bytes(model.SerializeToString())
