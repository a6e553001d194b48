"""What licences of works say of what is made from them: under which licence a model can go that was trained on music.

Whether weights are a derivative work of the music that they were trained on is not settled, in the law of any country that we
know of. We take them for one wherever a licence asks something of derivative works, so that whoever uses the weights is on the
safe side whichever way it comes out: their licence must be one that every piece of music allows for what is made from it, and
their page names the authors.

* Of music that belongs to nobody (CC0, the public domain) nothing is asked.
* CC-BY asks that authors are named; what is made of it may be under any licence that keeps that up (section 4 of 3.0, 3 of
  4.0).
* CC-BY-SA 3.0 asks for itself or a later version of it (section 4(b)), 4.0 for itself or a licence that Creative Commons lists
  as compatible (section 3(b)): GPL version 3 is, since October 2015 and in this direction alone.
* GPL "version 2 or later" asks for version 2 or 3, the GPL of version 2 alone for version 2, which takes no CC-BY-SA.
* Other terms, such as that nothing may be sold by itself or used commercially, allow none of the licences below.

So one licence covers most free music: GPL version 3. CC-BY-SA 4.0, which is better known for what is no program, covers what is
under licences of Creative Commons alone.
"""

from collections.abc import Iterable

from mert_hf.common.errors import InputError

PUBLIC_DOMAIN = "public-domain"  # SPDX has no name for it
# Licences of weights as the Hub lists them, the ones that ask least first; what asks nothing goes under the package's own.
WEIGHTS_LICENCES = ("apache-2.0", "cc-by-4.0", "cc-by-sa-4.0", "gpl-3.0", "gpl-2.0")
# Licence of a work, by SPDX -> what weights made from it may be under.
ALLOWED: dict[str, tuple[str, ...]] = {
    PUBLIC_DOMAIN: WEIGHTS_LICENCES,
    "CC0-1.0": WEIGHTS_LICENCES,
    # version 2 of the GPL is left out: Creative Commons says nothing of it, and the FSF only of CC-BY 4.0
    "CC-BY-3.0": ("cc-by-4.0", "cc-by-sa-4.0", "gpl-3.0"),
    "CC-BY-4.0": ("cc-by-4.0", "cc-by-sa-4.0", "gpl-3.0"),
    "CC-BY-SA-3.0": ("cc-by-sa-4.0", "gpl-3.0"),
    "CC-BY-SA-4.0": ("cc-by-sa-4.0", "gpl-3.0"),
    "GPL-2.0-only": ("gpl-2.0",),
    "GPL-2.0-or-later": ("gpl-3.0", "gpl-2.0"),
    "GPL-3.0-only": ("gpl-3.0",),
    "GPL-3.0-or-later": ("gpl-3.0",),
}
# Licence of weights, as the Hub lists it -> what weights made from them may be under, where it asks for something.
PASSED_ON = {
    "cc-by-sa-3.0": ("cc-by-sa-3.0", "cc-by-sa-4.0", "gpl-3.0"),
    "cc-by-sa-4.0": ("cc-by-sa-4.0", "gpl-3.0"),
    "gpl-2.0": ("gpl-2.0",),
    "gpl-3.0": ("gpl-3.0",),
}
NON_COMMERCIAL = "-nc"
# Between licences of which one may be chosen, as SPDX writes it.
OR = " OR "


def allows(licence: str, weights_licence: str) -> bool:
    """Whether weights made from a work may be under a licence; no, where the licence of the work is not known here.

    Args:
        licence: of the work, by SPDX; of several joined by OR, any may be chosen.
        weights_licence: one of [`WEIGHTS_LICENCES`].
    """
    return any(weights_licence in ALLOWED.get(one.strip("() "), ()) for one in licence.split(OR))


def may_follow(base_licence: str, licence: str | None) -> bool:
    """Whether weights under `licence` may be made from others, both as the Hub lists them; where nothing is known, yes."""
    if NON_COMMERCIAL in base_licence.lower():
        return licence == base_licence
    return licence in PASSED_ON.get(base_licence.lower(), (licence,))


def derive_weights_licence(licences: Iterable[str]) -> str:
    """The licence, of those that all works allow for weights made from them, that asks least of whoever uses the weights.

    Args:
        licences: of the works, by SPDX.

    Raises:
        InputError: there is none; with the licences, and those of them that allow none at all.
    """
    licences = sorted(set(licences))
    for found in WEIGHTS_LICENCES:
        if all(allows(licence, found) for licence in licences):
            return found
    none = [licence for licence in licences if not any(allows(licence, found) for found in WEIGHTS_LICENCES)]
    which = f"{', '.join(none)} allows none that is known" if none else "they exclude each other"
    raise InputError(
        f"no licence of weights satisfies all of {', '.join(licences)}: {which}. Leave out the music of some of them."
    )


def require_weights_licence(licence: str) -> None:
    """Refuse what is none of [`WEIGHTS_LICENCES`].

    Raises:
        InputError: with those there are.
    """
    if licence not in WEIGHTS_LICENCES:
        raise InputError(f"{licence!r} is no licence of weights that is known here; give {', '.join(WEIGHTS_LICENCES)}.")
