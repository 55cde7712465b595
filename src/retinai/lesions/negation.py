"""Which lesions a text affirms: mentions less those in the reach of a negation.

Source: after Chapman et al., "A simple algorithm for identifying negated findings and diseases in
discharge summaries", Journal of Biomedical Informatics 34, 2001 (NegEx): cues before and after a
mention, and words that end a cue's reach.
"""

from __future__ import annotations

import re

_LESIONS = {
    "microaneurysms": r"micro[-\s]?aneurysms?",
    "haemorrhages": r"ha?emorrhag(?:es?|ic)",
    "soft_exudates": r"soft[-\s]exudates?|cotton[-\s]?wool(?:[-\s](?:spots?|patch(?:es)?|exudates?))?",
    "hard_exudates": r"(?:hard[-\s])?exudates?",
}
_TOKEN = re.compile(
    "|".join(rf"\b(?P<{name}>{pattern})\b" for name, pattern in _LESIONS.items()) + r"|[a-z]+n't\b|\w+|[,:()]"
)
_SENTENCE_END = re.compile(r"[.!?;](?=\s|$)|\n")
# `hard and soft exudates` mentions both.
_SHARED = re.compile(r"\b(hard|soft)(\s*(?:,|/|\band\b|\bor\b|\bnor\b)\s*)(?=(?:hard|soft)[-\s]exudates?\b)")

_BEFORE = {"no", "not", "without", "neither", "nor", "never", "none", "nothing", "absence", "absent", "lack", "lacks"}
_BEFORE |= {"lacking", "free", "negative", "nil"}
_AFTER = {"absent", "none", "no", "not", "lacking", "missing", "excluded", "nil"}
_SEEN = {"seen", "present", "visible", "found", "noted", "observed", "detected", "identified", "evident", "there"}
_BE = {"is", "are", "was", "were", "be", "been", "being", "has", "have", "can", "could"}
_BETWEEN = _BE | {"and", "or", "nor", ",", ":", "the", "any", "both", "all"}
_COUNTS = {"many", "several", "few", "some", "numerous", "multiple", "one", "two", "three", "over", "extensive", "yes"}
_ENDS = {
    "but",
    "however",
    "although",
    "though",
    "except",
    "yet",
    "while",
    "whereas",
    "there",
    "with",
    "instead",
    "(",
    ")",
}

_NO_DENIALS = {("not", "only"), ("not", "just"), ("not", "excluded"), ("no", "doubt")}


def affirmed(text: str) -> set[str]:
    """Return the lesions that a text mentions and does not deny.

    Args:
        text: Any text; sentences are judged one by one.

    Returns:
        Names of LESION_NAMES.
    """
    words = _SHARED.sub(r"\1 exudates\2", text.lower().replace("\u2019", "'"))
    return set().union(*(_affirmed_in(sentence) for sentence in _SENTENCE_END.split(words)))


def mentioned(text: str) -> set[str]:
    """Return the lesions that a text mentions, denied ones too; names of LESION_NAMES."""
    words = _SHARED.sub(r"\1 exudates\2", text.lower())
    return {str(match.lastgroup) for match in _TOKEN.finditer(words) if match.lastgroup}


def _affirmed_in(sentence: str) -> set[str]:
    matches = list(_TOKEN.finditer(sentence))
    words = [match.group() for match in matches]
    lesions = [match.lastgroup for match in matches]
    denied, found, mentioned = False, dict[int, str](), False
    for place, lesion in enumerate(lesions):
        if lesion is not None:
            mentioned = True
            if not denied:
                found[place] = lesion
        elif _is_cue(words, place):
            before = _mentions_before(words, lesions, place) if _denies_back(words, lesions, place) else []
            for at in before:
                found.pop(at, None)
            denied, mentioned = (denied, mentioned) if before else (True, False)
        elif _ends_reach(words, place, mentioned):
            denied = False
    return set(found.values())


def _is_cue(words: list[str], place: int) -> bool:
    word, following = words[place], words[place + 1] if place + 1 < len(words) else ""
    if word == "excluded":
        return not {"cannot", "not", "can't"} & {*words[max(0, place - 2) : place]}
    if (word, following) in _NO_DENIALS:
        return False
    if word in ("0", "zero"):
        return re.fullmatch("|".join(_LESIONS.values()), following) is not None
    return word in _BEFORE | _AFTER or (word.endswith("n't") and word != "can't")


def _denies_back(words: list[str], lesions: list[str | None], place: int) -> bool:
    """Return whether a cue speaks of what stands before it: `A are absent`, `A: no`, `A not seen`."""
    word = words[place]
    last = words[place - 1] if place else ""
    following = words[place + 1] if place + 1 < len(words) else ","
    follows_lesion = place + 1 < len(words) and lesions[place + 1] is not None
    if word == "not" or word.endswith("n't"):
        return not follows_lesion and (last in _BE or following in _SEEN or word != "not")
    if word in ("no", "none", "nil"):
        return not follows_lesion and following in (",", ")")
    return word in _AFTER and not follows_lesion


def _mentions_before(words: list[str], lesions: list[str | None], place: int) -> list[int]:
    """Return the mentions from which only `and`, commas, `are` and the like lead to a cue."""
    found = []
    for at in range(place - 1, -1, -1):
        if lesions[at] is not None:
            found.append(at)
        elif words[at] not in _BETWEEN:
            break
    return found


def _ends_reach(words: list[str], place: int, mentioned: bool) -> bool:
    word = words[place]
    if word in _ENDS or (word in _SEEN and mentioned):
        return True
    new_count = word in _COUNTS or word.isdigit()
    return new_count and not (place and _is_cue(words, place - 1))
