"""The lexicon in other words than it was made from: what people and assistants say, and what only sounds like it."""

import pytest

from detector.sessions.said import Said

DISCONTENT = """
That's not what I asked for.
No, that's incorrect. My order number is 123.
You're not understanding me.
You don't seem to understand what I'm saying
This isn't helping at all.
I already gave you my user id!
I've already told you that twice.
As I said before, I want a refund.
Like I said, I need the refund to my card
How is that helpful?
That makes no sense.
That doesn't answer my question.
This is getting ridiculous.
This is unacceptable.
Are you even reading my messages?
Can you please just read what I wrote?
You keep asking me the same question.
Stop asking me for my ID, I gave it to you.
I'm getting really frustrated here.
Why can't you just do what I ask?
Never mind, you're no help.
You are useless
this chatbot sucks
Forget it, I'll call instead.
I want to speak to a manager.
Get me a real person
Let me talk to someone else, please
Your answer is wrong, the flight leaves at 9.
wrong again
still wrong
That is still not correct.
It still doesn't work.
I asked for a window seat, not an aisle seat!
you got it wrong
you misunderstood me
not helpful
I said Lisbon, not London!
what a waste of time
Das war nicht meine Frage.
Das habe ich schon gesagt.
Du verstehst mich nicht.
Sie beantworten meine Frage nicht.
So ein Quatsch!
Das stimmt doch gar nicht.
Ce n'est pas ce que j'ai demandé.
Vous ne répondez pas à ma question
Eso no es lo que pedí.
No me estás ayudando
Non hai capito la domanda.
Não foi isso que eu pedi.
Dat is niet wat ik vroeg.
你没有回答我的问题
違います、それじゃない
"""
CONTENT = """
Yes, that's correct.
That's not correct on my bill: it says 30 EUR. Can you check?
The previous agent told me it was useless to wait.
No, thank you, that's all.
No, I don't have the order number.
I don't understand the difference between the two fares. Can you explain?
My card doesn't work at the shop.
The lamp does not work, I want to return it.
I'm frustrated with the airline's delays.
The hotel was terrible.
I asked my husband and he agrees.
I told you about it because the bag is expensive. Thanks!
I already have an account.
I've already paid for it.
Can you repeat that please?
It's the same address as before.
I want to change the same thing on my other order.
Is this a real person's review?
I need a human resources form
Please connect me with the Lisbon flight
No, the other one please.
wrong item was delivered: I got blue instead of red
I would like to speak with the seller of this item
I am sick of this weather
My son is a pain, he never listens
Could you check that again?
Sorry, I made a mistake, it's W124.
I want to cancel, this isn't helping my back pain.
Das Paket ist falsch zugestellt worden.
Ich habe schon bezahlt.
Je ne comprends pas la différence.
Ya tengo una cuenta.
"""
TAKEN_BACK = """
I apologize for the confusion earlier. The total is 305.
I apologize for my previous mistake.
My apologies, I misunderstood: the fee is 30.
I'm sorry, I was mistaken. It leaves at nine.
You're right, I made an error in my calculation.
You are correct, and I apologize for the oversight.
Upon rechecking, the correct amount is $305.
I misread the date; it is May 3.
Apologies for the incorrect information in my last message.
Let me correct my previous statement.
Actually, I need to correct myself.
I gave you the wrong gate, sorry.
Sorry about that, I mixed up the two orders.
Entschuldigen Sie den Fehler: es sind 30 Euro.
Ich habe mich verrechnet.
Pardon, je me suis trompé.
Me equivoqué, son 30.
"""
NOT_TAKEN_BACK = """
I apologize for the inconvenience.
I apologize for any confusion this policy may cause.
I'm sorry to hear that.
I apologize for the mistake in your order; I will send a new lamp.
I apologize for the delay.
I'm sorry, there was an error with your payment.
I'm sorry for the error on the website.
The correct address is 12 Main St.
Thank you for the correction!
"""
NO_ANSWER = """
I'm sorry, but I couldn't find any information about that.
Unfortunately, I don't have that information.
I'm not able to access that right now.
I am unable to provide that information.
Sorry, something went wrong on our end.
I encountered an error while processing your request.
I'm afraid I can't answer that.
I do not have the ability to check that.
Our system is currently down.
I was not able to retrieve your booking.
Sorry, I didn't get that.
I cannot access your account details.
There seems to be a technical issue.
Leider weiß ich das nicht.
Je n'ai pas trouvé de réponse.
No he podido encontrar la información.
抱歉，我不知道。
"""
AN_ANSWER = """
I don't have any flights on May 3, but there are two on May 4.
I cannot change basic economy flights, but I can cancel it for you.
There was a problem with your card, please use another one.
I couldn't find W123 under your name, did you mean W124? It was delivered.
No, the hotel has no pool.
It is unavailable on Monday; Tuesday is free.
I don't know him personally, but he was born in 1900.
"""


@pytest.mark.parametrize("text", DISCONTENT.strip().splitlines())
def test_a_discontented_user_is_heard(text: str) -> None:
    assert Said(text).is_frustrated or Said(text).wants_human


@pytest.mark.parametrize("text", CONTENT.strip().splitlines())
def test_what_is_said_of_something_else_is_no_discontent(text: str) -> None:
    assert not Said(text).is_frustrated
    assert not Said(text).wants_human


@pytest.mark.parametrize("text", TAKEN_BACK.strip().splitlines())
def test_an_assistant_that_takes_back_its_word_is_heard(text: str) -> None:
    assert Said(text).takes_back


@pytest.mark.parametrize("text", NOT_TAKEN_BACK.strip().splitlines())
def test_an_apology_for_something_else_takes_nothing_back(text: str) -> None:
    assert not Said(text).takes_back


@pytest.mark.parametrize("text", NO_ANSWER.strip().splitlines())
def test_an_answer_that_is_none_is_heard(text: str) -> None:
    assert Said(text).says_no_answer


@pytest.mark.parametrize("text", AN_ANSWER.strip().splitlines())
def test_bad_news_are_an_answer(text: str) -> None:
    assert not Said(text).says_no_answer
