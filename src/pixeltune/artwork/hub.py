"""The Hugging Face hub, as artworks need it: what a repository holds, files down, one commit up.

Everything that goes wrong is a `HubError`, one line with the remedy. The first question of each way is asked
once and answered within seconds, or the hub cannot be reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixeltune.artwork.folder import ARTWORK, CARD, CONFIG, WEIGHTS
from pixeltune.artwork.hub_errors import HubError, Unreachable, explained, quiet
from pixeltune.artwork.png import MAX_FILE_BYTES
from pixeltune.asking import SECONDS, within_seconds
from pixeltune.errors import UserError
from pixeltune.version import __version__

FILES = {ARTWORK: MAX_FILE_BYTES, CARD: 2**20, CONFIG: 2**20, WEIGHTS: 2**30}
"""What a repository holds of an artwork, and how many bytes each may have."""
OF_THE_HUB = {".gitattributes"}  # which it lays into each new repository


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at one commit."""

    name: str
    commit: str
    sizes: dict[str, int]  # bytes of its files by their paths
    private: bool


@dataclass(frozen=True)
class Download:
    """The PNG of a repository in the hub's cache, not yet verified.

    `stale`: why the hub was not asked whether it is the newest; None where it was.
    """

    path: Path
    commit: str
    stale: str | None = None

    def png(self) -> bytes:
        """What is in the file, at most a byte more than an artwork may have."""
        with self.path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)


class Hub:
    """The hub that huggingface_hub is set up for (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_CACHE`).

    Args:
        token: None: of the environment, or of ``hf auth login``.

    Raises:
        UserError: huggingface_hub is not installed.
    """

    def __init__(self, token: str | None = None) -> None:
        try:
            from huggingface_hub import HfApi
        except ImportError:
            raise UserError("the huggingface_hub package is missing: pip install huggingface_hub") from None
        self.api = HfApi(token=token, library_name="pixeltune", library_version=__version__)

    def look(self, name: str, revision: str | None = None) -> Repository:
        """A repository at a branch, tag or commit, as the hub tells it now.

        Raises:
            HubError: there is none, it may not be seen, or the hub does not answer.
        """
        with explained(f"{name}: cannot read it", revision):
            return self._look(name, revision)

    def download(self, repository: Repository, file: str, revision: str | None = None) -> Path:
        """One of `FILES`, in the hub's cache.

        Args:
            repository: that was looked at.
            file: its name.
            revision: branch or tag under which the cache remembers it as the newest. None: none, and exactly what
                was looked at.

        Raises:
            HubError: it is not there, larger than it may be, or cannot be had.
        """
        size = repository.sizes.get(file)
        if size is None:
            raise HubError(f"{repository.name} is no artwork, it has no {file}: check the name")
        with explained(f"{repository.name}: cannot download {file}", repository.commit), quiet():
            if size <= FILES[file]:
                at = revision or repository.commit
                path = Path(self.api.hf_hub_download(repository.name, file, revision=at))
                size = path.stat().st_size
        if size > FILES[file]:
            raise HubError(
                f"{repository.name} is no artwork: its {file} has {size:,} bytes, and none has more than "
                f"{FILES[file]:,}. Check the name"
            )
        return path

    def picture(self, name: str, revision: str | None = None) -> Download:
        """The PNG of a repository; where the hub cannot be reached, as it was downloaded the last time.

        Raises:
            HubError: neither the hub nor the cache gives it.
        """
        try:
            repository = self.look(name, revision)
            path = self.download(repository, ARTWORK, revision or "main")
            return Download(path, path.parent.name)  # the commit, of which the cache makes a folder
        except Unreachable as error:
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(name, ARTWORK, revision=revision)
            if not isinstance(cached, str):
                raise
            return Download(Path(cached), Path(cached).parent.name, str(error))

    def collection(self, slug: str) -> list[tuple[str, str]]:
        """(kind, name) of what a collection lists, in its order; ``("model", "you/calls")`` of a repository.

        Raises:
            HubError: there is no such collection, or the hub does not answer.
        """
        with explained(f"collection {slug}: cannot read it"):
            listed = within_seconds(lambda: self.api.get_collection(slug), SECONDS)
            return [(item.item_type, item.item_id) for item in listed.items]

    def commit(
        self,
        name: str,
        files: Mapping[str, bytes | Path],
        *,
        message: str,
        private: bool | None = None,
        revision: str | None = None,
    ) -> str:
        """Make the repository, or the branch, where there is none, and put the files there in one commit.

        What it holds of another artwork's adapter goes in the same commit.

        Args:
            name: "owner/name", or a name alone of the user's own.
            files: by their names, of `FILES`.
            message: of the commit.
            private: of a repository that is made; None: what is usual for its owner.
            revision: the branch; None: main.

        Returns:
            The address of the commit.

        Raises:
            HubError: there is no token, the repository is another thing's, or the hub refuses.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with explained(f"{name}: cannot push", revision), quiet():
            user = within_seconds(self.api.whoami, SECONDS)  # a bad token is found before anything is made
            name = name if "/" in name else f"{user['name']}/{name}"
            head = self._make(name, private, revision)
            held = head.sizes.keys()
            strange = sorted(held - FILES.keys() - OF_THE_HUB)
            if strange and ARTWORK not in held:
                raise HubError(
                    f"{name} is there already and no artwork, it holds {', '.join(strange[:3])}: push to another name"
                )
            operations: list[Any] = [
                CommitOperationAdd(path_in_repo=file, path_or_fileobj=content)
                for file, content in files.items()
            ]
            gone = [file for file in (CONFIG, WEIGHTS) if file in held and file not in files]
            operations += [CommitOperationDelete(path_in_repo=file) for file in gone]
            done = self.api.create_commit(
                name, operations, commit_message=message, revision=revision, parent_commit=head.commit
            )
        return str(done.commit_url)

    def _make(self, name: str, private: bool | None, revision: str | None) -> Repository:
        """The repository at the branch, both of which are made where they are missing."""
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

        try:
            found = self._look(name)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            self.api.create_repo(name, private=private, exist_ok=True)
            found = self._look(name)
        if private and not found.private:
            raise HubError(
                f"{name} is there already, for everybody to see: make it private in its settings on the hub, "
                "or push to another name"
            )
        if revision is None:
            return found
        try:
            return self._look(name, revision)
        except RevisionNotFoundError:
            self.api.create_branch(name, branch=revision)
            return self._look(name, revision)

    def _look(self, name: str, revision: str | None = None) -> Repository:
        found = within_seconds(
            lambda: self.api.model_info(name, revision=revision, files_metadata=True, timeout=SECONDS),
            SECONDS,
        )
        sizes = {file.rfilename: file.size or 0 for file in found.siblings or []}
        return Repository(name, str(found.sha), sizes, bool(found.private))
