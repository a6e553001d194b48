"""A MusicEncoder by its name: small to copy and to send to other processes, loaded where it is first used."""

import os
import reprlib

from mert_hf.common.errors import InputError
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.encoding.released import DEFAULT_MODEL


class LazyEncoder:
    """What loads a MusicEncoder when it is first asked for; a pickle or a copy of it holds the settings, and no weights.

    Two of the same settings are equal, loaded or not, and have the same pickle.

    Args:
        model: a folder, a released model or a repository of the Hub.
        device, dtype: as in [`MusicEncoder`].

    Raises:
        InputError: the model is given as anything but a name, such as a loaded one.
    """

    def __init__(self, model: str | os.PathLike = DEFAULT_MODEL, device: str | None = None, dtype: str = "float32"):
        if not isinstance(model, (str, os.PathLike)):
            raise InputError(
                f"model={reprlib.repr(model)} must be a folder or a repository such as 'm-a-p/MERT-v1-95M'; what is copied"
                " and pickled holds no weights. Save a loaded model with save_pretrained, and give its folder."
            )
        self._settings = (os.fspath(model), device, dtype)
        self._encoder: MusicEncoder | None = None

    def load(self) -> MusicEncoder:
        """The encoder, loaded once.

        Raises:
            InputError: as [`MusicEncoder`].
        """
        if self._encoder is None:
            model, device, dtype = self._settings
            self._encoder = MusicEncoder(model, device=device, dtype=dtype)
        return self._encoder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LazyEncoder) and self._settings == other._settings

    def __hash__(self) -> int:
        return hash(self._settings)

    def __getstate__(self) -> dict:
        return {"_settings": self._settings, "_encoder": None}
