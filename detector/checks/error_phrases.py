"""How the texts begin that tools return when they fail: the words of frameworks, clients, proxies, shells, databases.

Sources: what the libraries named beside each line write (`str` and `repr` of their exceptions, the messages that agent
frameworks hand to a model in place of a result), and the pages of the usual proxies.

Everything is anchored at the start of a text. `SURE` are forms that no document begins with; `SHORT` are sentences that
an article may begin with as well, which count in short texts alone. Two automata (Vectorscan) say of a text's beginning
which of them, and which marks of JSON, are worth a closer look: nearly all results have none.
"""

import functools
import re
from typing import Final

from detector.checks.text.automaton import Automaton, Expression

# "Error: none", "error: 0.02": a field of a report, not a message
_SAID: Final = r"(?!\s*(?:no(?:ne|thing)?|null|nil|false|n/?a|ok|(?![45]\d\d\b)[-+]?[\d.,]+(?:e[-+]?\d+)?\s*%?)\s*(?:$|\n|[,;]))\s*\S"
_KINDS_OF_ERROR: Final = (
    "tool|function|execution|internal|api|http|mcp|runtime|validation|input validation|output validation|parse|parsing"
    "|server|network|connection|command|query|sql|database|syntax|type|value|key|unexpected|unknown|fatal|authentication"
    "|authorization|permission|rate limit|timeout|request|code|script|stack|critical|tool execution|tool call|playwright"
    "|browser|navigation|file|io|system|php fatal|php parse|tool invoke|tool parameters validation"
).replace(" ", r"\ ")
# German, French, Italian, Spanish and Portuguese, Dutch, Polish, Czech, Turkish, Russian, Chinese, Japanese, Korean
_ERROR_ELSEWHERE: Final = "fehler|erreur|errore|erro|fout|błąd|chyba|hata|ошибка|Ошибка|错误|錯誤|エラー|오류"
_HTTP_PHRASE: Final = (
    "bad request|unauthori[sz]ed|payment required|forbidden|not found|method not allowed|not acceptable|request time-?out"
    "|conflict|gone|payload too large|unprocessable (?:entity|content)|too many requests|internal server error"
    "|not implemented|bad gateway|service (?:temporarily )?unavailable|gateway time-?out"
)
# in verbose expressions a blank has to be escaped
_HTTP_PHRASE_X: Final = _HTTP_PHRASE.replace(" ", r"\ ")
_GRPC_CODE: Final = (
    "CANCELLED|UNKNOWN|INVALID_ARGUMENT|DEADLINE_EXCEEDED|NOT_FOUND|ALREADY_EXISTS|PERMISSION_DENIED|RESOURCE_EXHAUSTED"
    "|FAILED_PRECONDITION|ABORTED|OUT_OF_RANGE|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|DATA_LOSS|UNAUTHENTICATED"
)
# Node's codes of the system's errors
ERRNO: Final = (
    "EACCES|EADDRINUSE|EAI_AGAIN|ECONNABORTED|ECONNREFUSED|ECONNRESET|EEXIST|EHOSTUNREACH|EISDIR|EMFILE|ENETUNREACH"
    "|ENOENT|ENOSPC|ENOTDIR|ENOTEMPTY|ENOTFOUND|EPERM|EPIPE|EPROTO|ESOCKETTIMEDOUT|ETIMEDOUT"
)
# what is done to something that is there: "failed to find a table" is how a tool says no
_VERBS: Final = (
    "access|authenticate|call|click|communicate|compile|complete|connect|convert|create|decode|delete"
    "|deserialize|download|establish|evaluate|execute|extract|fetch|generate|get|import|initiali[sz]e|install|invoke|launch"
    "|load|navigate|open|parse|perform|process|query|reach|read|render|resolve|retrieve|run|save|scroll|send|start|update"
    "|upload|validate|write"
)

_SURE: Final = rf"""
    (?:(?:{_KINDS_OF_ERROR})\ )?error(?:\ code)?\s?(?::|：){_SAID}             # Error: …, Tool error: …, Error code: 429 - …
  | (?:{_ERROR_ELSEWHERE})\s?(?::|：){_SAID}
  | (?:{_KINDS_OF_ERROR})?\ ?error\ -?\d+(?:\ \([\dA-Z]{{5}}\))?\s?:                               # MCP error -32602: …
  | traceback\ \(most\ recent\ call\ last\)
  | (?-i:(?:\w+(?:\.|::|\$))*_?[A-Z]\w*(?:Error|Exception)(?:\$\w+)?(?::\ ?\S|\(['"\[(\d<]|:?\s*$))   # HTTPError: …, KeyError('x')
  | (?-i:(?:\w+\.)+(?:[A-Z]\w*)?(?:Timeout|TimeoutExpired|NotFound|Forbidden|Unauthorized|TooManyRequests|BadRequest
        |Undefined\w+|\w+Violation|InsufficientPrivilege|ProgramLimitExceeded):\s)      # httpx, google.api_core, psycopg
  | (?-i:(?:Read|Connect|Write|Pool)Timeout(?::\ \S|\(['"]))                 # httpx, requests
  | (?:arxiv\ |pubmed\ )?exception\s?:{_SAID}                               # LangChain's tools
  | exception\ (?:in\ thread|while\ invoking|occurred)\b
  | error\ (?:executing|calling|running|invoking)\b                         # LangGraph, MCP servers, Semantic Kernel
  | (?:(?:{_KINDS_OF_ERROR})\ )?error\ (?:in|while|during|when|from|parsing|processing|fetching|reading|loading|creating|accessing|connecting
        |retrieving|searching|querying)\ [^\n]{{0,120}}(?::|：)
  | an?\ (?:\w+\ )?(?:error|exception)\ (?:has\ )?occurred\b                # OpenAI agents; botocore
  | (?:i\ )?encountered\ an?\ (?:\w+\ )?error\b | encountered\ error\b      # CrewAI; LlamaIndex
  | <(?:tool_use_error|error)>
  | status:\s*["']?error\b
  | \d+\ validation\ errors?\b                                              # pydantic
  | (?:input|output)\ validation\ error\b                                   # MCP
  | (?:the\ )?tool\ (?:with\ name\ )?['"`]?[\w.\-]+['"`]?\ (?:is\ |was\ )?not\ (?:found|available|registered|supported|known)
        (?:\ in\ (?:agent|the|list|registry|toolset)\b|\s*(?:[.,:;!]|$))
  | tool\ ['"`]?[\w.\-]+['"`]?\ (?:does\ not\ exist|is\ not\ a\ valid\ tool)
  | ['"`]?[\w.\-]+['"`]?\ is\ not\ a\ (?:valid|known|recogni[sz]ed)\ (?:tool|function)\b
  | (?:unknown|unrecogni[sz]ed|no\ such)\ (?:tool|function)(?:\ name)?\s?(?::|['"`]|$)
  | no\ (?:tool|function)\ (?:named|called|with)\b | (?:model\ tried\ to\ call\ )?unavailable\ tool\b   # Vercel AI
  | invoking\ ['"`]?[\w.\-]+(?:\(\))?['"`]?\ failed\b                      # ADK
  | tool\ ['"`]?[\w.\-]+['"`]?\ (?:call\ |execution\ )?failed(?:\s?:|\ with\b)
  | ['"`]?[\w.\-]+['"`]?\ failed\ with\ (?:an?\ )?(?:error|exception)(?:\ code)?\s?(?::|-?\d)
  | execution\(results:[^\n]{{0,1500}}\berror:\ executionerror\(               # E2B
  | \(node:\d+\)\ unhandledpromiserejection | uncaught\ (?:\w{{0,40}}error|exception)\s?:
  | (?-i:\((?:[A-Z]\w{{1,40}})?(?:NotFound|Failed|Denied|Error|Exceeded|Conflict|Unauthorized|Forbidden)\)\ [A-Z])    # Azure
  | -{{20,}}\s{{1,3}}\w{{1,60}}\s+traceback\ \(most\ recent\ call\ last\)             # Jupyter
  | action\ ['"`]?[\w.\-\ ]+['"`]?\ don't\ exist                            # CrewAI
  | invalid\ (?:format|or\ incomplete\ response)\b                          # LangChain's agents
  | \[(?:errno|winerror)\ -?\d+\] | \[ssl[:\]]                              # OSError, ssl
  | <httperror\ [45]\d\d\b | rpc\ error:\ code\ =                             # googleapiclient; gRPC in Go
  | error\ sending\ request\ for\ url\b | error\ response\ from\ daemon:    # reqwest; Docker
  | (?:get|post|put|patch|delete|head)\ "https?://[^"\n]{{0,400}}":\ \S | dial\ tcp\ [^\n]{{0,200}}: | context\ deadline\ exceeded\b    # Go
  | curl:\ \(\d+\) | undefined\ (?:local\ variable\ or\ )?method\ [`'‘]     # curl; Ruby
  | <urlopen\ error | <_?\w*rpcerror\ of\ rpc | https?connectionpool\( | \('connection\ (?:aborted|broken)
  | cannot\ connect\ to\ host                                               # aiohttp
  | (?:client|server)\ error\ ['"]?[45]\d\d\b                               # httpx
  | [45]\d\d\ (?:client|server)\ error\b                                    # requests
  | http\ error\ [45]\d\d\s?:                                               # urllib
  | [45]\d\d\ requested\ entity\b | [45]\d\d\ (?-i:(?:{_GRPC_CODE}))\b      # google-genai
  | [45]\d\d\ (?:(?:syntax|access|already|quota|exceeded|unrecogni[sz]ed|invalid)\ [\w\ ]{{1,40}}|(?-i:Not\ found)):\ \S  # google.api_core
  | request\ failed\ with\ status(?:\ code)?\s?:?\s?[45]\d\d                # axios
  | (?-i:(?:{ERRNO})):\ \w | (?-i:connect\ E[A-Z]{{3,12}}) | getaddrinfo\ E | socket\ hang\ up   # Node
  | (?:page|frame|locator|elementhandle|browsertype)\.\w+:\s | net::err_    # Playwright, Chromium
  | upstream\ connect\ error | no\ healthy\ upstream | rbac:\ access\ denied | default\ backend\ -\ 404     # Envoy, nginx
  | command\ ['"\[].{{1,2000}}(?:returned\ non-zero|timed\ out\ after)      # subprocess
  | (?-i:WRONGTYPE|NOAUTH|NOPERM|READONLY|NOSCRIPT|OOM)\ [A-Z]
  | (?-i:ERR)\ (?:wrong\ number|unknown\ command|syntax\ error|value\ is|invalid|no\ such)\b | error\ \d+\ connecting\ to    # Redis
  | \((?:psycopg2?|sqlite3|pymysql|mysql|mysqldb|asyncpg|oracledb|cx_oracle|pyodbc|duckdb)[\w.]*\.\w+\)     # SQLAlchemy
  | (?:relation|column|table|schema|database|role|function)\ ['"`][^'"`\n]+['"`]\ (?:does\ not\ exist|already\ exists)
  | (?:syntax\ error\ at\ or\ near|near\ ['"][^'"\n]*['"]:\ syntax\ error|no\ such\ (?:table|column):|ora-\d{{5}}|sqlstate)
  | you\ have\ an\ error\ in\ your\ sql
  | \d{{3,5}}\ \([\dA-Z]{{5}}\)\s?:                                             # MySQL
  | (?:/\S+/)?(?:bash|sh|zsh|dash)(?::\ line)?[:\ ].{{0,200}}(?:not\ found|no\ such\ file|permission\ denied|syntax\ error)
  | [\w./+\-]{{1,40}}:\ (?:[^\n]{{0,200}}:\ )?(?:no\ such\ file\ or\ directory|permission\ denied|command\ not\ found|cannot\ access)
  | exitcode:\ [1-9]\d*\ \(execution\ failed\)                              # AutoGen
  | fatal:\ \w | npm\ err! | segmentation\ fault | panic:\ \w | thread\ '[^'\n]+'\ panicked
"""

_SHORT: Final = rf"""
    error\ (?:executing|calling|running|invoking|in|while|during|when|code|occurred|parsing|processing|fetching)\b
  | (?:failed|unable)\ to\ (?:{_VERBS})\b
  | (?:could\ not|couldn't|cannot|can't)\ (?:{_VERBS})\b
  | failed\ (?:{_VERBS.replace("|", "ing|")}ing)\b
  | (?:something|oops,?\ something)\ went\ wrong\b
  | there\ was\ an?\ (?:\w+\ )?(?:error|problem|issue)\b
  | (?:[\w\-']+\ ){{0,4}}(?:timed\ out|time\ limit\ exceeded)\b
  | (?:[\w\-]+\ ){{0,2}}timeout\ (?:\d|of\ \d|after\ \d|exceeded|expired|error|occurred)
  | (?:http\ )?(?:error\ |status\ (?:code\ )?)?[45]\d\d\s?[:\-–]?\s?(?:{_HTTP_PHRASE_X})\b
  | http(?:/\d(?:\.\d)?|\ error|\ status)?(?:\ code)?\s?:?\s?[45]\d\d\b
  | (?:received|got|server\ returned|returned|response)\ (?:http\ )?(?:status\ )?(?:code\ )?:?\s?[45]\d\d\b
  | status(?:_|\ )code\s?[:=]\s?[45]\d\d\b
  | (?:[\w\-]+\ ){{1,4}}(?:request|call|command|query|operation|execution|connection|navigation|download|upload|search|lookup)
        \ failed\b
  | (?:request|call|command|query|operation|execution|connection|navigation|download|upload|fetch|search|lookup|tool|function)
        \ (?:failed|refused|reset|aborted|was\ rejected|was\ aborted)\b
  | (?:command|process|script|program|container)\ (?:failed|exited|terminated)\ with\ (?:exit\ )?(?:code|status|signal)\s?:?\s?[1-9]
  | exit\ (?:code|status)\s?:?\s?[1-9]\d{{0,2}}\b
  | (?:access\ |auth(?:entication)?\ |session\ |api\ |bearer\ )?(?:token|key|session|credentials?)\ (?:has\ |have\ |is\ |are\ )?
        (?:expired|revoked|invalid)\b
  | (?:unauthori[sz]ed|forbidden)\s?:\ (?:access|auth\w*|insufficient|invalid|missing|no|not|request|the|token|user|you)\b
  | (?:permission|access)\ denied\b | authentication\ (?:failed|required)\b | invalid\ (?:api\ key|token|credentials)\b
  | rate\ limit(?:ed|\ (?:exceeded|reached))\b | too\ many\ requests\b | quota\ exceeded\b
  | (?:the\ )?(?:service|server|api|tool|backend|site)\ (?:is\ )?(?:currently\ |temporarily\ )?unavailable\b
  | (?:the\ )?(?:service|server|api|backend|database|model)\ is\ (?:currently\ |temporarily\ )?
        (?:overloaded|unreachable|not\ (?:available|reachable|responding)|(?:down|offline|busy)\s*(?:[.,;:!]|$))
  | no\ response\ (?:was\ )?(?:from|received)\b | eof\ occurred\ in\ violation\b
  | (?:network|connection|server|dns|ssl|tls)\ error\s*(?:[.!]|$)
  | (?:sorry|apologies|unfortunately)\b[^\n]{{0,120}}\b(?:due\ to|because\ of)\ an?
        \ (?:technical|internal|unexpected|server|network)\ (?:error|issue|problem)\b
  | (?:invalid|malformed|unexpected)\ (?:tool\ |function\ )?(?:arguments?|parameters?|json)\b
  | (?:invalid|malformed|bad)\ (?:input|request|query|url|value|payload|operation|response)\s?:\ ?\S
  | (?:missing|required)\ (?:required\ )?(?:argument|parameter|field|property)\b
  | code\ execution\ failed\b | execution\ failed\b | validation\ failed\b
  | no\ such\ (?:file|directory|module)\b | module\ not\ found\b
"""
SURE: Final = re.compile(rf"\s*(?:{_SURE})", re.VERBOSE | re.IGNORECASE)
SHORT: Final = re.compile(rf"\s*(?:{_SHORT})", re.VERBOSE | re.IGNORECASE)
# a line or two: beyond stands an article
SHORT_CHARACTERS: Final = 400
# the whole of a text, or its title where it is a page: what proxies and servers say for themselves
BARE: Final = re.compile(
    rf"(?:[\w.\-]{{1,80}}\s?\|\s?)?(?:http\s)?(?:error\s)?"
    rf"(?:[45]\d\d\s?[:\-–|]?\s?(?:{_HTTP_PHRASE}|connection timed out|web server is down|origin is unreachable)?"
    rf"|(?:{_HTTP_PHRASE.replace('|not found', '')}))\s?[.!]?(?:\s?[|–\-]\s?.{{0,80}})?"
    r"|upstream request timeout|stream timeout|(?:attention required!|access denied|just a moment\.*)(?:\s?[|–\-]\s?.{0,80})?",
    re.IGNORECASE,
)
# how these texts, and pages, begin
_BARE_START: Final = (
    rf"http\ | error\ | [45]\d\d | [\w.\-]{{1,80}}\s?\| | {_HTTP_PHRASE_X} | upstream\ request | stream\ timeout"
    r"| attention\ required | access\ denied | just\ a\ moment | <(?:!doctype\s+html|html)\b"
)
BARE_CHARACTERS: Final = 120
PAGE: Final = re.compile(r"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
TITLE: Final = re.compile(r"<title[^>]*>\s*([^<]{1,200}?)\s*</title>", re.IGNORECASE)
# an error page is small; Cloudflare's are the longest
PAGE_CHARACTERS: Final = 30_000

# pages that stand in the place of the one that was asked for: how walls against robots word it (Cloudflare, DataDome,
# PerimeterX, Incapsula, Akamai, CloudFront, Google), and how browsers made for models head it (smolagents, Jina)
_WALL: Final = (
    rf"title:\ (?:http\ )?(?:error\ )?[45]\d\d\s?[:\-–|]?\s?(?:{_HTTP_PHRASE_X})?\s*\n"
    r"| target\ url\ returned\ error\ [45]\d\d | enable\ js\ and\ disable\ any\ ad\ blocker"
    r"| enable\ javascript\ and\ cookies\ to\ continue | verify(?:ing)?\ (?:that\ )?you\ are\ (?:a\ )?human"
    r"| unusual\ traffic\ from\ your\ computer\ network | checking\ your\ browser\ before\ accessing"
    r"| request\ unsuccessful\.\ incapsula | you\ don't\ have\ permission\ to\ access\ [^\n]{0,200}\ on\ this\ server"
    r"| the\ request\ could\ not\ be\ satisfied | you\ have\ been\ blocked | press\ &\ hold\ to\ confirm"
)
WALL: Final = re.compile(_WALL, re.VERBOSE | re.IGNORECASE)
# beyond it the page has something to say
WALL_CHARACTERS: Final = 3_000

# what of JSON, or of Python's text of a dictionary, may tell of a failure; then it is parsed
_MARKS: Final = (
    r"""["']is_?error["']\s*:\s*true""",
    r"""["'](?:errors?|exception|error_?(?:message|msg|description)|fault)["']\s*:\s*(?:["'][^"']|\[\s*[^\s\]]|\{\s*[^\s}]|true)""",
    r"""["']status["']\s*:\s*["'](?:error|fail)""",
    r"""["'](?:status(?:_?code)?|http_status|code|cod)["']\s*:\s*["']?[45]\d\d\b""",
    rf"""["']code["']\s*:\s*["'](?:{ERRNO}|ERR_)""",
    r"""["'](?:success|successfull?|ok|succeeded)["']\s*:\s*false""",
    r"""["'](?:type|kind)["']\s*:\s*["']error["'\-]""",
    r"""["'](?:exit_?code|return_?code)["']\s*:\s*-?[1-9]""",
    r"""["']__type["']""",
    # fields in which a client, or a server, wraps the whole of a result; MCP's parts
    r"""^\s*\{\s*["'](?:result|output|response|content|text|observation|return_value|message|detail|tool_?result)["']\s*:""",
    r"""^\s*\[\s*\{[^{}]{0,80}["']text["']\s*:""",
)
# the place of walls among `_beginnings`
_WALLS: Final = 3


@functools.cache
def _marks() -> Automaton:
    return Automaton([Expression(each) for each in _MARKS])


@functools.cache
def _beginnings() -> Automaton:
    """Return how texts of failure begin, and at the last place how walls do."""
    texts = [*(rf"(?x)^\s*(?:{_loosened(each)})" for each in (_SURE, _SHORT, _BARE_START)), f"(?x){_loosened(_WALL)}"]
    return Automaton([Expression(each, is_approximate=True) for each in texts])


def _loosened(expression: str) -> str:
    """Return an expression without its comments and its bounds, which make an automaton large: it finds no less."""
    bare = re.sub(r"\s{2,}#[^\n]*", "", expression)
    return re.sub(r"{(0|[1-9]),[0-9]+}", lambda bounds: "*" if bounds[1] == "0" else "+", bare)


def prepare() -> None:
    """Compile the automata, so that the first trace does not have to wait for them."""
    _marks()
    _beginnings()


def may_tell_in_json(head: str) -> bool:
    """Return whether the beginning of a result in JSON may tell of a failure: none does of which this says no."""
    return bool(_marks().sightings(head.encode("utf-8", "surrogatepass")))


def may_tell(head: str) -> tuple[bool, bool]:
    """Return whether a text may begin with words of failure, and whether it may be a wall: as above."""
    places = [place for place, _ in _beginnings().sightings(head.encode("utf-8", "surrogatepass"))]
    return any(place < _WALLS for place in places), _WALLS in places


# tools that bring errors of others: what they return is their answer, whatever it says
ABOUT_ERRORS: Final = re.compile(
    r"(?:^|_)(?:logs?|errors?|exceptions?|stack_?traces?|tracebacks?|crash\w*|incidents?|sentry|journalctl|dmesg|alerts?"
    r"|diagnos\w*|lint\w*|pytest|run_tests?)(?:_|$)"
)
# tools that judge something: a list of errors is their verdict, an error of their own is not
JUDGES: Final = re.compile(r"(?:^|_)(?:tests?|audit\w*|valid\w*|verif\w*|check\w*)(?:_|$)")
VERDICT: Final = re.compile(r"""["'](?:errors["']\s*:\s*[\[{]|status["']\s*:\s*["']fail)""", re.IGNORECASE)
ABOUT_ERRORS_IN: Final = re.compile(
    r"\.(?:log|err|trace|dmp)\b|stderr|traceback|stack_?trace|crash|journalctl|dmesg", re.I
)
# what a framework says in place of a result, whichever the tool
OF_FRAMEWORK: Final = re.compile(
    r"\s*(?:error (?:executing|calling|invoking|running) tool|<tool_use_error>|mcp error|unknown tool\b|tool ['\"`]?[\w.\-]+['\"`]? not found"
    r"|an error occurred while running the tool|(?:input|output) validation error)",
    re.IGNORECASE,
)
# how an article, or a forum's question, is headed as well
HEADLINE: Final = re.compile(
    r"\s*(?:(?:[\w ]{1,30} )?(?:error|exception)(?: code)?(?: -?\d+)?\s?[:：]|(?:\w+\.)*\w*(?:error|exception)\b:|[45]\d\d )",
    re.IGNORECASE,
)
# tools that bring texts others wrote: an error of theirs that is headed so is short
BRINGS_TEXTS: Final = re.compile(
    r"search|wiki|browse|visit|fetch|scrape|crawl|read|open|load|view|cat(?:_|$)|page|docs?(?:_|$)|document|retriev|news|article|web"
)
