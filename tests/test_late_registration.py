"""`import mert_hf` is light, and transformers knows its models in whatever order the two, or parts of them, are imported."""

import ast
import json
import subprocess
import sys

import pytest
from test_house import HUB_MODULES, PACKAGE, imports

from mert_hf.late_registration import FREE_OF_TRANSFORMERS, needs_transformers

KNOWN = """
from transformers import AutoConfig, AutoModel, AutoFeatureExtractor, CONFIG_MAPPING, MODEL_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY
import mert_hf
from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.models.modeling_mert import MERTModel
assert CONFIG_MAPPING["mert_model"] is MERTConfig is mert_hf.MERTConfig
assert MODEL_MAPPING[MERTConfig] is MERTModel is mert_hf.MERTModel
assert {"mert_model", "mert2", "multiview_music"} <= set(CONFIG_MAPPING.keys())
assert PIPELINE_REGISTRY.supported_tasks["feature-extraction"]["impl"].__module__ == "mert_hf.registration"
"""
TOGETHER = """
import threading
start, failed = threading.Barrier(2), []
def run(code):
    start.wait()
    try:
        exec(code, {})
    except BaseException as error:
        failed.append(repr(error))
threads = [threading.Thread(target=run, args=(code,), daemon=True) for code in CODES]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
assert not failed and not any(thread.is_alive() for thread in threads), failed
"""
# Each runs in a process of its own, which has loaded neither transformers nor this package, and checks KNOWN behind it.
ORDERS = {
    "transformers first": "import importlib, transformers, mert_hf; importlib.reload(mert_hf)",
    "this package first": "import mert_hf; import transformers.models.auto.modeling_auto",
    "found before it is loaded": "import mert_hf, importlib.util; importlib.util.find_spec('transformers').name",
    "a file of models first": "import mert_hf.models.configuration_mert",
    "the registration first": "from mert_hf.registration import register; register()",
    "names first": "from mert_hf import *; MERT2Model, MusicEncoder",
    "by attributes": "import mert_hf.common.errors; mert_hf.models.modeling_mert2.MERT2Model; mert_hf.register()",
    "two files of models in two threads": TOGETHER.replace(
        "CODES", "('import mert_hf.models.pipeline_mert', 'import mert_hf.models.spectra_mert')"
    ),
    "transformers and a file in two threads": TOGETHER.replace(
        "CODES", "('import mert_hf; import transformers', 'import mert_hf.models.modeling_mert')"
    ),
    "halfway through transformers": """
import sys, importlib.util
spec = importlib.util.find_spec("transformers")
run = spec.loader.exec_module
class Plugin:
    def find_spec(self, name, path=None, target=None):
        if name == "transformers.utils":
            sys.meta_path.remove(self)
            import mert_hf
sys.meta_path.insert(0, Plugin())
import transformers
""",
}
# what transformers takes long to load is loaded once
FORKED = """
import json, os, sys, traceback, torch, scipy.optimize, sympy, torch._dynamo, torch.distributed.tensor, accelerate
orders, failed = json.loads(sys.argv[1]), {}
for name, code in orders.items():
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            assert "transformers" not in sys.modules and "mert_hf" not in sys.modules
            exec(code, {})
        except BaseException:
            os.write(write, traceback.format_exc().encode()[-3000:])
        os._exit(0)
    os.close(write)
    os.wait()
    with os.fdopen(read) as told:
        failed[name] = told.read()
print(json.dumps(failed))
"""


def run_python(code: str, *arguments: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd="/")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    orders = {name: f"{code}\n{KNOWN}" for name, code in ORDERS.items()}
    orders["a broken transformers"] = (
        "import sys, mert_hf\nclass Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'transformers.utils': raise ImportError('no such part')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "try:\n    import transformers\n"
        "except ImportError as error:\n    first = str(error)\n"
        "del sys.meta_path[0]\n"
        f"assert first == 'no such part', first\n{KNOWN}"
    )
    return json.loads(run_python(FORKED, json.dumps(orders)))


@pytest.mark.parametrize("order", [*ORDERS, "a broken transformers"])
def test_transformers_knows_the_models_in_every_order(told, order):
    assert told[order] == ""


def test_nothing_heavy_is_loaded_before_it_is_asked_for():
    heavy = ("torch", "transformers", "numpy", "huggingface_hub")
    code = f"import sys, mert_hf; print([name for name in {heavy} if name in sys.modules])"
    assert ast.literal_eval(run_python(code)) == []


def test_public_names_are_listed_before_they_are_loaded():
    code = "import mert_hf, sys; print(dir(mert_hf)); assert 'transformers' not in sys.modules"
    assert {"MERTModel", "MusicEncoder", "__version__"} <= set(ast.literal_eval(run_python(code)))


def test_files_that_are_loaded_without_transformers_import_nothing_of_it():
    names = {f"mert_hf.models.{file.stem}": imports(file, only_top=True) for file in HUB_MODULES if file.stem != "__init__"}

    def is_free(module: str) -> bool:
        others = names[module]
        return not any(name.split(".")[0] == "transformers" for name in others) and all(
            is_free(f"mert_hf.models{name}") for name in others if name.startswith(".")
        )

    assert {module for module in names if is_free(module)} == FREE_OF_TRANSFORMERS
    assert all(needs_transformers(module) != (module in FREE_OF_TRANSFORMERS) for module in names)
    assert needs_transformers("mert_hf.registration") and not needs_transformers("mert_hf.common.errors")
    assert (PACKAGE / "registration.py").is_file()
