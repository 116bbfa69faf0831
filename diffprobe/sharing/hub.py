"""The Hub: a folder that is handed on becomes a repository, from which `hub:owner/name` reads."""

import re
from pathlib import Path
from typing import Any

from diffprobe.foundations.errors import HubError, UsageError, first_line
from diffprobe.models.named import REPOSITORY

# What is there from an earlier push, and not in this one.
REPLACED = ["checkpoints/*", "probes/*", "report/*"]

REFUSALS = {
    401: "the Hub does not know this token: hf auth login, or another HF_TOKEN",
    403: "this token may not write there: it needs the right to write to that owner's repositories",
}


def check_repository(name: str) -> str:
    """Return the name of a repository, if it is one.

    Raises:
        UsageError: If it is not of the form owner/name, or the Hub takes no such name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    plain = name.removeprefix("hub:")
    if not re.fullmatch(REPOSITORY, plain):
        raise UsageError(f"{name!r} is no name of a repository; write owner/name")
    try:
        validate_repo_id(plain)
    except HFValidationError as error:
        raise UsageError(f"the Hub takes no such name: {first_line(error)}") from error
    return plain


def push(
    folder: Path, repository: str, *, revision: str | None = None, private: bool = False
) -> str:
    """Put a folder into a repository, which is made if it is not there.

    What is there already is not sent again, so that an interrupted call can be repeated.

    Args:
        folder: As `lay_out` writes it.
        repository: `owner/name`.
        revision: A branch, made if it is not there; by default the main one.
        private: Whether a new repository is seen by nobody else.

    Returns:
        Address of the commit.

    Raises:
        UsageError: If there is no token.
        HubError: If the Hub refuses it, or cannot be reached.
    """
    import huggingface_hub

    if huggingface_hub.get_token() is None:
        raise UsageError(
            "there is no token for the Hub: hf auth login, or HF_TOKEN; --dry-run needs none"
        )
    api: Any = huggingface_hub.HfApi(library_name="diffprobe")
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            revision=revision,
            commit_message="A run of diffprobe",
            delete_patterns=REPLACED,
        )
    # Which errors there are differs between versions of huggingface_hub, by its HTTP library.
    except Exception as error:
        raise HubError(_why(repository, error)) from error
    return str(commit.commit_url)


def _why(repository: str, error: BaseException) -> str:
    first: BaseException = error
    while error.__cause__ is not None and not hasattr(error, "response"):
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None:
        return (
            f"the Hub cannot be reached, or the way to it broke ({first_line(first)}); the same "
            "command goes on"
        )
    why = REFUSALS.get(status) or getattr(error, "server_message", None) or first_line(error)
    return f"{repository} was refused: {why}"
