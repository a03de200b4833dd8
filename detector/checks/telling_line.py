"""Which line of an error message says what went wrong, where that is not the first.

- A Python traceback: the exception below its last frame, which is the one that was not caught.
- A first line that only says *that* something failed ("exitcode: 1 (execution failed)", "Command exited with 2"),
  with a program's output below: the exception of a traceback in it, else the last line that begins with an exception's
  name, else the last line where a program complains under its own name ("curl: (6) …", "fatal: …"), else the output
  itself where it is one short line.

Where none of these stands there (output cut before its end, output without an error), the first line stays: a whole
issue of failures that nobody can tell apart is better than an issue for each output.
"""

import re
from typing import Final

TRACEBACK: Final = "Traceback (most recent call last)"

# a first line made of these words, numbers and punctuation alone holds nothing that one could fix
_EMPTY_WORD: Final = re.compile(
    r"""(?:an?|and|by|call|child|code|command|completed|did|errors?|execut(?:e|ion)|exit(?:code|ed|s)?|fail(?:ed|s)?
    |failures?|finished|has|in|is|non|nonzero|not|occurred|of|on|output|process|program|rc|result|return(?:code|ed)?|run
    |running|script|shell|signal|status|stderr|stdout|subprocess|success(?:fully)?|task|terminated|the|tool|traceback
    |unsuccessful(?:ly)?|value|was|while|with|zero)""",
    re.VERBOSE | re.IGNORECASE,
)
_WORD: Final = re.compile(r"[^\W\d_]+")
# a line of such words is short; a longer one is not looked at
_MOST_EMPTY_CHARACTERS: Final = 160
# the error stands at the end of a program's output
_TAIL_CHARACTERS: Final = 4000
# an error in one line is short; what is longer is output that happens to have no line ends
_MOST_ALONE_CHARACTERS: Final = 120
_AFTER_FRAMES: Final = re.compile(r"\n(?=\S)[^\n]+")
_EXCEPTION: Final = re.compile(
    r"""^(?:Caused\ by:\ |Exception\ in\ thread\ "[^"\n]*"\ |Uncaught\ )?           # Java, Node
    (?P<line>(?:[A-Za-z_][\w$]*\.){0,12}[A-Z]\w*(?:Error|Exception|Timeout|Interrupt|Exit)(?::\ [^\n]*)?)\s*$""",
    re.MULTILINE | re.VERBOSE,
)
# programs are written in small letters, so that "Title: …" of some output is none
_COMPLAINT: Final = re.compile(
    r"(?:[a-z][\w.+/\-]{0,39}|ERROR|FATAL|Error):\ \S.*|npm\ ERR!\ \S.*"
    r"|.*(?P<curl>curl:\ \(\d+\)\ .*)"  # its progress stands on the same line
)


def telling_line(message: str) -> str | None:
    """Return the line below the first that says what went wrong, or None where the first one is to be read."""
    text = message.strip()
    if text.startswith(TRACEBACK):
        return _below_frames(text) or text[-_TAIL_CHARACTERS:].rsplit("\n", 1)[-1].strip()
    first, _, below = text.partition("\n")
    below = below.strip()
    if not below or not _says_nothing(first):
        return None
    return _exception_in(below) or _complaint_in(below)


def _says_nothing(line: str) -> bool:
    if len(line) > _MOST_EMPTY_CHARACTERS:
        return False
    return all(_EMPTY_WORD.fullmatch(word) for word in _WORD.findall(line))


def _exception_in(text: str) -> str | None:
    found = None if TRACEBACK not in text else _below_frames(text)
    if found is None:
        for match in _EXCEPTION.finditer(text[-_TAIL_CHARACTERS:]):
            found = match["line"]
    return found


def _below_frames(text: str) -> str | None:
    """Return the first line below the last traceback that is not indented, as frames are."""
    match = _AFTER_FRAMES.search(text, text.rfind(TRACEBACK) + len(TRACEBACK))
    return match[0].strip() if match else None


def _complaint_in(text: str) -> str | None:
    if TRACEBACK in text:
        return None  # its end is cut off: the last line is some line of code
    heading, colon, output = text.partition(":")
    if colon and _says_nothing(heading):  # "Code output:", "stderr:"
        text = output.strip()
    last = text[-_TAIL_CHARACTERS:].rsplit("\n", 1)[-1].strip()
    if match := _COMPLAINT.match(last):
        return match["curl"] or last
    return text if "\n" not in text and 0 < len(text) <= _MOST_ALONE_CHARACTERS else None
