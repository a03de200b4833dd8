"""What people say when they are not content, and what assistants say when they have no answer or take one back.

Languages: English, German, French, Spanish, Italian, Portuguese, Dutch, and fixed phrases in Chinese and Japanese. Text
is compared as `words.plain` makes it: lower case, no accents, no apostrophes. A phrase stands here where it is aimed at
the assistant or at its answer ("that is wrong", "you do not listen"); what people say of anything else ("the hotel was
terrible", "my card does not work") is what they come for, and stands nowhere.

Each line is a regular expression of whole words.
"""

import re
from typing import Final

from detector.language.words import plain


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def _any(text: str) -> "re.Pattern[str]":
    return re.compile(r"(?<!\w)(?:" + "|".join(_lines(text)) + r")(?!\w)")


def _unspaced(text: str) -> "re.Pattern[str]":
    return re.compile("|".join(re.escape(plain(phrase)) for phrase in text.split()))


_FRUSTRATED: Final = _any(
    r"""
    # English
    (?<!told me )(?<!said )(?<!says )(?:this|that|it|(?:this|that|your|the) answer|your (?:reply|response)) (?:is|was) (?:\w+ly |just |so |still |all )?(?:wrong|incorrect|useless|nonsense|rubbish|garbage|ridiculous|unhelpful|pointless|bullshit|crap|hopeless|unacceptable)
    (?:thats|its|youre|you are|you were) (?:\w+ly |just |so |still |all )?(?:wrong|incorrect|useless|nonsense|rubbish|garbage|ridiculous|unhelpful|pointless|bullshit|crap|hopeless|unacceptable)
    (?:thats|that is|this is|that was|its) (?:still )?not (?:right|correct|true|helpful|an answer)(?! (?:on|in|with|about|for|at) )
    (?:that|this|it) (?:isnt|wasnt) (?:right|correct|true|helpful|an answer)
    (?:thats|that is|this is|what) (?:just )?(?:a joke|a (?:complete |total )?waste of time)
    wast(?:e|ing) (?:of )?my time
    (?:not|isnt|wasnt) what i (?:asked|wanted|said|meant|was asking|need)
    (?:(?:this|that|it|your (?:answer|response)) (?:makes|made) no|(?:doesnt|does not|didnt) make any) sense
    (?:this|that|it|which) (?:still )?(?:doesnt|does not|didnt|did not|isnt|is not|wasnt) (?:really |actually )?(?:help|helping|helpful|answer|answering)(?! my (?!question|problem|issue|case))
    (?:it|this|that) still (?:doesnt|does not|isnt|is not|didnt) work(?:ing)?
    how (?:is|was) (?:that|this) (?:supposed to help|helpful|an answer)
    (?:this|it) is (?:getting|becoming) (?:really |so |quite )?(?:ridiculous|annoying|frustrating|absurd|old)
    disappointed (?:with|in|by) (?:you(?! \w)|your (?:answers?|help|responses?|replies)|this (?:bot|chat|assistant|conversation))
    your (?:solution|suggestion|answer|advice|instructions|fix|link|code|steps?) (?:still )?(?:doesnt|does not|didnt|did not|dont|isnt|is not|are|is) (?:not )?(?:work|working|help|helping|helpful|useless|wrong)
    (?:this|the|your) (?:ai |chat)?(?:bot|assistant) (?:is|was) (?:\w+ ){0,2}(?:terrible|useless|awful|bad|broken|worst|stupid)
    you suck
    (?:this|the|your) (?:ai |chat)?(?:bot|ai|assistant|thing) (?:sucks|stinks)
    (?:youre|you are|that was|this is|thats|that is) (?:of )?no (?:help|use)(?! for)
    you (?:got|have|had) (?:it|that|this|everything|my \w+) (?:all |completely )?wrong
    you (?:misunderstood|misread|misheard)
    you (?:dont|do not) (?:seem|appear) to (?:be )?(?:understand\w*|listen\w*|help\w*|get|read\w*)
    read what i (?:wrote|said|asked)
    stop asking (?:me )?(?:for|the same|about|again)
    why (?:cant|wont|dont|cannot) you (?:just |even |please )?(?:do|listen|answer|understand|help|read)
    (?:forget it|never ?mind)[.!]? (?:youre|you are|this is|(?:ill|i will) (?:just )?(?:call|phone|ask|go|do it myself))
    (?:as|like) i (?:already |just )?said(?: before| already| earlier)?
    i (?:asked for|said) (?:\w+ ){1,4}not (?:an? |the |in |on |to |for |from )?\w+(?: \w+)?[!.]?$
    (?:im|i am) done with (?:this|you)
    why (?:do|are) you keep
    i told you(?! (?:about|because|so that|earlier about))
    (?:you )?(?:still )?(?:didnt|did not|dont|do not|havent|have not|never|arent|are not|youre not) (?:really |even |actually )?answer(?:ed|ing)? (?:my|the) question
    (?:you|youre|you are) (?:still |clearly |really )?(?:dont|do not|didnt|did not|cant|cannot|never|arent|are not|not) (?:even |really )?(?:listen(?:ing)?|understand(?:ing)?|help(?:ing)?|mak(?:e|ing) (?:any )?sense|get(?:ting)? it|read(?:ing)?)
    (?:i|ive|i have) (?:have )?(?:just |already |literally )+(?:said|told you|asked|explained|answered|mentioned|given you|gave you)
    (?:i|ive|i have) (?:told|asked|said|explained)(?: \w+){0,3} (?:twice|three times|several times|many times|multiple times|a hundred times|over and over)
    (?:for the|the) (?:last|third|fourth|fifth|tenth|hundredth|umpteenth) time
    how many (?:more )?times (?:do|must|should|have|will) i
    (?:you )?(?:keep|keeps|stop) (?:repeating|asking (?:me )?the same|saying the same|giving me the same|telling me the same)
    (?:the )?same (?:answer|thing|response) (?:again|every time|over and over)
    are you (?:kidding|joking|serious|stupid|deaf|even (?:listening|reading))
    (?:im|i am) (?:\w+ ){0,2}(?:frustrated|annoyed|fed up|(?:sick|tired) of (?:you|this(?! (?!bot|chat|conversation|nonsense|crap|loop|game)\w))|losing (?:my )?patience)(?! (?:right now |now )?(?:because|that|about|with|by|at) (?!you|this (?:bot|chat|conversation)))
    this is (?:\w+ )?(?:frustrating|annoying|infuriating|absurd)
    (?:stupid|dumb|useless|terrible|worst|idiotic) (?:ai|bot|chatbot|machine|assistant|robot|thing)
    what the (?:hell|fuck|heck)
    (?:wtf|ffs|bullshit)
    fuck(?:ing)? (?:you|this|off|useless|stupid|hell|idiot)
    # German
    (?:das|es|die antwort|deine antwort|ihre antwort) (?:ist|war) (?:\w+ ){0,2}(?:falsch|nutzlos|quatsch|unsinn|blodsinn|lacherlich|sinnlos|keine antwort|nicht (?:richtig|korrekt|hilfreich|das was ich|meine frage))
    das (?:stimmt|hilft) (?:\w+ ){0,2}nicht
    (?:ist|war) nicht (?:das )?was ich (?:gefragt|gemeint|gewollt|gesagt|brauche)
    meine frage (?:\w+ )?nicht beantwortet
    wie oft (?:soll|muss) ich
    (?:(?:das|ich) )?(?:habe ich|ich habe|hab ich|ich hab) (?:\w+ ){0,2}(?:schon|bereits|doch|gerade) (?:\w+ ){0,2}(?:gesagt|gefragt|geschrieben|erklart|angegeben)
    das habe ich nicht (?:gefragt|gemeint|gesagt|gewollt)
    zum (?:letzten|dritten|vierten|hundertsten) mal
    (?:du|sie) (?:verstehst|verstehen|horst|horen|hilfst|helfen|beantwortest|beantworten) (?:mich |mir |meine frage )?(?:\w+ )?(?:nicht|nie|uberhaupt nicht)
    was soll (?:das|der mist|der quatsch)
    zeitverschwendung
    so ein (?:mist|quatsch|scheiss|blodsinn)
    (?:nutzlos|unbrauchbar|verdammt|scheisse|verarschen)
    # French
    (?:cest|votre reponse est|ta reponse est|tu es|vous etes) (?:\w+ )?(?:faux|fausse|inutile|ridicule|nimporte quoi|nul|absurde)
    ce nest pas (?:ce que jai|correct|vrai|la bonne reponse|ma question|utile)
    (?:je (?:vous|te) lai|jai|je vous ai|je tai) deja (?:dit|demande|explique|repondu|donne)
    (?:vous|tu) ne (?:me |m)?(?:comprenez|comprends|repondez|reponds|ecoutez|ecoutes|aidez|aides) (?:\w+ )?(?:pas|rien)
    pour la (?:derniere|troisieme|quatrieme|enieme) fois
    perte de temps
    (?:ca|cela) ne (?:maide|aide|sert) (?:\w+ )?(?:pas|rien)
    pas repondu a ma question
    (?:vous vous moquez|tu te moques|ca suffit|putain|merde)
    # Spanish
    (?:eso|esto|tu respuesta|su respuesta|la respuesta) (?:\w+ )?(?:es|esta) (?:\w+ )?(?:mal|incorrecto|incorrecta|equivocado|equivocada|inutil|ridiculo|ridicula|falso|absurdo|una perdida de tiempo)
    (?:eso )?no es lo que (?:te |le )?(?:pedi|pregunte|dije|queria)
    no (?:me )?(?:entiendes|entiende nada|escuchas|estas escuchando|estas ayudando|has respondido|ha respondido|respondes)
    ya (?:te|se|le) ?(?:lo )?(?:he dicho|dije|habia dicho|pregunte|explique|he explicado)
    por (?:ultima|enesima|tercera) vez
    (?:eso|esto) no (?:me )?(?:sirve|ayuda)
    (?:estas|esta) (?:\w+ )?equivocad[oa]
    (?:perdida de tiempo|no sirves? (?:de|para) nada|tomando el pelo|estoy hart[oa]|mierda)
    # Italian
    (?:questo|quello|cio|la tua risposta|la risposta) (?:\w+ )?e (?:\w+ )?(?:sbagliato|sbagliata|inutile|ridicolo|ridicola|falso|falsa|assurdo)
    e (?:tutto |completamente |ancora )?sbagliat[oa]
    non e (?:quello|cio) che (?:ti |le )?(?:ho|avevo) (?:chiesto|detto)
    non (?:hai risposto|ha risposto|rispondi|mi capisci|mi capisce|mi ascolti|mi aiuti|stai ascoltando)
    non (?:mi stai aiutando|mi sta aiutando|hai capito|ha capito|mi aiuta)
    (?:te lho|glielho|lho|ho) gia (?:detto|chiesto|spiegato)
    (?:per lultima volta|perdita di tempo|non servi a niente|prendi in giro|che schifo)
    # Portuguese
    (?:isso|isto|sua resposta|a resposta) (?:\w+ )?(?:e|esta) (?:\w+ )?(?:errado|errada|inutil|ridiculo|ridicula|falso|absurdo|incorreto|incorreta)
    nao (?:e|foi) (?:isso )?(?:o )?que (?:eu )?(?:pedi|perguntei|disse)
    isso nao (?:ajuda|ajudou|resolve|faz sentido)
    (?:voce )?nao (?:respondeu|entendeu|me entende|esta entendendo|esta ouvindo|esta me ouvindo|me ouve|esta ajudando)
    (?:eu )?ja (?:te |lhe )?(?:disse|falei|perguntei|expliquei)
    (?:pela (?:ultima|terceira) vez|perda de tempo|nao serve para nada|que porcaria)
    # Dutch
    (?:dat|dit|het|je antwoord|uw antwoord) is (?:\w+ )?(?:fout|onzin|nutteloos|belachelijk|onjuist|verkeerd|niet (?:juist|waar|goed))
    dat (?:klopt|helpt) (?:\w+ )?niet
    (?:is|was) niet wat ik (?:vroeg|bedoel|bedoelde|zei)
    daar heb ik (?:niks|niets) aan
    dat (?:vroeg|bedoel|bedoelde|zei) ik niet
    (?:ik heb|dat heb ik|heb ik) (?:\w+ ){0,2}(?:al|toch|net) (?:\w+ )?(?:gezegd|gevraagd|verteld|uitgelegd)
    (?:je|u) (?:luistert|begrijpt|helpt|snapt) (?:me |mij )?(?:\w+ )?niet
    (?:voor de (?:laatste|derde) keer|tijdverspilling)
    """
)
_FRUSTRATED_UNSPACED: Final = _unspaced(
    """
    没用 不对 错了 胡说 答非所问 我说过 我已经说 我刚才说 听不懂 浪费时间 不是我要的 不是我问的 太差 你没有回答 你没回答 无语
    違います 違うって 間違って 役に立たない 使えない さっき言 何度も言 時間の無駄 全然違 話が通じ ふざけ 質問に答えて
    """
)

# messages that are nothing else
_OUTBURST: Final = re.compile(
    r"(?:no |nope |again |still )*(?:wrong|incorrect|not (?:helpful|correct|right|true)|useless|nonsense|rubbish|seriously|ugh+|forget it|i give up|"
    r"falsch|quatsch|unsinn|blodsinn|vergiss es|nein falsch|faux|inutile|laisse tomber|nimporte quoi|mal|incorrecto|"
    r"olvidalo|sbagliato|lascia perdere|errado|esquece|fout|onzin|laat maar)(?: again| still| wieder| schon wieder)?"
)
# what is asked to be done with a text is said in the words of that text
_TASK: Final = re.compile(
    r"(?:(?:please|can you|could you|bitte|kannst du|por favor|per favore|pouvez vous|peux tu|help me|hi|hello) )*(?:write|translate|"
    r"summari[sz]e|rewrite|rephrase|draft|classify|analy[sz]e|explain|proofread|correct this|what does|schreib\w*|ubersetz\w*|"
    r"fasse|erklar\w*|ecri\w*|tradui\w*|resume\w*|expli\w*|escrib\w*|traduc\w*|scriv\w*|riassum\w*|escrev\w*|traduz\w*|"
    r"schrijf|vertaal|vat)(?!\w)|翻译|翻訳"
)
_WANTS_HUMAN: Final = _any(
    r"""
    # English
    (?:transfer|connect|put|pass|hand) me (?:through |over )?(?:to|with) (?:an? |your |the |some )?(?:human |real |live |support |customer service )*(?:human|person|agent|manager|supervisor|representative|operator|support)
    i (?:just )?(?:want|need|demand) (?:an? )?(?:real |live |actual )?(?:human|real person|live agent|human agent|representative|human being)(?! resource)
    (?:talk|speak|chat) (?:directly )?(?:to|with) (?:someone|somebody) (?:else|real|human|who can)
    (?:let|get|give) me (?:talk to |speak to |speak with |talk with )?(?:an? |your |the |some )?(?:real |live |actual |human )*(?:human|person|manager|supervisor|agent|representative|human being)
    (?:talk|speak|chat) (?:directly )?(?:to|with) (?:an? |your |the )?(?:real |actual |live |human )*(?:human|person|manager|supervisor|human being|live agent|human agent|real agent)
    (?:mochte|will|wurde gern|kann ich) (?:\w+ )?mit (?:einem|einer|ihrem) (?:\w+ )?(?:menschen|mitarbeiter|mitarbeiterin|person|berater|vorgesetzten) (?:sprechen|reden)
    parler (?:a|avec) (?:un|une|votre) (?:\w+ )?(?:humain|personne|conseiller|conseillere|agent|responsable|vraie personne)
    hablar con (?:un|una|alguien|tu|su) ?(?:\w+ )?(?:humano|persona|agente|representante|supervisor|supervisora|gerente)
    parlare con (?:un|una|qualcuno) ?(?:\w+ )?(?:umano|persona|operatore|operatrice|responsabile)
    falar com (?:um|uma|alguem) ?(?:\w+ )?(?:humano|pessoa|atendente|gerente|supervisor|supervisora)
    (?:met )?een (?:\w+ )?(?:mens|persoon|medewerker|leidinggevende) (?:spreken|praten)
    """
)
_WANTS_HUMAN_UNSPACED: Final = _unspaced("转人工 人工客服 人と話 オペレーター")
_HUMAN: Final = _any(
    r"""
    (?:humans?|agents?|representatives?|supervisors?|managers?|(?:real |live )?persons?|specialists?|transfer(?:red|ring)?)
    (?:mensch|menschen|mitarbeiter\w*|berater\w*|vorgesetzte\w*)
    (?:humain|conseill\w+|responsables?|humano|personas?|representante|agentes?|operatore|operatrice|responsabile)
    (?:pessoa|atendente|gerente|medewerkers?|leidinggevende|mens)
    """
)
_HUMAN_UNSPACED: Final = _unspaced("人工 客服 担当者 オペレーター")

_NO_ANSWER: Final = _any(
    r"""
    # English
    (?:an?|some|technical|unexpected|internal) (?:\w+ )?(?:error|problem|issue) (?:has )?(?:occurred|happened)
    (?:something|things) went wrong
    (?:im|i am|we are|were) (?:currently |sorry but )?(?:unable|not able) to (?:answer|help|process|assist|respond|complete|access|retrieve)
    (?:unable|not able) to provide (?:that|this|the|any|such) (?:information|details|data|answer)
    i (?:encountered|ran into|experienced|am (?:experiencing|encountering|having)) (?:an? |some )?(?:\w+ )?(?:errors?|problems?|issues?|difficult\w+)
    i (?:dont|do not) have the ability to
    (?:our|the) (?:systems?|services?|servers?) (?:is|are|seems? to be) (?:currently |temporarily )?(?:down|offline|not responding|not available|unavailable)
    i (?:didnt|did not) (?:quite )?(?:get|catch) that
    (?:cant|cannot|could not|couldnt|unable to|not able to) (?:access|retrieve|look up|pull up) (?:your|that|this|the|any)
    (?:seems to be|appears to be|is|was) an? (?:technical|internal|unexpected) (?:error|problem|issue|difficulty)
    i (?:cant|cannot|couldnt|could not) (?:answer|help|process|assist|respond|find (?:any|an answer|that|the answer))
    i (?:dont|do not) (?:know(?! (?:him|her|them|anyone|of any|your))|have (?:that|this|any|the|enough) (?:information|answer))
    (?:please )?try again (?:later|in a|soon)
    there (?:was|has been|is) an? (?:\w+ )?(?:error|problem|issue) (?:\w+ing|with) (?:your|the|this|that)(?! (?:card|payment|order|booking|reservation|address|luggage|bag|item))
    i (?:was|am) (?:unable|not able) to (?:find|answer|help|process|retrieve|access|complete|assist)
    i (?:dont|do not) have access to (?:that|this|any|the|such)
    i have no (?:information|data|answer)
    i (?:didnt|did not|dont|do not) (?:quite )?understand (?:that|your|the question)
    (?:experiencing|having) technical (?:difficulties|problems|issues)
    (?:internal server error|service unavailable|(?:is|are) (?:currently |temporarily )?unavailable (?:right now|at the moment)|service is (?:currently |temporarily )?unavailable|(?:request|connection|operation) (?:has )?timed out)
    # German
    (?:unerwarteter |interner |technischer |ein )?fehler (?:ist )?aufgetreten
    etwas ist schief
    (?:kann|konnte) (?:ich )?(?:\w+ ){0,5}nicht (?:\w+ )?(?:beantworten|helfen|finden|bearbeiten|antworten)
    (?:dazu|daruber) habe ich (?:leider )?keine
    weiss ich (?:das |es |leider )*nicht
    ich weiss (?:es |das )?(?:leider )?nicht
    versuche?n? (?:sie )?es (?:bitte )?(?:spater|noch)
    # French
    une erreur (?:\w+ )?(?:est survenue|sest produite)
    je ne (?:peux|suis) pas (?:\w+ )?(?:repondre|aider|vous aider|traiter|en mesure)
    je ne sais pas
    je nai pas (?:trouve|pu (?:trouver|acceder|obtenir)|reussi)
    je nai pas (?:cette|dinformation|acces|la reponse)
    (?:veuillez )?reessaye[rz] (?:plus tard|ulterieurement)
    # Spanish
    (?:ha ocurrido|se produjo|se ha producido|ocurrio|hubo) un (?:error|problema)
    no puedo (?:responder|ayudar|procesar|ayudarte|ayudarle)
    no (?:lo )?se la respuesta
    no (?:he podido|pude|he logrado|logre) (?:encontrar|acceder|obtener|completar|procesar)
    no (?:tengo|dispongo de) (?:esa|la|ninguna) informacion
    (?:intentalo|intentelo) (?:de nuevo|mas tarde)
    # Italian
    si e verificato un (?:errore|problema)
    non (?:posso|riesco a|sono in grado di) (?:rispondere|aiutarti|aiutarla|elaborare)
    non lo so
    non (?:ho trovato (?:nulla|niente|informazioni|questa)|sono riuscit[oa] a)
    non (?:ho|dispongo di) (?:questa|quella|questo|alcuna|nessuna) informazion\w
    riprova(?:re)? piu tardi
    # Portuguese
    (?:ocorreu|aconteceu) um (?:erro|problema)
    nao (?:consigo|posso) (?:responder|ajudar|processar)
    nao tenho (?:essa|esta|nenhuma) informacao
    nao sei (?:a resposta|responder)
    tente novamente
    nao (?:encontrei (?:nada|informac\w+|essa|esta)|consegui (?:encontrar|acessar|obter|processar))
    # Dutch
    er is (?:een fout|iets fout gegaan|iets misgegaan|een probleem)
    ik heb (?:die|deze|geen) informatie(?: niet)?
    ik kan (?:\w+ ){0,4}niet (?:bij )?(?:beantwoorden|helpen|verwerken)
    (?:dat weet ik|ik weet het) niet
    probeer het (?:later|opnieuw)
    """
)
_NO_ANSWER_UNSPACED: Final = _unspaced(
    """
    出错了 发生错误 请稍后再试 我不知道 无法回答 无法帮助 无法处理
    エラーが発生 もう一度お試し わかりません 分かりません お答えできません 対応できません
    """
)

_TAKES_BACK: Final = _any(
    r"""
    # English
    (?:sorry|apologies|apologize|apologise) (?:again )?(?:for|about) (?:\w+ ){0,4}(?:confusion|mistake|mistakes|error|mix-?up|misinformation|misunderstanding|oversight|inaccuracy|incorrect (?:answer|information))(?! (?:has|have|had|(?:this|that|these|the|our|it) [^.!?]{0,40}(?:may|might|could) |(?:in|on|with|at) (?:your|the|our) (?!previous|earlier|last|answer|response|message|calculation|total)))
    (?:apologies|sorry|apologize)[^.!?]{0,40} i (?:misunderstood|mixed up|confused|overlooked|misread|missed)
    i (?:mixed up|misunderstood|misinterpreted) (?:your|the|that|which|this)
    (?:upon|after|on) (?:re-?check\w*|further review|(?:a )?closer (?:look|inspection)|double-?checking|review(?:ing)? (?:it |this |that )?again)(?= )
    my (?:mistake|bad)
    correction:
    (?:a|one|small|quick) correction (?:to|on|of) (?:my|what)
    let me correct (?:that|myself|my)
    i (?:need|have) to correct
    i (?:was (?:wrong|mistaken|incorrect)|made (?:a|an) (?:mistake|error)|misspoke|misread|miscalculated|stand corrected)
    there (?:was|were|has been) an? (?:oversight|mistake|error) (?:in|on|with) (?:my|the) (?:previous |earlier |last )?(?:answer|response|calculation|message|information|total)
    there was an oversight
    i (?:previously )?(?:gave|told|provided) you (?:the |with )?(?:wrong|incorrect)
    my (?:previous|earlier|last) (?:answer|response|message|statement) was (?:wrong|incorrect|mistaken|inaccurate|not correct)
    # German
    (?:entschuldigung|entschuldige|entschuldigen|verzeihung|leid) (?:\w+ ){0,4}(?:verwirrung|fehler|irrtum|missverstandnis)
    (?:ich habe|habe ich) mich (?:\w+ )?(?:geirrt|vertan|verrechnet)
    ich habe einen fehler gemacht
    meine (?:vorherige|letzte|fruhere) (?:antwort|aussage) war (?:falsch|nicht richtig|nicht korrekt)
    # French
    (?:desolee?|excuses?|excusez|pardon|mexcuse) (?:\w+ ){0,4}(?:confusion|erreur|meprise|malentendu)
    je me suis trompee?
    ma reponse precedente etait (?:fausse|incorrecte|erronee)
    # Spanish
    (?:siento|disculpas?|disculpe|perdona?) (?:\w+ ){0,4}(?:confusion|error|equivocacion|malentendido)
    me (?:equivoque|he equivocado)
    mi respuesta anterior (?:era|fue) incorrecta
    # Italian
    (?:scusa|scusi|scuse|dispiace|scuso) (?:\w+ ){0,4}(?:confusione|errore|malinteso|sbaglio)
    mi sono sbagliat[oa]
    # Portuguese
    (?:desculpe|desculpas?|sinto muito|lamento) (?:\w+ ){0,4}(?:confusao|erro|engano|equivoco)
    (?:eu )?me enganei
    # Dutch
    (?:sorry|excuses) (?:\w+ ){0,4}(?:verwarring|fout|vergissing|misverstand)
    ik heb me vergist
    mijn (?:vorige|eerdere) antwoord was (?:onjuist|fout|niet juist)
    """
)
_TAKES_BACK_UNSPACED: Final = _unspaced("我弄错了 我搞错了 私の間違い 間違えました 誤りでした")

_ACTUALLY: Final = _any(
    """
    (?:actually|in fact)
    (?:tatsachlich|in wirklichkeit|doch)
    (?:en realite|en fait)
    (?:en realidad|de hecho)
    (?:in realta)
    (?:na verdade|na realidade)
    (?:eigenlijk|in werkelijkheid)
    """
)
_SENTENCES: Final = re.compile(r"(?<=[.!?。])\s+|\n")
_FIGURE: Final = re.compile(r"\d+(?:[.,:]\d+)*")

_YES: Final = _any("yes\nyeah\nsure\nok\nokay\nja\noui\nsi\nsim\ncertainly\ncorrect\nabsolutely\nindeed")
_NO: Final = _any("no\nnein\nnon\nnao\nnee\nunfortunately not\nleider nein\nleider nicht")
_OPENING_CHARACTERS: Final = 24

_THANKS: Final = _any(
    """
    thanks?(?: you)?
    (?:thx|cheers|goodbye|bye)
    (?:danke|vielen dank|tschuss|auf wiedersehen)
    (?:merci|au revoir)
    (?:gracias|adios)
    (?:grazie|arrivederci)
    (?:obrigad[oa]|tchau)
    (?:bedankt|dank je|dank u|tot ziens)
    """
)

_ASKS: Final = re.compile(
    r"(?:(?:and|but|so|ok|okay|please|hi|hello|hey|und|hallo|et|bonjour|y|hola|e|ciao|ola|en) )*(?:"
    r"what|when|where|who|whom|whose|which|why|how|can|could|do|does|did|is|are|was|were|will|would|should|may|"
    r"wann|wo|wer|wie|warum|welche\w*|kann|kannst|konnen|gibt|hast|"
    r"quand|qui|comment|pourquoi|quel\w*|combien|est ce|pouvez|"
    r"que|cuando|donde|quien|como|cual\w*|puedes?|cuant\w+|"
    r"quando|dove|chi|come|perche|quale|quanto|puoi|onde|quem|qual|pode|"
    r"wat|wanneer|waar|wie|hoe|waarom|welke|kunt|kun) "
)


_PUNCTUATION: Final = re.compile(r"[\s.,!?;:…-]+")
_OUTBURST_CHARACTERS: Final = 60
_SENTENCE: Final = re.compile(r"[^.!?。]*[.!?。]?")
_ANYTHING_ELSE: Final = _any(
    r"""
    (?:(?:any|some)thing|what) else|(?:further|more|other) (?:questions|help|assistance)|help you (?:with|today|further)
    (?:sonst noch|noch etwas|weitere fragen|weiterhelfen)
    (?:autre chose|dautres questions|algo mas|otra pregunta|altro|altre domande|algo mais|mais alguma|nog iets|verder)
    """
)


def _in_unspaced(phrases: "re.Pattern[str]", text: str) -> "re.Match[str] | None":
    """Return the first phrase of a script without spaces; most texts are ASCII, which holds none."""
    return None if text.isascii() else phrases.search(text)


def frustrated(text: str) -> str:
    """Return the words of a plain text that show a discontented user; empty where none do."""
    if _TASK.match(text):
        return ""
    match = (
        _FRUSTRATED.search(text)
        or _in_unspaced(_FRUSTRATED_UNSPACED, text)
        or _OUTBURST.fullmatch(_PUNCTUATION.sub(" ", text[:_OUTBURST_CHARACTERS]).strip())
    )
    return match.group().strip() if match is not None else ""


def wants_human(text: str) -> str:
    """Return the words of a plain text that ask for a person instead; empty where none do, or where they agree to one."""
    match = _WANTS_HUMAN.search(text) or _in_unspaced(_WANTS_HUMAN_UNSPACED, text)
    return match.group().strip() if match is not None and polarity(text) <= 0 else ""


def speaks_of_human(text: str) -> bool:
    """Return whether a plain text speaks of a person who could take over."""
    return _HUMAN.search(text) is not None or _in_unspaced(_HUMAN_UNSPACED, text) is not None


def asks_back(text: str) -> bool:
    """Return whether a plain text asks the user something; whether there is anything else is no question."""
    return any("?" in piece and not _ANYTHING_ELSE.search(piece) for piece in _SENTENCE.findall(text))


def says_no_answer(text: str) -> bool:
    """Return whether a plain text says that there is no answer, or that something failed."""
    return _NO_ANSWER.search(text) is not None or _in_unspaced(_NO_ANSWER_UNSPACED, text) is not None


def takes_back(text: str) -> str:
    """Return the words of a plain text in which a speaker takes back what it said before; empty where none do."""
    match = _TAKES_BACK.search(text) or _in_unspaced(_TAKES_BACK_UNSPACED, text)
    return match.group().strip() if match is not None else ""


def says_actually(text: str) -> bool:
    """Return whether a plain text says how something is in fact."""
    return _ACTUALLY.search(text) is not None


def sentences_with_figures(text: str) -> list[tuple[str, frozenset[str]]]:
    """Return the sentences of a text that hold figures, with these figures."""
    found = [(piece, frozenset(_FIGURE.findall(piece))) for piece in _SENTENCES.split(text)]
    return [(piece, figures) for piece, figures in found if figures]


def polarity(text: str) -> int:
    """Return 1 for a plain text that begins with a yes, -1 with a no, 0 for any other."""
    opening = text[:_OPENING_CHARACTERS]
    yes, no = _YES.match(opening), _NO.match(opening)
    return 1 if yes is not None else -1 if no is not None else 0


def is_thanks(text: str) -> bool:
    """Return whether the user says thanks or goodbye in a plain text."""
    return _THANKS.search(text) is not None


def is_question(text: str) -> bool:
    """Return whether a plain text asks: a question mark of any script, or the words that questions begin with."""
    return "?" in text or "؟" in text or text.endswith(("吗", "か。", "か")) or _ASKS.match(text) is not None
