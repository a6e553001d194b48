"""Small labelled music made from a seed: a corpus to pre-train on and a benchmark with exact labels.

Pieces have a key, functional harmony, a melody that follows it, a bass line, drums, several timbres and a form. They
are no substitute for recordings, but enough to learn pitch, harmony, metre and timbre from, and everything about them
is known.
"""

from mert_hf.data.synthetic.corpus import write_corpus
from mert_hf.data.synthetic.instruments import INSTRUMENTS
from mert_hf.data.synthetic.labels import ChordSpan, DrumHit, Note, PieceLabels
from mert_hf.data.synthetic.piece import SyntheticPiece, generate_piece

__all__ = [
    "INSTRUMENTS",
    "ChordSpan",
    "DrumHit",
    "Note",
    "PieceLabels",
    "SyntheticPiece",
    "generate_piece",
    "write_corpus",
]
