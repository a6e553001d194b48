"""Making the labels of a corpus once: its tracks are dealt out to the processes, each of which appends to its own shard."""

import itertools
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from mert_hf.audio import AudioError
from mert_hf.common.errors import InputError
from mert_hf.data.corpus import Corpus
from mert_hf.data.crops import UnreadableCrop
from mert_hf.data.label_files import LabelFolder, LabelHeader, drop_damaged, read_rows
from mert_hf.data.label_store import LabelWriter
from mert_hf.data.labelled_crops import LabelledCrops
from mert_hf.engine.devices import require_same_everywhere
from mert_hf.teachers import CodeTeacher

logger = logging.getLogger(__name__)

# Pieces that are read before they are asked for: the longest, fifteen minutes for a codec, take 86 MB each.
PIECES_AHEAD = 4
READING_THREADS = 2
# Crops whose codes are compared with the stored ones when all is done.
COMPARED_CROPS = 16


def make_labels(corpus: Corpus, teacher: CodeTeacher, folder: LabelFolder, accelerator: Accelerator) -> dict[str, str]:
    """Write the codes of every track into a label store; tracks that are there already, and whole, are kept.

    Args:
        folder: of the store, held by this run alone.

    Returns:
        Tracks that could not be read, each with its reason; they have no labels.

    Raises:
        InputError: the folder holds labels of another teacher, or gives one a code outside its codebooks, or the processes
            have opened different corpora.
    """
    require_same_everywhere({"usable tracks": corpus.fingerprint()}, corpus.title)
    header = begin_store(corpus, teacher, folder) if accelerator.is_main_process else None
    accelerator.wait_for_everyone()
    header = LabelHeader.read(folder) if header is None else header
    rows = read_rows(folder)
    missing = [
        index
        for index, track in enumerate(corpus.tracks)
        if track.name not in rows or rows[track.name].find_mismatch(corpus, index, header.frame_rate)
    ]
    if len(missing) < len(corpus.tracks):
        logger.info("%d of %d tracks have their labels already", len(corpus.tracks) - len(missing), len(corpus.tracks))
    # the longest first, so that all processes end at about the same time
    missing.sort(key=lambda index: -corpus.tracks[index].duration_s)
    accelerator.wait_for_everyone()  # all have read what there is before one begins to write
    teacher = teacher.to(accelerator.device)
    unreadable = {}
    own = missing[accelerator.process_index :: accelerator.num_processes]
    progress = tqdm(own, desc="Making labels", unit="track", disable=not accelerator.is_main_process)
    with LabelWriter(folder, header, accelerator.process_index) as writer, PiecesAhead(corpus, own, teacher) as pieces:
        for index in progress:
            try:
                label_track(writer, corpus, index, teacher, pieces, accelerator.device)
            except AudioError as error:
                unreadable[corpus.tracks[index].name] = str(error)
    accelerator.wait_for_everyone()
    if accelerator.num_processes > 1:
        unreadable = dict(gather_object(list(unreadable.items())))
    if accelerator.is_main_process:
        labelled = len(corpus.tracks) - len(unreadable)
        replace(header, tracks=labelled, corpus_checksum=corpus.fingerprint(), complete=True).write(folder)
    accelerator.wait_for_everyone()
    return unreadable


def begin_store(corpus: Corpus, teacher: CodeTeacher, folder: LabelFolder) -> LabelHeader:
    """Write the header of a store that is not complete yet, and take out of it what is damaged.

    Raises:
        InputError: labels of another teacher lie there.
    """
    header = LabelHeader(
        description=teacher.description,
        settings=teacher.settings(),
        fingerprint=teacher.fingerprint(),
        frame_local=teacher.frame_local,
        sampling_rate=teacher.sampling_rate,
        frame_rate=teacher.frame_rate,
        codebook_sizes=list(teacher.codebook_sizes),
        corpus=corpus.title,
    )
    if folder.header.is_file():
        before = LabelHeader.read(folder)
        if before.fingerprint != header.fingerprint or before.sampling_rate != header.sampling_rate:
            raise InputError(
                f"{folder.folder} holds labels of another teacher ({before.description}: {before.settings}); give the same"
                " settings to add to them, or choose another data.labels."
            )
    folder.folder.mkdir(parents=True, exist_ok=True)
    header.write(folder)
    drop_damaged(folder, header)
    return header


class PiecesAhead:
    """Reads what a teacher will be asked to code while it codes, so that a GPU does not wait for the decoding.

    Args:
        indices: of the tracks in the order in which they will be coded.
        teacher: decides on the pieces that they are coded in.
    """

    def __init__(self, corpus: Corpus, indices: Sequence[int], teacher: CodeTeacher):
        self._corpus, self._rate = corpus, teacher.sampling_rate
        self._wanted = (
            (index, start, stop - start)
            for index in indices
            for start, stop in teacher.pieces(corpus.length(index, teacher.sampling_rate))
        )
        self._reading: deque[tuple[tuple[int, int, int], Future]] = deque()
        self._threads = ThreadPoolExecutor(READING_THREADS)

    def __enter__(self) -> "PiecesAhead":
        return self

    def __exit__(self, *_) -> None:
        self._threads.shutdown(cancel_futures=True)

    def read(self, index: int, start: int, count: int) -> np.ndarray:
        """A piece of a track, (count,) float32; those before it that nobody asked for are dropped.

        Raises:
            AudioError: it cannot be read.
        """
        while True:
            for piece in itertools.islice(self._wanted, 1 + PIECES_AHEAD - len(self._reading)):
                number, first, samples = piece
                self._reading.append((piece, self._threads.submit(self._corpus.read, number, self._rate, first, samples)))
            piece, reading = self._reading.popleft()
            if piece == (index, start, count):
                return reading.result()
            reading.cancel()  # of a track that could not be read to its end


def label_track(
    writer: LabelWriter, corpus: Corpus, index: int, teacher: CodeTeacher, pieces: PiecesAhead, device: torch.device
) -> None:
    """Code one track and append it.

    Raises:
        AudioError: it cannot be read.
    """
    track = corpus.tracks[index]
    codes = teacher.encode_track(partial(pieces.read, index), corpus.length(index, teacher.sampling_rate), device)
    writer.write(track.name, codes, track.duration_s, track.stamp, corpus.digest(index))


class AlignedCrops(LabelledCrops):
    """[`LabelledCrops`] that begin on a frame and hold whole frames, so that what is seen is the effect of the edges alone."""

    def locate(self, number: int) -> tuple[int, int, int]:
        track, start, length = super().locate(number)
        hop = round(self.labels.sampling_rate / self.labels.frame_rate)
        return track, start - start % hop, length - length % hop


@torch.no_grad()
def compare_crops(crops: LabelledCrops, teacher: CodeTeacher, device: torch.device | str = "cpu") -> dict[str, list[float]]:
    """How far codes made on the fly, of the first crops, agree with the stored ones, of whole tracks.

    Args:
        crops: as training cuts them, or [`AlignedCrops`].

    Returns:
        Share of equal codes for each codebook: in "all" frames of the crops, and in the "inner" ones, which are a quarter of a
        crop away from its edges.

    Raises:
        InputError: a crop cannot be read.
    """
    equal: dict[str, list[torch.Tensor]] = {"all": [], "inner": []}
    for number in range(COMPARED_CROPS):
        crop = crops[number]
        if isinstance(crop, UnreadableCrop):
            raise InputError(f"the labels cannot be compared with their audio: {crop.track}: {crop.reason}")
        codes = teacher(crop.waveform.to(device)[None])[0].cpu()
        frames = min(codes.shape[1], crop.labels.shape[1])
        same = codes[:, :frames] == crop.labels[:, :frames]
        equal["all"].append(same)
        equal["inner"].append(same[:, frames // 4 : 3 * frames // 4])
    return {part: torch.cat(same, dim=1).float().mean(1).tolist() for part, same in equal.items()}
