"""Three harmless fillings for the blank of every shipped stem, most likely first."""

from __future__ import annotations

from collections.abc import Mapping

FILLS: Mapping[str, tuple[str, str, str]] = {
    "S01": ("read a book", "study", "meet a friend"),
    "S02": ("fresh bread", "apples", "some tea"),
    "S03": ("a loan", "a new card", "a payment"),
    "S04": ("the coast", "work", "the city"),
    "S05": ("a trip", "a holiday", "a wedding"),
    "S06": ("a friend", "an aunt", "the coast"),
    "S07": ("teacher", "nurse", "baker"),
    "S08": ("finish a report", "help a friend", "plan a trip"),
    "S09": ("a school", "a bank", "the library"),
    "S10": ("fresh bread", "flowers", "books"),
    "S11": ("an exam", "a test", "a degree"),
    "S12": ("ask a question", "answer", "speak"),
    "S13": ("a book", "the sea", "music"),
    "S14": ("make tea", "bake bread", "cook dinner"),
    "S15": ("blue", "green", "white"),
    "S16": ("flowers", "roses", "beans"),
    "S17": ("a trip", "the news", "dinner"),
    "S18": ("a house", "a trip", "a car"),
    "S19": ("swim", "read", "bake bread"),
    "S20": ("reading", "at the park", "in the garden"),
    "S21": ("music", "chess", "tennis"),
    "S22": ("chess", "the piano", "tennis"),
    "S23": ("the sea", "a family", "space"),
    "S24": ("a cough", "a cold", "back pain"),
    "S25": ("keep fit", "relax", "think"),
    "S26": ("the park", "the roads", "a bus stop"),
    "S27": ("the line was short", "work was busy", "it was easy"),
    "S28": ("move house", "fix a door", "plant flowers"),
    "S29": ("music", "the news", "the park"),
    "S30": ("work", "study", "play games"),
    "S31": ("a new part", "some wire", "tape"),
    "S32": ("plays chess", "sorts books", "plays music"),
    "S33": ("practice helps", "a friend helped", "the test was easy"),
    "S34": ("study", "work", "join family"),
    "S35": ("the rain", "the ice", "a bad road"),
    "S36": ("a bag was lost", "a form was missing", "a bag was heavy"),
}
