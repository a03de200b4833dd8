"""Personal data in a text: numbers that their checksum proves, and contacts.

Checksums and the structure of each country's numbers are python-stdnum's. A number that proves little by itself (nine
digits and a checksum of one) counts only beside a word that says what it is.
"""

import functools
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

import msgspec
import stdnum.au.tfn
import stdnum.be.nn
import stdnum.br.cpf
import stdnum.ca.sin
import stdnum.ch.ssn
import stdnum.cn.ric
import stdnum.de.idnr
import stdnum.dk.cpr
import stdnum.es.dni
import stdnum.es.nie
import stdnum.fi.hetu
import stdnum.fr.nir
import stdnum.gb.nhs
import stdnum.iban
import stdnum.in_.aadhaar
import stdnum.it.codicefiscale
import stdnum.kr.rrn
import stdnum.luhn
import stdnum.mx.curp
import stdnum.nl.bsn
import stdnum.no.fodselsnummer
import stdnum.pl.pesel
import stdnum.se.personnummer
import stdnum.tr.tckimlik
import stdnum.us.ssn

from detector.checks.text import phrases
from detector.checks.text.masking import masked

CARD: Final = "payment card number"
IBAN: Final = "IBAN"
NATIONAL_ID: Final = "national id number"
EMAIL: Final = "e-mail address"
PHONE: Final = "phone number"
IDENTIFYING: Final = frozenset({CARD, IBAN, NATIONAL_ID})
"""What one steals: the rest is how one reaches somebody."""

# how far from a number the word stands that says what it is
_LABEL_BEFORE: Final = 60
_LABEL_AFTER: Final = 30
_MOST_OF_A_KIND: Final = 50

_CARD: Final = re.compile(rf"(?<![\d.,\-])(?:{phrases.PERSONAL[CARD]})(?![\d\-]|[.,]\d)")
_CARD_LABEL: Final = re.compile(
    r"card|visa|master|amex|american express|discover|diners|jcb|unionpay|credit|debit|\bpan\b|\bcc\b|cvv|cvc"
    r"|tarjeta|cartão|cartao|carte|carta|karte|kaart|karta|kart\b|карт|卡|カード|카드",
    re.IGNORECASE,
)
# numbers that processors publish for tests; those of which one digit makes up half are told by that
_TEST_CARDS: Final = frozenset(
    {
        "4012888888881881", "5200828282828210", "378282246310005", "371449635398431", "378734493671000",
        "6011000990139424", "3056930009020004", "30569309025904", "36227206271667", "38520000023237",
        "3566002020360505", "4000056655665556", "2223003122003222", "5424000000000015", "4007000000027",
        "4532015112830366", "4539578763621486", "4716059845678123", "5425233430109903", "2222420000001113",
        "6011601160116611", "374245455400126", "4917610000000000", "4012000033330026", "5204740009900014",
    }
)  # fmt: skip
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]{4}){2,7}(?:[ \-]?[A-Z0-9]{1,3})?\b")
# the examples of the IBAN registry, which every manual repeats
_TEST_IBANS: Final = frozenset(
    {
        "GB82WEST12345698765432", "GB29NWBK60161331926819", "GB33BUKB20201555555555", "DE89370400440532013000",
        "DE75512108001245126199", "FR1420041010050500013M02606", "FR7630006000011234567890189",
        "ES9121000418450200051332", "ES7921000813610123456789", "IT60X0542811101000000123456",
        "NL91ABNA0417164300", "BE68539007547034", "CH9300762011623852957", "AT611904300234573201",
        "PL61109010140000071219812874", "PT50000201231234567890154", "SE4550000000058398257466",
        "NO9386011117947", "DK5000400440116243", "FI2112345600000785", "IE29AIBK93115212345678",
    }
)  # fmt: skip
_EMAIL: Final = re.compile(
    r"(?<![\w.+\-@/])[A-Za-z0-9_][A-Za-z0-9_.+\-]{0,63}@(?:[A-Za-z0-9\-]{1,63}\.){1,5}"
    # logo@2x.png is a file
    r"(?!(?:png|jpe?g|gif|svg|webp|css|js|ts|py|json|html?|txt|zip|tgz|gz|pdf)\b)[A-Za-z]{2,24}\b"
)
_EXAMPLE_DOMAIN: Final = re.compile(
    r"(?:^|\.)(?:example|test|invalid|localhost)(?:\.|$)|^(?:(?:your|my|some|any)?-?(?:domain|company|email|mail|website|site"
    r"|organi[sz]ation)|acme|foo|bar|abc|xyz|sample|placeholder|contoso|fabrikam|mailinator)\.",
    re.IGNORECASE,
)
# the password of a connection string, before its host
_IN_ADDRESS: Final = re.compile(r"://\S{0,100}\Z")
# addresses of a desk, not of a person; and those of machines
_DESK: Final = re.compile(
    r"^(?:(?:.*[._\-])?(?:info|support|help|helpdesk|contact|kontakt|sales|admin|no-?reply|do-?not-?reply|press|media|hello"
    r"|hi|team|office|service|services|customer\w*|care|jobs|careers|hr|privacy|security|legal|abuse|webmaster|postmaster"
    r"|billing|booking|bookings|reservations?|enquiries|inquiries|feedback|news|newsletter|orders?|accounts?|mail|git|desk"
    r"|refunds?|claims|complaints|editor|editors|admissions|registrar|user|name|email|you|your|yourname|username|someone"
    r"|first\.?last|firstname\.?lastname|john\.?doe|jane\.?doe|johndoe|foo|bar|test|example)(?:[._\-].*)?)@",
    re.IGNORECASE,
)
_PHONE: Final = re.compile(
    r"(?<![\w.+\-/=])(?:\+\d{1,3}[ .\-(]{0,2}\d[\d ().\-]{6,18}\d|\(\d{3}\) ?\d{3}[ \-]\d{4})(?![\w\-])"
)
# free of charge, and the numbers that films use
_NOBODY: Final = re.compile(r"^1?(?:8(?:00|33|44|55|66|77|88)\d{7}|\d{3}555\d{4})$|^(?:44|49|33|39|34|61)800")

_Valid = Callable[[str], bool]


class Personal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something personal: its kind, masked for reports, and as it stands in the text, for comparing alone."""

    kind: str
    masked: str
    raw: str
    is_test: bool = False
    """Whether it is made up: a published test number, a manual's example."""


class _Id(msgspec.Struct, frozen=True, kw_only=True):
    """A national id: the word beside it (any where None), its shape, its proof."""

    label: re.Pattern[str] | None
    shape: re.Pattern[str]
    is_valid: _Valid


def _id(label: str | None, shape: str, is_valid: _Valid) -> _Id:
    return _Id(
        label=None if label is None else re.compile(label, re.IGNORECASE),
        shape=re.compile(rf"(?<![\w.\-/])(?:{shape})(?![\w\-/]|[.,]\d)"),
        is_valid=is_valid,
    )


_IDS: Final = (
    _id(r"\bssn\b|social security", r"\d{3}([ \-]?)\d{2}\1\d{4}", stdnum.us.ssn.is_valid),
    # its last letter is no check character: the shape is all there is
    _id(r"national insurance|\bnino\b", r"[A-CEGHJ-PR-TW-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]", lambda _: True),
    _id(r"\bnhs\b", r"\d{3}[ \-]?\d{3}[ \-]?\d{4}", stdnum.gb.nhs.is_valid),
    _id(r"social insurance n", r"\d{3}[ \-]?\d{3}[ \-]?\d{3}", stdnum.ca.sin.is_valid),
    _id(r"steuer-?id", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", stdnum.de.idnr.is_valid),
    _id(
        r"s[eé]curit[eé] sociale|\bnir\b", r"[12] ?\d{2} ?\d{2} ?[\dAB]{2} ?\d{3} ?\d{3} ?\d{2}", stdnum.fr.nir.is_valid
    ),
    _id(r"\bdni\b", r"\d{8}-?[A-Za-z]", stdnum.es.dni.is_valid),
    _id(r"\bnie\b", r"[XYZxyz]-?\d{7}-?[A-Za-z]", stdnum.es.nie.is_valid),
    _id(r"\bbsn\b|burgerservice", r"\d{9}|\d{4}\.\d{2}\.\d{3}", stdnum.nl.bsn.is_valid),
    _id(r"rijksregister|registre national", r"\d{2}\.?\d{2}\.?\d{2}-?\d{3}\.?\d{2}", stdnum.be.nn.is_valid),
    _id(r"\bpesel\b", r"\d{11}", stdnum.pl.pesel.is_valid),
    _id(r"personnummer", r"(?:\d{2})?\d{6}[\-+]?\d{4}", stdnum.se.personnummer.is_valid),
    _id(r"personnummer|f[øo]dselsnummer", r"\d{6} ?\d{5}", stdnum.no.fodselsnummer.is_valid),
    _id(r"\bcpr\b|personnummer", r"\d{6}-?\d{4}", stdnum.dk.cpr.is_valid),
    _id(r"henkil|\bhetu\b", r"\d{6}[\-+A]\d{3}[0-9A-Z]", stdnum.fi.hetu.is_valid),
    _id(r"\bcpf\b", r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}", stdnum.br.cpf.is_valid),
    _id(r"\bcurp\b", r"[A-Z]{4}\d{6}[A-Z]{6}[A-Z0-9]\d", stdnum.mx.curp.is_valid),
    _id(r"aadha?ar", r"\d{4}[ \-]?\d{4}[ \-]?\d{4}", stdnum.in_.aadhaar.is_valid),
    _id(r"kimlik", r"\d{11}", stdnum.tr.tckimlik.is_valid),
    _id(r"tax file number|\btfn\b", r"\d{3} ?\d{3} ?\d{2,3}", stdnum.au.tfn.is_valid),
    _id(r"resident registration|주민등록", r"\d{6}-?\d{7}", stdnum.kr.rrn.is_valid),
    _id(r"\bahv\b|\bavs\b", r"756\.?\d{4}\.?\d{4}\.?\d{2}", stdnum.ch.ssn.is_valid),
    _id(r"codice fiscale", r"[A-Z]{6}\d{2}[A-EHLMPR-T]\d{2}[A-Z]\d{3}[A-Z]", stdnum.it.codicefiscale.is_valid),
    _id(None, r"[1-8]\d{5}(?:19|20)\d{9}[\dX]", stdnum.cn.ric.is_valid),
)
# numbers that stand for a number
_TEST_IDS: Final = frozenset({"123456789", "987654321", "078051120", "219099999", "111111111", "12345678909"})


def personal_data(text: str, kinds: Collection[str], *, most: int | None = _MOST_OF_A_KIND) -> Iterator[Personal]:
    """Yield what is personal in a text, of the kinds that are asked for, each distinct thing once.

    Of each kind the first `most` are looked at; None: all.
    """
    seen: set[str] = set()
    for kind in kinds:
        for found in itertools.islice(_FINDERS[kind](text), most):
            if found.raw not in seen:
                seen.add(found.raw)
                yield found


def _cards(text: str) -> Iterator[Personal]:
    for match in _CARD.finditer(text):
        raw = match.group()
        digits = raw.replace(" ", "").replace("-", "")
        if not stdnum.luhn.is_valid(digits):
            continue
        # sixteen digits in a row are an order number as well, one in ten with a valid checksum
        if digits == raw and not _is_labelled(_CARD_LABEL, text, match.start(), match.end()):
            continue
        is_test = digits in _TEST_CARDS or any(2 * digits.count(d) >= len(digits) for d in set(digits))
        yield Personal(kind=CARD, masked=masked(digits), raw=digits, is_test=is_test)


def _ibans(text: str) -> Iterator[Personal]:
    for match in _IBAN.finditer(text):
        compact = match.group().replace(" ", "").replace("-", "")
        # what follows in capitals may be the next word
        for end in range(len(compact), 14, -1):
            if _is_iban(compact[:end]):
                iban = compact[:end]
                yield Personal(kind=IBAN, masked=masked(iban), raw=iban, is_test=iban in _TEST_IBANS)
                break


@functools.lru_cache(maxsize=256)
def _is_iban(text: str) -> bool:
    return stdnum.iban.is_valid(text)


def _ids(text: str) -> Iterator[Personal]:
    for known in _IDS:
        if known.label is not None and known.label.search(text) is None:
            continue
        for match in known.shape.finditer(text):
            raw = match.group()
            compact = re.sub(r"[ .\-]", "", raw)
            if known.label is not None and not _is_labelled(known.label, text, match.start(), match.end()):
                continue
            if len(set(compact)) > 1 and known.is_valid(raw):
                yield Personal(kind=NATIONAL_ID, masked=masked(compact), raw=compact, is_test=compact in _TEST_IDS)


def _emails(text: str) -> Iterator[Personal]:
    for match in _EMAIL.finditer(text):
        address = match.group()
        name, _, domain = address.partition("@")
        if not _DESK.match(address) and not _IN_ADDRESS.search(text, max(0, match.start() - 200), match.start()):
            is_test = _EXAMPLE_DOMAIN.search(domain) is not None
            yield Personal(kind=EMAIL, masked=f"{masked(name)}@…", raw=address.lower(), is_test=is_test)


def _phones(text: str) -> Iterator[Personal]:
    for match in _PHONE.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        # E.164: at most 15 digits
        if 9 <= len(digits) <= 15 and len(set(digits)) > 2 and not _NOBODY.match(digits):
            yield Personal(kind=PHONE, masked=masked(digits), raw=digits)


_FINDERS: Final[Mapping[str, Callable[[str], Iterator[Personal]]]] = {
    CARD: _cards,
    IBAN: _ibans,
    NATIONAL_ID: _ids,
    "Chinese resident id": _ids,
    EMAIL: _emails,
    PHONE: _phones,
}
KINDS: Final = tuple(_FINDERS)
"""What `personal_data` may be asked for."""


def _is_labelled(label: re.Pattern[str], text: str, start: int, end: int) -> bool:
    around = text[max(0, start - _LABEL_BEFORE) : start] + "\n" + text[end : end + _LABEL_AFTER]
    return label.search(around) is not None
