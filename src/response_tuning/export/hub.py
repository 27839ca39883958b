"""Upload an export to the Hugging Face hub."""

from pathlib import Path

from response_tuning.support.errors import UserError

__all__ = ["push_to_hub", "require_token"]


def require_token() -> None:
    """Require an access token, before an hour of work that cannot be uploaded.

    Raises:
        UserError: there is none.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError(
            "Uploading needs an access token of the Hugging Face hub with write permission: run `hf auth login`, "
            "or set HF_TOKEN. Create one at https://huggingface.co/settings/tokens"
        )


def push_to_hub(folder: Path, repository: str, *, public: bool) -> str:
    """Upload every file of ``folder``; the repository is created if necessary. Returns its address.

    Raises:
        UserError: there is no token, it has no write permission there, or the hub is unreachable.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    require_token()
    client = HfApi()
    try:
        address = client.create_repo(repository, exist_ok=True, private=not public)
        client.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export of a response-tuning run")
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(
            f"The export is finished in {folder}, but could not be uploaded to {repository}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    return str(address)
