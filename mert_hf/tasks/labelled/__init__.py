"""Music that its owner has labelled, as a task: a folder or a dataset, with whatever splits and groups it tells of.

    task = labelled_task(LabelledFolder("~/genres"))
    data = task.load()                           # as of any other task

What is read of a folder: see [`mert_hf.tasks.labelled.labels.read_folder_rows`]. How splits are drawn where none are given: by
groups, with the classes spread evenly, and never with equal files in two of them ([`mert_hf.tasks.labelled.splits`]).
"""

from mert_hf.tasks.labelled.reading import LabelReading
from mert_hf.tasks.labelled.source import LabelledDataset, LabelledFolder, labelled_task

__all__ = ["LabelReading", "LabelledDataset", "LabelledFolder", "labelled_task"]
