"""Many clips on one MIDI timeline, none of which hears its neighbours: a sampler then loads its soundfont once for all.

Fluidsynth computes blocks of 64 samples and reads its clock in whole milliseconds, so clips start on a grid of both: a note
falls into the same block whichever clip is the first. A voice fades from the panning of the note that it played last to its own
within a block, so before every clip all voices play the same notes, unheard. Its reverb and chorus move on with the time
and have to be off. With all that a clip is sample for sample the same beside any others (fluidsynth 2.3).
"""

import math
from collections.abc import Sequence

from mert_hf.synthetic.sound.midi import CONTROLLER, NOTE_OFF, NOTE_ON, PROGRAM, TICKS_PER_S, Event, file_bytes

BLOCK_SAMPLES = 64
POLYPHONY = 1024
"""Voices that the player must have: no voice may be taken from a note, since it keeps a trace of that."""

_CHANNELS = 16
_ALL_SOUND_OFF, _RESET_CONTROLLERS = 120, 121
# places among the events of one tick, behind those of a score: a note that is let go after the silence would come back
_UNHEARD, _SILENCE, _RESET = 8, 9, 10
# 256 notes of a program with at most four samples a note (pianos have one or two): as many voices as a clip may use, and no
# more than there are
_UNHEARD_PROGRAM, _UNHEARD_CHANNELS, _UNHEARD_PITCHES, _UNHEARD_VELOCITY = 0, 4, range(32, 96), 64
# steps of the grid in which those sound and fall silent, and the rest after a clip
_LEAD_STEPS, _REST_STEPS = 2, 1
# one block would do for most voices, not for all
_LEAST_STEP_SAMPLES = 3 * BLOCK_SAMPLES


class Timeline:
    """Where the clips of a MIDI file lie.

    Attributes:
        starts: first sample of every clip in what a player makes of the file.

    Args:
        num_clips: one after another.
        num_samples: of every clip.
        sampling_rate: in Hz, at which the file is to be played.
    """

    def __init__(self, num_clips: int, num_samples: int, sampling_rate: int):
        # whole blocks and whole milliseconds, and long enough for all voices to begin
        step = BLOCK_SAMPLES * sampling_rate // math.gcd(sampling_rate, BLOCK_SAMPLES * 1000)
        self._step = step * math.ceil(_LEAST_STEP_SAMPLES / step)
        self._step_ticks = self._step * TICKS_PER_S // sampling_rate
        self._clip_ticks = math.ceil(num_samples * TICKS_PER_S / sampling_rate)
        steps = _LEAD_STEPS + math.ceil(num_samples / self._step) + _REST_STEPS
        self._start_steps = [_LEAD_STEPS + number * steps for number in range(num_clips)]
        self._steps = num_clips * steps
        self.starts = [start * self._step for start in self._start_steps]

    def midi_bytes(self, clips: Sequence[Sequence[Event]]) -> bytes:
        """The file of all clips, each as the events of its score from tick 0 on; what starts after its end is left out."""
        events: list[Event] = []
        for start, clip in zip(self._start_steps, clips, strict=True):
            events += self._place(clip, start * self._step_ticks)
        # one step more, since a player may stop before the last block
        return file_bytes(events, (self._steps + 1) * self._step_ticks)

    def _place(self, clip: Sequence[Event], start: int) -> list[Event]:
        stop = start + self._clip_ticks
        lead = start - _LEAD_STEPS * self._step_ticks
        placed = _unheard_notes(lead)
        placed += _on_all_channels(lead + self._step_ticks, _SILENCE, _ALL_SOUND_OFF)
        for tick, place, message in clip:
            ends = message[0] & 0xF0 == NOTE_OFF
            if ends or start + tick < stop:
                placed.append((min(start + tick, stop), place, message))
        placed += _on_all_channels(stop, _SILENCE, _ALL_SOUND_OFF)
        return placed + _on_all_channels(stop, _RESET, _RESET_CONTROLLERS)


def _unheard_notes(tick: int) -> list[Event]:
    channels = range(_UNHEARD_CHANNELS)
    notes = [(NOTE_ON | channel, pitch, _UNHEARD_VELOCITY) for channel in channels for pitch in _UNHEARD_PITCHES]
    return [
        *((tick, 0, bytes((PROGRAM | channel, _UNHEARD_PROGRAM))) for channel in channels),
        *((tick, _UNHEARD, bytes(note)) for note in notes),
    ]


def _on_all_channels(tick: int, place: int, controller: int) -> list[Event]:
    return [(tick, place, bytes((CONTROLLER | channel, controller, 0))) for channel in range(_CHANNELS)]
