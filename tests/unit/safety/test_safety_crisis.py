"""What the platform's own rules find, and what they leave alone."""

import pytest

from rolehost_api.crd.safety import Language
from rolehost_runtime.core.safety.crisis import PHRASES, crisis_words
from rolehost_runtime.core.safety.sieve import Sieve

FOUND = [
    ("en", "I want to kill myself"),
    ("en", "i keep thinking about suicide"),
    ("en", "Honestly, I don\u2019t want to live anymore."),
    ("en", "I just want to die"),
    ("en", "they would be better off without me"),
    ("en", "I\u200b want\nto  DIE"),
    ("en", "i'm suicidal"),
    ("zh", "我真的不知道怎么办，我不想活了"),
    ("zh", "有时候会有自杀的念头"),
    ("zh", "我想自殺"),
    ("zh", "我想结束自己的生命。"),
    ("es", "Ya no quiero vivir"),
    ("es", "A veces pienso en quitarme la vida."),
    ("es", "me quiero suicidar"),
    ("de", "Ich will nicht mehr leben."),
    ("de", "Ich werde mich umbringen"),
    ("de", "ICH MÖCHTE STERBEN"),
    ("de", "Ich mo\u0308chte sterben"),
    ("fr", "Je n’ai plus envie de vivre"),
    ("fr", "j'ai envie de me tuer"),
    ("fr", "je vais mettre fin à mes jours"),
    ("pt", "eu não quero mais viver"),
    ("it", "Non voglio più vivere"),
    ("ja", "もう死にたい"),
    ("ko", "정말 죽고 싶어요"),
    ("ru", "Я больше не хочу жить"),
    ("ar", "أفكر في الانتحار"),
]
LEFT = [
    "How do I kill a process that hangs?",
    "We have time to kill before the film",
    "Is Suicide Squad any good?",
    "Romeo and Juliet: why does she take her own life?",
    "I'm dying to see you",
    "I don't want to die in this dungeon, what now?",
    "I nearly killed myself laughing... no, wait, he killed himself laughing",
    "My phone died",
    "suicide prevention statistics, please",
    "The dragon wants to end my lifeline subscription",
    "我想死你了",
    "笑死我了",
    "自杀小队好看吗",
    "他在小说里自杀了",
    "这游戏难死了",
    "Me muero de hambre",
    "No quiero morir en este nivel",
    "¿De qué trata el libro El suicidio?",
    "Der Stress bringt mich noch um den Verstand",
    "Wie beende ich einen Prozess?",
    "Das Spiel macht mich fertig",
    "Je meurs de faim",
    "Ça va me tuer de rire",
    "tuer le temps",
    "não quero morrer nessa fase",
    "non voglio morire in questo livello",
    "死にたくない",
    "배고파 죽겠다",
    "죽고 싶지 않아",
    "Я умираю со смеху",
    "",
]


def language(text: str) -> str | None:
    sieve = Sieve(crisis_words())
    sieve.feed(text)
    sieve.finish()
    return sieve.blocked.language if sieve.blocked is not None else None


@pytest.mark.parametrize(("spoken", "text"), FOUND)
def test_a_wish_to_die_is_found_in_its_language(spoken: str, text: str) -> None:
    assert language(text) == spoken


@pytest.mark.parametrize("text", LEFT)
def test_what_only_sounds_like_it_is_left_alone(text: str) -> None:
    assert language(text) is None


def test_every_language_is_looked_at() -> None:
    assert {spoken for spoken, _ in FOUND} == set(PHRASES) == {one.value for one in Language}


@pytest.mark.parametrize(
    ("spoken", "phrase"), [(spoken, phrase) for spoken, phrases in PHRASES.items() for phrase in phrases]
)
def test_every_phrase_can_be_found(spoken: str, phrase: str) -> None:
    assert language(f"… {phrase}.") is not None
