"""error_text: the words of frameworks, clients, proxies, shells and databases for one thing, that a call failed."""

import json

import pytest

from detector.checks.tool_text import error_text, is_about_errors

WORDINGS: dict[str, object] = {
    "langgraph": "Error: ValueError('bad')\n Please fix your mistakes.",
    "langgraph invoke": "Error invoking tool 'x' with kwargs {'a': 1} with error:\n a: field required\n Please fix the error and try again.",
    "langgraph unknown": "Error: fly_me is not a valid tool, try one of [search].",
    "openai agents": "An error occurred while running the tool. Please try again. Error: backend down",
    "openai agents json": "An error occurred while parsing tool arguments. Please try again with valid JSON. Error: Expecting value",
    "crewai": "I encountered an error while trying to use the tool. This was the error: backend down.\n Tool search accepts these inputs: ...",
    "crewai2": "Action 'fly' don't exist, these are the only available Actions:\n search",
    "autogen": "Error: The tool 'fly' is not available.",
    "autogen code": "exitcode: 1 (execution failed)\nCode output: \nTraceback (most recent call last):\n  File x\nKeyError: 'a'",
    "pydantic-ai": '1 validation error:\n```json\n[{"type": "missing", "loc": ["city"], "msg": "Field required"}]\n```\n\nFix the errors and try again.',
    "pydantic-ai unknown": "Unknown tool name: 'fly_me'. Available tools: search",
    "adk": {
        "error": "Invoking `get_weather()` failed as the following mandatory input parameters are not present:\ncity\nYou could retry calling this tool, but it is IMPORTANT for you to provide all the mandatory parameters."
    },
    "strands": {"toolUseId": "t1", "status": "error", "content": [{"text": "Error: backend down"}]},
    "sk": "Error: Exception while invoking function.",
    "llamaindex": "Encountered error: backend down",
    "llamaindex2": "Tool with name fly_me not found",
    "mcp": "MCP error -32602: Invalid arguments for tool get_weather",
    "mcp python": "Error executing tool get_weather: backend down",
    "mcp validation": "Input validation error: 'city' is a required property",
    "mcp parts": [{"type": "text", "text": "Error executing tool get_weather: backend down"}],
    "mcp unknown": "Unknown tool: fly_me",
    "smolagents": "Error when executing tool web_search with arguments {'q': 1}: TypeError: bad\nYou should only use this tool with a correct input.",
    "smolagents code": "Code execution failed at line 'x = f()' due to: InterpreterError: nope",
    "haystack": "Failed to invoke Tool `weather` with parameters {'a': 1}. Error: backend down",
    "claude code": "<tool_use_error>InputValidationError: Read failed</tool_use_error>",
    "langchain agent": "Invalid Format: Missing 'Action:' after 'Thought:'",
    "repr": "ConnectionRefusedError(111, 'Connect call failed')",
    "keyerror": "KeyError('price')",
    "key2": "KeyError: 'price'",
    "botocore": "An error occurred (ThrottlingException) when calling the Converse operation: Too many requests",
    "botocore2": "botocore.exceptions.ClientError: An error occurred (AccessDenied) when calling the GetObject operation: Access Denied",
    "httpx": "Client error '404 Not Found' for url 'https://x.test/a'\nFor more information check: https://developer.mozilla.org/404",
    "httpx2": "Server error '500 Internal Server Error' for url 'https://x.test/a'",
    "httpx3": "httpx.ReadTimeout: timed out",
    "httpx4": "httpx.ConnectError: [Errno 111] Connection refused",
    "requests": "404 Client Error: Not Found for url: https://x.test/a",
    "requests2": "HTTPSConnectionPool(host='x.test', port=443): Max retries exceeded with url: / (Caused by NewConnectionError",
    "requests3": "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
    "requests4": "requests.exceptions.Timeout: read timed out",
    "aiohttp": "Cannot connect to host x.test:443 ssl:default [Name or service not known]",
    "aiohttp2": "aiohttp.client_exceptions.ClientResponseError: 503, message='Service Unavailable', url='https://x.test'",
    "urllib": "HTTP Error 404: Not Found",
    "urllib2": "<urlopen error [Errno 111] Connection refused>",
    "grpc": '<_InactiveRpcError of RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE\n\tdetails = "x"\n>',
    "grpc2": "grpc.aio._call.AioRpcError: <AioRpcError of RPC that terminated with: status = StatusCode.UNAVAILABLE",
    "genai": "429 RESOURCE_EXHAUSTED. {'error': {'code': 429, 'message': 'Resource has been exhausted'}}",
    "genai2": "503 UNAVAILABLE. {'error': {'code': 503}}",
    "api core": "google.api_core.exceptions.NotFound: 404 Dataset x was not found",
    "anthropic": "Error code: 529 - {'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'Overloaded'}}",
    "anthropic json": {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    "openai json": {
        "error": {"message": "Rate limit reached", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
    },
    "axios": "Request failed with status code 404",
    "node": "ENOENT: no such file or directory, open '/a'",
    "node2": "connect ECONNREFUSED 127.0.0.1:3000",
    "node3": "getaddrinfo ENOTFOUND x.test",
    "node4": "fetch failed",
    "node5": "TypeError: Cannot read properties of undefined (reading 'a')",
    "playwright": "playwright._impl._errors.TimeoutError: Page.goto: Timeout 30000ms exceeded.",
    "playwright2": "page.goto: net::ERR_NAME_NOT_RESOLVED at https://x.test/",
    "playwright3": "Timeout 30000ms exceeded.",
    "playwright4": "Page.click: Timeout 30000ms exceeded.\nCall log:\n  - waiting for locator",
    "psycopg": 'relation "orders" does not exist\nLINE 1: SELECT * FROM orders\n',
    "psycopg2": 'psycopg2.errors.UndefinedColumn: column "x" does not exist',
    "psycopg3": 'syntax error at or near "FORM"\nLINE 1: SELECT',
    "sqlalchemy": '(psycopg2.errors.UndefinedTable) relation "x" does not exist\n[SQL: select 1]',
    "sqlite": "no such table: orders",
    "sqlite2": 'near "FORM": syntax error',
    "mysql": "1064 (42000): You have an error in your SQL syntax",
    "bigquery": "400 Syntax error: Unexpected identifier at [1:1]",
    "redis": "Error 111 connecting to localhost:6379. Connection refused.",
    "redis2": "WRONGTYPE Operation against a key holding the wrong kind of value",
    "subprocess": "Command '['ls', '/x']' returned non-zero exit status 2.",
    "subprocess2": "Command 'sleep 9' timed out after 5 seconds",
    "shell": "bash: foo: command not found",
    "shell2": "ls: cannot access '/x': No such file or directory",
    "shell3": "/bin/sh: 1: foo: not found",
    "git": "fatal: not a git repository (or any of the parent directories): .git",
    "npm": "npm ERR! code E404",
    "rust": "thread 'main' panicked at src/main.rs:2:5",
    "go": "panic: runtime error: index out of range",
    "os": "[Errno 2] No such file or directory: '/x'",
    "pandas": "KeyError: \"['price'] not in index\"",
    "pandas2": "pandas.errors.ParserError: Error tokenizing data. C error: Expected 3 fields",
    "timeout": "Tool execution timed out after 30 seconds",
    "timeout2": "Request timed out.",
    "timeout3": "The operation timed out",
    "nginx": "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>",
    "cloudflare": '<!DOCTYPE html><html lang="en-US"><head><title>Just a moment...</title></head><body>'
    + "x" * 3000
    + "</body></html>",
    "cloudflare2": "<!DOCTYPE html>\n<html><head>\n<title>Attention Required! | Cloudflare</title></head></html>",
    "cloudflare3": "<!DOCTYPE html>\n<html><head>\n<title>x.test | 522: Connection timed out</title></head></html>",
    "text browser": "Address: https://a.test/b\nTitle: Error 403\nViewport position: Showing page 1 of 1.\n====\n## Error 403\n",
    "jina": "Title: Just a moment...\n\nURL Source: https://a.test\n\nWarning: Target URL returned error 403: Forbidden\n",
    "datadome": "a.test\nPlease enable JS and disable any ad blocker",
    "akamai": 'Access Denied\nYou don\'t have permission to access "http://a.test/" on this server.\nReference #18.1',
    "google": "About this page\n\nOur systems have detected unusual traffic from your computer network.",
    "envoy": "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
    "bare": "Internal Server Error",
    "bare2": "503 Service Unavailable",
    "bare3": "Too Many Requests",
    "fastapi": {"detail": "Not Found"},
    "drf": {"detail": "Authentication credentials were not provided."},
    "fastapi422": {"detail": [{"loc": ["query", "q"], "msg": "field required", "type": "value_error.missing"}]},
    "apigw": {"message": "Internal server error"},
    "apigw2": {"message": "Forbidden"},
    "problem": {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no such city"},
    "spring": {"timestamp": "2025-01-01T00:00:00Z", "status": 500, "error": "Internal Server Error", "path": "/a"},
    "aws": {"__type": "ThrottlingException", "message": "Rate exceeded"},
    "lambda": {"errorMessage": "boom", "errorType": "KeyError", "stackTrace": ["x"]},
    "slack": {"ok": False, "error": "channel_not_found"},
    "success": {"success": False, "message": "order not found"},
    "status": {"status": "failed", "reason": "backend down"},
    "jsend": {"status": "error", "message": "backend down", "data": None},
    "graphql": {"errors": [{"message": "field x is unknown"}], "data": {"a": None}},
    "rails": {"errors": {"email": ["can't be blank"]}},
    "wrapped": {"result": "Error: backend down"},
    "wrapped2": {"output": {"error": "backend down"}},
    "in string": '"Error: backend down"',
    "in string 2": json.dumps(json.dumps({"error": "backend down"})),
    "python dict": "{'error': 'backend down', 'code': 3}",
    "langchain repr": "content='Error: backend down' name='search' tool_call_id='c1' status='error'",
    "langchain repr2": "content='backend down' name='search' tool_call_id='c1' status='error'",
    "mcp repr": "meta=None content=[TextContent(type='text', text='Error executing tool search: boom', annotations=None)]"
    " structuredContent=None isError=True",
    "mcp repr2": "CallToolResult(meta=None, content=[TextContent(type='text', text=\"the city isn't known\", annotations=None,"
    " meta=None)], structuredContent=None, isError=True)",
    "mcp repr3": "content=[] isError=True",
    "fastmcp": "CallToolResult(content=[TextContent(type='text', text='backend down', annotations=None, meta=None)],"
    " structured_content=None, meta=None, data=None, is_error=True)",
    "mcp at the end": {"meta": None, "content": [{"type": "text", "text": "down" + " x" * 5_000}], "isError": True},
    "autogen repr": "FunctionExecutionResult(content='down', name='x', call_id='c1', is_error=True)",
    "autogen repr2": "content='down' name='x' call_id='c1' is_error=True",
    "pydantic ai": "The city is not on the map.\n\nFix the errors and try again.",
    "vercel": {"type": "error-text", "value": "down"},
    "vercel json": {"type": "error-json", "value": {"reason": "down"}},
    "dspy": "Execution error in get_weather: ValueError: down",
    "bedrock": {"toolResult": {"toolUseId": "t1", "status": "error", "content": [{"text": "down"}]}},
    "anthropic parts": [{"type": "tool_result", "tool_use_id": "x", "is_error": True, "content": "down"}],
    "dify": "tool invoke error: down",
    "dify2": "tool parameters validation error: city missing, please check your tool parameters",
    "composio": {"successful": False, "error": "down", "data": {}},
    "e2b": "Execution(Results: [], Logs: Logs(stdout: [], stderr: []), Error: ExecutionError(name='NameError', value='x')",
    "tavily": "{'error': ValueError(\"No search results found for 'x'\")}",
    "browser": "Failed to click element: detached",
    "arxiv": "Arxiv exception: down",
    "google api": '<HttpError 404 when requesting https://gmail.test/x returned "Not Found". Details: "Not Found">',
    "google core": "404 Requested entity was not found.",
    "grpc go": "rpc error: code = Unavailable desc = connection error",
    "azure": "(ResourceNotFound) The resource x was not found.",
    "spring web": 'org.springframework.web.client.HttpClientErrorException$NotFound: 404 Not Found: "x"',
    "reqwest": "error sending request for url (https://x.test/)",
    "go get": 'Get "https://x.test": dial tcp: lookup x.test: no such host',
    "go context": "context deadline exceeded",
    "php": "PHP Fatal error:  Uncaught Error: Call to undefined function x()",
    "ruby": "undefined method `x' for nil:NilClass (NoMethodError)",
    "curl": "curl: (6) Could not resolve host: x.test",
    "docker": "Error response from daemon: No such container: x",
    "jupyter": "-" * 75 + "\nNameError                                 Traceback (most recent call last)\nCell In[1]",
    "openweathermap": {"cod": "404", "message": "city not found"},
    "openweathermap2": {"cod": 401, "message": "Invalid API key"},
    "node json": {"code": "ENOENT", "message": "no such file"},
    "kind": {"kind": "error", "message": "down"},
    "lambda proxy": {"statusCode": 500, "body": '{"message":"Internal server error"}'},
    "exit": {"exit_code": 1, "stdout": "", "stderr": "ls: cannot access 'x': No such file or directory"},
    "exit2": {"command": "ls x", "returncode": 2, "stdout": "", "stderr": "down"},
    "exit3": "Exit code: 1\nstderr: down",
    "go run": "exit status 1",
    "node4x": "(node:1) UnhandledPromiseRejectionWarning: Error: down",
    "chrome": "Uncaught TypeError: x is not a function",
    "redis3": "ERR wrong number of arguments for 'get' command",
    "named": "Tool get_weather failed: down",
    "named2": "get_weather failed with error: down",
    "polite": "Sorry, I couldn't complete the request due to a technical error",
    "token": "Access token expired",
    "token2": "Unauthorized: token expired",
    "overloaded": "The server is overloaded, please retry later",
    "input": "Invalid input: city must not be empty",
    "silent": "No response from server",
    "network": "Network error",
    "tls": "EOF occurred in violation of protocol (_ssl.c:1129)",
    "requests read": "ReadTimeout: The read operation timed out",
    "german": "Fehler: Verbindung abgelehnt",
    "chinese": "错误：找不到用户",
    "french": "Erreur : connexion refusée",
    "russian": "Ошибка: нет соединения",
    "plain": "Failed to fetch https://x.test: 503",
    "plain2": "Unable to connect to the database",
    "plain3": "Could not retrieve the page",
    "plain4": "Something went wrong, please try again",
    "plain5": "Query failed: out of memory",
    "plain6": "Permission denied",
    "plain7": "Rate limit exceeded. Try again in 20 s",
    "plain8": "API request failed: 500",
    "plain9": "HTTP 500: oops",
    "plain10": "Status code: 503",
    "plain11": "Invalid API key provided",
    "plain12": "Missing required parameter: city",
    "plain13": "There was an error processing your request",
    "plain14": "ERROR 1045 (28000): Access denied for user",
}


@pytest.mark.parametrize("name", WORDINGS)
def test_a_failure_is_told_in_whichever_words(name: str) -> None:
    said = WORDINGS[name]
    assert error_text(said if isinstance(said, str) else json.dumps(said)) is not None


@pytest.mark.parametrize("name", WORDINGS)
def test_and_however_it_is_wrapped(name: str) -> None:
    said = WORDINGS[name]
    text = said if isinstance(said, str) else json.dumps(said)
    assert error_text(json.dumps(text)) is not None
    assert error_text(json.dumps({"result": text})) is not None
    assert error_text(json.dumps([{"type": "text", "text": text}])) is not None


SOUND = [
    "Error handling in Python: try, except, finally",
    "Errors: 0, warnings: 2",
    "errors: 0",
    "error_rate: 0.01",
    "Error rate: 0.5 %",
    "standard_error: 0.03",
    "Terror: a novel",
    "Mirror: http://mirror.test",
    "Exceptional weather: sunny",
    "Failed talks lead to a strike",
    "Unable seamen of the 18th century",
    "Tools not found in every kitchen",
    "Timeout settings: 30 s",
    "Invalid chair regulations",
    "404 items in stock",
    "500 Days of Summer (2009)",
    "503 results",
    "Not found in nature: twelve elements",
    "No such luck, a play",
    "Exit code: 0",
    "exit code 0\nall good",
    "The request failed because the card had expired, said the bank. " * 20,
    "Access denied: a documentary. " * 40,
    "Could not be better: a review",
    "Required reading for May",
    "Missing persons of 1920",
    "panic at the disco",
    "Address: https://a.test\nTitle: 404 ways to say no\n\nOne: no.",
    "How walls ask you to verify you are human, an essay. " * 80,
    "fatal attraction (1987)",
    "/usr/bin/python3: ok",
    "Status code: 200",
    "HTTP 200",
    "200 OK",
    "HTTP/1.1 200 OK",
    "<html><head><title>Welcome</title></head><body>Error 404 explained</body></html>",
    "<html><head><title>How to fix 404 Not Found</title></head></html>",
    "[]",
    "{}",
    '"ok"',
    "42",
    json.dumps({"detail": {"price": 3}}),
    json.dumps({"detail": "Room with a view", "price": 30}),
    json.dumps({"message": "Hello"}),
    json.dumps({"message": "Error-free since May"}),
    json.dumps({"result": "sunny"}),
    json.dumps({"result": {"error": None, "value": 3}}),
    json.dumps({"status": "failed", "payment_id": "p1", "amount": 30}),
    json.dumps({"status": 404, "url": "https://a.test", "time_ms": 3}),
    json.dumps({"success": True, "message": "Error log cleared"}),
    json.dumps({"success": False}),
    json.dumps({"code": 404, "name": "Peugeot 404"}),
    json.dumps({"error": {"code": 0, "message": ""}}),
    json.dumps({"error": {}}),
    json.dumps({"error": "No error"}),
    json.dumps({"exception": None}),
    json.dumps({"errors": {}, "id": 3}),
    json.dumps({"valid": False, "errors": ["zip has five digits"]}),
    json.dumps([{"title": "Error 404", "url": "https://a.test"}]),
    json.dumps([{"text": "Error: a band from Ohio", "score": 0.9}, {"text": "b"}, {"text": "c"}, {"text": "d"}]),
    "{'error': None, 'value': 3}",
    "content='sunny' name='weather' tool_call_id='c1'",
    "FunctionExecutionResult(content='sunny', name='x', call_id='c1', is_error=False)",
    "ESPN: Lakers win 110 to 100",
    "EURO: the currency of twenty states",
    "Forbidden: a novel of 1953",
    "Network error rates: 0.1 %",
    "The server is down the hall, says the porter.",
    "Uncaught exceptions and other poems",
    "Key invalidated by the court, the patent fell. " * 20,
    "Get well soon",
    "(Accessories) Found in every box",
    "How a context deadline exceeded all patience",
    "He told me to fix the errors and try again.\nSo I did.",
    json.dumps({"code": "EURO", "name": "Euro", "title": "Currency"}),
    json.dumps({"code": "ESPN", "description": "a channel"}),
    json.dumps({"exit_code": 0, "stdout": "", "stderr": "warning: deprecated"}),
    json.dumps({"exit_code": 1, "stdout": "2 passed, 1 failed", "stderr": "see above"}),
    json.dumps({"exit_code": 1, "stdout": "", "stderr": ""}),
    json.dumps({"cod": 200, "message": "0", "list": [{"dt": 1}]}),
    json.dumps({"type": "error", "message": "disk full", "host": "db1", "count": 3}),
    json.dumps({"type": "text", "value": "Error bars"}),
    json.dumps([{"type": "tool_result", "tool_use_id": "x", "is_error": False, "content": "sunny"}]),
]


@pytest.mark.parametrize("text", SOUND)
def test_what_only_sounds_like_a_failure_is_none(text: str) -> None:
    assert error_text(text) is None


@pytest.mark.parametrize(
    "said",
    [
        {"content": [{"type": "text", "text": "down" + " x" * 90_000}], "isError": True},
        {"type": "tool", "data": {"content": "down" + " x" * 90_000, "status": "error"}},
    ],
)
def test_a_result_of_any_length_has_failed_where_its_framework_says_so(said: object) -> None:
    told = error_text(json.dumps(said))
    assert told is not None
    assert told.startswith("down")


@pytest.mark.parametrize(
    "sound",
    [
        "meta=None content=[TextContent(type='text', text='Error codes of HTTP', annotations=None)] isError=False",
        {"meta": None, "content": [{"type": "text", "text": "Errors" + " x" * 90_000}], "isError": False},
        {"rows": ["x" * 5_000, {"status": "error", "isError": True}]},
        {"rows": ["x" * 90_000], "jobs": {"status": "error"}},
    ],
)
def test_marks_of_another_are_none(sound: object) -> None:
    assert error_text(sound if isinstance(sound, str) else json.dumps(sound)) is None


def test_the_longest_text_costs_no_more_than_its_beginning() -> None:
    # what is worse than linear takes minutes: the limit of every test's time would tell
    for text in (
        "a" * 2_000_000,
        "a: " * 500_000,
        "Error in " * 200_000,
        "[" * 500_000,
        '{"error": ' * 100_000,
        "'" * 10**6,
    ):
        error_text(text)


@pytest.mark.parametrize(
    "tool", ["get_logs", "searchLogs", "list_errors", "lint_code", "get_last_exception", "run_tests"]
)
def test_tools_that_bring_errors_fail_where_that_is_marked(tool: str) -> None:
    crash = "Traceback (most recent call last):\n  File 'a.py'\nKeyError: 'price'"
    assert is_about_errors(crash, crash, tool=tool)
    for text in ('{"isError": true, "content": [{"type": "text", "text": "gone"}]}', "MCP error -32603: gone"):
        said = error_text(text)
        assert said is not None
        assert not is_about_errors(text, said, tool=tool)


def test_a_file_named_for_crashes_may_begin_with_one() -> None:
    crash = "Traceback (most recent call last):\n  File 'a.py'\nKeyError: 'price'"
    assert is_about_errors(crash, crash, tool="read_file", arguments='{"path": "/var/log/crash.log"}')
    assert not is_about_errors(crash, crash, tool="run_python", arguments='{"code": "f()"}')


def test_tools_that_bring_texts_fail_in_few_words() -> None:
    page = "TypeError: x is not a function - a forum\n" + "An answer. " * 60
    assert is_about_errors(page, page, tool="web_search")
    assert not is_about_errors(page[:60], page[:60], tool="web_search")
    unfit = "3 validation errors for SearchArguments\n" + "city\n  Field required [type=missing, input_value={}]\n" * 20
    assert not is_about_errors(unfit, unfit, tool="search_flights")
    marked = json.dumps({"error": page})
    assert not is_about_errors(marked, page, tool="web_search")


@pytest.mark.parametrize(
    "tool", ["check_weather", "verify_user", "validateAddress", "login", "logistics_quote", "catalog"]
)
def test_tools_that_judge_or_sound_like_logs_fail_as_others_do(tool: str) -> None:
    for text in ("Error: connection refused", "ConnectionError: no route to host", '{"error": "backend down"}'):
        said = error_text(text)
        assert said is not None
        assert not is_about_errors(text, said, tool=tool)


def test_a_verdict_is_no_failure_of_the_tool_that_gives_it() -> None:
    verdict = '{"errors": ["zip has five digits"]}'
    assert is_about_errors(verdict, "zip has five digits", tool="validate_address")
    assert not is_about_errors(verdict, "zip has five digits", tool="book_flight")
