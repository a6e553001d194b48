"""What is trained on features and judged: probes of frames, clips and separation, beat tracking, the baselines beside them."""
