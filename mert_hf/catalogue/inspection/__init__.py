"""What a model hears in one track: its structure, its layers over time and its beats, as a picture or a page to click."""
