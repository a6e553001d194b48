"""A small Hugging Face Hub on loopback, for tests with the real clients.

* repositories.py: users, repositories, commits, uploaded objects; plain state
* routing.py, endpoints.py, cards.py: the API, one function an endpoint, and the checks of card metadata
* server.py: `HubServer`, which runs it, fills it, breaks it and keeps the log of requests
* client.py: `run_with_hub` (a fresh process), `pointed_at` (this process)
* fixtures.py: the fixture `hub`; a conftest.py of another folder imports it from there

Example:
    ```python
    def test_publishing(hub, tmp_path):
        model.push_to_hub("ada/tiny", token=TOKEN)
        assert "model.safetensors" in hub.files("ada/tiny")
        hub.cut_upload_after(1000)
        ...
        ran = run_with_hub("from transformers import AutoModel; ...", hub, tmp_path / "cache", without_package=True)
    ```
"""
