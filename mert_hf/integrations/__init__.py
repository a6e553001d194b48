"""MusicEncoder as other libraries want it: sentence-transformers, mteb, scikit-learn, datasets; a file for each."""
