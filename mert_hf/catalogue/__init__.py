"""A catalogue of music: embedded once, then searched, judged and looked at."""
