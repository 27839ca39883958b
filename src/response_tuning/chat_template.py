"""The Jinja chat template that is saved with a model, so that any server renders the prompts that it was trained after.

Three things make it more than the text around turns:

- a mark, by which the chat format of an export or an adapter is recognised when it is loaded again;
- a prologue that reads messages as the data reader does: parts of a content are joined, a system message is put in
  front of the next user turn, neighbouring messages of one side are one turn. What the reader refuses raises;
- a fixed date in place of today's, where a model's own template prints it: prompts must not depend on the day.
"""

import re

from response_tuning.support.errors import UserError

__all__ = ["FIXED_DATE", "has_system_role", "marked", "read_mark", "with_fixed_date"]

FIXED_DATE = "2024-07-26"
"""The date that templates of Llama 3 print where there is no clock."""

_MARK = re.compile(r"\{#- response-tuning: format ([\w-]+), prefix (\w+)(, system role)? -#\}")
_CLOCK = re.compile(r"strftime_now\(\s*(?P<quote>['\"])(?P<format>.*?)(?P=quote)\s*\)")
_CLOCK_EXISTS = re.compile(r"strftime_now\s+is\s+(not\s+)?defined")

_PROLOGUE = """
{%- set ns = namespace(turns=[], system='', text='', role='', joined='') -%}
{%- if tools -%}{{ raise_exception('This chat format has no tools.') }}{%- endif -%}
{%- for message in messages -%}
  {%- set ns.text = '' -%}
  {%- if message['content'] is string -%}
    {%- set ns.text = message['content'] -%}
  {%- elif message['content'] -%}
    {%- for part in message['content'] -%}
      {%- if part is string -%}
        {%- set ns.text = ns.text + part -%}
      {%- elif part['type'] in ['text', 'input_text', 'output_text'] -%}
        {%- set ns.text = ns.text + part['text'] -%}
      {%- elif part['type'] not in ['thinking', 'reasoning', 'redacted_thinking'] -%}
        {{ raise_exception('This chat format takes text alone, and a part of a message is something else.') }}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {%- set ns.role = message['role'] -%}
  {%- if message['tool_calls'] or ns.role not in ['system', 'developer', 'user', 'assistant'] -%}
    {{ raise_exception('This chat format knows the roles system, user and assistant alone, and no tools.') }}
  {%- endif -%}
  {%- if ns.role in ['system', 'developer'] -%}
    {%- set ns.system = ns.system + ns.text + '\\n\\n' -%}
  {%- else -%}
    {%- if ns.role == 'user' -%}
      {%- set ns.text = ns.system + ns.text -%}
    {%- elif ns.system -%}
      SYSTEM_TURN
    {%- endif -%}
    {%- set ns.system = '' -%}
    {%- if ns.turns and ns.turns[-1]['role'] == ns.role -%}
      {%- set ns.joined = ns.turns[-1]['content'] -%}
      {%- if ns.joined and ns.text -%}{%- set ns.joined = ns.joined + '\\n\\n' -%}{%- endif -%}
      {%- set ns.turns = ns.turns[:-1] + [{'role': ns.role, 'content': ns.joined + ns.text}] -%}
    {%- else -%}
      {%- set ns.turns = ns.turns + [{'role': ns.role, 'content': ns.text}] -%}
    {%- endif -%}
  {%- endif -%}
{%- endfor -%}
{%- if ns.system and add_generation_prompt -%}
  SYSTEM_TURN
{%- endif -%}
{%- set ns.stripped = [] -%}
{%- for turn in ns.turns -%}
  {%- set ns.stripped = ns.stripped + [{'role': turn['role'], 'content': turn['content'] | trim}] -%}
{%- endfor -%}
{%- set messages = ns.stripped -%}
""".replace(
    "SYSTEM_TURN",  # a system message before a response and not before a user turn
    """{%- set ns.joined = ns.system[:-2] -%}
      {%- if ns.turns and ns.turns[-1]['role'] == 'user' -%}
        {%- if ns.turns[-1]['content'] -%}
          {%- set ns.joined = ns.turns[-1]['content'] + '\\n\\n' + ns.joined -%}
        {%- endif -%}
        {%- set ns.turns = ns.turns[:-1] -%}
      {%- endif -%}
      {%- set ns.turns = ns.turns + [{'role': 'user', 'content': ns.joined}] -%}""",
)


_SYSTEM_BRANCH = "{%- set ns.system = ns.system + ns.text + '\\n\\n' -%}"
_MESSAGES = "{%- set messages = ns.stripped -%}"


def _with_system_role(prologue: str) -> str:
    """The prologue where system messages before the first turn keep their role, joined to one."""
    leading = "{%- set ns.lead = ns.lead + ns.text + '\\n\\n' -%}"
    lead = "([{'role': 'system', 'content': ns.lead | trim}] if ns.lead else [])"
    for old, new in (
        ("joined='')", "joined='', lead='')"),
        (_SYSTEM_BRANCH, f"{{%- if ns.turns -%}}{_SYSTEM_BRANCH}{{%- else -%}}{leading}{{%- endif -%}}"),
        (_MESSAGES, f"{{%- set messages = {lead} + ns.stripped -%}}"),
    ):
        assert prologue.count(old) == 1
        prologue = prologue.replace(old, new)
    return prologue


def marked(template: str, *, format_name: str, prefix: str, system_role: bool = False) -> str:
    """A template for plain turns as it is saved: with the mark and the prologue. One that has them gets a new mark.

    Args:
        template: renders user and assistant turns in ``messages``, and the header for ``add_generation_prompt``.
        format_name: the chat format.
        prefix: what response tuning trains responses after.
        system_role: whether system messages before the first turn keep their role; the template has to render it.
    """
    role = ", system role" if system_role else ""
    mark = f"{{#- response-tuning: format {format_name}, prefix {prefix}{role} -#}}"
    if _MARK.match(template):
        return _MARK.sub(mark, template, count=1)
    prologue = re.sub(r"\n *", "", _PROLOGUE)
    return mark + (_with_system_role(prologue) if system_role else prologue) + template


def has_system_role(template: object) -> bool:
    """Whether a saved template is marked as one that keeps the role of system messages."""
    found = _MARK.match(template) if isinstance(template, str) else None
    return found is not None and found[3] is not None


def read_mark(template: object) -> tuple[str, str] | None:
    """The chat format and the prefix that a saved template is marked with; None of any other template."""
    found = _MARK.match(template) if isinstance(template, str) else None
    return (found[1], found[2]) if found else None


def with_fixed_date(template: str) -> str:
    """``template`` with ``FIXED_DATE`` wherever it would print today's date.

    Raises:
        UserError: it prints the date in a way that cannot be replaced.
    """
    from datetime import datetime

    date = datetime.fromisoformat(FIXED_DATE)
    fixed = _CLOCK.sub(lambda call: repr(date.strftime(call["format"])), template)
    fixed = _CLOCK_EXISTS.sub(lambda test: "false" if test[1] else "true", fixed)
    if "strftime_now" in fixed:
        raise UserError(
            "The model's own chat template prints today's date, so the prompts of tomorrow would differ from those of "
            "training. Choose a format by name, such as chatml or tulu."
        )
    return fixed
