"""MusicEncoder as other libraries want it: sentence-transformers, mteb, scikit-learn, datasets; a file and an extra for each."""
