"""Lets transformers know this package's models once it is imported, by whomever, so that `import mert_hf` need not import it.

Python asks the finders in `sys.meta_path` for every module that it has not loaded yet. The finder here waits for two kinds:
transformers, behind whose own code the registration is run; and modules of this package that begin with `from transformers
import ...`, before which transformers is imported, since the registration would else find them half loaded.
"""

import sys
import threading
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Files of models/ that import nothing of transformers, nor do the siblings that they import: they are loaded without it.
FREE_OF_TRANSFORMERS = frozenset(
    f"mert_hf.models.{name}"
    for name in (
        *("audio_containers_mert", "audio_decoders_mert", "audio_inputs_mert", "audio_reading_mert"),
        *("configuration_checks_mert", "dataset_columns_mert", "decoding_mert", "errors_mert", "ffmpeg_decoders_mert"),
        *("mpeg_frames_mert", "redaction_mert", "remote_code_mert", "sampling_rates_mert", "soundfile_decoders_mert"),
    )
)


def register_now_or_later() -> None:
    """Register at once where transformers is loaded, and otherwise as soon as it is."""
    if sys.modules.get("transformers") is not None:
        import transformers  # noqa: F401, where another thread is loading it, this waits

        if _is_whole():
            _register()
            return
    if not any(isinstance(finder, LateRegistration) for finder in sys.meta_path):
        sys.meta_path.insert(0, LateRegistration())


def needs_transformers(module: str) -> bool:
    """Whether loading a module of this package begins with loading transformers, and the registration asks for it."""
    return module == "mert_hf.registration" or (module.startswith("mert_hf.models.") and module not in FREE_OF_TRANSFORMERS)


class LateRegistration(MetaPathFinder):
    """Finds nothing itself: it changes how what others find is loaded, until the models are registered.

    Nothing is imported in `find_spec`, which Python calls under a lock of all imports, but where the modules are loaded.
    """

    def __init__(self):
        self._done = False
        self._claim = threading.Lock()
        self._loading: int | None = None  # the thread that loads transformers, then registers
        self._loaded = threading.Event()  # transformers' own code has run, or failed

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        """The spec that another finder gives, where something is to be done when it is loaded."""
        if self._done or not fullname.startswith(("transformers", "mert_hf.")):
            return None
        # of transformers' own, where it was halfway when this package was imported
        waits = needs_transformers(fullname) or (fullname.startswith("transformers.") and self._was_missed())
        if fullname != "transformers" and not waits:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            (self._load_first if waits else self._register_behind)(spec)
        return spec

    def _register_behind(self, spec: ModuleSpec) -> None:
        loader, run = spec.loader, spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            vars(loader).pop("exec_module", None)
            self._loading = threading.get_ident()
            try:
                run(module)
                self._loaded.set()
                self._register()
            finally:
                self._release()

        loader.exec_module = exec_module

    def _load_first(self, spec: ModuleSpec) -> None:
        loader, create = spec.loader, spec.loader.create_module

        def create_module(spec: ModuleSpec) -> ModuleType | None:
            vars(loader).pop("create_module", None)
            self._have_transformers()
            loaded = sys.modules.get(spec.name)
            if loaded is None:
                return create(spec)
            # the registration has loaded it meanwhile: it is not run again
            loader.exec_module = lambda module: vars(loader).pop("exec_module", None)
            return loaded

        loader.create_module = create_module

    def _have_transformers(self) -> None:
        """Load transformers, which registers; nothing is left to do where the registration itself asks."""
        with self._claim:
            loaded, loading = self._loaded, self._loading
            if loading is None:
                self._loading = threading.get_ident()
        if loading == threading.get_ident():
            return
        if loading is not None:
            # The registration in the other thread is about to ask for the module that this one holds the lock of. It must get
            # it, so this thread does not wait for the end of that import, and uses transformers, whose own code has run.
            loaded.wait()
            if "transformers" in sys.modules:
                sys.modules["transformers"].__spec__._initializing = False
                return
        try:
            import transformers  # noqa: F401

            if not self._done and _is_whole():
                self._register()
        finally:
            self._release()

    def _register(self) -> None:
        _register()
        self._done = True

    def _release(self) -> None:
        with self._claim:
            self._loading = None
            self._loaded.set()
            self._loaded = threading.Event()

    def _was_missed(self) -> bool:
        return self._loading is None and sys.modules.get("transformers") is not None and _is_whole()


def _is_whole() -> bool:
    return not getattr(sys.modules["transformers"].__spec__, "_initializing", False)


def _register() -> None:
    from mert_hf.registration import register

    register()


__all__ = ["FREE_OF_TRANSFORMERS", "LateRegistration", "needs_transformers", "register_now_or_later"]
