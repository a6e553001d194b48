"""`mert-hf demo`: what it refuses in one line; where Gradio is installed, that it serves and ends without leaving anything."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from support.catalogues import save_model

from mert_hf.cli import main
from mert_hf.common import packages

ROOT = Path(__file__).parents[2]
APP = ROOT / "model_cards" / "space" / "app.py"


def refused(options, capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *options])
    assert ended.value.code.startswith("error: ") and "\n" not in ended.value.code
    assert capsys.readouterr().out == ""
    return ended.value.code


def pretend(monkeypatch, installed: bool) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        packages.importlib.util, "find_spec", lambda name: installed or None if name == "gradio" else found(name)
    )


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    pretend(monkeypatch, installed=False)
    assert refused([], capsys) == 'error: gradio is needed here and not installed: pip install "mert_hf[demo]"'


def test_mistakes_are_one_line_and_made_before_anything_is_computed(monkeypatch, capsys, tmp_path):
    pretend(monkeypatch, installed=True)
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    assert "port 0 is none; give a number from 1 to 65535." in refused(["--port", "0"], capsys)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 cannot be listened on" in refused(["--port", str(port)], capsys)
    assert "no/model cannot be loaded" in refused(["--model", "no/model"], capsys)
    monkeypatch.setenv("MODEL", "from/variable")
    assert "from/variable cannot be loaded" in refused([], capsys)
    model = save_model(tmp_path / "model")
    assert "num_pieces is 0; pass a number from 1" in refused(["--model", str(model), "--pieces", "0"], capsys)


@pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="gradio is not installed (the extra demo)")
def test_the_space_serves_and_ends_when_it_is_told_to_and_leaves_nothing(tmp_path):
    """A process of its own, as a Space starts it: some ten seconds."""
    model = save_model(tmp_path / "model")
    (tmp_path / "temp").mkdir()
    environment = {**os.environ, "MODEL": str(model), "TMPDIR": str(tmp_path / "temp"), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, APP, "--pieces", "2"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    line = process.stdout.readline()
    assert line.startswith("http://127.0.0.1:") and line.endswith(" (Ctrl-C ends it)\n")
    with urllib.request.urlopen(line.split()[0]) as page:
        assert page.status == 200 and b"A song as MERT hears it" in page.read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert {file.name for file in tmp_path.iterdir()} == {"model", "temp"}
    assert [file.name for file in (tmp_path / "temp").iterdir() if file.name.startswith("mert_hf_")] == []
