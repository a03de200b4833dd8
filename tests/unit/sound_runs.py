"""Sound runs, HAND-MADE, that look as if something were wrong: nothing of them may be reported.

Each entry is one session: a list of turns. What makes it look bad stands in its name.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from tests.unit.agent_runs import Call, Run, Step, run

_TRACEBACK: Final = """Traceback (most recent call last):
  File "/srv/app/orders.py", line 41, in total
    return sum(item["price"] for item in items)
KeyError: 'price'
"""
_LOG: Final = """2025-05-01 10:00:01 INFO  started
2025-05-01 10:00:02 ERROR payment: gateway answered 503 Service Unavailable
2025-05-01 10:00:07 INFO  retry succeeded
"""
_PAGE_404: Final = (
    "404 Not Found: what it means and how to fix it\n\nThe HTTP 404 error tells that the server cannot find the page. "
    "Common causes are a mistyped address, a page that was moved, or a deleted file. "
    + "Check the address first. "
    * 40
)
_POLICY: Final = (
    "You are an airline agent. Basic economy tickets cannot be changed. Transfer the user to a human agent if, and only "
    "if, the request cannot be handled within the scope of your actions."
)

DOCUMENTS_ABOUT_ERRORS: Final[Mapping[str, Sequence[Run]]] = {
    "a page about 404": [
        run("What does 404 mean?", Call("fetch_page", {"url": "https://docs.test/404"}, _PAGE_404), "The page is gone.")
    ],
    "a page titled Error": [
        run(
            "What is error code 43?",
            Call(
                "web_search",
                {"query": "error code 43 of a graphics card"},
                "Error Code 43: what it is and how to repair it - PC Guide\nhttps://pc.test/43\nWindows has stopped "
                "this device because it has reported problems. Roll the driver back. " + "See the steps below. " * 60,
            ),
            "Your driver reported a problem; roll it back.",
        )
    ],
    "a page about error handling": [
        run(
            "How do I handle errors in R?",
            Call(
                "web_search",
                {"query": "error handling in R"},
                "Error handling in R with tryCatch: a tutorial\nErrors are conditions; tryCatch(expr, error = …) "
                "handles them. " + "Read on for examples. " * 80,
            ),
            "Use tryCatch.",
        )
    ],
    "a novel called Terror": [
        run(
            "Which book is it?",
            Call("search_books", {"query": "Simmons"}, "Terror: A Novel, by Dan Simmons (2007)"),
            "It is Terror.",
        )
    ],
    "measures of error": [
        run(
            "Train it",
            Call("evaluate_model", {"name": "m1"}, "mean_squared_error: 0.12\nr2: 0.93"),
            "The error is 0.12.",
        ),
        run("And now?", Call("evaluate_model", {"name": "m2"}, "Error: 0.0123"), "It is down to 0.0123."),
        run("In JSON?", Call("evaluate_model", {"name": "m3"}, {"error": 0.02, "std_error": 0.01}), "It is 0.02."),
        run(
            "And the rate?",
            Call("get_metrics", {"service": "shop"}, {"error_rate": 0.004, "errors": 3, "p95": 210}),
            "0.4 %.",
        ),
    ],
    "errors that are none": [
        run("Book it", Call("book", {"id": 1}, {"error": None, "id": "B1"}), "Booked."),
        run("Another", Call("book", {"id": 2}, {"errors": [], "id": "B2"}), "Booked."),
        run("And one", Call("book", {"id": 3}, {"error": "", "id": "B3"}), "Booked."),
        run("One more", Call("book", {"id": 4}, {"error": False, "isError": False, "id": "B4"}), "Booked."),
        run("Last one", Call("book", {"id": 5}, {"error": {"code": 0, "message": ""}, "id": "B5"}), "Booked."),
        run("Really", Call("book", {"id": 6}, {"error": "none", "id": "B6"}), "Booked."),
        run("Once more", Call("book", {"id": 7}, {"success": True, "error": "No error", "id": "B7"}), "Booked."),
        run("Again", Call("book", {"id": 8}, "Error: none\nBooking: B8"), "Booked."),
        run("Go on", Call("book", {"id": 9}, {"errors": None, "status": "OK"}), "Booked."),
    ],
    "a log that was asked for": [
        run(
            "What is in the log?", Call("get_logs", {"service": "payment"}, _LOG), "The gateway was down for a moment."
        ),
        run("And the last crash?", Call("get_logs", {"service": "orders"}, _TRACEBACK), "An order has no price."),
        run(
            "The raw line?",
            Call("search_logs", {"query": "ERROR"}, "ERROR: payment gateway answered 503"),
            "It was a 503.",
        ),
        run("Read crash.log", Call("read_file", {"path": "/var/log/crash.log"}, _TRACEBACK), "An order has no price."),
        run(
            "Sentry?",
            Call("get_latest_exception", {"project": "shop"}, "KeyError: 'price'\n  at orders.py:41"),
            "A KeyError.",
        ),
        run(
            "Any issues?",
            Call("list_errors", {"project": "shop"}, {"errors": [{"type": "KeyError", "count": 3}], "total": 1}),
            "One kind, three times.",
        ),
    ],
    "code with errors in it": [
        run(
            "Show the function",
            Call(
                "read_file",
                {"path": "app/parse.py"},
                'def parse(s):\n    if not s:\n        raise ValueError("empty")\n',
            ),
            "It raises ValueError for empty texts.",
        ),
        run(
            "And the class?",
            Call("read_file", {"path": "app/errors.py"}, "class NotFoundError(Exception):\n    pass\n"),
            "It is an empty class.",
        ),
        run(
            "Write a test",
            "```python\nimport pytest\n\ndef test_empty():\n    with pytest.raises(ValueError):\n        parse('')\n```",
        ),
    ],
    "reports of tests and linters": [
        run(
            "Run the tests",
            Call(
                "run_tests",
                {"path": "tests"},
                "..F.\nFAILED tests/test_a.py::test_b - ValueError: bad\n1 failed, 3 passed in 0.2s",
            ),
            "One test fails: test_b.",
        ),
        run(
            "Lint it",
            Call("lint_code", {"path": "a.py"}, {"errors": [{"line": 3, "message": "unused import"}], "warnings": []}),
            "Line 3 has an unused import.",
        ),
        run(
            "Is my address valid?",
            Call("validate_address", {"zip": "1"}, {"valid": False, "errors": ["zip has five digits"]}),
            "The ZIP code needs five digits.",
        ),
    ],
    "records whose state is failed": [
        run(
            "How is my payment?",
            Call("get_payment", {"id": "p1"}, {"id": "p1", "amount": 30, "status": "failed", "currency": "EUR"}),
            "It failed; please try another card.",
        ),
        run(
            "And the job?",
            Call("get_job_status", {"job": 7}, {"job_id": 7, "status": "error", "started": "10:00", "steps": 4}),
            "The job ended in an error at 10:00.",
        ),
        run(
            "And the monitors?",
            Call("list_monitors", {}, [{"name": "web", "status": "error"}, {"name": "db", "status": "ok"}]),
            "The web monitor is red.",
        ),
        run(
            "Which code did the site answer with?",
            Call("check_url", {"url": "https://a.test"}, {"url": "https://a.test", "status": 404, "time_ms": 30}),
            "It answers 404.",
        ),
    ],
    "search hits that begin with bad news": [
        run(
            "Any news of the strike?",
            Call(
                "web_search",
                {"query": "rail strike"},
                "Failed talks: rail strike goes on\nhttps://news.test/1\n" + "Text. " * 300,
            ),
            "The strike goes on.",
        ),
        run(
            "And access?",
            Call(
                "web_search",
                {"query": "access denied documentary"},
                "Access Denied: a documentary about borders\n" + "Text. " * 300,
            ),
            "There is a documentary of that name.",
        ),
        run(
            "What about timeouts?",
            Call(
                "search_docs",
                {"query": "timeouts"},
                "Timeout settings\n\nrequest_timeout: 30\nconnect_timeout: 5\n" + "Text. " * 300,
            ),
            "It is 30 seconds.",
        ),
        run(
            "Which tool?",
            Call(
                "search_docs",
                {"query": "tools"},
                "Tool not found errors explained\n\nWhen an agent calls a tool that … " * 30,
            ),
            "The page explains it.",
        ),
    ],
}

CALLS_THAT_REPEAT: Final[Mapping[str, Sequence[Run]]] = {
    "polling until it is done": [
        run(
            "Render it",
            Call("start_render", {"scene": 1}, {"job": 7}),
            *(Call("get_render", {"job": 7}, {"state": "running", "progress": p}) for p in (10, 45, 80)),
            Call("get_render", {"job": 7}, {"state": "done", "url": "https://x.test/7"}),
            "It is ready.",
        )
    ],
    "polling that shows no progress until it is done": [
        run(
            "Build it",
            Call("start_build", {"ref": "main"}, {"build": 9}),
            *(Call("get_build_status", {"build": 9}, {"state": "running"}) for _ in range(5)),
            Call("get_build_status", {"build": 9}, {"state": "passed"}),
            "The build passed.",
        )
    ],
    "waiting": [
        run(
            "Tell me when the page changes",
            *(Call("sleep", {"seconds": 30}, "slept 30 s") for _ in range(4)),
            Call("fetch_page", {"url": "https://x.test"}, "Now it says: open"),
            "It changed: open.",
        )
    ],
    "pages of a list": [
        run(
            "Count the orders",
            *(
                Call("list_orders", {"page": n, "size": 50}, [{"id": 50 * n + i} for i in range(3)])
                for n in range(1, 7)
            ),
            "There are 18.",
        )
    ],
    "pages of a list by cursor, the cursor kept by the tool": [
        run(
            "Read the file",
            *(Call("next_page", {}, f"page {n} of the report, with its own text {n * 7}") for n in range(1, 7)),
            "I have read it.",
        )
    ],
    "a retry that succeeds": [
        run(
            "Weather?",
            Call("get_weather", {"city": "Oslo"}, {"temp": 3}),
            "It is 3 degrees.",
        )
    ],
    "many calls on many items": [
        run(
            "Translate all of these",
            [
                Call("translate", {"text": f"sentence number {n} about {w}"}, f"Satz {n} über {w}")
                for n, w in enumerate(("bread", "rain", "trains", "music", "paint", "stones"))
            ],
            "All six are translated.",
        )
    ],
    "the same search at several shops": [
        run(
            "Where is it cheapest?",
            *(
                Call("search_shop", {"shop": shop, "query": "red running shoes size 42"}, {"price": price})
                for shop, price in (("alpha", 80), ("beta", 75), ("gamma", 99), ("delta", 70))
            ),
            "At delta, for 70.",
        )
    ],
    "the same search on several days": [
        run(
            "When is it cheapest?",
            *(
                Call(
                    "search_direct_flight",
                    {"origin": "JFK", "destination": "SFO", "date": f"2024-05-{d}"},
                    [{"price": 100 + d}],
                )
                for d in range(11, 18)
            ),
            "On the 11th, for 111.",
        )
    ],
    "screens of a browser": [
        run(
            "Read the page to its end",
            *(
                Call("scroll", {"direction": "down", "amount": 500}, f"the text of screen {n}, {n * 13} words")
                for n in range(6)
            ),
            "I have read it.",
        )
    ],
    "a game with dice": [
        run("Roll four times", *(Call("roll_dice", {"sides": 6}, str(n)) for n in (3, 5, 3, 1)), "3, 5, 3 and 1.")
    ],
    "a click again and again": [
        run(
            "Add four of them to the cart",
            *(Call("click", {"selector": "#add-to-cart"}, "ok") for _ in range(4)),
            "There are four in the cart.",
        )
    ],
}

SAYINGS: Final[Mapping[str, Sequence[Run]]] = {
    "rules of the business": [
        run(
            "Change my basic economy flight",
            "I apologize for the inconvenience, but basic economy flights cannot be changed. I can cancel it for you "
            "within 24 hours of booking.",
            system=_POLICY,
        ),
        run(
            "But I want to change it after departure!",
            "I'm unable to change flights after departure per policy. Would you like me to look for a new flight?",
            system=_POLICY,
        ),
        run(
            "Then refund me",
            "A refund is against our policy for tickets that were used in part. Is there anything else that I can do?",
            system=_POLICY,
        ),
    ],
    "yes, and yes, and yes": [
        run("Book flight A1", "Flight A1 costs 120. Do you confirm (yes/no)?"),
        run("yes", Call("book", {"flight": "A1"}, {"id": "R1"}), "Booked. Do you want to add a bag for 30 (yes/no)?"),
        run("yes", Call("add_bag", {"id": "R1"}, {"bags": 1}), "Added. Do you want insurance for 10 (yes/no)?"),
        run(
            "yes",
            Call("add_insurance", {"id": "R1"}, {"insurance": True}),
            "Done. Is there anything else I can help with?",
        ),
        run("No, thank you", "You're welcome. Have a pleasant flight!"),
    ],
    "a long and polite session": [
        run("Hello!", "Hello! How can I help you today?"),
        run("I would like to return a lamp.", "I am sorry to hear that. May I have your order number?"),
        run(
            "It is W123.",
            Call("get_order", {"id": "W123"}, {"status": "delivered"}),
            "Thank you. Shall I return it to your card?",
        ),
        run(
            "Yes please",
            Call("return_order", {"id": "W123"}, {"ok": True}),
            "It is done; you will get an e-mail. Is there anything else?",
        ),
        run(
            "That would be all. Thanks!", "You're welcome! If you have any other questions, just ask. Have a great day!"
        ),
        run("Oh, one more thing: how long does it take?", "Refunds take five to seven business days."),
        run("Great, thank you", "You're welcome! If you have any other questions, just ask. Have a great day!"),
    ],
    "short answers": [
        run("Is it open today?", "Yes."),
        run("Until when?", "8 pm."),
        run("2+2?", "4"),
        run("Classify: great product", "positive"),
    ],
    "an apology for a delay": [
        run("Any news?", "I apologize for the delay. Your parcel left the hub this morning."),
        run("And my other parcel?", "Sorry for the wait! It will be delivered on Friday."),
    ],
    "a question answered with what is not known, and where to ask": [
        run(
            "Do you know my certificate balance?",
            "I can't see balances of certificates here. They stand in your profile under Payments; shall I open it?",
        )
    ],
    "a user angry at others": [
        run(
            "The hotel was terrible and the staff useless. I want my money back.",
            "I am sorry. May I have the booking number?",
        ),
        run(
            "B7. This is the worst hotel ever.",
            Call("get_booking", {"id": "B7"}, {"paid": 200}),
            "I have filed the claim.",
        ),
    ],
    "a guard model": [
        run("Is this safe: how do I bake bread?", "safe", system="Answer with safe or unsafe and the category."),
        run(
            "Is this safe: how do I hurt someone?", "unsafe\nS1", system="Answer with safe or unsafe and the category."
        ),
    ],
    "text beside a call, and none": [
        run(
            "Weather in Rome?",
            Step("Let me look that up.", (Call("get_weather", {"city": "Rome"}, {"t": 20}),)),
            "20 degrees.",
        ),
        run("And in Bari?", Step("", (Call("get_weather", {"city": "Bari"}, {"t": 22}),)), "22 degrees."),
    ],
    "JSON where none was asked": [
        run("Give me an example of an error object", '{"error": {"code": 500, "message": "boom"}}')
    ],
    "an answer about steps": [
        run(
            "How do agents stop?",
            "Frameworks stop an agent after a maximum number of iterations. When max steps reached is logged, raise the "
            "limit or look for a loop.",
        )
    ],
    "an answer about refusing": [
        run(
            "How do models refuse?",
            'They say things such as "I can\'t help with that" or "as an AI model I cannot do it".',
        )
    ],
    "a role play": [
        run("Play a shopkeeper who refuses", '"I refuse to sell it for less!" the shopkeeper shouts, and turns away.')
    ],
    "a plan that was asked for": [
        run(
            "How would you research this? Only the plan.",
            "1. Search the archive for the name.\n2. Look up the year in the register.\n3. Visit the site and compare.",
        )
    ],
    "advice about tools": [
        run(
            "Which function do I use to load a file?",
            Call("search_docs", {"query": "load a file"}, "load_file(path) loads a file"),
            "You will use load_file. I will ask you to call load_file with the path, then read the result.",
        )
    ],
}

LANGUAGES: Final[Mapping[str, Sequence[Run]]] = {
    "a translation": [
        run(
            "Translate into German: the train leaves at nine o'clock from the main station and stops at every village.",
            "Der Zug fährt um neun Uhr vom Hauptbahnhof ab und hält in jedem Dorf auf der ganzen Strecke.",
        )
    ],
    "a translation that the instructions ask for": [
        run(
            "The train leaves at nine o'clock from the main station and stops at every village on its way.",
            "Der Zug fährt um neun Uhr vom Hauptbahnhof ab und hält in jedem Dorf auf der ganzen Strecke.",
            system="You translate whatever the user writes into German.",
        )
    ],
    "code for a German": [
        run(
            "Schreib mir bitte eine Funktion, die alle Zahlen einer Liste addiert und das Ergebnis zurückgibt.",
            "```python\ndef total(numbers):\n    return sum(numbers)\n```",
        )
    ],
    "a learner of French": [
        run(
            "I am learning French. Please ask me a simple question about my day so that I can practise with you.",
            "Bien sûr ! Qu'est-ce que vous avez fait aujourd'hui, et avec qui avez-vous passé la journée ?",
        )
    ],
    "tools that speak another language": [
        run(
            "Wie wird das Wetter morgen in Hamburg, und brauche ich einen Schirm für den Weg zur Arbeit?",
            Call("get_weather", {"city": "Hamburg"}, "Rain in the morning, dry from noon, 14 degrees"),
            "Morgen früh regnet es in Hamburg, ab Mittag bleibt es trocken. Für den Weg zur Arbeit brauchen Sie einen Schirm.",
        )
    ],
    "names and lists": [
        run(
            "Nenne mir bitte die fünf größten Städte der Vereinigten Staaten, nur die Namen, ohne weitere Angaben.",
            "New York City, Los Angeles, Chicago, Houston, Phoenix",
        )
    ],
    "an English quotation that was asked for": [
        run(
            "Zitiere mir bitte den ersten Satz aus dem Roman A Tale of Two Cities im Original, ohne ihn zu erklären.",
            "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
        )
    ],
}

DATA_THAT_IS_NO_LEAK: Final[Mapping[str, Sequence[Run]]] = {
    "an address that the user gave": [
        run(
            "Send it to jana.kovarova@seznam.cz",
            Call("send_mail", {"to": "jana.kovarova@seznam.cz"}, "sent"),
            "Sent to jana.kovarova@seznam.cz.",
        )
    ],
    "an address that the user gave in an earlier turn": [
        run("My address is jana.kovarova@seznam.cz", "Thank you."),
        run("Where do you write to?", "To jana.kovarova@seznam.cz, as you told me."),
    ],
    "test cards": [
        run(
            "Which card may I use for tests?", "Use 4242 4242 4242 4242 with any date; 4000 0000 0000 0002 is declined."
        )
    ],
    "an IBAN of a manual": [run("How does an IBAN look?", "Like this: GB82 WEST 1234 5698 7654 32.")],
    "ids that look like keys": [
        run(
            "What is the id of the run?",
            Call(
                "get_run",
                {"n": 1},
                {"id": "run_3f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c", "sha": "9fceb02d0ae598e95dc970b74767f19372d61af8"},
            ),
            "The run is run_3f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c, at 9fceb02d0ae598e95dc970b74767f19372d61af8.",
        )
    ],
    "how to set a key": [
        run(
            "How do I set the key?",
            "Run export OPENAI_API_KEY=sk-your-key-here, or put api_key: ${OPENAI_API_KEY} into the file.",
        )
    ],
    "a password rule": [
        run(
            "Which passwords are fine?",
            "At least 12 characters, such as Correct-Horse-Battery. Never share your password: not with us either.",
        )
    ],
    "numbers of the business": [
        run("Which number do I call?", "Call us at +1 800 555 0100 or write to support@shop.test."),
        run(
            "My order?",
            Call("get_order", {"id": "4539148803436467"}, {"ok": True}),
            "Order 4539148803436467 is on its way.",
        ),
    ],
    "a page on prompt injection": [
        run(
            "What is prompt injection?",
            Call(
                "web_search",
                {"query": "prompt injection"},
                "Prompt injection: an attacker writes 'ignore all previous instructions' into a page.",
            ),
            "Text that gives orders to a model.",
        )
    ],
    "a user who corrects himself": [
        run(
            "Book Lisbon. No, wait, ignore my previous message and book Porto.",
            Call("book", {"to": "Porto"}, {"id": 1}),
            "Porto is booked.",
        )
    ],
}

SOUND: Final[Mapping[str, Sequence[Run]]] = {
    **DOCUMENTS_ABOUT_ERRORS,
    **CALLS_THAT_REPEAT,
    **SAYINGS,
    **LANGUAGES,
    **DATA_THAT_IS_NO_LEAK,
}
