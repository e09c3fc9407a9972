"""``mosaicfs completion SHELL``: the script that teaches a shell our commands."""

from __future__ import annotations

import click

from mosaicfs_core.hooks.context import CommandContext


def register(cli: click.Group, context: CommandContext) -> None:
    """Add ``completion``."""

    @cli.command("completion", short_help="Print the completion script of a shell.")
    @click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
    def completion(shell: str) -> None:
        """Print the completion script of a shell.

        \b
        bash: mosaicfs completion bash > ~/.local/share/bash-completion/completions/mosaicfs
        zsh:  mosaicfs completion zsh > "${fpath[1]}/_mosaicfs"
        fish: mosaicfs completion fish > ~/.config/fish/completions/mosaicfs.fish
        """
        from click.shell_completion import get_completion_class

        from mosaicfs_core.cli.main import cli as root

        kind = get_completion_class(shell)
        if kind is None:
            raise click.ClickException(f"click knows no completion for {shell}")
        click.echo(kind(root, {}, "mosaicfs", "_MOSAICFS_COMPLETE").source())
