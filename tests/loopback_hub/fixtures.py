"""The fixture `hub`, for the conftest.py of a folder whose tests need the Hub: `from loopback_hub.fixtures import hub`."""

import pytest

from loopback_hub.client import pointed_at
from loopback_hub.server import HubServer

TOKEN = "hf_writer"  # of the user "ada", who may write


@pytest.fixture
def hub(tmp_path):
    """An empty Hub at which the clients in this process are pointed, with an empty cache; nobody is logged in.

    Users: "ada", who also writes for the organization "m-a-p" (token hf_writer, and hf_reader, which may only read), and "eve"
    (hf_other).
    """
    with HubServer() as server, pointed_at(server, tmp_path / "hf_home"):
        server.add_user("ada", TOKEN, organizations=("m-a-p",))
        server.add_user("ada", "hf_reader", role="read", organizations=("m-a-p",))
        server.add_user("eve", "hf_other")
        yield server
