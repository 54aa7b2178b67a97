"""Chat templates: the text that transformers writes, within limits of steps, time and memory."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from evenhand.engines import template_limits
from evenhand.engines.chat import ChatRenderer
from evenhand.engines.spec import parse_spec
from evenhand.engines.template import LONGEST_TEMPLATE, render_chat
from evenhand.engines.template_limits import TemplateTooLarge
from evenhand.engines.weights import find_organism, load_tokenizer
from evenhand.errors import EngineError
from evenhand.records import Message

CHATS = [
    [{"role": "user", "content": "Hi"}],
    [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": 'Why <b>\u00e4\u4e2d</b> & "so"?'}],
    [
        {"role": "user", "content": "One\n\ntwo "},
        {"role": "assistant", "content": "<think>hm</think>\nYes."},
        {"role": "user", "content": "{{ 1 }} {% raw %}"},
    ],
]
TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "system first": (
        "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content']|trim + '\n\n' %}"
        "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{{ bos_token }}"
        "{%- for m in messages -%}{% if loop.first and m.role == 'user' %}[INST] {{ system ~ m.content }} [/INST]"
        "{% elif m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m.content | trim }}{{ eos_token }}{% endif %}"
        "{%- endfor -%}"
    ),
    "namespaces and macros": (
        "{%- set ns = namespace(found=false, last=-1) -%}{%- macro turn(role, text='') -%}<{{ role|upper }}>{{ text }}"
        "</{{ role }}>{%- endmacro -%}{%- for m in messages[::-1] -%}{%- set index = (messages|length - 1) - loop.index0 -%}"
        "{%- if m.role == 'user' and not ns.found -%}{%- set ns.found = true -%}{%- set ns.last = index -%}{%- endif -%}"
        "{%- endfor -%}{{ ns.last }}\n{% for m in messages %}\n    {% if m.role == 'tool' %}{% continue %}{% endif %}"
        "{%- if '</think>' in m.content %}{{ turn(m.role, m.content.split('</think>')[-1].lstrip('\n')) }}"
        "{%- else %}{{ turn(role=m.role, text=m.content) }}{% endif %}\n{% endfor %}"
    ),
    "generation, json and loop controls": (
        "{{ messages | tojson(indent=2) }}{{ {'a': [1, 2.5, none, true], 'b': dict(x=1)} | tojson }}"
        "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{{ loop.cycle('a', 'b') }}{{ loop.length }}{% endfor %}{{ '%s-%03d' | format('x', 7) }}{{ '{:>5}'.format('y') }}"
        "{{ ['a', 'b'] | join(', ') }}{{ messages | map(attribute='role') | list }}{{ range(3) | list }}{{ 7 % 4 ** 1 }}"
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ undefined_name is defined }}{{ undefined_name }}"
        "{% set block %}{% filter upper %}x{% endfilter %}{% endset %}{{ block }}{{ (1, 2) }}{{ 'a' * 3 }}{{ [0] * 2 + [1] }}"
        "{{ ('a' if add_generation_prompt else 'b') ~ 1 ~ none }}{{ messages[0].items() | list }}{{ 'ab' | replace('a', 'c') }}"
        "{{ tools is none }}{{ 'x\ny' | indent(4, true) }}{{ '1' | int + 1 }}{{ messages[-1]['content'][:2] | e }}"
        "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% else %}none{% endfor %}{{ [3, 1, 2] | sort | first }}"
        "{% call(x) outer() %}{{ x }}{% endcall %}"
    ).replace("{% call", "{% macro outer() %}[{{ caller('z') }}]{% endmacro %}{% call"),
}
HOSTILE = {
    "endless loops": "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "text times a number": "{{ 'a' * 100000000000 }}",
    "list times a number": "{{ [1] * 10000000000 }}",
    "power": "{{ (10 ** 1000) ** 1000 }}",
    "doubling with ~": "{% set n = namespace(x='aa') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling with +": "{% set n = namespace(x='aa') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "nested lists": "{% set n = namespace(x=['a']) %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "nested mappings": (
        "{% set n = namespace(x={}) %}{% for i in range(99) %}{% set n.x = {'a': n.x, 'b': n.x} %}{% endfor %}{{ n.x|tojson }}"
    ),
    "a namespace in itself": "{% set n = namespace() %}{% set n.a = n %}{{ n }}",
    "center": "{{ 'a'.center(10000000000) }}",
    "center filter": "{{ 'a'|center(10000000000) }}",
    "zfill": "{{ '1'.zfill(10000000000) }}",
    "expandtabs": "{{ '\t'.expandtabs(10000000000) }}",
    "format filter": "{{ '%10000000000d'|format(1) }}",
    "percent": "{{ '%*d' % (10000000000, 1) }}",
    "format": "{{ '{:10000000000}'.format(1) }}",
    "nested format": "{{ '{:{}}'.format(1, 10000000000) }}",
    "format_map": "{{ '{a:{b}}'.format_map({'a': 1, 'b': 10000000000}) }}",
    "indent": "{{ 'a\nb'|indent(10000000000, true) }}",
    "json indent": "{{ [[1]]|tojson(indent=1000000000) }}",
    "batch": "{{ ['a']|batch(10000000000, 'x')|list }}",
    "slice": "{{ 'a'|slice(10000000000)|list }}",
    "output": "{% set x = 'a' * 1000000 %}{% for i in range(90000) %}{{ x }}{% endfor %}",
    "a macro's output": "{% macro m() %}{% for i in range(90000) %}{{ 'a' * 99999 }}{% endfor %}{% endmacro %}{{ m() }}",
    "a set block": "{% set x %}{% for i in range(90000) %}{{ 'a' * 99999 }}{% endfor %}{% endset %}",
    "replace": "{% set x = 'a' * 100000 %}{{ x.replace('', x) }}",
    "replace filter": "{% set x = 'a' * 100000 %}{{ x|replace('', x) }}",
    "join": "{% set x = 'a' * 1000000 %}{{ x.join(range(90000)|map('string')) }}",
    "join filter": "{% set x = 'a' * 1000000 %}{{ range(90000)|join(x) }}",
    "translate": "{% set x = 'a' * 100000 %}{{ x.translate({97: x}) }}",
    "bytes": "{{ (1).to_bytes(10000000000, 'big') }}",
    "round": "{{ 1|round(-1000000000) }}",
    "squares": "{% set n = namespace(x=7) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "recursion": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "recursive blocks": "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "too long": "x" * (LONGEST_TEMPLATE + 1),
    "deep expression": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("chat", CHATS, ids=len)
@pytest.mark.parametrize("prompted", [True, False])
def test_realistic_templates_are_written_as_transformers_writes_them(
    tokenizer: Any, name: str, chat: list[dict[str, str]], prompted: bool
) -> None:
    expected = tokenizer.apply_chat_template(
        chat, chat_template=TEMPLATES[name], tokenize=False, add_generation_prompt=prompted
    )
    written = render_chat(TEMPLATES[name], chat, add_generation_prompt=prompted, variables=tokenizer.special_tokens_map)
    assert written == expected
    assert len(written) > 5


@pytest.mark.parametrize("prompted", [True, False])
def test_the_shipped_organisms_template_is_written_as_transformers_writes_it(prompted: bool) -> None:
    tokenizer = load_tokenizer(find_organism(parse_spec("organism/aligned")))
    renderer = ChatRenderer(tokenizer, name="aligned")
    for chat in CHATS:
        expected = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompted)
        assert renderer.written(chat, add_generation_prompt=prompted) == expected


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_is_one_sentence(tiny: SimpleNamespace, name: str) -> None:
    renderer = ChatRenderer(tiny.make_tokenizer(HOSTILE[name]), name="tiny")
    with pytest.raises(EngineError, match="The chat template of tiny") as caught:
        renderer.prompts([(Message("user", "Hi"),)])
    assert "\n" not in str(caught.value)


def test_a_template_that_computes_for_long_ends_on_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "_SECONDS", 0.05)
    slow = "{% set a = range(90000)|list %}{% for i in range(90000) %}{% if -1 in a %}x{% endif %}{% endfor %}"
    found: list[str] = []

    def render() -> None:
        try:
            render_chat(slow, CHATS[0])
        except TemplateTooLarge as error:
            found.append(str(error))

    thread = threading.Thread(target=render)
    thread.start()
    thread.join(60)
    assert found == ["it runs longer than 0 seconds"]


def test_what_a_template_says_of_a_chat_is_kept(tiny: SimpleNamespace) -> None:
    renderer = ChatRenderer(tiny.make_tokenizer("{{ raise_exception('no system role here') }}"), name="tiny")
    with pytest.raises(EngineError, match="cannot take a chat of \\(user\\): no system role here"):
        renderer.prompts([(Message("user", "Hi"),)])


def test_the_sandbox_holds() -> None:
    for template in (
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ namespace(__init__=1) }}",
        "{% include 'other' %}",
    ):
        with pytest.raises(Exception, match=r"unsafe|safely|underscore|cannot hold|loader"):
            render_chat(template, CHATS[0])


def test_a_long_chat_is_not_refused() -> None:
    chat = [{"role": "user", "content": "word " * 40_000}, {"role": "assistant", "content": "\n" * 1000}] * 5
    for template in list(TEMPLATES.values())[:3]:
        assert len(render_chat(template, chat, variables={"bos_token": "", "eos_token": ""})) > 500_000
