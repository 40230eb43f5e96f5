"""Other ways of writing ASCII's characters: full width, mathematical fonts, narrow spaces, minus signs.

Only one for one: Unicode's compatibility forms (NFKC) of all characters would turn 10² into 102.
"""

from __future__ import annotations

import unicodedata

_SPACES = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_DASHES = "\u2010\u2011\u2012\u2013\u2212\ufe58\ufe63"
_INVISIBLE = "\u200b\u200e\u200f\u2060\ufeff"

# Mathematical alphanumerics (a bold C), letterlike symbols (the script B among them), letters in circles.
_FONTS = [*range(0x1D400, 0x1D800), *range(0x2100, 0x2150), *range(0x24B6, 0x24EA)]

_ASCII: dict[int, int | str] = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},
    **{
        code: plain
        for code in _FONTS
        if len(plain := unicodedata.normalize("NFKC", chr(code))) == 1 and plain.isascii()
    },
    **dict.fromkeys(map(ord, _SPACES), " "),
    **dict.fromkeys(map(ord, _DASHES), "-"),
    **dict.fromkeys(map(ord, _INVISIBLE), ""),
    **str.maketrans("\u3010\u3011\u2044\u2215\ufe55\u2236\uffe0\uffe1\uffe5", "[]//::\u00a2\u00a3\u00a5"),
}


def to_ascii(text: str) -> str:
    """A text whose letters and digits in full width or a font of mathematics, spaces, dashes and slashes are
    ASCII's; all others stay.
    """
    return text.translate(_ASCII)
