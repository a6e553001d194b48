"""The rules of the code base, held by reading it: who imports whom, what travels to the Hub, how large a thing may grow."""

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mert_hf"
MODULES = sorted(PACKAGE.rglob("*.py"))
HUB_MODULES = sorted(PACKAGE.glob("models/*_*.py"))
SCRIPTS = sorted((ROOT / "training").glob("*.py"))

# where a heavy or optional package may be imported; everywhere else it may not
HOMES = {
    "nnAudio": ("teachers/cqt.py",),
    "sklearn": ("teachers/centroids.py", "probing/", "finetuning/", "integrations/scikit_learn.py"),
    "scipy": ("probing/report/intervals.py",),
    "sentence_transformers": ("integrations/sentence_transformer.py",),
    "mteb": ("integrations/mteb_encoder.py",),
    "matplotlib": ("common/figures.py", "objectives/pictures.py", "probing/report/plots.py", "comparison/plots.py"),
    "accelerate": ("engine/", "pretraining/", "comparison/run.py", "comparison/speedrun.py", "commands/probe.py"),
    "datasets": (
        "data/corpus.py",
        "data/streaming.py",
        "tasks/sources.py",
        "tasks/labelled/source.py",
        "probing/metrics/module.py",
    ),
    "soundfile": ("models/soundfile_decoders_mert.py", "audio/writing.py"),
    "av": ("models/ffmpeg_decoders_mert.py", "audio/stretching.py"),
    "soxr": ("models/sampling_rates_mert.py",),
    "evaluate": ("probing/",),
    "mir_eval": (),  # tests compare with it
    "peft": ("finetuning/",),
    "torchaudio": ("teachers/features.py",),
    "gradio": ("catalogue/demo/server.py",),
    "psutil": ("common/run_lock.py", "engine/devices.py"),
    "onnxruntime": ("encoding/onnx_engine.py", "conversion/onnx_files.py", "conversion/onnx_loss.py"),
    "onnx": ("conversion/onnx_files.py",),
    "pyarrow": ("catalogue/",),
    "usearch": ("catalogue/nearest.py",),
    "pandas": ("catalogue/embedder.py",),
    # named in texts alone: torch's exporter and datasets import them
    "onnxscript": (),
    "torchcodec": (),
}
# of these, the ones that must not even be loaded by `import mert_hf`
NEVER_EAGER = (
    "torch",
    "transformers",
    "nnAudio",
    "sklearn",
    "matplotlib",
    "accelerate",
    "datasets",
    "evaluate",
    "mir_eval",
    "peft",
    "torchaudio",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "torchcodec",
    "sentence_transformers",
    "mteb",
    "gradio",
)


def imports(file: Path, only_top: bool = False) -> set[str]:
    tree = ast.parse(file.read_text())
    nodes = tree.body if only_top else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


def test_hub_files_import_only_what_travels_with_them():
    siblings = {file.stem for file in HUB_MODULES}
    assert {"configuration_mert", "modeling_mert", "feature_extraction_mert", "pipeline_mert"} <= siblings
    for file in HUB_MODULES:
        source = file.read_text()
        assert "from __future__" not in source
        optional = {"soxr", "soundfile", "av"} if "except ImportError" in source else set()
        for name in imports(file):
            if name.startswith("."):
                assert name[1:] in siblings, f"{file.name} imports {name}"
            elif name.split(".")[0] not in {"torch", "numpy", "transformers", "huggingface_hub"} | optional:
                assert name.split(".")[0] in sys.stdlib_module_names, f"{file.name} imports {name}"


def test_heavy_packages_stay_at_home():
    for file in MODULES:
        place = file.relative_to(PACKAGE).as_posix()
        for name in imports(file):
            home = HOMES.get(name.split(".")[0])
            assert home is None or any(place.startswith(prefix) for prefix in home), f"{place} imports {name}"


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, mert_hf; print([name for name in {NEVER_EAGER!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/").stdout
    assert ast.literal_eval(loaded) == []


def test_imports_form_no_circle():
    graph = {}
    for file in MODULES:
        place = file.relative_to(ROOT).with_suffix("")
        name = ".".join(place.parts[:-1] if place.name == "__init__" else place.parts)
        graph[name] = {f"mert_hf.{n[1:]}" if n.startswith(".") else n for n in imports(file, only_top=True)}

    def visit(name: str, path: tuple[str, ...]):
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if other in graph:
                    visit(other, (*path, name))
            done.add(name)

    done: set[str] = set()
    for name in graph:
        visit(name, ())


# from the ground up: a room imports from those before it alone; what stands in one line does not know each other
FLOORS = (
    ("models",),
    ("common",),
    ("audio",),
    ("encoding", "data", "synthetic"),
    ("architectures", "teachers", "publishing"),
    ("objectives", "tasks"),
    ("engine", "probing", "integrations"),
    ("pretraining", "finetuning", "conversion", "catalogue"),
    ("comparison",),
    ("commands",),
)


def test_rooms_import_downwards():
    floors = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    top = {"cli", "registration", "late_registration", "former_names", "__init__", "__main__"}
    assert {file.relative_to(PACKAGE).with_suffix("").parts[0] for file in MODULES} == set(floors) | top
    for file in MODULES:
        room, *_ = file.relative_to(PACKAGE).with_suffix("").parts
        for name in imports(file) if room in floors else ():
            other = name.split(".")[1] if name.startswith("mert_hf.") else room
            assert other == room or floors[other] < floors[room], f"{file.relative_to(PACKAGE)} imports {name}"
    # the loop knows objectives by their contract, and neither corpora nor architectures
    for file in PACKAGE.glob("engine/*.py"):
        for name in imports(file):
            assert not name.startswith(("mert_hf.architectures", "mert_hf.data.corpus", "mert_hf.models.modeling")), (
                file,
                name,
            )


def test_public_methods_are_described_where_they_are_first_named():
    classes: dict[str, list[ast.ClassDef]] = {}
    for file in MODULES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name, []).append(node)

    def described(node: ast.ClassDef, method: str) -> bool:
        own = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == method]
        above = [base for name in node.bases for base in classes.get(ast.unparse(name).split(".")[-1], [])]
        return any(map(ast.get_docstring, own)) or any(described(base, method) for base in above)

    public = [node for name, nodes in classes.items() if not name.startswith("_") for node in nodes]
    methods = [(node, part.name) for node in public for part in node.body if isinstance(part, ast.FunctionDef)]
    named = [(node, method) for node, method in methods if not method.startswith("_")]
    assert len(named) > 300
    assert not [f"{node.name}.{method}" for node, method in named if not described(node, method)]


def test_package_and_scripts_do_not_lean_on_each_other():
    names = {script.stem for script in SCRIPTS} | {"training"}
    for file in MODULES + SCRIPTS:
        assert not names & {name.split(".")[0] for name in imports(file)}, file
    installed = set(importlib.metadata.packages_distributions())
    assert not {script.stem for script in SCRIPTS} & installed
    assert not (ROOT / "training" / "__init__.py").exists()


@pytest.mark.parametrize("file", MODULES + SCRIPTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_files_and_functions_fit_on_a_desk(file):
    source = file.read_text()
    limit = 700 if file.stem.startswith("modeling_") else 200 if file in SCRIPTS else 400
    assert len(source.splitlines()) <= limit
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 60, f"{node.name} has {lines} lines"
        if file in MODULES:
            assert not isinstance(node, ast.Assert), f"line {node.lineno}: assert in the library"
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"line {node.lineno}: except without a type"
                assert ast.unparse(node.type) not in ("Exception", "BaseException"), f"line {node.lineno}"
