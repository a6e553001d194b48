"""A catalogue of music: embedded once, then searched, judged and looked at."""

from mert_hf.catalogue.catalogue import Catalogue, Hit
from mert_hf.catalogue.duplicates import Duplicates, find_duplicates
from mert_hf.catalogue.embedder import Embedder
from mert_hf.catalogue.embedding import Embedded, embed
from mert_hf.catalogue.publication import push_to_hub
from mert_hf.catalogue.sources import Rows

__all__ = ["Catalogue", "Duplicates", "Embedded", "Embedder", "Hit", "Rows", "embed", "find_duplicates", "push_to_hub"]
