"""The page of `mert-hf demo` in a process of its own, which notes whom it wants to reach beside this machine."""

import socket
import tempfile
import time
from pathlib import Path

import torch

HERE = ("127.0.0.1", "localhost", "::1", "0.0.0.0", None, "")


def serve_demo(model: Path, folder: Path, kept_s: int, longest_s: float) -> None:
    """Write the page's address into `folder/address`, and serve it until there is `folder/end`; write into `folder/temp`."""
    tempfile.tempdir = str(folder / "temp")
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def refuse(address) -> None:
        with (folder / "reached").open("a") as file:
            print(address, file=file)
        raise OSError("no network")

    def guarded_connect(self, address):
        if isinstance(address, tuple) and address[0] not in HERE:
            refuse(address)
        return connect(self, address)

    def guarded_look_up(host, *arguments, **options):
        if host not in HERE:
            refuse(host)
        return look_up(host, *arguments, **options)

    socket.socket.connect, socket.getaddrinfo = guarded_connect, guarded_look_up
    torch.set_num_threads(2)  # as the tests: the last bits depend on it
    from mert_hf.catalogue.demo import listening
    from mert_hf.catalogue.demo.server import serve

    listening.LONGEST_S = longest_s
    listener = listening.Listener(model, folder / "index", 6)
    with serve(listener, kept_s=kept_s) as address:
        (folder / "address.partial").write_text(address)
        (folder / "address.partial").rename(folder / "address")
        while not (folder / "end").exists():
            time.sleep(0.1)
