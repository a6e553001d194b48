"""Small labelled music made from a seed: a corpus to pre-train on and a benchmark with exact labels.

Pieces have a key, functional harmony, a melody that follows it, a bass line, drums, several timbres and a form. They
are no substitute for recordings, but enough to learn pitch, harmony, metre and timbre from, and everything about them
is known.
"""

from mert_hf.synthetic.corpus import write_corpus
from mert_hf.synthetic.piece import SyntheticPiece, generate_piece
from mert_hf.synthetic.score.instruments import INSTRUMENTS
from mert_hf.synthetic.score.labels import ChordSpan, DrumHit, Note, PieceLabels

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
