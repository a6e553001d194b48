"""Windows and macOS: what only Linux, or only Unix, has is asked for where it is used, and something stands in for it."""

import ast
import importlib.util
import json
import os
import subprocess
import sys

import psutil
import pytest
import torch
from test_house import MODULES, PACKAGE, ROOT, SCRIPTS

from mert_hf.common import files, threads
from mert_hf.common.errors import InputError
from mert_hf.common.run_lock import RunLock
from mert_hf.engine.devices import peak_memory_gib

# modules of Python that Windows lacks ("Availability: Unix" in its documentation)
UNIX_MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
# names that Windows lacks, or macOS too
UNIX_NAMES = {
    "os": """
        fork forkpty getegid geteuid getgid getgroups getlogin getpgid getpgrp getppgid getpriority getuid killpg lchown
        mkfifo mknod nice openpty pathconf pipe2 posix_fadvise posix_fallocate posix_spawn pread pwrite readv register_at_fork
        sched_getaffinity sched_setaffinity sched_yield sendfile setpgid setsid setuid statvfs sync sysconf uname wait3 wait4
        O_CLOEXEC O_DIRECT O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC WNOHANG
    """.split(),  # noqa: SIM905 (a list would take a line for each)
    "signal": "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 alarm pause setitimer".split(),  # noqa: SIM905
}
# as on another system: what other packages import is loaded first, since theirs is not the question
IMPORT_ALL = f"""
import importlib, json, os, signal, sys
import accelerate, accelerate.utils, datasets, evaluate, huggingface_hub, jinja2, psutil, sklearn.metrics, soundfile
from transformers import FeatureExtractionPipeline, PreTrainedModel, Trainer, Wav2Vec2FeatureExtractor
for name in {UNIX_MODULES}:
    sys.modules[name] = None
for module, names in {UNIX_NAMES}.items():
    for name in names:
        vars(sys.modules[module]).pop(name, None)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
"""


def at_module_level(tree: ast.AST):
    """The nodes that run when a module is imported."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from at_module_level(node)


@pytest.mark.parametrize("file", MODULES + SCRIPTS, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_module_asks_at_once_for_what_only_unix_has(file):
    for node in at_module_level(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert not {name.split(".")[0] for name in names} & set(UNIX_MODULES), f"line {node.lineno}"


def test_every_module_is_imported_where_unix_is_not():
    names = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for file in MODULES]
    names = [name for name in names if ".modules." not in name and not name.endswith(".without_package")]
    if importlib.util.find_spec("mteb") is None:  # the one extra that tests do without
        names.remove("mert_hf.integrations.mteb_encoder")
    command = [sys.executable, "-c", IMPORT_ALL, json.dumps(names)]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ran.returncode == 0, ran.stderr


class Windows:
    """`os` as it is there: folders cannot be opened, and what was opened for reading is not flushed."""

    name = "nt"

    def __init__(self):
        self.readonly = set()

    def __getattr__(self, name):
        return getattr(os, name)

    def open(self, path, flags, *mode):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        descriptor = os.open(path, flags, *mode)
        if not flags & (os.O_RDWR | os.O_WRONLY):
            self.readonly.add(descriptor)
        return descriptor

    def fsync(self, descriptor):
        if descriptor in self.readonly:
            raise OSError(9, "Bad file descriptor")
        os.fsync(descriptor)


def test_files_and_folders_are_written_on_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "os", Windows())
    files.write_atomically(tmp_path / "note.json", "{}\n")
    with files.fill_folder(tmp_path / "model") as folder:
        (folder / "weights").write_bytes(b"numbers")
    assert (tmp_path / "note.json").read_text() == "{}\n" and (tmp_path / "model" / "weights").read_bytes() == b"numbers"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model", "note.json"]


def test_runs_are_kept_apart_where_files_cannot_be_locked(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    held = RunLock(tmp_path / "run.lock")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for number, refused in ((os.getppid(), True), (gone.pid, False)):
        held.acquire()
        written = json.loads(held.file.read_text())
        held.release()
        held.file.write_text(json.dumps({**written, "pid": number}))
        if refused:
            with pytest.raises(InputError, match=f"a run is writing into {tmp_path}: process {number} on"):
                RunLock(held.file).acquire()
            held.file.write_text("")
        else:
            RunLock(held.file).acquire()


def test_peak_memory_without_the_module_resource(monkeypatch):
    class Process:
        def memory_info(self):
            return type("Memory", (), {"peak_wset": 3 * 2**30})

    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(psutil, "Process", Process)
    assert peak_memory_gib(torch.device("cpu")) == 3.0


def test_cores_where_no_affinity_is_told(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert threads.count_cores() == os.cpu_count()
