"""Runs at the start of every process of `client.run_with_hub`: only loopback, short waits, and on request no mert_hf."""

import os
import socket
import sys
import time


class Blocker:
    """Makes one package as if it were not installed."""

    def __init__(self, package: str):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r} (kept out by the test)", name=name)


def connect_to_loopback(self, address, connect=socket.socket.connect):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
        raise OSError(f"tests have no network; something tried to reach {address}")
    return connect(self, address)


def wait_briefly(seconds, sleep=time.sleep):
    sleep(min(seconds, 0.02))


if package := os.environ.get("KEEP_OUT_PACKAGE"):
    sys.meta_path.insert(0, Blocker(package))
socket.socket.connect = connect_to_loopback
time.sleep = wait_briefly  # the client waits up to 23 s before it gives an upload up
