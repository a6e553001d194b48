"""What a model's page says of the free music that it heard, from the list that was made with the folder of it."""

import dataclasses
import os

from mert_hf.common.errors import InputError
from mert_hf.common.licence_terms import allows
from mert_hf.data.free_music_folder import read_credits
from mert_hf.publishing.model_card import CardFacts


def credit_music(facts: CardFacts, file: str | os.PathLike) -> CardFacts:
    """Facts that name the music with its authors, after whatever they say of the training data, and a licence that it allows.

    Args:
        facts: their licence, if they state one, stays, with its reason.
        file: `licences.json` of a folder that `training/free_music.py` made.

    Raises:
        InputError: the file cannot be read, or some of the music does not allow the licence that is stated.
    """
    credits = read_credits(file)
    if facts.license is not None:
        against = [licence for licence in credits.licences if not allows(licence, facts.license)]
        if against:
            raise InputError(
                f"the music of {file} is partly under {', '.join(against)}, which does not allow weights under {facts.license};"
                f" state {credits.weights_licence}, or train on other music."
            )
    data = "\n\n".join(filter(None, (facts.training_data.strip(), credits.training_data)))
    note = facts.license_note or credits.license_note
    return dataclasses.replace(facts, training_data=data, license=facts.license or credits.weights_licence, license_note=note)
