"""``rt completion SHELL``: a script that completes commands, options and choices.

The words are written into the script, so that a press of the tab key starts no Python.
"""

import shlex
from collections.abc import Mapping
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict

from response_tuning.cli.command import Command
from response_tuning.cli.described import described_options

__all__ = ["CompletionConfig", "Listing", "completion_script"]

Listing = Mapping[str, Mapping[str, Command]]
"""Groups of commands by name; those of one word are in the group ""."""

_ANYWHERE = ("--config", "--threads", "--quiet", "--verbose", "--debug", "--help")


class CompletionConfig(BaseModel):
    """Print a script that completes commands, options and their choices in a shell.

    Run it again after an update, since the words are in the script.

    For example:
        rt completion bash > ~/.local/share/bash-completion/completions/rt
        rt completion zsh > ~/.zsh/completions/_rt
        rt completion fish > ~/.config/fish/completions/rt.fish
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional]
    """The shell."""


def completion_script(shell: Literal["bash", "zsh", "fish"], listing: Listing) -> str:
    """The script for a shell that completes the commands of ``listing``."""
    if shell == "fish":
        return _fish(listing)
    script = _bash(listing)
    return (
        script
        if shell == "bash"
        else f"#compdef rt response-tuning\nautoload -U bashcompinit && bashcompinit\n{script}"
    )


def _words(listing: Listing) -> dict[str, list[str]]:
    """What may follow each beginning of a command line: commands, then options; the choices after an option."""
    words = {"": [*listing[""], *filter(None, listing), "--version", "--help"]}
    for group, commands in listing.items():
        if group:
            words[group] = [*(name for name in commands if name != group), "--help"]
        for name, command in commands.items():
            full = f"{group} {name}".strip() if name != group else group
            options = [option for option in described_options(command.config_type) if not option.is_positional]
            words[full] = [*words.get(full, []), *(option.name for option in options), *_ANYWHERE]
            words |= {f"{full} {option.name}": list(option.choices) for option in options if option.choices}
    return words


def _bash(listing: Listing) -> str:
    cases = "\n".join(
        f"        {shlex.quote(beginning)}) words={shlex.quote(' '.join(words))} ;;"
        for beginning, words in _words(listing).items()
    )
    groups = "|".join(filter(None, listing))
    return f"""_rt() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" line="" words="" key
    if [ "$COMP_CWORD" -gt 1 ]; then
        line="${{COMP_WORDS[1]}}"
        case "$line" in {groups}) [ "$COMP_CWORD" -gt 2 ] && line="$line ${{COMP_WORDS[2]}}" ;; esac
    fi
    key="$line"
    case "$before" in --*) key="$line $before" ;; esac
    case "$key" in
{cases}
        *) words="" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _rt rt response-tuning
"""


def _fish(listing: Listing) -> str:
    lines = ["complete -c rt -n __fish_use_subcommand -a " + shlex.quote(" ".join(_words(listing)[""]))]
    for group, commands in listing.items():
        if group:
            names = shlex.quote(" ".join(commands))
            lines.append(f"complete -c rt -n '__fish_seen_subcommand_from {group}' -a {names}")
        for name, command in commands.items():
            for option in described_options(command.config_type):
                if not option.is_positional:
                    seen = f"__fish_seen_subcommand_from {name}"
                    choices = f" -xa {shlex.quote(' '.join(option.choices))}" if option.choices else ""
                    lines.append(f"complete -c rt -n '{seen}' -l {option.name.removeprefix('--')}{choices}")
    return "\n".join([*lines, ""])
