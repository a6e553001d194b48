"""Vocabularies of the synthetic benchmark's splits: no two share a progression, a pattern, a range of timbres or of tunings.

None of them shares a progression, a pattern or a range of timbres with `CORPUS` either, and the tunings of the test split lie
outside the corpus's too. Tunings of training and validation lie within it: further out, a semitone could not be told from
its neighbour.
"""

from mert_hf.synthetic.score.theory import progressions
from mert_hf.synthetic.score.vocabulary import Pattern, Vocabulary

# Every kick, chord and bass row has a stroke on an odd sixteenth, where the corpus, which thinks in eighths, never has one.
TRAIN = Vocabulary(
    "train",
    {
        "major": progressions(
            "I ii IV V | I vi V IV | I iii vi IV | IV I ii V7 | vi IV ii V | I iii ii V7 | I bVII V I | I V IV V7 | "
            "IV iv I V7 | I vii I V7"
        ),
        "minor": progressions(
            "i iv VII V | i VI III V7 | i v iv V | i VII iv V7 | VI VII i V7 | iv VII III V7 | i IV VII V | i III VII V7 | "
            "i Vsus iv V7 | i VI i V7"
        ),
    },
    (
        Pattern("tresillo", "x--x--x---x--x--", "----x-------x---", "x-x-x-x-x-x-x-x-", "x--x--x---x--x--", "r--r--f---r--f--"),
        Pattern("chatter", "x----x--x--x----", "----x--x----x---", "xxxxxxxxxxxxxxxx", "---x---x---x---x", "r----r--f----o--"),
        Pattern("gallop", "x-xxx---x-xxx---", "----x-------x---", "x---x---x---x---", "x-xx--xxx-xx--xx", "r-rrr-rrf-fff-ff"),
        Pattern("stutter", "x------xx-------", "----x-------x--x", "x-x-x-o-x-x-x-o-", "x------x--x-----", "r------rr----o--"),
        Pattern("mazurka", "x------x----", "----x---x---", "x-x-x-x-x-x-", "x---x--xx---", "r------f----"),
        Pattern("landler", "x----x------", "----x----x--", "x---x---x---", "---xx---x--x", "r----r--f---"),
    ),
    tuning_cents=(0.0, 20.0),
    tilt_db_per_octave=(2.2, 3.2),
    vibrato_hz=(3.8, 4.5),
    intro_probability=0.0,
)

VALIDATION = Vocabulary(
    "validation",
    {
        "major": progressions("I ii iii V7 | I V ii IV | I II IV I | I vi iii V | I ii vi V"),
        "minor": progressions("i III VI V | i ii V7 VI | i VII VI VII | VI iv i V | i v VII V7"),
    },
    (
        Pattern("limp", "x--x----x--x----", "------x-------x-", "x--xx--xx--xx--x", "x--x----x--x----", "r--o----f--o----"),
        Pattern("scatter", "x-----x--x------", "----x--x-x--x---", "-x-x-x-x-x-x-x-x", "x-----x--x---x--", "r-----r--f---r--"),
        Pattern("valse", "x--x--------", "------x---x-", "x--xx--xx--x", "x--x--x---x-", "r--f--r-----"),
    ),
    tuning_cents=(21.0, 29.5),
    tilt_db_per_octave=(3.3, 3.8),
    vibrato_hz=(6.3, 6.6),
    intro_probability=0.0,
)

TEST = Vocabulary(
    "test",
    {
        "major": progressions(
            "I IV vi V | IV iii ii V7 | vi iii IV V7 | I Vsus V7 vi | I IV iii V | I bVII iv V | iii vi ii V7"
        ),
        "minor": progressions("i iv VI V | i III iv V | i ii V7 iv | i VI v V7 | III VII i V | i vii VI V7 | VI III iv V"),
    },
    (
        Pattern("son", "x--x---x--x-x---", "----x-------x---", "x-x-xx-xx-x-xx-x", "--x---x-x--x---x", "r--r---f--r-r---"),
        Pattern("broken", "x--x-----xx-----", "----x--x-x--x--x", "x-x-x-x-x-x-x-x-", "x----x----x--x--", "r--r-----fo--r--"),
        Pattern("push", "x--x---xx--x---x", "----x-------x---", "--x---x---x---x-", "x--x---x---x---x", "r--r---rf--f---f"),
        Pattern("lilt", "x----xx-----", "---x-----x--", "x-xx-xx-xx-x", "x--x-x---x--", "r----rf-----"),
        Pattern("turn", "x---x--x----", "-----x-----x", "x-x-x-x-x-x-", "--xx--x--x--", "r---f--r--o-"),
    ),
    tuning_cents=(31.0, 36.0),
    tilt_db_per_octave=(3.9, 4.8),
    vibrato_hz=(6.7, 7.3),
    intro_probability=0.0,
)

VOCABULARIES = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
