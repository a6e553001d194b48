"""A page to drop a song on: its picture, its nearest tracks in a small index of synthetic music, its vectors."""
