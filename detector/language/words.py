"""Texts of a conversation made comparable: without case, width, accents and punctuation, empty words set aside.

**Alike** are two questions where every telling word of the shorter one stands in the longer one too. Words that
differ on both sides ("to Lisbon", "to Madrid"; page 2, page 3) make two questions, however much else is the same, and
so do "when" and "where". Scripts that write without spaces are compared by pairs of characters.

Words that tell nothing are listed for English, German, French, Spanish, Italian, Portuguese and Dutch; in other
languages every word counts, so that fewer questions are alike.
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Mapping
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+(?:[.:,/\-@][^\W_]+)*")
_FENCED: Final = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_QUOTED: Final = re.compile(
    r"""
      "[^"\n]*" | “[^”\n]*” | «[^»\n]*» | „[^“”\n]*[“”] | 「[^」\n]*」
    | (?<!\w)'[^'\n]+'(?!\w)   # an apostrophe inside a word opens nothing
    | ^>.*$
    """,
    re.MULTILINE | re.VERBOSE,
)
# endings of inflected languages begin behind it; shorter stems would make one of international and internal
_STEM_LETTERS: Final = 7
# CJK ideographs, kana, Thai: written without spaces
_UNSPACED: Final = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")

# English, German, French, Spanish, Italian, Portuguese, Dutch
_EMPTY_TEXT: Final = """
a an the is are was were be been am do does did can could will would shall should may might must have has had i you
he she it we they me my mine your yours his her its our their this that these those there here what when where who
whom which why how to of in on at for from by with about into and or but if so than then as not no yes please tell
know want need like just really again still now also too im ive id youre its dont cant didnt doesnt said asked
asking told ask say mean question answer hello hi hey ok okay thanks thank get
der die das ein eine einen einem einer ist sind war waren bin hat habe haben wird werden kann kannst konnen ich du
er sie es wir ihr mich mir dich dir mein meine dein deine was wann wo wer wie warum welche zu von im in am an auf
fur mit uber und oder aber wenn so dann als nicht nein ja bitte noch mal nochmal auch doch denn sagen sag frage
gefragt gesagt hallo danke mochte mochten will wollen brauche geht machen
le la les un une des du de est sont etait etre suis ai as avez avoir peut peux pouvez je tu il elle nous vous ils
elles mon ma mes ton ta tes votre notre ce cet cette ces que qui quoi quand ou comment pourquoi quel quelle a au aux
en dans sur pour par avec et mais si ne pas non oui svp encore aussi dire dis demande bonjour merci
veux voudrais dois faire
el la los las un una unos unas es son era ser estar esta estan soy he has ha puede puedes yo tu usted el ella
nosotros ustedes mi mis su sus que cuando donde quien como cual por para con sobre y o pero si no de del al en favor
otra vez tambien decir dime pregunta hola gracias quiero quisiera necesito puedo hacer
il lo gli uno sono era essere ho hai puo puoi io lui lei noi voi loro mio mia tuo tua suo sua che chi cosa quando
dove come perche quale di da nel sul per con e ma se non si ancora anche dire dimmi domanda ciao grazie
voglio vorrei devo posso fare
os as um uma e sao foi ser estou tem pode voce ele ela nos eles meu minha seu sua quem qual onde em no na para com
sobre mas se nao sim favor novo tambem dizer diga pergunta ola obrigado obrigada quero queria preciso posso fazer
het een zijn ben heb heeft kan kunt ik jij je hij zij wij jullie mijn jouw uw dit dat deze wat wanneer waar wie hoe
waarom welke te van op voor met over en of maar als niet nee ja alstublieft nog eens ook zeg vraag hallo dank
bedankt wil graag moet doen
"""
_EMPTY: Final = frozenset(_EMPTY_TEXT.split())
# of these, the ones that make another question of the same words; "what" and "which" may stand for any of them
_ASKING_TEXT: Final = """
when where who why how wann wo wer warum quand qui pourquoi comment cuando donde quien quando dove chi perche onde quem
wanneer waar waarom hoe
"""
_ASKING: Final = frozenset(_ASKING_TEXT.split())
# who asks for more of the same asks for something new
_MORE_TEXT: Final = """
another more else one page weitere weiteren andere anderen mehr seite autre autres encore otro otra otros mas pagina
altro altra altri outro outra meer andere bladzijde
"""
_MORE: Final = frozenset(_MORE_TEXT.split())
# of two texts one of which has such a word: the other asks for the contrary
_TURNING_TEXT: Final = """
not no never without off out down undo instead except nicht nie kein keine keinen ohne aus ab pas jamais sans nunca sin
tampoco mai senza nunca nao sem niet nooit geen zonder uit isnt arent dont doesnt didnt cant wont wasnt
"""
_TURNING: Final = frozenset(_TURNING_TEXT.split())
# what stands behind one of these is where something comes from or goes to
_DIRECTIONS_TEXT: Final = """
from to into before after under over von nach vor bis zu vers depuis pour desde hacia hasta da dal dalla verso para ate
van naar
"""
_DIRECTIONS: Final = frozenset(_DIRECTIONS_TEXT.split())


def plain(text: str) -> str:
    """Return a text in lower case without accents, widths and apostrophes, white space collapsed."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in text if not unicodedata.combining(c))
        text = text.replace("’", "'").replace("ʼ", "'")
    return " ".join(text.casefold().replace("'", "").split())


def own_words(text: str) -> str:
    """Return what its writer says: without code blocks, quotations and quoted lines."""
    if "```" in text:
        text = _FENCED.sub(" ", text)
    return _QUOTED.sub(" ", text)


class Words:
    """A text and what it is compared by, each worked out once."""

    def __init__(self, text: str) -> None:
        self.text = text

    @functools.cached_property
    def plain(self) -> str:
        """Return the text as it is compared as a whole."""
        return plain(self.text)

    @functools.cached_property
    def own(self) -> str:
        """Return what the writer says, plain, without what is quoted and without commas."""
        return plain(own_words(self.text)).replace(",", "")

    @functools.cached_property
    def all(self) -> tuple[str, ...]:
        """Return its words in order; of unspaced scripts the pairs of neighbouring characters."""
        found: list[str] = []
        for word in _WORD.findall(self.plain):
            if _UNSPACED.search(word):
                found += (word[at : at + 2] for at in range(max(1, len(word) - 1)))
            else:
                found.append(word)
        return tuple(found)

    @functools.cached_property
    def telling(self) -> frozenset[str]:
        """Return the words that carry something."""
        return frozenset(_stem(word) for word in self.all if word not in _EMPTY)

    @functools.cached_property
    def turning(self) -> frozenset[str]:
        """Return the words that make the contrary of a text."""
        return _TURNING.intersection(self.all)

    @functools.cached_property
    def directions(self) -> Mapping[str, str]:
        """Return the words behind "from", "to" and the like, with that word."""
        words = self.all
        return {_stem(after): word for word, after in itertools.pairwise(words) if word in _DIRECTIONS}

    @property
    def wants_more(self) -> bool:
        """Return whether it asks for another one, or the next."""
        return not _MORE.isdisjoint(self.all)

    @functools.cached_property
    def asking(self) -> frozenset[str]:
        """Return the words that say what is asked for: when, where, who."""
        return _ASKING.intersection(self.all)


def _stem(word: str) -> str:
    """Return what words of one stem share, roughly: without a plural's s, and the first letters of a long one.

    Enough for cancel and cancelling, reservieren and reserviert; names and numbers of usual length stay whole.
    """
    if not word.isalpha():
        return word
    if len(word) > _STEM_LETTERS:
        return word[:_STEM_LETTERS]
    return word[:-1] if len(word) > 4 and word.endswith("s") and not word.endswith("ss") else word


def alike(one: Words, other: Words, *, min_words: int, min_ratio: float) -> bool:
    """Return whether two texts ask the same.

    `min_words`: telling words that both must have; `min_ratio`: of the longer one's telling words, the share that the
    shorter one must hold. Texts of the same telling words need half as many, and three words in all: "yes" and "go on"
    repeat for good.
    """
    a, b = one.telling, other.telling
    if len(a) > len(b):
        a, b = b, a
    if not a <= b or len(a) < min_ratio * len(b):
        return False
    if len(a) < min_words and not (len(a) == len(b) and 2 * len(a) >= min_words and len(one.all) > 2):
        return False
    if one.plain == other.plain:
        return not one.wants_more
    if one.asking and other.asking and one.asking.isdisjoint(other.asking):
        return False
    if bool(one.turning) != bool(other.turning):
        return False
    there, here = one.directions, other.directions
    return all(here.get(word, direction) == direction for word, direction in there.items())
