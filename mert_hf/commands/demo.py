"""A page to drop a song on: `demo`."""

import argparse
import os
import signal
import tempfile
import threading
from contextlib import ExitStack

from mert_hf.commands.base import Command
from mert_hf.encoding.released import DEFAULT_MODEL

DESCRIPTION = """\
Serves a page to drop a song on: what sounds most like it among synthetic pieces that are made when it starts, to be played;
its picture, to be clicked into; its vectors, to be downloaded. Needs `pip install "mert_hf[demo]"`, and no network, unless
a model of the Hub is named. The same page as a Space of the Hub: model_cards/space."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    model = os.environ.get("MODEL") or DEFAULT_MODEL
    kinds = "folder, model of `mert-hf list models` or repository"
    parser.add_argument("--model", default=model, help=f"{kinds} (default: $MODEL, or {DEFAULT_MODEL})")
    parser.add_argument("--pieces", type=int, default=40, help="synthetic pieces to look among, 10 s each (default: 40)")
    parser.add_argument("--index", metavar="FOLDER", help="keeps them, for the next start (default: made anew every time)")
    parser.add_argument("--device", help="such as cpu or cuda (default: the fastest there is)")
    parser.add_argument("--host", help="address to listen on (default: $GRADIO_SERVER_NAME, or 127.0.0.1)")
    parser.add_argument("--port", type=int, help="(default: the first that is free from 7860, or $GRADIO_SERVER_PORT, on)")


def _run(arguments: argparse.Namespace) -> None:
    from mert_hf.common.packages import require_packages

    require_packages("demo", "gradio", "matplotlib")

    from mert_hf.catalogue.demo.listening import Listener
    from mert_hf.catalogue.demo.server import require_address, serve
    from mert_hf.common.logs import show_logs
    from mert_hf.common.threads import share_cores

    require_address(arguments.host, arguments.port)
    show_logs()
    share_cores()
    ended = threading.Event()
    with ExitStack() as stack:
        index = arguments.index or stack.enter_context(tempfile.TemporaryDirectory(prefix="mert_hf_index."))
        listener = Listener(arguments.model, index, arguments.pieces, arguments.device)
        address = stack.enter_context(serve(listener, arguments.host, arguments.port))
        for number in (signal.SIGINT, signal.SIGTERM):  # what was uploaded goes before the process does
            signal.signal(number, lambda *_: ended.set())
        print(f"{address} (Ctrl-C ends it)", flush=True)
        ended.wait()


DEMO = Command("demo", "a page to drop a song on: picture, nearest pieces, vectors", _arguments, _run, DESCRIPTION)
