"""The language of a text."""

from __future__ import annotations

import unicodedata

from mixlaw.errors import DataError, did_you_mean
from mixlaw.kit.extras import require_extra

__all__ = ["written_in"]

# Languages that a script gives away, with the scripts' names as Unicode's names of letters begin.
_SCRIPTS = {
    "el": ("GREEK",),
    "he": ("HEBREW",),
    "hy": ("ARMENIAN",),
    "ja": ("HIRAGANA", "KATAKANA", "CJK"),
    "ka": ("GEORGIAN",),
    "km": ("KHMER",),
    "ko": ("HANGUL",),
    "ta": ("TAMIL",),
    "te": ("TELUGU",),
    "th": ("THAI",),
    "zh": ("CJK",),
}
_MOSTLY = 0.6


def written_in(text: str, language: str) -> bool:
    """Whether a text is written in a language.

    Where only one language has the script (Greek, Thai, Korean, ...), most letters must be of it; Japanese needs kana
    beside its signs, Chinese must have none. Any other language is what ``py3langid`` finds (Barbaresi's version of
    langid, Lui and Baldwin 2012), which is unreliable below about ten words.

    Args:
        text: to look at.
        language: ISO 639-1 code: ``"en"``, ``"zh"``.

    Raises:
        DataError: no language that can be told.
        MissingExtraError: the extra ``evaluate`` is not installed, for languages that the script does not tell.

    Example:
        >>> written_in("Γειά σου, κόσμε", "el"), written_in("こんにちは世界", "ja"), written_in("你好，世界", "ja")
        (True, True, False)
    """
    letters = [unicodedata.name(c, "").split(" ")[0] for c in text if c.isalpha()]
    if not letters:
        return False
    kana = sum(name in ("HIRAGANA", "KATAKANA") for name in letters)
    if language in _SCRIPTS:
        share = sum(name in _SCRIPTS[language] for name in letters) / len(letters)
        return share >= _MOSTLY and (language not in ("ja", "zh") or (kana > 0) == (language == "ja"))
    langid = require_extra("py3langid", "evaluate")
    known = sorted({*_SCRIPTS, *(code for code, _ in langid.rank("a"))})
    if language not in known:
        raise DataError(f"cannot tell the language {language!r}.{did_you_mean(language, known)}")
    return bool(langid.classify(text)[0] == language)
