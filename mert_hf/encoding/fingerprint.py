"""What tells the weights of a model from any others, wherever they came from."""

import hashlib

import torch


def weights_fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 of all weights and their names."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
