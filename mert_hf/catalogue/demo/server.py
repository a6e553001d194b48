"""The page, served by Gradio; all that it computes and shows stands beside this file, and needs no Gradio."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from mert_hf.catalogue.demo.listening import LONGEST_S, MOST_MEGABYTES, NO_FILE, Listener
from mert_hf.catalogue.demo.markup import show, show_message
from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages

# Uploads are deleted when they are so many seconds old, and all of them when the page ends. Not at once: Gradio keeps the equal
# files of two people as one, and the second may still wait for it; who waits longest waits for `MOST_WAITING` songs.
KEPT_S = 30 * 60
MOST_WAITING = 8
ABOUT = f"""\
# A song as MERT hears it

Drop a song: what sounds most like it among synthetic pieces that this page has made, its vectors, and a picture of its
sections to click into. At most {LONGEST_S // 60} minutes and {MOST_MEGABYTES} MB; deleted within {KEPT_S // 60 + 1} minutes,
and kept nowhere.
"""
LISTENING = "Listening: on one core, a song takes about half as long as it lasts."
CSS = """
#results table { width: 100%; }
#results td { vertical-align: middle; }
#results td:nth-child(-n + 4) { white-space: nowrap; }
#results audio { height: 2rem; min-width: 14rem; width: 100%; }
#message { font-size: 1.1rem; padding: 0.8rem; border: 1px solid currentColor; border-radius: 4px; overflow-wrap: anywhere; }
"""


def require_address(host: str | None = None, port: int | None = None) -> None:
    """Refuse what cannot be listened on, before anything is computed.

    Args:
        host, port: as of [`serve`].

    Raises:
        InputError: there is no such port, somebody else listens there, or the host is not this machine.
    """
    host = host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    if port is not None and not 1 <= port <= 65535:
        raise InputError(f"port {port} is none; give a number from 1 to 65535.")
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port or 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        what = f"host {host}" if port is None else f"port {port} of {host}"
        raise InputError(f"{what} cannot be listened on ({error.strerror or error}); give another one.") from None


def build_page(listener: Listener, kept_s: int = KEPT_S):
    """The page, not yet served, as a `gradio.Blocks`.

    Args:
        kept_s: age at which uploads are deleted, in seconds; looked at every minute, or as often as that.
    """
    require_packages("demo", "gradio")
    import gradio

    def listen(path: str | None) -> Iterator[str]:
        yield show_message(LISTENING)
        try:
            yield show(listener.listen(path))
        except InputError as error:
            yield show_message(str(error))

    with gradio.Blocks(
        title="A song as MERT hears it", analytics_enabled=False, delete_cache=(min(60, kept_s), kept_s)
    ) as page:
        gradio.Markdown(ABOUT)
        song = gradio.File(label="An audio file", elem_id="song", height=140)
        results = gradio.HTML(show_message(NO_FILE), elem_id="results")
        # one at a time: the model takes all cores, and two at once would take as long
        how = dict(inputs=song, outputs=results, concurrency_limit=1, api_visibility="private")
        song.upload(listen, **how)
        song.clear(lambda: show_message(NO_FILE), outputs=results, api_visibility="private")
    return page.queue(max_size=MOST_WAITING)


@contextmanager
def serve(listener: Listener, host: str | None = None, port: int | None = None, kept_s: int = KEPT_S) -> Iterator[str]:
    """Serve the page; it ends with the block.

    Args:
        host: address to listen on; this machine's own by default, or what GRADIO_SERVER_NAME says.
        port: to listen on; by default the first that is free from 7860 on, or from what GRADIO_SERVER_PORT says.
        kept_s: see [`build_page`].

    Returns:
        The address to open in a browser.

    Raises:
        InputError: the host or port cannot be listened on.
        MissingPackageError: Gradio is not installed.
    """
    require_packages("demo", "gradio")
    require_address(host, port)
    with tempfile.TemporaryDirectory(prefix="mert_hf_uploads.") as folder, _uploads_into(folder):
        import gradio

        page = build_page(listener, kept_s)
        nothing_of_others = dict(share=False, ssr_mode=False, mcp_server=False, run_history=False, footer_links=[])
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                prevent_thread_lock=True,
                quiet=True,
                max_file_size=MOST_MEGABYTES * 10**6,
                # fonts of the system, which nobody has to be asked for
                theme=gradio.themes.Default(font="system-ui", font_mono="monospace"),
                css=CSS,
                **nothing_of_others,
            )
        except OSError as error:
            raise InputError(f"the page cannot be served on {host or 'this machine'}: {error}") from None
        try:
            yield address
        finally:
            page.close(verbose=False)


@contextmanager
def _uploads_into(folder: str) -> Iterator[None]:
    """Where Gradio puts what is uploaded, which it asks the environment for."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = folder
    try:
        yield
    finally:
        del os.environ["GRADIO_TEMP_DIR"]
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before
