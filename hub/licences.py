"""What the licences of several adapters say together: the result's licence, and where they contradict each other.

No legal advice: a short table of the identifiers cards really use (the Hub's list), so that a plain conflict is seen
before a job starts. It is shown, never enforced; who merges decides.
"""

from collections.abc import Sequence

PERMISSIVE = frozenset(
    "apache-2.0 mit bsd bsd-2-clause bsd-3-clause isc cc0-1.0 cc-by-4.0 cc-by-3.0 unlicense zlib".split()
)
COPYLEFT = frozenset("gpl gpl-2.0 gpl-3.0 agpl-3.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-sa-4.0 cc-by-nc-sa-3.0".split())
NO_DERIVATIVES = frozenset("cc-by-nd-4.0 cc-by-nc-nd-4.0 cc-by-nc-nd-3.0".split())

OTHER_KNOWN = frozenset(
    """
    afl-3.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m
    bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-2.0
    cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0
    epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl h-research
    intel-research lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 lppl-1.3c
    mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 open-mdw openmdw-1.0 openrail openrail++ osl-3.0 other pddl postgresql
    unknown wtfpl
    """.split()
)
KNOWN = PERMISSIVE | COPYLEFT | NO_DERIVATIVES | OTHER_KNOWN
"""What a card may give as its `license`; any other is `other` with a name and a link."""


def combined(licences: Sequence[str]) -> tuple[str, str]:
    """(license, license_name) for the result's card: one identifier, or `other` with all of them joined by AND."""
    known = sorted({licence for licence in licences if licence})
    if not known:
        return "", ""
    if len(known) == 1 and all(licences):
        return known[0], ""
    parts = known + (["unstated"] if not all(licences) else [])
    return "other", " AND ".join(parts)


def conflicts(named: Sequence[tuple[str, str]]) -> list[str]:
    """Sentences on what contradicts what; `named` is (adapter, licence), "" where its card states none."""
    found = []
    by_licence: dict[str, list[str]] = {}
    for name, licence in named:
        by_licence.setdefault(licence, []).append(name)
    for licence in sorted(set(by_licence) & NO_DERIVATIVES):
        found.append(f"{', '.join(by_licence[licence])}: {licence} allows no derivatives; a merge is one.")
    copyleft = sorted(set(by_licence) & COPYLEFT)
    if len(copyleft) > 1:
        found.append(f"{' and '.join(copyleft)} each demand that the result carry them, and no other licence.")
    restricted = sorted(licence for licence in by_licence if "-nc" in licence and licence not in COPYLEFT)
    for licence in copyleft:
        if restricted and "-nc" not in licence:
            found.append(f"{licence} forbids further limits, but {', '.join(restricted)} forbids commercial use.")
    if "" in by_licence and len(by_licence) > 1:
        found.append(f"{', '.join(by_licence[''])}: no licence stated, so nobody but its owner has a right to use it.")
    return found
