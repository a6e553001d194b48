"""Under which licence weights go that were trained on music, from what the licences of the music say."""

import itertools

import pytest

from mert_hf.common.errors import InputError
from mert_hf.common.licence_terms import ALLOWED, WEIGHTS_LICENCES, allows, derive_weights_licence, may_follow


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        ([], "apache-2.0"),
        (["CC0-1.0", "public-domain"], "apache-2.0"),
        (["CC0-1.0", "CC-BY-3.0"], "cc-by-4.0"),
        (["CC-BY-4.0", "CC-BY-SA-3.0"], "cc-by-sa-4.0"),
        (["CC-BY-SA-4.0", "GPL-2.0-or-later"], "gpl-3.0"),
        (["GPL-2.0-only", "GPL-2.0-or-later"], "gpl-2.0"),
        # of either, the one that suits the others
        (["CC-BY-SA-3.0 OR GPL-2.0-or-later", "CC-BY-3.0"], "cc-by-sa-4.0"),
        (["CC-BY-SA-3.0 OR GPL-2.0-or-later", "GPL-2.0-only"], "gpl-2.0"),
    ],
)
def test_the_licence_that_asks_least_of_those_all_works_allow(licences, expected):
    assert derive_weights_licence(licences) == expected
    assert derive_weights_licence([*reversed(licences), *licences]) == expected


@pytest.mark.parametrize(
    ("licences", "why"),
    [
        (["GPL-2.0-only", "CC-BY-SA-4.0"], "CC-BY-SA-4.0, GPL-2.0-only: they exclude each other"),
        (["GPL-2.0-only", "GPL-3.0-only"], "they exclude each other"),
        (["CC0-1.0", "CC-BY-NC-4.0"], "CC-BY-NC-4.0 allows none that is known"),
        (["CC-BY-ND-4.0", "LicenseRef-Own"], "CC-BY-ND-4.0, LicenseRef-Own allows none that is known"),
    ],
)
def test_works_that_go_together_under_no_licence_are_refused(licences, why):
    with pytest.raises(InputError, match=why):
        derive_weights_licence(licences)


def test_more_music_never_makes_the_licence_ask_less():
    """Over all pairs and triples of known licences."""
    for licences in itertools.combinations(ALLOWED, 3):
        both = [found for found in WEIGHTS_LICENCES if all(allows(licence, found) for licence in licences[:2])]
        all_three = [found for found in both if allows(licences[2], found)]
        if all_three:
            order = WEIGHTS_LICENCES.index
            assert order(derive_weights_licence(licences)) >= order(derive_weights_licence(licences[:2]))
            assert derive_weights_licence(licences) == all_three[0]
        else:
            with pytest.raises(InputError, match="no licence of weights satisfies all of"):
                derive_weights_licence(licences)


def test_the_licence_of_weights_holds_for_what_is_made_from_them():
    assert may_follow("cc-by-sa-4.0", "cc-by-sa-4.0") and may_follow("cc-by-sa-4.0", "gpl-3.0")
    assert not may_follow("gpl-3.0", "cc-by-sa-4.0") and not may_follow("GPL-3.0", "mit") and not may_follow("gpl-3.0", None)
    assert may_follow("cc-by-nc-4.0", "cc-by-nc-4.0") and not may_follow("CC-BY-NC-4.0", "gpl-3.0")
    assert may_follow("apache-2.0", "mit") and may_follow("other", "mit")
