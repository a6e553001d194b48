"""NSynth: instrument family and pitch of 306,000 single notes of four seconds."""

from dataclasses import replace

from mert_hf.tasks.base import Task
from mert_hf.tasks.protocols import MARBLE
from mert_hf.tasks.sources import HubTable

REPOSITORY = "confit/nsynth-parquet"

NSYNTH_INSTRUMENT = Task(
    name="nsynth_instrument",
    title="NSynth instrument",
    dataset="nsynth",
    kind="multiclass",
    source=HubTable(REPOSITORY, config="instrument", label="instrument", unverified=("instrument",)),
    labels=(*("bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal"),),
    protocol=replace(MARBLE, max_epochs=50),
    split_sizes={"train": 289205, "validation": 12678, "test": 4096},
)

# MIDI numbers as they are: MARBLE subtracts 1 or 9, which changes nothing but the numbers of the classes
NSYNTH_PITCH = replace(
    NSYNTH_INSTRUMENT,
    name="nsynth_pitch",
    title="NSynth pitch",
    source=HubTable(REPOSITORY, config="pitch", label="pitch", unverified=("pitch",)),
    labels=tuple(str(pitch) for pitch in range(128)),
)
