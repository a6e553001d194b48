"""The Space: the lines that its page names upload a folder that is a Space of Gradio and holds all that it imports."""

import re
import shlex
import subprocess
import sys

from loopback_hub.client import ROOT, run_with_hub

from mert_hf.encoding.released import DEFAULT_MODEL, NEEDED

SPACE = ROOT / "model_cards" / "space"
REPO = "ada/song"
COMMAND = f"import os; os.chdir({str(ROOT)!r}); from huggingface_hub.cli.hf import main; main()"


def test_the_lines_of_the_page_upload_a_space_that_starts(hub, tmp_path):
    lines = re.findall(r"^hf (upload .*)$", (SPACE / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        arguments = shlex.split(line.replace("USER/NAME", REPO))
        done = run_with_hub(COMMAND, hub, tmp_path / "cache", "hf_writer", arguments=tuple(arguments))
        assert done.returncode == 0, done.stderr
    files = hub.files(REPO, repo_type="space")
    own = {file.relative_to(ROOT).as_posix() for file in (ROOT / "mert_hf").rglob("*") if file.is_file()}
    own = {name for name in own if "__pycache__" not in name}
    model = {file for file in files if file.startswith(f"mert_hf/model_cards/{DEFAULT_MODEL}/")}
    assert {file.rpartition("/")[2] for file in model} >= {*NEEDED}
    assert own | model | {"app.py", "README.md", "requirements.txt", ".gitattributes"} == set(files)
    for name, content in files.items():
        place = tmp_path / "space" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    for arguments in (["app.py", "--help"], ["-c", "import mert_hf; print(mert_hf.find_model())"]):
        how = dict(cwd=tmp_path / "space", capture_output=True, text=True, env={"HOME": str(tmp_path)})
        told = subprocess.run([sys.executable, *arguments], check=True, **how).stdout
    assert told.startswith(str(tmp_path / "space"))
