"""How the papers cut audio and train their probes."""

import math

from mert_hf.tasks.base import ProbeProtocol, Windows

# MARBLE (v1): benchmark/tasks/*/*_base_config.yaml for batch, dropout, epochs and patience; its paper for the learning rates to
# choose from. Adam without weight decay. Tasks change the patience and the learning rate of a single run.
MARBLE = ProbeProtocol(
    name="MARBLE",
    head="mlp",
    hidden_size=512,
    dropout=0.2,
    batch_size=64,
    learning_rate=1e-3,
    learning_rates=(5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2),
    max_epochs=100,
    plateau_patience=3,
    stop_patience=10,
)

# Comparison of five pretext tasks (Deezer), sections 3.1 to 3.3: one linear layer without bias on the mean embedding of a
# track, batches of 256, 25 epochs of 128 steps, the best checkpoint by validation loss; half of the test split drawn 50
# times; 1, 5, 10 and 20 % of the training split, four draws each. The learning rate is not given: ours are MARBLE's.
DEEZER = ProbeProtocol(
    name="Deezer",
    head="linear",
    bias=False,
    batch_size=256,
    learning_rate=1e-3,
    learning_rates=MARBLE.learning_rates,
    max_epochs=25,
    steps_per_epoch=128,
    choose_by="loss",
    test_resamples=50,
    test_share=0.5,
    limited_shares=(0.01, 0.05, 0.1, 0.2),
    limited_draws=4,
)

# Up to 25 segments of 4 s in which something sounds, from at most ten minutes of a track. A segment is silent where
# 10 ln(its RMS / the track's) is below -7.5 (ssl_framework/downstream_tasks/datasets/__init__.py). Which 25 is random there;
# ours are spread evenly.
DEEZER_FIELDS = {
    "protocol": DEEZER,
    "windows": Windows(duration_s=4.0, most=25, heard_s=600.0, least_rms=math.exp(-0.75)),
    "aggregation": "mean_features",
    "ours": (
        "the learning rate is chosen from MARBLE's on the validation split: the paper gives none",
        "of more than 25 segments with sound, 25 spread evenly are heard; there they are drawn",
    ),
}
