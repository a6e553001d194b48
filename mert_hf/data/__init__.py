"""Music as training sees it: corpora of tracks, random crops of them, batches."""
