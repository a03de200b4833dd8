"""In which language a text is written, or that it does not show: by script, then by its commonest words.

Made for one question, whether two texts differ, over every trace: a few microseconds a text, and no answer rather than
a wrong one. Tried on the translations of Debian's programs, terse and full of names, most of the supported languages
had at most six messages of hundreds or thousands taken for another; neighbours that are not supported (Slovenian,
Marathi) are often taken for one that is. Models of n-grams (py3langid, lingua, langdetect) know more languages, cost
far more and always name one, also for a list of names or a product code.

Told apart: English, Spanish, French, German, Italian, Portuguese, Catalan, Dutch, Swedish, Danish and Norwegian,
Finnish, Polish, Czech and Slovak, Romanian, Hungarian, Turkish, Indonesian and Malay, Vietnamese, Croatian and
Serbian, Russian, Ukrainian, Bulgarian, Greek, Hebrew, Arabic, Persian, Hindi, Bengali, Tamil, Telugu, Thai, Georgian,
Armenian, Korean, Japanese, Chinese.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

# a language shows in its first sentences
FIRST_CHARACTERS: Final = 160
# where it is English, in fewer as a rule
GLANCED_CHARACTERS: Final = 120
# and where it does not, in what follows
SAMPLE_CHARACTERS: Final = 900
_MOST_WORDS: Final = 255
_END_CHARACTERS: Final = 10_000
# below, a title or a name would decide
LEAST_LETTERS: Final = 40
# a character of these scripts is a syllable or a word
_LEAST_OF_DENSE_SCRIPTS: Final = 15
_DENSE: Final = frozenset({"zh", "ja", "ko"})
# common words make up 40 to 60 % of running text; lists of names have none
_LEAST_WORDS: Final = 4
_LEAST_SHARE: Final = 0.15

# words of two letters and more that stand in nearly every paragraph
_WORDS: Final[Mapping[str, str]] = {
    "en": (
        "a i the of and to in is that it for you was on are with as be this have from or by not but what all were "
        "when we there can an your which their if do will each how them then would so these her him has more "
        "could no my than been who its now did get about our please any should where why they me don't i'm it's "
        "i'd i'll can't does want need"
    ),
    "es": (
        "y a e o si hoy ahora de la que el en los del se las por un para con no una su al lo como más pero sus le "
        "ya este sí porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos "
        "durante todos uno les ni contra otros ese eso ante ellos esto mí antes algunos qué unos yo otro está "
        "puede usted estoy cuál cómo quiero tengo es son gracias hola mi"
    ),
    "fr": (
        "à y a de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont aux "
        "avec son elle nous vous mais ou si leur bien être deux même aussi cette entre fait ses comme tout très "
        "sans peut ces votre notre je mon ma mes j'ai c'est d'un d'une qu'il n'est quel quelle où bonjour merci "
        "voudrais peux avez êtes suis été"
    ),
    "de": (
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus "
        "er hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber "
        "vor zur bis mehr durch man sein wurde ich wir ihr mein meine ihre ihren bitte kann können möchte wenn "
        "was wo wann keine danke ihnen sehr"
    ),
    "it": (
        "a e i oggi di che il la per un in una sono non con si da come le dei nel alla più al della gli lo ha ma "
        "anche delle del nella dal se questo mi io ho essere è o loro suo cui hanno ci quando dopo tra fra molto "
        "tutti ancora quale dove perché può puoi vorrei grazie ciao questa degli alle sul sulla dalla suoi stato "
        "volo mio mia"
    ),
    "pt": (
        "a e o hoje de que do da em um para com não uma os no se na por mais as dos como mas ao ele das à seu sua "
        "ou quando muito nos já eu também só pelo pela até isso ela entre depois sem mesmo aos seus quem nas me "
        "esse eles você essa num nem suas meu às minha numa pelos qual está são foi obrigado olá posso pode quero "
        "tenho é esta este vocês"
    ),
    "ca": (
        "a i o avui de la que el en els del les per un amb no una és al com més però aquest aquesta també hi ha "
        "són van pel pels dels molt quan sense sobre fins on tot nosaltres vostè si us plau gràcies estic puc "
        "vull tinc seva seu meva meu perquè"
    ),
    "nl": (
        "de het een van en in is dat op te zijn met voor niet aan er om dan hij ook als maar bij nog uit naar "
        "heeft ze door over je ik u wij worden werd kan deze dit die wat waar wie hoe mijn uw jouw geen wel "
        "kunnen wil graag bedankt tot meer moet heb hebben was zou onze ons hun al zo veel na"
    ),
    "sv": (
        "och att det i en som är av för på med den till inte har de om ett han men var jag från vi så kan när nu "
        "ska skulle eller hur vad där min din sin efter mycket också bara här mig dig oss dem hon du inga några "
        "mellan vill tack"
    ),
    "da": (
        "og at det i en er af for på med den til ikke har de om et han men var jeg fra vi så kan når nu skal "
        "skulle eller hvordan hvad hvor min din sin efter meget også kun her mig dig os dem hun du ingen nogle "
        "mellem vil tak ble blir være vært hva dere noe etter"
    ),
    "fi": (
        "ja on ei että se oli hän mutta ovat kun niin tai myös joka jos ole mitä tämä sen kuin vain voi minä sinä "
        "me te he olen olet missä miten miksi mikä haluan kiitos minun sinun hänen niiden tätä ollut sekä jo "
        "vielä nyt ennen jälkeen"
    ),
    "pl": (
        "i o w z a mi ile pan pani nie się na to jest że do jak co za od po ale czy tak już tym jego jej dla być "
        "są był była było przez przy może ich oraz lub które który która ten ta te tego tej gdy gdzie kiedy "
        "dlaczego jaki mój moja moje proszę dziękuję mam chcę można bardzo tylko jeszcze także między pod nad bez "
        "we ze"
    ),
    "cs": (
        "a i o v s z k se na je že to si by do jsem ale jak pro co tak za od po jsou byl byla bylo už být jeho "
        "její která který které když kde nebo jen může jako při můj moje prosím děkuji mám chci velmi také ještě "
        "mezi pod nad bez ve ze nie ako pre sú bol som alebo ktoré ktorý keď môže ďakujem"
    ),
    "ro": (
        "și de la în a nu cu este pe un o care că din mai pentru să au fost ce se sunt lui ale dar sau după până "
        "fără când unde cum eu tu el ea noi voi ei vă îmi mi îți acest această aceasta vreau pot am ai are foarte "
        "mulțumesc cel cea"
    ),
    "hu": (
        "a az és hogy nem is egy van ez meg de csak már még ha mint volt vagy amely lehet kell minden én te ő mi "
        "ti ők azt ezt itt ott hol mikor miért hogyan mert szeretnék köszönöm kérem nincs vannak lesz után előtt "
        "között"
    ),
    "tr": (
        "ve bir bu için ile da de çok ne o ben sen biz siz onlar gibi daha kadar olarak var yok mi mı mu mü ama "
        "en her şey nasıl neden nerede zaman hangi olan oldu olduğu sonra önce benim senin lütfen teşekkürler "
        "istiyorum değil ise veya ancak tarafından göre bana size"
    ),
    "id": (
        "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut bisa ada mereka "
        "lebih atau sudah kami kita anda telah oleh sebagai bagaimana apa kapan mana mengapa adalah dapat jika "
        "hanya ingin terima kasih boleh sila tetapi seperti"
    ),
    "vi": (
        "và của là có không được cho một những trong với các này đã người tôi bạn khi đến ra cũng như về thì sẽ "
        "nhưng để từ đó nếu làm nào gì sao tại vì muốn rất cảm ơn xin chào anh chị phải hay hoặc"
    ),
    "hr": (
        "je se na da su za od što ne ili kao sa iz koji koja koje ali kako nije bio bila ako samo može biti do po "
        "ja ti mi vi oni moj moja moje hvala molim gdje kada zašto sam smo ste još već bih ovo ovaj ova u i nakon "
        "prije između"
    ),
}
# of Cyrillic letters
_CYRILLIC_WORDS: Final[Mapping[str, str]] = {
    "ru": (
        "и в не на что он как это по но из у за то же все так его от вы мне был бы еще ещё для мы она они когда "
        "или если где почему можно меня мой моя есть нет уже была было также который чтобы пожалуйста спасибо "
        "хочу я с к о только"
    ),
    "uk": (
        "і в не на що він як це по але з у за то та все так його від ви мені був би ще для ми вона вони коли або "
        "якщо де чому можна мене мій моя є немає вже була було також який щоб будь ласка дякую хочу я до про й "
        "під час тільки"
    ),
    "bg": (
        "и в не на че той как това по но от за то се са да си ще ли е го тя те когато или ако къде защо може мен "
        "моят моя има няма вече беше също който която моля благодаря искам аз до с във със към само"
    ),
}
# of Arabic letters
_ARABIC_WORDS: Final[Mapping[str, str]] = {
    "ar": (
        "في من على أن إلى هذا هذه التي الذي ما لا هو هي مع كان عن أو كل بعد قد لم لن إذا كيف متى أين لماذا هل "
        "أريد شكرا يمكن يمكنك لك لي أنا أنت نحن كما حتى ثم بين عند"
    ),
    "fa": (
        "و در به از که این را با است برای آن یک خود تا بر هم نیز شده می های شما من ما او آنها چه چرا چگونه کجا "
        "اگر یا هر باید کنید کنم لطفا ممنون هست نیست بود شد"
    ),
}


class _Lexicon:
    """Words of languages in one alphabet.

    A word's value has a byte for each language, 1 where the word is one of its own: the sum over a text's words counts
    all languages at once, in a fifth of the time that counters take. A sample has fewer than 256 words.
    """

    def __init__(self, table: Mapping[str, str]) -> None:
        self._languages = tuple(table)
        self._values: dict[str, int] = {}
        for place, words in enumerate(table.values()):
            for word in set(words.split()):
                self._values[word] = self._values.get(word, 0) + (1 << 8 * place)

    def language_of(self, words: Sequence[str]) -> str:
        """Return the language that these words show beyond doubt, or empty."""
        words = words[:_MOST_WORDS]
        total = sum(filter(None, map(self._values.get, words)))
        counts = total.to_bytes(len(self._languages), "little")
        hits = max(counts)
        if hits < _LEAST_WORDS or hits < _LEAST_SHARE * len(words):
            return ""
        best = self._languages[counts.index(hits)]
        # a text in one language leaves the others far behind: which are near is asked only where it does not
        if 3 * sorted(counts)[-2] <= 2 * hits:
            return best
        rivals = (language for language, n in zip(self._languages, counts, strict=True) if 3 * n > 2 * hits)
        return best if all(are_near(language, best) for language in rivals) else ""

    def own_words(self, words: Collection[str], language: str, *, beside: str) -> int:
        """Return how many of these words are of one language and not of the other."""
        if language not in self._languages:
            return 0
        own = self._bit(language)
        other = self._bit(beside) if beside in self._languages else 0
        return sum(bool(value & own) and not value & other for word in words if (value := self._values.get(word, 0)))

    def _bit(self, language: str) -> int:
        return 1 << 8 * self._languages.index(language)


_LATIN: Final = _Lexicon(_WORDS)
# words of English that are common in no other language here, as they stand within sentences
_ONLY_ENGLISH: Final = frozenset(_WORDS["en"].split()).difference(
    *(words.split() for language, words in _WORDS.items() if language != "en")
)
# a fifth of the words at a glance: running English has a third, a quotation within another language fewer
_LEAST_ONLY: Final = 4
_CYRILLIC: Final = _Lexicon(_CYRILLIC_WORDS)
_ARABIC: Final = _Lexicon(_ARABIC_WORDS)
_NOT_LATIN: Final = re.compile(r"[\u0370-\u1dff\u2c00-\ufaff]")
# by the first and the last code point of their blocks
_SCRIPTS: Final = (
    (0x0370, 0x03FF, "el"), (0x0400, 0x052F, "cyrillic"), (0x0530, 0x058F, "hy"), (0x0590, 0x05FF, "he"),
    (0x0600, 0x077F, "arabic"), (0x0900, 0x097F, "hi"), (0x0980, 0x09FF, "bn"), (0x0B80, 0x0BFF, "ta"),
    (0x0C00, 0x0C7F, "te"), (0x0E00, 0x0E7F, "th"), (0x10A0, 0x10FF, "ka"), (0x1100, 0x11FF, "ko"),
    (0x3040, 0x30FF, "ja"), (0x3130, 0x318F, "ko"), (0x3400, 0x9FFF, "zh"), (0xAC00, 0xD7AF, "ko"),
)  # fmt: skip
_NOISE: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|[\w.+\-]{1,64}@\S+|<[^<>\n]{1,200}>", re.DOTALL)
_NEAR: Final = ({"es", "pt", "ca"}, {"sv", "da"}, {"ru", "uk", "bg"}, {"ja", "zh"}, {"hr", "cs", "pl"}, {"ar", "fa"})


def language_of(text: str) -> str:
    """Return the language of a text (ISO 639-1; one for those that are told apart together), or empty."""
    found = _language_of(prose(text, FIRST_CHARACTERS))
    return found or (_language_of(prose(text, SAMPLE_CHARACTERS)) if len(text) > FIRST_CHARACTERS else "")


def are_english(one: str, other: str) -> bool:
    """Return whether both texts are English for certain: at a fifth of the cost of asking each for its language."""
    return _is_english(one) and _is_english(other)


def _is_english(text: str) -> bool:
    return len(list(filter(_ONLY_ENGLISH.__contains__, text[:GLANCED_CHARACTERS].split()))) >= _LEAST_ONLY


def _language_of(sample: str) -> str:
    if not sample.isascii():
        foreign = _NOT_LATIN.findall(sample)
        if 3 * len(foreign) > sum(map(str.isalpha, sample)):
            return _of_script(sample, "".join(foreign))
    if len(sample) < LEAST_LETTERS:
        return ""
    return _LATIN.language_of(_words(sample))


def speaks(text: str, language: str, *, beside: str) -> bool:
    """Return whether a text of language `beside` has a part in `language`: a question within a template, say."""
    text = ends(text)
    words = {word for word in _words(_NOISE.sub(" ", text)) if len(word) > 1}
    if any(lexicon.own_words(words, language, beside=beside) >= 2 for lexicon in (_LATIN, _CYRILLIC, _ARABIC)):
        return True
    return any(_script_of(ord(c)) == language for c in _NOT_LATIN.findall(text))


def ends(text: str) -> str:
    """Return the beginning and the end of a template or of instructions: what is asked stands there."""
    return text if len(text) <= 2 * _END_CHARACTERS else f"{text[:_END_CHARACTERS]}\n{text[-_END_CHARACTERS:]}"


def are_near(one: str, other: str) -> bool:
    """Return whether two languages share so many words that short texts are taken for each other."""
    return one == other or any(one in group and other in group for group in _NEAR)


def prose(text: str, characters: int) -> str:
    """Return the beginning of a text without code, addresses and markup."""
    sample = text[: 2 * characters]
    if "`" in sample or "://" in sample or "@" in sample or "<" in sample:
        sample = _NOISE.sub(" ", sample)
    return sample[:characters]


def _words(sample: str) -> list[str]:
    return sample.lower().replace("’", "'").replace(",", " ").replace(".", " ").split()


def _of_script(sample: str, foreign: str) -> str:
    scripts = Counter(filter(None, (_script_of(ord(c)) for c in foreign)))
    if not scripts:
        return ""
    script = scripts.most_common(1)[0][0]
    if script == "cyrillic" or script == "arabic":
        found = (_CYRILLIC if script == "cyrillic" else _ARABIC).language_of(_words(sample))
        return found if len(foreign) >= LEAST_LETTERS else ""
    if script == "zh" and 10 * scripts["ja"] > scripts["zh"]:
        script = "ja"
    return script if len(foreign) >= (_LEAST_OF_DENSE_SCRIPTS if script in _DENSE else LEAST_LETTERS) else ""


def _script_of(point: int) -> str:
    return next((name for first, last, name in _SCRIPTS if first <= point <= last), "")
