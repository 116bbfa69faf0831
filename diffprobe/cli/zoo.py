"""`diffprobe zoo`."""

import click

from diffprobe import zoo
from diffprobe.cli.options import json_option, options, print_json


@click.command()
@click.argument("name", required=False)
@options(json_option)
def command(name: str | None, as_json: bool) -> None:
    """List the small checkpoints that are shipped, or print the card of the one called NAME.

    A command that takes a run takes zoo:NAME: diffprobe probe zoo:parity-transformer. What it
    makes lies in runs/zoo/NAME, beside a copy of the run.
    """
    if name is not None:
        name = name.removeprefix(zoo.PREFIX)
        folder = zoo.folder_of(name)
        if as_json:
            about = {"name": name, "summary": zoo.summary_of(name), "folder": str(folder)}
            print_json({**about, "card": zoo.card_of(name)})
        else:
            click.echo(zoo.card_of(name), nl=False)
        return
    summaries = {each: zoo.summary_of(each) for each in zoo.names()}
    if as_json:
        print_json(summaries)
        return
    width = max(map(len, summaries))
    for each, summary in summaries.items():
        click.echo(f"{zoo.PREFIX}{each:{width}}  {summary}")
