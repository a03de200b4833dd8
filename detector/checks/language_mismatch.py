"""A user is answered in another language than that of the question."""

import re
from typing import Final

from core.dialects.messages import input_messages
from core.model.finding import Dimension, FindingKind, Severity
from core.model.span import ContentState, Span
from core.model.trace import Trace
from detector.checks.finding import finding, label_of
from detector.checks.port import CLEAR, UNKNOWN, Answer, CheckConfig, Need, found
from detector.checks.text.language import (
    GLANCED_CHARACTERS,
    LEAST_LETTERS,
    are_english,
    are_near,
    ends,
    language_of,
    speaks,
)

# members of an enum cost 100 ns to look up in Python 3.11
_PRESENT: Final = ContentState.PRESENT
# whoever names a language may have asked for it: names in English, and of the languages in themselves; so may whoever
# asks for the words of somebody else
_NAMED: Final = re.compile(
    r"translat|übersetz|traduc|tradui|traduz|vertaal|tłumacz|перевед|перевод|переклад|çevir|翻[译譯訳]|번역|ترجم|अनुवाद"
    r"|\blanguage|sprache|\blangue|idioma|\blingua|\btaal\b|język|язык|\bdil[ie]?\b|语言|言語|언어"
    r"|\b(?:english|spanish|french|german|italian|portuguese|catalan|dutch|swedish|danish|norwegian|finnish|polish|czech"
    r"|slovak|romanian|hungarian|turkish|indonesian|malay|vietnamese|croatian|serbian|russian|ukrainian|bulgarian|greek"
    r"|hebrew|arabic|persian|farsi|hindi|bengali|tamil|telugu|thai|georgian|armenian|korean|japanese|chinese|mandarin"
    r"|deutsch|englisch|französisch|spanisch|italienisch|español|inglés|francés|alemán|français|anglais|espagnol|allemand"
    r"|italiano|inglese|português|inglês|espanhol|nederlands|engels|svenska|engelska|dansk|norsk|engelsk|suomi|englanti"
    r"|polski|angielsk|česky|anglicky|română|engleză|magyar|angol|türkçe|ingilizce|tiếng|русск|английск|українськ)"
    r"|英语|英文|中文|日本語|英語|한국어|영어"
    r"|\bquot(?:e|ation)\b|verbatim|lyrics|\boriginal\b|\bzitier|\bzitat|wörtlich|liedtext|\bcita(?:r|tion|zione)?\b|\bparoles\b"
    r"|\bcitat|cytat|цитат|引用|原文|歌词|歌詞",
    re.IGNORECASE,
)
_RAW_CHARACTERS: Final = 500
_NO_PROSE: Final = ("{", "[", "<", "```")


class LanguageMismatchConfig(CheckConfig):
    """Nothing to set but `enabled`: what counts as a language is in the lexicon."""


class LanguageMismatch:
    """Found where all of these hold for the last answer of a trace:

    - it and the user's last message were sent, each with at least 40 letters of prose (15 characters of Chinese,
      Japanese or Korean), code, addresses and markup left out;
    - both languages are recognised, and differ; languages that share most of their words count as one (Spanish,
      Portuguese and Catalan; Russian, Ukrainian and Bulgarian; Croatian, Czech and Polish; Swedish and Danish);
    - nothing of the user's message is in the answer's language, nor was an earlier message of the user;
    - neither the user nor the instructions name a language or speak of translating.

    Recognised are the 37 languages of `text.language`, by script and by their commonest words.

    Severity low, one pattern a model and trace.

    Unknown where the answer or the question was not sent.

    Not findings: translations that were asked for; instructions that set the language; code, JSON, names, lists; a
    template in English around a question; texts of which the language does not show.
    """

    name = "language_mismatch"
    dimension = Dimension.ADHERENCE
    needs = (Need.CONTENT,)

    def __init__(self, config: LanguageMismatchConfig) -> None:
        self._config = config

    def inspect(self, trace: Trace) -> Answer:
        """Return at most one pattern: the last answer."""
        span = _last_answer(trace)
        if span is None:
            return CLEAR if all(s.output.state is _PRESENT or s.error is not None for s in trace.llm_spans) else UNKNOWN
        text = span.output.text
        if len(text) < LEAST_LETTERS // 2 or text.lstrip()[:3].startswith(_NO_PROSE):
            return CLEAR
        if are_english(text, _last_question(span.input.text, GLANCED_CHARACTERS)):
            return CLEAR
        answered = language_of(text)
        if not answered or language_of(_last_question(span.input.text)) == answered:
            return CLEAR
        messages = input_messages(trace, span)
        asked = [message.text for message in messages if message.role == "user" and message.text]
        if not asked:
            return UNKNOWN
        language = language_of(asked[-1])
        if not language or are_near(language, answered) or speaks(asked[-1], answered, beside=language):
            return CLEAR
        told = [m.text for m in messages if m.role not in ("assistant", "tool")]
        if any(language_of(text) == answered for text in asked) or any(_NAMED.search(ends(text)) for text in told):
            return CLEAR
        return found(
            [
                finding(
                    trace,
                    self,
                    culprit=span,
                    kind=FindingKind.PATTERN,
                    severity=Severity.LOW,
                    title=f"{label_of(span)} answers in another language than the user's",
                    rationale=f"The user wrote in {language}, the answer is in {answered} (ISO 639-1); nobody "
                    "asked for another language.",
                    message=f"{language} answered in {answered}",
                    publish_at_once=False,
                )
            ]
        )


def _last_question(raw: str, characters: int = _RAW_CHARACTERS) -> str:
    """Return the beginning of the user's last message in a prompt, still in its JSON; or nothing.

    Where it is in the answer's language, as nearly always, nothing needs to be parsed.
    """
    start = raw.rfind('"user"')
    if start < 0:
        return "" if raw[:1] in ("[", "{") else raw[:characters]
    start = max(start, raw.find('"content"', start, start + _RAW_CHARACTERS) + len('"content"'))
    end = raw.find('"role"', start, start + characters)
    return raw[start : end if end > 0 else start + characters].replace("\\n", " ")


def _last_answer(trace: Trace) -> Span | None:
    """Return the last LLM call, by its end, that said something and asked for no tool."""
    last = None
    for span in trace.llm_spans:
        output = span.output
        if output.text and not output.tool_calls and (last is None or span.end_ns >= last.end_ns):
            last = span
    return last
