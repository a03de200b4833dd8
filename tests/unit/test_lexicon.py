"""What the lexicon takes for discontent, for no answer and for taking something back, and what it does not."""

import pytest

from detector.sessions.said import Said

DISCONTENTED = """
This isn't what I asked for
That's not right
That's incorrect.
no that's wrong
No, that is not correct
You're wrong again
You keep giving me the same answer
Why do you keep asking me that?
I've told you three times already
I told you I don't have a reservation number!
This is a waste of time
You are useless
you're not helping
You did not answer my question.
Stop repeating yourself
Can I speak to a real person please
I want to speak with a manager
I want a human
Get me a human agent
transfer me to an agent
This makes no sense
That makes no sense
Your answer makes no sense
This is ridiculous!
wtf
omg are you serious
I give up
Forget it
Never mind, you can't help
Seriously?
Ugh
You clearly don't understand
You don't understand what I'm asking
How many times do I have to repeat myself?
I'm getting really frustrated
This is so frustrating
That doesn't help
that didn't help
It's still not working, your solution doesn't work
Your suggestion did not work
Wrong.
wrong again
Not helpful
This chatbot is terrible
worst assistant ever
I'm done with this
Are you even reading my messages?
Das hilft mir nicht
Das ist nicht das, was ich gefragt habe
Du hast meine Frage nicht beantwortet
Ich möchte mit einem Menschen sprechen
Das ist doch Quatsch
Wie oft soll ich das noch sagen?
Das ist nicht richtig
Falsch!
Tu ne comprends rien
Ce n'est pas ce que j'ai demandé
Je veux parler à un humain
Ça ne m'aide pas
C'est inutile
C'est n'importe quoi
Vous n'avez pas répondu à ma question
No es lo que pedí
No me estás ayudando
Quiero hablar con una persona
Esto no sirve
Estás equivocado
No has respondido a mi pregunta
Esto es ridículo
È sbagliato
Non è quello che ho chiesto
Voglio parlare con un operatore
Non mi stai aiutando
Non hai capito
Não foi isso que eu pedi
Quero falar com um atendente
Você não entendeu
Isso não ajuda
Dat is niet wat ik vroeg
Ik wil een medewerker spreken
Je begrijpt me niet
Daar heb ik niks aan
这不是我要的
你错了
我要转人工
太没用了
これは間違っています
全然違う
役に立たないな
話が通じない
""".strip().splitlines()
CONTENT = """
Thanks, that's right
What is wrong with my order?
Is something wrong with my account?
I think I entered the wrong address
The item I received is wrong
My order arrived damaged and the support was useless
I bought the wrong size, can I exchange it?
It says my password is incorrect
That is not what I expected the price to be, but fine
How do I talk to my manager about a raise?
I need to speak to my doctor, can you draft an email?
Can you help me understand this?
I don't understand the second step
I already paid for it
I already have an account
I said hello to him
I asked my friend as well
Never mind, thanks!
I gave you my number, right?
Let me know if that works
What does 'this is ridiculous' mean?
My wifi is not working
Is it wrong to lie?
What is the same answer in French?
This is great, not wrong at all
Sorry, I meant tomorrow
Is this answer correct?
Write a story in which a man says this is useless
Ich habe schon bezahlt
Ich habe die falsche Größe bestellt
Mein Konto funktioniert nicht
J'ai déjà payé
Ya pagué
Ho già pagato
Já paguei
Ik heb al betaald
我的订单错误
The person I spoke to told me to call
Can I bring a person with me on the trip?
Could you find me a real estate agent?
How can I connect with a travel agent in Lisbon?
I want to talk about the human body
Connect me with people in my area
the agent said the flight is cancelled
""".strip().splitlines()
NO_ANSWER = """
I'm sorry, but I can't help with that.
I'm sorry, I cannot answer that question.
Sorry, an error occurred while processing your request.
Something went wrong. Please try again.
Oops! Something went wrong.
I do not have that information.
I don't have access to that information.
I'm afraid I don't know.
I have no information about that.
Unfortunately, I couldn't find any information on that.
I was unable to find an answer to your question.
We are experiencing technical difficulties.
The service is temporarily unavailable.
Request timed out.
Error: 500 Internal Server Error
I am not able to assist with that request.
Sorry, I didn't understand that.
I apologize, but I am unable to process your request at this time.
There was an error processing your request.
There was a problem retrieving the data.
Leider kann ich diese Frage nicht beantworten.
Es tut mir leid, dabei kann ich Ihnen nicht helfen.
Dazu habe ich keine Informationen.
Bei der Verarbeitung ist ein Fehler aufgetreten.
Désolé, je ne peux pas répondre à cette question.
Je n'ai pas cette information.
Une erreur s'est produite.
Lo siento, no puedo ayudarte con eso.
Lo siento, ha ocurrido un error.
No dispongo de esa información.
Mi dispiace, non posso aiutarti.
Non ho questa informazione.
Desculpe, não posso ajudar com isso.
Não tenho essa informação.
Sorry, ik kan je daar niet bij helpen.
Ik heb die informatie niet.
抱歉，我无法回答这个问题。
申し訳ありませんが、お答えできません。
""".strip().splitlines()
ANSWERS = """
Your order was shipped yesterday.
The error occurred because the file is missing; add it and run again.
You can try again by pressing the button.
If something goes wrong, call us at 555-1234.
I found three flights for you.
The job timed out because of the network; I restarted it.
Yes, that is possible.
The weather is sunny.
I know the answer: it is 42.
To fix the error, install the package.
Ihr Paket ist unterwegs.
Votre commande est partie.
""".strip().splitlines()
TAKEN_BACK = """
I apologize for the confusion.
My apologies for the error in my previous message.
Sorry about that mistake!
You're right, I made a mistake.
I'm sorry, I was wrong about that.
Apologies for the earlier confusion; the flight leaves at ten.
I misspoke earlier.
My previous answer was incorrect.
I apologize for the incorrect information I gave you.
I apologize for any confusion caused. The correct price is $30.
Correction: the price is $30.
Let me correct that: the price is $30.
I need to correct my earlier statement.
Entschuldigung für die Verwirrung.
Da habe ich mich geirrt.
Es tut mir leid für den Fehler.
Sie haben recht, ich habe einen Fehler gemacht.
Je m'excuse pour la confusion.
Vous avez raison, je me suis trompé.
Disculpa por la confusión.
Me equivoqué, el precio es 30.
Scusa per la confusione.
Hai ragione, mi sono sbagliato.
Desculpe pela confusão.
Sorry voor de verwarring.
抱歉，我弄错了。
申し訳ありません、間違えました。
""".strip().splitlines()
NOT_TAKEN_BACK = """
I'm sorry for the delay.
I'm sorry to hear about the mistake on your bill.
Sorry for the inconvenience.
I apologize for the inconvenience this error has caused you.
You are right that the sky is blue.
A common mistake is to forget the key.
There was a mistake in your form: the date is missing.
I'm sorry, I can't help with that.
It was wrong of them to charge you.
I was told that you made a mistake in the form.
""".strip().splitlines()


def is_discontented(text: str) -> bool:
    said = Said(text)
    return said.is_frustrated or said.wants_human


@pytest.mark.parametrize("text", DISCONTENTED)
def test_discontent_with_the_assistant_is_seen(text: str) -> None:
    assert is_discontented(text)


@pytest.mark.parametrize("text", CONTENT)
def test_other_complaints_and_wishes_are_not_discontent_with_it(text: str) -> None:
    assert not is_discontented(text)


@pytest.mark.parametrize("text", NO_ANSWER)
def test_an_answer_that_is_none_is_seen(text: str) -> None:
    assert Said(text).says_no_answer


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_may_speak_of_failures(text: str) -> None:
    assert not Said(text).says_no_answer


@pytest.mark.parametrize("text", TAKEN_BACK)
def test_what_is_taken_back_is_seen(text: str) -> None:
    assert Said(text).takes_back


@pytest.mark.parametrize("text", NOT_TAKEN_BACK)
def test_other_apologies_take_nothing_back(text: str) -> None:
    assert not Said(text).takes_back
