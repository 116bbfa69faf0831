"""`diffprobe presets`."""

import click

from diffprobe.cli.options import json_option, options, print_json
from diffprobe.config import from_settings, to_toml
from diffprobe.foundations.settings import to_settings
from diffprobe.resolution import preset_names, preset_summary, read_preset


@click.command()
@click.argument("name", required=False)
@options(json_option)
def command(name: str | None, as_json: bool) -> None:
    """List the shipped configurations, or print the one called NAME as TOML."""
    if name is not None:
        config = from_settings(read_preset(name))
        if as_json:
            print_json(to_settings(config))
        else:
            click.echo(to_toml(config))
        return
    summaries = {preset: preset_summary(preset) for preset in preset_names()}
    if as_json:
        print_json(summaries)
        return
    width = max(map(len, summaries))
    for preset, summary in summaries.items():
        click.echo(f"{preset:{width}}  {summary}")
