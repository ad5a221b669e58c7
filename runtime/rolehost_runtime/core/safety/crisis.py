"""The platform's own words for somebody in danger of harming themselves, by language.

Phrases of the first person that say an intent or a wish, for a false alarm takes the conversation away from somebody: not
`suicide`, which is in films and the news, not what is said laughing. They do not find everything that is meant so; a
Role that must, asks a model too. What they find and what they leave alone is a table in their tests.
"""

from functools import cache

from rolehost_runtime.core.safety.guards import PLATFORM
from rolehost_runtime.core.safety.words import Words, word

CATEGORY = "SelfHarm"

PHRASES = {
    "en": (
        "kill myself", "killing myself", "i want to die", "i wanna die", "i just want to die", "i really want to die",
        "end my life", "ending my life", "end my own life", "take my own life", "taking my own life",
        "want to commit suicide", "going to commit suicide", "will commit suicide", "thinking about suicide",
        "thinking of suicide", "i am suicidal", "i'm suicidal", "im suicidal", "feel suicidal", "feeling suicidal",
        "don't want to live anymore", "dont want to live anymore", "don't want to be alive", "dont want to be alive",
        "do not want to live anymore", "don't want to live any more", "want to hurt myself", "want to harm myself",
        "hurting myself", "harming myself", "want to cut myself", "i cut myself on purpose", "better off without me",
        "no reason to live",
    ),
    "zh": (
        "我不想活了", "我不想活", "不想再活下去", "不想活下去", "我想自杀", "我要自杀", "想要自杀", "自杀的念头",
        "结束自己的生命", "结束我的生命", "我想去死", "我想一死了之", "想伤害自己", "想自残", "我想自殺", "我要自殺", "自殺的念頭",
        "結束自己的生命", "結束我的生命", "想傷害自己",
    ),
    "es": (
        "quiero matarme", "voy a matarme", "me voy a matar", "me quiero matar", "quiero suicidarme", "voy a suicidarme",
        "me voy a suicidar", "me quiero suicidar", "pensando en suicidarme", "quitarme la vida", "acabar con mi vida",
        "ya no quiero vivir", "no quiero seguir viviendo", "no quiero vivir más", "no quiero vivir mas",
        "quiero hacerme daño", "quiero morirme",
    ),
    "de": (
        "will mich umbringen", "möchte mich umbringen", "werde mich umbringen", "bringe mich um", "bring mich um",
        "mir das leben nehmen", "ich will sterben", "ich möchte sterben", "ich will nicht mehr leben",
        "ich möchte nicht mehr leben", "will nicht mehr leben", "selbstmordgedanken", "suizidgedanken",
        "will mich selbst verletzen", "mich selbst zu verletzen", "mich zu ritzen",
    ),
    "fr": (
        "me suicider", "veux me tuer", "vais me tuer", "envie de me tuer", "je veux mourir", "j'ai envie de mourir",
        "je ne veux plus vivre", "je veux plus vivre", "j'ai plus envie de vivre", "je n'ai plus envie de vivre",
        "mettre fin à mes jours", "mettre fin a mes jours", "en finir avec la vie", "veux me faire du mal",
        "envie de me faire du mal", "pensées suicidaires", "idées suicidaires",
    ),
    "pt": (
        "quero me matar", "vou me matar", "tirar minha vida", "tirar a minha vida", "acabar com a minha vida",
        "acabar com minha vida", "não quero mais viver", "nao quero mais viver", "quero me suicidar", "vou me suicidar",
        "só quero morrer", "eu quero morrer",
    ),
    "it": (
        "voglio uccidermi", "voglio suicidarmi", "voglio ammazzarmi", "togliermi la vita", "non voglio più vivere",
        "non voglio piu vivere", "voglio solo morire", "voglio farmi del male",
    ),
    "ja": ("死にたい", "自殺したい", "自殺しようと", "生きていたくない", "もう生きたくない", "自分を傷つけたい"),
    "ko": ("죽고 싶어", "죽고 싶다", "죽고싶어", "죽고싶다", "자살하고 싶", "자살하고싶", "살고 싶지 않아", "살고싶지 않아"),
    "ru": (
        "хочу умереть", "не хочу жить", "не хочу больше жить", "покончить с собой", "покончу с собой", "убить себя",
        "убью себя", "покончить жизнь самоубийством",
    ),
    "ar": ("أريد الانتحار", "أفكر في الانتحار", "سأقتل نفسي", "أريد أن أقتل نفسي", "لا أريد أن أعيش"),
}  # fmt: skip


@cache
def crisis_words() -> Words:
    """All of them, ready to be found."""
    found = (
        word(phrase, guard=PLATFORM, category=CATEGORY, action="block", language=language)
        for language, phrases in PHRASES.items()
        for phrase in phrases
    )
    return Words(one for one in found if one is not None)
