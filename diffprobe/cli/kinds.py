"""`diffprobe kinds`."""

import dataclasses
from typing import Any

import click

from diffprobe.cli.options import json_option, options, print_json
from diffprobe.foundations import kinds
from diffprobe.foundations.settings import to_settings


@click.command()
@click.argument("role", required=False)
@click.argument("name", required=False)
@click.option("--markdown", is_flag=True, help="Print the table of the documentation.")
@options(json_option)
def command(role: str | None, name: str | None, markdown: bool, as_json: bool) -> None:
    """List what a configuration can choose by name, or the settings of one.

    ROLE is a section such as grammar, network or learning_rate; NAME one of its kinds. Kinds of
    packages that are installed beside diffprobe are listed with their package.
    """
    if name is not None and role is not None:
        _show(kinds.find(role, name), as_json)
        return
    found = {each: kinds.announced(each) for each in ([role] if role else kinds.ROOMS)}
    if markdown:
        click.echo(_table(list(found)))
    elif as_json:
        print_json({r: {n: k.summary for n, k in each.items()} for r, each in found.items()})
    else:
        width = max(len(n) for each in found.values() for n in each)
        for each, announced in found.items():
            if role is None:
                click.echo(click.style(each, bold=True))
            for kind in announced.values():
                click.echo(f"  {kind.name:{width}}  {kind.summary}")
        if role and (lent := [n for n in kinds.names(role) if n not in found[role]]):
            click.echo(f"  and by name: {', '.join(lent)}")


def _show(kind: Any, as_json: bool) -> None:
    defaults = _defaults(kind)
    if as_json:
        print_json({"role": kind.role, "name": kind.name, "settings": defaults})
        return
    click.echo(f"{kind.role}.name = {kind.name!r}\n\n{_text(kind)}\n")
    for key, value in defaults.items():
        click.echo(f"  {key} = {value!r}")


def _table(roles: list[str]) -> str:
    lines = []
    for role in roles:
        lines += [f"## {role}", "", "| name | what | settings and defaults |", "|---|---|---|"]
        for announced in kinds.announced(role).values():
            settings = ", ".join(f"`{k} = {v!r}`" for k, v in _defaults(announced.load()).items())
            cells = (f"`{announced.name}`", announced.summary, settings)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _defaults(kind: Any) -> dict[str, Any]:
    """The settings that a kind has if none is given; "required" where one must be."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = to_settings(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = to_settings(field.default_factory())
        else:
            found[field.name] = "required"
    return found


def _text(kind: Any) -> str:
    lines = (kind.__doc__ or "").strip().splitlines()
    return "\n".join(line.removeprefix("    ") for line in lines)
