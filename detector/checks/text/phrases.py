"""What the needles are made of. Languages of phrases: see each table.

Sources of shapes: the providers' own documentation of their tokens; of refusals: how models of today word them; of
injections: published collections of attacks on agents, in our own words.
"""

from typing import Final

_I_CANNOT: Final = (
    r"\bi(?: can't| cannot| can not| won't| will not| couldn't| am unable to| am not able to"
    r"|'m unable to|'m not able to)"
)
_IT: Final = r"(?:that|this|it|those|these|such|your request|the request|what you|any of that)"

REFUSALS: Final[dict[str, tuple[str, ...]]] = {
    "en": (
        rf"{_I_CANNOT} (?:help|assist|support)(?: you)? (?:with|in) {_IT}\b",
        (
            rf"{_I_CANNOT} (?:help|assist)(?: you)? (?:with|in) "
            r"(?:creating|making|producing|writing|generating|anything)\b"
        ),
        rf"{_I_CANNOT} (?:comply|fulfill? (?:that|this|your)|engage in|participate in|do that|assist you further)\b",
        (
            rf"{_I_CANNOT} (?:provide|give|offer|share|generate|create|write|produce|discuss)(?: you)?(?: with)? "
            r"(?:that kind|this kind|that type|this type|such|instructions (?:on|for)|guidance on|content that|"
            r"information (?:on|about) how to|details about internal|internal)\b"
        ),
        (
            r"\b(?:as|i'm(?: just| only)?|i am(?: just| only)?) an? (?:ai(?: language)?(?: model| assistant)?"
            r"|large language model|language model)(?: (?:developed|created|trained|made) by \w{2,20})?"
            r"(?:,|, (?:and|so|but)| and| so)? i (?:can't|cannot|don't|do not|am not able|am unable|must)\b"
        ),
        (
            r"\bi(?:'ll| must| have to| need to| am going to|'m going to)(?: have to| need to)?(?: respectfully)? "
            r"(?:decline|refuse)\b"
        ),
        r"\bi (?:respectfully )?(?:decline|refuse) to\b",
        (
            # "against our policy" is how a shop says no
            r"\b(?:violates?|goes against|against|outside) (?:(?:my|openai's|anthropic's|google's) "
            r"(?:ethical |content |usage |safety )?|our (?:ethical |content |usage |safety ))"
            r"(?:guidelines|policies|policy|programming|principles)\b"
        ),
        r"\bi(?:'m| am) not comfortable (?:with|helping|assisting|providing|writing|discussing)\b",
        (
            rf"{_I_CANNOT} provide (?:any )?(?:assistance|help|support) (?:with|for|in) "
            r"(?:illegal|harmful|anything|such|that|this)\b"
        ),
        (
            rf"{_I_CANNOT} (?:write|generate|produce|discuss) (?:that|this|such)"
            r"(?: (?:content|kind|type|topic|text|story|code|material|subject))?(?: for you| with you)? ?[.!,;]"
        ),
        r"\bi (?:cannot|can't|won't) in good conscience\b",
        r"\bi (?:don't|do not) think i should (?:help|answer|assist|provide|write|discuss)\b",
        (
            r"\bit (?:would be|is|'s|wouldn't be|isn't) (?:not )?"
            r"(?:inappropriate|appropriate|unethical|irresponsible) for me to\b"
        ),
        (
            r"\b(?:that's|that is|this is) (?:not something i can|something i (?:can't|cannot|won't)) "
            r"(?:help|assist|do|discuss|provide)\b"
        ),
        r"\bi (?:don't|do not) feel comfortable (?:with|helping|assisting|providing|writing|discussing)\b",
        r"\b(?:not|isn't) something i(?:'m| am) (?:able|willing) to (?:help|assist|discuss|provide)\b",
        (
            r"\bmy (?:safety |content |ethical )?(?:guidelines|programming|policies) "
            r"(?:prevent|prohibit|forbid|do not|don't)\b"
        ),
        (
            rf"{_I_CANNOT} (?:help|assist)(?: you)? (?:with|in) "
            r"(?:hacking|illegal|harmful|stealing|exploiting|bypassing)\b"
        ),
        (
            rf"{_I_CANNOT} (?:provide|generate|create|write|produce|help with|assist with) (?:any )?"
            r"(?:sexual|sexually|explicit|pornographic|violent|hateful|harmful|illegal|defamatory|discriminatory)\b"
        ),
        (
            rf"{_I_CANNOT} (?:share|provide|disclose|reveal|give out) (?:any )?(?:personal|private|confidential) "
            r"(?:information|data|details) (?:about|of|on) (?:private |other |specific )?"
            r"(?:individuals|people|persons)\b"
        ),
        r"\bi'd rather not (?:help|answer|assist|discuss|write)\b",
        r"\bunable to provide the help that you need\b",
    ),
    "es": (
        (
            r"\bno puedo (?:ayudarte|ayudarle|ayudar|asistirte|asistirle|asistir) (?:con|en) (?:eso|esa"
            r"|ese|esto|esta|este)\b"
        ),
        r"\blo siento,? (?:pero )?no puedo (?:ayudar|asistir|proporcionar|cumplir|hacer eso|responder a es)",
        r"\bno puedo (?:cumplir|atender) (?:con )?(?:esa|esta|su|tu) (?:solicitud|petición)",
    ),
    "fr": (
        r"\bje ne peux pas (?:vous |t')?(?:aider|assister)(?: avec| sur| pour| à)? (?:cela|ça|cette|ce|votre|ta)\b",
        (
            r"\bje ne suis pas en mesure de (?:fournir|produire|générer|créer|rédiger) "
            r"(?:ce|cet|cette|ces|cela|un tel|de tels?)\b"
        ),
        r"\bje (?:suis )?désolée?,? mais je ne peux pas (?:vous |t')?(?:aider|assister|fournir|répondre à cette)",
        (
            r"\bje ne (?:peux|suis) pas (?:en mesure de )?(?:répondre|accéder|donner suite) à (?:cette|votre|ta) "
            r"(?:demande|requête)"
        ),
    ),
    "de": (
        (
            r"\b(?:dabei|damit|hierbei|bei dieser anfrage|bei diesem anliegen) kann ich (?:ihnen |dir |leider ){0,2}"
            r"nicht (?:helfen|weiterhelfen|behilflich|unterstützen)"
        ),
        (
            r"\bich kann (?:ihnen |dir |leider ){0,2}(?:dabei|damit|hierbei|bei dieser anfrage) (?:leider )?nicht "
            r"(?:helfen|weiterhelfen|behilflich|unterstützen)"
        ),
        (r"\bdas (?:kann|darf|werde) ich (?:leider )?nicht (?:tun|machen|schreiben|beantworten)\b"),
        (
            r"\bich (?:kann|darf) (?:diese|dieser|ihre|deine) (?:anfrage|bitte) (?:leider )?nicht "
            r"(?:erfüllen|nachkommen|bearbeiten|beantworten)"
        ),
    ),
    "pt": (
        r"\bnão posso (?:te |lhe )?(?:ajudar|ajudá-lo|ajudá-la|auxiliar) (?:com|nisso|nessa|nesse|isso)",
        r"\b(?:desculpe|sinto muito|lamento),? mas (?:eu )?não posso (?:ajudar|auxiliar|fornecer|atender|fazer isso)",
    ),
    "it": (
        r"\bnon posso (?:aiutarti|aiutarla|aiutare|assisterti) (?:con|in) (?:questo|questa|quello|ciò|tale)\b",
        r"\bmi dispiace,? ma non posso (?:aiutar|assister|fornir|soddisfar|rispondere a quest)",
    ),
    "nl": (
        r"\b(?:daar|hier) kan ik (?:je |u |jou )?(?:helaas )?niet (?:mee |bij )?helpen\b",
        r"\bik kan (?:je|u|jou) (?:daar|hier)(?:bij|mee)? (?:helaas )?niet (?:mee |bij )?helpen\b",
    ),
    "pl": (
        r"\bnie mogę (?:ci |panu |pani )?(?:w tym |z tym )?pomóc(?: w tym| z tym)?",
        r"\bnie mogę (?:spełnić|zrealizować) (?:tej|twojej) prośby",
    ),
    "tr": (r"\bbu (?:konuda|istekte|talepte) (?:size |sana )?yardımcı olam", r"\bbu (?:isteği|talebi) yerine getirem"),
    "ru": (
        r"(?:я|Я) не могу (?:вам |тебе )?(?:с этим |в этом )?помочь(?: вам)?(?: с этим| в этом)?",
        r"(?:я|Я) не могу (?:выполнить|удовлетворить) (?:этот|ваш|данный|твой) запрос",
    ),
    "zh": (
        r"我(?:无法|不能|無法)(?:为您|帮您|为你|帮你)?(?:协助|協助|满足|滿足)",
        r"(?:抱歉|对不起|對不起)(?:，|,)?(?:但)?我(?:无法|不能|無法)(?:帮|幫|提供|回答|协助|協助|满足|完成)",
    ),
    "ja": (
        r"お手伝い(?:する)?(?:こと)?(?:は|が)?でき(?:ません|かねます)",
        r"(?:その|この|ご)(?:ような)?(?:ご)?(?:要望|依頼|リクエスト|質問)に(?:は)?(?:お応え|お答え|対応)(?:する)?(?:こと)?(?:は|が)?でき",
    ),
    "ko": (
        r"도와 ?드릴 수(?:가|는)? 없",
        r"(?:요청|질문)(?:에|을|은)(?:는)? ?(?:응할|답변할|답변드릴|수행할|처리할) 수(?:가|는)? 없",
    ),
}
"""Refusals in a model's own words, by language: en, es, fr, de, pt, it, nl, pl, tr, ru, zh, ja, ko."""

# whose instructions: those that were given before; and those of the application, of which honest texts speak too
_EARLIER: Final = r"(?:previous|prior|above|earlier|preceding|foregoing|former|past)"
_STANDING: Final = r"(?:existing|original|initial|other|system|developer)"
_ALL: Final = r"(?: (?:all|any|every|the|your|of|my|these|those|each)){0,4}"
_JOINED: Final = rf"(?: (?:and|or|system|{_EARLIER[3:-1]}|{_STANDING[3:-1]})){{0,2}}"
_COMMANDS: Final = r"(?:instructions?|prompts?|directions?|directives?|commands?)"
_RULES: Final = r"(?:orders?|rules?|guidelines?|messages?|context|tasks?)"
_ORDERS: Final = rf"(?:{_COMMANDS[3:-1]}|{_RULES[3:-1]})"
# an order stands at the start of a sentence, or behind such a word; "models ignore the system prompt" is a report
_ORDERING: Final = r"(?:^|[.!?:;\">*\n\-]\s{0,3}|\b(?:please|now|must|should|immediately|instead|you will) )"

OVERRIDES: Final[dict[str, tuple[str, ...]]] = {
    "an order to ignore instructions": (
        rf"\b(?:ignore|disregard|forget|discard|neglect){_ALL} {_EARLIER}{_JOINED} {_COMMANDS}\b",
        (
            rf"{_ORDERING}(?:ignore|disregard|forget|override|bypass|discard){_ALL}"
            rf" (?:{_EARLIER[3:-1]}|{_STANDING[3:-1]}){_JOINED} (?:{_COMMANDS[3:-1]}|rules?|guidelines?)\b"
        ),
        (
            r"\b(?:ignore|disregard|forget) (?:all|everything|anything)(?: that)?(?: you(?: were|"
            r" have been|'ve been))? "
            r"(?:above|before this|said above|told|(?:were|been) told)\b"
        ),
        (
            rf"\b(?:ignore|disregard|forget|override) (?:all )?(?:of )?(?:your|the) (?:system )?{_COMMANDS} "
            r"(?:and|above|given|you (?:were|have)|from now)\b"
        ),
        (
            r"\b(?:ignoriere|ignorieren sie|vergiss|vergessen sie|missachte) "
            r"(?:bitte )?(?:alle|sämtliche|die|deine|ihre)"
            r" (?:deine |ihre )?(?:vor|bis|frü|obi)\S{2,16} (?:anweisungen|instruktionen|befehle|regeln|vorgaben)"
        ),
        (
            r"\b(?:ignore[zr]?|oublie[zr]?) (?:toutes )?(?:les|tes|vos) (?:instructions|consignes|directives|règles) "
            r"(?:précédentes|antérieures|ci-dessus|initiales)"
        ),
        (
            r"\b(?:ignor[ae]|olvid[ae]|haz caso omiso de) (?:todas )?(?:las|tus|sus) (?:instrucciones"
            r"|indicaciones|reglas|"
            r"órdenes) (?:anteriores|previas)\b"
        ),
        (
            r"\b(?:ignore|esqueça|desconsidere) (?:todas )?(?:as |suas |as suas )(?:instruções|regras|orientações) "
            r"(?:anteriores|prévias|acima)"
        ),
        r"\b(?:ignora|dimentica) (?:tutte )?(?:le |le tue )(?:istruzioni|regole|direttive) (?:precedenti|iniziali)\b",
        (
            r"\b(?:negeer|vergeet) (?:alle |de |je |al je ){1,2}(?:vorige|eerdere|voorgaande|bovenstaande) "
            r"(?:instructies|opdrachten|regels)\b"
        ),
        (
            r"(?:и|И|проигн|Проигн|заб|Заб)(?:гнорируй|орируй|удь)(?:те)? (?:все )?(?:свои"
            r" )?(?:предыдущие|прошлые|вышеуказанные|прежние) "
            r"(?:инструкции|указания|команды|правила)"
        ),
        r"(?:忽略|无视|忘记|忽視|無視)(?:掉)?(?:所有|之前|以上|上面|先前|前面|一切|你|的){1,4}(?:指令|指示|说明|提示|规则|說明|規則)",
        r"(?:これまで|以前|上記|前|今まで)の(?:すべての|全ての)?(?:指示|命令|ルール)(?:を|は)(?:すべて|全て)?(?:無視|忘れ)",
        (
            rf"\b(?:ignore|disregard|forget|override|bypass)(?: all)?(?: of)? your (?:system |safety |current |own )?"
            rf"(?:{_COMMANDS[3:-1]}|rules?|guidelines?|programming)\b"
        ),
        (
            r"\b(?:ignore|disregard|forget)(?: all of| everything)? the (?:above|foregoing"
            r"|preceding)(?: text)?(?:,|\.| and| instead)"
        ),
        rf"\b(?:do not|don't|stop) follow(?:ing)?(?: the| any| your)? {_EARLIER} {_ORDERS}\b",
    ),
    "words of a known attack": (
        (
            r"\b(?:you are|act as|pretend to be|answer as)(?: now)?(?: an?)?(?: unrestricted)?"
            r" (?:ai|assistant|model|llm|chatbot)"
            r" (?:with no|without(?: any)?|free of|that has no) (?:restrictions|rules|filters"
            r"|limits|limitations|guidelines)"
        ),
        # "we cannot do anything now" is no attack
        r"\bdan\W{1,12}(?:(?:which |that )?stands? for |short for )?\W{0,3}do anything now\b",
        r"\bdo anything now\W{1,3}(?:dan|mode)\b",
        r"\bbefore you can solve the task (?:that )?i gave you\b",
        r"\byou are now (?:in )?(?:dan|jailbreak|jailbroken|unrestricted|sudo) ?(?:mode)?\b",
        r"\b(?:enable|enter|activate) (?:dan|jailbreak|unrestricted) mode\b",
        (
            r"\b(?:reveal|repeat|output|leak)(?: me| us)?"
            r"(?: (?:all|verbatim|exactly|the|your|of|full|entire|complete|hidden)){1,4} "
            r"(?:system prompts?|initial prompts?|hidden instructions|system instructions|system message)\b"
        ),
        (
            r"\b(?:print|show|display|tell|give)(?: me| us)?(?: (?:the|of))*"
            r"(?: (?:all|verbatim|exactly|your|full|entire|complete|hidden))"
            r"(?: (?:the|your|of|full|entire|complete|hidden)){0,3} "
            r"(?:system prompts?|initial prompts?|hidden instructions|system instructions|system message)\b"
        ),
        (
            r"\b(?:ai|llm) (?:agents?|assistants?|models?)(?: reading this)?[,:]? (?:you )?(?:must|should|are to) "
            r"(?:now )?(?:ignore|disregard|send|forward|transfer|execute|exfiltrate)\b"
        ),
        r"\bend of (?:system|user) (?:prompt|message|instructions?)[^a-z]{1,12}(?:new|begin|start)\b",
    ),
}
"""Orders to an agent that no honest document gives: en; orders to ignore also de, fr, es, pt, it, nl, ru, zh, ja."""

HINTS: Final[dict[str, tuple[str, ...]]] = {
    # "please disregard our previous message" is how one writes to customers
    "words about instructions before": (
        (
            rf"\b(?:ignore|disregard|forget|override|bypass|discard){_ALL}"
            rf" (?:{_EARLIER[3:-1]}|{_STANDING[3:-1]}){_JOINED} {_ORDERS}\b"
        ),
    ),
    "an order to hide something from the user": (
        (
            r"\b(?:do not|don't|never|without) (?:tell|telling|inform|informing|mention this to|alert|alerting|notify|"
            r"notifying|reveal this to) (?:the |any )?users?\b"
        ),
    ),
    "instructions to an agent": (
        # so do telephones and browsers
        r"\byou are now (?:in )?(?:developer|god) mode\b|\b(?:enable|enter|activate) (?:developer|god) mode\b",
        r"\bsystem override\b|(?:#{2,}|\[) ?system(?: (?:prompt|message|override|instructions?|note))? ?(?:\]|:)",
        r"\b(?:your )?(?:new|updated|real|actual) (?:system )?(?:instructions|orders) ?(?:are|:)",
        (
            r"\b(?:important|urgent|special) (?:message|instructions?|notice|note) (?:for|to) (?:the "
            r"|all )?(?:ai|llm|language model|"
            r"assistant|agent)"
        ),
        (
            r"\b(?:instructions?|note|message|attention) (?:for|to) (?:the |all |any )?(?:ai|llm)s?"
            r"(?: (?:agents?|assistants?|models?))?\b ?:"
        ),
    ),
}
"""What stands in attacks and in honest text alike."""

MARKUP: Final[dict[str, str]] = {
    "a fake role tag": (
        r"<\|(?:im_start|im_end|system|assistant|user|start_header_id|end_header_id|eot_id)\|>"
        r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    ),
    "hidden characters of Unicode's tag block": (
        # flags of England, Scotland and Wales have six
        r"(?:\xf3\xa0[\x80\x81][\x80-\xbf]){10,}|(?:\\udb40\\udc[0-7][0-9a-f]){10,}"
    ),
    "a run of invisible characters": (
        # emoji and Persian words have one between two others
        r"(?:\xe2\x80[\x8b-\x8f]|\xe2\x81[\xa0-\xa4]|\xef\xbb\xbf){12,}|(?:\\u200[b-f]|\\u206[0-4]|\\ufeff){12,}"
    ),
    # a placeholder that the model is to fill in; plain links have none
    "an image that carries data away": (
        r"!\[[^\]]{0,40}\]\(https?://[^)\s]+[?&/=](?:\{[a-z_ ]{2,}\}|<[a-z_ ]{2,}>|\[[A-Z_]{4,}\]|%7b[a-z_]{2,}%7d)"
    ),
}
"""Injections that are no words."""

SECRETS: Final[dict[str, str]] = {
    "Anthropic API key": r"\bsk-ant-[a-z]{3,10}\d{2}-[A-Za-z0-9_\-]{20,}",
    "OpenAI API key": r"\bsk-(?:proj-|svcacct-|admin-)?[A-Za-z0-9_\-]{20,}",
    "AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{50,}",
    "GitLab token": r"\bglpat-[A-Za-z0-9_\-]{20,}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9\-]{20,}",
    "Slack webhook": r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}",
    "Google API key": r"\bAIza[0-9A-Za-z_\-]{35}",
    "Google OAuth secret": r"\bGOCSPX-[A-Za-z0-9_\-]{20,}",
    "Stripe key": r"\b[sr]k_live_[A-Za-z0-9]{20,}",
    "Hugging Face token": r"\bhf_[A-Za-z]{30,}",
    "npm token": r"\bnpm_[A-Za-z0-9]{36}",
    "PyPI token": r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_\-]{50,}",
    "SendGrid key": r"\bSG\.[A-Za-z0-9_\-]{20,24}\.[A-Za-z0-9_\-]{39,50}",
    "Groq API key": r"\bgsk_[A-Za-z0-9]{40,}",
    "xAI API key": r"\bxai-[A-Za-z0-9]{60,}",
    "Azure storage key": r"AccountKey=[A-Za-z0-9+/]{80,}={0,2}",
    "Google OAuth token": r"\bya29\.[A-Za-z0-9_\-]{40,}",
    "Databricks token": r"\bdapi[0-9a-f]{32}",
    "DigitalOcean token": r"\bdo[opr]_v1_[0-9a-f]{64}",
    "HashiCorp Vault token": r"\bhv[sb]\.[A-Za-z0-9_\-]{24,}",
    "LangSmith key": r"\blsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}",
    "Langfuse secret key": r"\bsk-lf-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "Linear key": r"\blin_api_[A-Za-z0-9]{32,}",
    "Notion token": r"\bntn_[A-Za-z0-9]{40,}",
    "Perplexity key": r"\bpplx-[A-Za-z0-9]{40,}",
    "Replicate token": r"\br8_[A-Za-z0-9]{36,}",
    "Shopify token": r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "Stripe webhook secret": r"\bwhsec_[A-Za-z0-9]{24,}",
    "Tavily key": r"\btvly-(?:dev-|prod-)?[A-Za-z0-9]{24,}",
    "Telegram bot token": r"\b\d{8,10}:AA[A-Za-z0-9_\-]{33}",
    "private key": r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----",
    "JSON Web Token": r"\beyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{20,}",
}
"""Tokens that say by their shape whose they are."""

LABELLED_SECRETS: Final[dict[str, str]] = {
    "connection string with a password": r"\b[a-z][a-z0-9+.\-]{1,20}://[^\s/:@\"'<>]{1,60}:[^\s/@\"'<>]{3,80}@[a-z0-9\["
    r"]",
    "labelled key": (
        r"\b(?:password|passwd|passphrase|api[_ \-]?key|secret[_ \-]?(?:access[_ \-]?)?key|client[_ \-]?secret|"
        r"access[_ \-]?token|auth[_ \-]?token|authorization: bearer)\\?[\"'`]?(?: is)?\s{0,3}[:=]?\s{0,3}\\?[\"'`]?"
        r"[A-Za-z0-9!#$%&*+/=?@^_.\-]{16,}"
    ),
    "password": r"\b(?:password|passwd|passphrase|pwd)\\?[\"'`]?(?: is)?\s{0,3}[:=]\s{0,3}\\?[\"'`]?[^\s\"'`,;]{8,}",
}
"""Secrets that are told by what stands beside them."""

PERSONAL: Final[dict[str, str]] = {
    # by issuer: Visa, Mastercard, Discover, UnionPay, JCB in groups of four; American Express; Diners Club
    "payment card number": (
        r"\b(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6(?:011|4[4-9]\d|5\d\d|2\d\d)|35[2-8]\d)(?:[ \-]?\d{4}){3}\b"
        r"|\b3[47]\d\d[ \-]?\d{6}[ \-]?\d{5}\b|\b3(?:0[0-5]|[68]\d)\d[ \-]?\d{6}[ \-]?\d{4}\b"
    ),
    "IBAN": r"\b[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]{4}){2}",
    # place, date of birth, number, check character
    "Chinese resident id": r"\b[1-8]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dX]\b",
}

ID_LABELS: Final[dict[str, tuple[str, ...]]] = {
    "national id number": (
        r"\b(?:ssn|nir|dni|nie|bsn|pesel|cpr|hetu|cpf|curp|tfn|ahv|avs|nino)\b",
        r"social security|social insurance|national insurance|\bnhs n",
        r"steuer-?id|burgerservice|rijksregister|registre national|codice fiscale",
        r"curit(?:é|e) sociale|personnummer|dselsnummer|henkil(?:ö|o)tunn",
        r"aadha?ar|t\.?c\.? kimlik|tax file number|resident registration|주민등록",
    )
}
"""Words beside national ids that, without them, would be any number."""

CONTACTS: Final[dict[str, str]] = {
    "e-mail address": r"[\w+\-]@\w",
    "phone number": r"\+\d{1,3}[ .\-(]{0,2}\d[\d ().\-]{6}|\(\d{3}\) ?\d{3}[ \-]\d{4}",
}
"""How one reaches somebody."""
