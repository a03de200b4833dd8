"""What the label of a rating says: bad, a yes, a no. In the languages of `detector.language.lexicon`.

A label counts as a whole, plain (lower case, no accents): "not bad at all" is none of these words.
"""

from typing import Final

from detector.language.words import plain

_BAD: Final = frozenset(
    plain(word)
    for word in """
    bad|very bad|poor|terrible|awful|negative|wrong|incorrect|inaccurate|unhelpful|not helpful|useless|dislike|disliked
    thumbs down|thumb down|thumbsdown|down|downvote|fail|failed|failing|failure|unsatisfied|dissatisfied
    very dissatisfied|unsatisfactory|👎|-1|:-1:
    schlecht|sehr schlecht|negativ|falsch|nicht hilfreich|unzufrieden|daumen runter|ungenugend|mangelhaft
    mauvais|mauvaise|tres mauvais|negatif|negative|faux|incorrecte|inutile|insatisfait|insatisfaite|pas utile
    pouce vers le bas
    malo|mala|muy malo|negativo|negativa|incorrecto|incorrecta|inutil|insatisfecho|no util|pulgar abajo
    cattivo|pessimo|negativa|sbagliato|errato|insoddisfatto|non utile|pollice verso
    ruim|pessimo|errado|incorreto|insatisfeito|nao util
    slecht|zeer slecht|negatief|fout|onjuist|niet nuttig|ontevreden|duim omlaag
    差|很差|差评|不满意|不好|踩|没有帮助|悪い|不満|低評価|役に立たない
    """.replace("\n", "|").split("|")
) - {""}
_REFUSED: Final = frozenset({"no", "nein", "non", "nao", "nee", "false", "0", "いいえ", "否"})
_AGREED: Final = frozenset({"yes", "ja", "oui", "si", "sim", "true", "1", "はい", "是", "detected", "found", "present"})


def is_bad(label: str) -> bool:
    """Return whether a rating's label, taken as a whole, is a bad one."""
    return _rating(label) in _BAD


def is_refusal(label: str) -> bool:
    """Return whether a rating's label is a no: bad where the question was whether something is good."""
    return _rating(label) in _REFUSED


def is_agreement(label: str) -> bool:
    """Return whether a rating's label is a yes: bad where the question was whether something is wrong."""
    return _rating(label) in _AGREED


def _rating(label: str) -> str:
    # longer ones are texts
    return plain(label[:40]).replace("_", " ").replace("-", " ").strip(" .!") if label[:1] not in "-:" else plain(label)
