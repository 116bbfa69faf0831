"""`diffprobe push`."""

from pathlib import Path

import click

from diffprobe.cli import options as opt
from diffprobe.foundations.errors import NotFoundError


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="Make a new repository that nobody else sees.")
@click.option(
    "--revision", metavar="BRANCH", help="Branch to push to, made if need be.  [default: main]"
)
@click.option(
    "--licence",
    default="",
    metavar="ID",
    help="Licence of the weights as the Hub calls it, such as mit.  [default: none is stated]",
)
@click.option(
    "--out",
    type=opt.PATH,
    metavar="FOLDER",
    help="Where to lay out what is pushed.  [default: hub/ in the run folder]",
)
@click.option("--dry-run", is_flag=True, help="Write the folder, say where, and push nothing.")
@opt.options(opt.json_option)
def command(
    run: str,
    repository: str,
    private: bool,
    revision: str | None,
    licence: str,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put a run on the Hub, with a model card made from its records.

    RUN is a run folder (its latest checkpoint) or a checkpoint folder. What is pushed is a run
    folder with that checkpoint, the headline numbers of its report and its probes, figures, and
    the card: diffprobe probe hub:OWNER/NAME opens it as a run again. The token is found as
    huggingface_hub does: hf auth login, or HF_TOKEN.

    \b
    diffprobe sample RUN && diffprobe report RUN && diffprobe probe RUN
    diffprobe push RUN owner/name --dry-run         look at README.md first
    diffprobe push RUN owner/name --licence mit
    """
    from diffprobe.models.checkpoint_folder import find_checkpoint
    from diffprobe.training.run_folder import run_of_checkpoint

    found = find_checkpoint(opt.own_run(run))
    folder = run_of_checkpoint(found.path)
    if folder is None:
        raise NotFoundError(f"{run} is not part of a run folder of diffprobe train")

    from diffprobe.sharing import Card, check_repository, lay_out, push

    repository = check_repository(repository)
    opt.begin(f"laying out {found.path}")
    opt.show_warnings()
    target = out or folder.path / "hub"
    card = Card.of(folder, found, repository.partition("/")[2], licence)
    address = f"hub:{repository}" + (f"@{revision}" if revision else "")
    lay_out(folder, found, card, address, target)
    if card.report is None:
        click.echo(
            f"no report on its samples: diffprobe sample {run}; diffprobe report {run}", err=True
        )
    if card.story is None:
        click.echo(f"not probed: diffprobe probe {run}", err=True)
    elif card.story.ldr is None or card.story.gamma is None:
        missing = "LDR" if card.story.ldr is None else "gamma"
        click.echo(f"no {missing} was measured: diffprobe probe {run}", err=True)
    url = None if dry_run else push(target, repository, revision=revision, private=private)
    if as_json:
        opt.print_json({"folder": str(target), "card": str(target / "README.md"), "commit": url})
        return
    click.echo(f"folder  {target}")
    click.echo(f"card    {target}/README.md")
    if url is not None:
        click.echo(f"commit  {url}")
        click.echo(f"probe   diffprobe probe {address}")
