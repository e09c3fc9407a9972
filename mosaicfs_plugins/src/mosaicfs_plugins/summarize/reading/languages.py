"""Languages by two letters (ISO 639-1), from the three (ISO 639-3) that the library tells. Pure."""

from __future__ import annotations

from typing import Final

_PAIRS: Final = """
    afr:af aka:ak amh:am arb:ar ara:ar aze:az bel:be ben:bn bul:bg cat:ca ces:cs cmn:zh zho:zh dan:da deu:de ell:el
    eng:en epo:eo est:et fin:fi fra:fr guj:gu heb:he hin:hi hrv:hr hun:hu hye:hy ind:id ita:it jav:jv jpn:ja kan:kn
    kat:ka khm:km kor:ko lat:la lav:lv lit:lt mal:ml mar:mr mkd:mk mya:my nep:ne nld:nl nno:nn nob:nb ori:or pan:pa
    pes:fa fas:fa pol:pl por:pt ron:ro rus:ru sin:si slk:sk slv:sl sna:sn spa:es srp:sr swe:sv tam:ta tel:te tgl:tl
    tha:th tuk:tk tur:tr ukr:uk urd:ur uzb:uz vie:vi yid:yi zul:zu cym:cy
"""
_TWO: Final = dict(pair.split(":") for pair in _PAIRS.split())


def two_letters(code: str) -> str:
    """The two letters of a language, or its three where it has no two."""
    return _TWO.get(code, code)
