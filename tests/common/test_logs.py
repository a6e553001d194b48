"""Scripts log in one way: plain lines, from one process, of this package alone."""

import subprocess
import sys

SCRIPT = """
import logging, sys
from mert_hf.common.logs import show_logs
show_logs(sys.argv[1] == "speaks")
for name in ("mert_hf.data.corpus", "another.package"):
    logging.getLogger(name).info("info of %s", name)
    logging.getLogger(name).error("error of %s", name)
"""


def test_one_process_tells_and_all_tell_of_errors():
    def said(how):
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True
        ).stderr.splitlines()

    errors = ["error of mert_hf.data.corpus", "error of another.package"]
    assert said("speaks") == ["info of mert_hf.data.corpus", *errors]
    assert said("is silent") == errors
