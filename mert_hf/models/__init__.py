"""What travels to the Hub: configurations, models, feature extractor, pipeline, and what they read audio with.

transformers copies these files, which import each other as siblings, into every repository that is published, and a reader's
machine runs them without this package. The suffix names the family: `_mert`, `_mert2`, `_multiview`; what serves all of them
bears `_mert` too, for the names are flattened and must not meet those of others.
"""
