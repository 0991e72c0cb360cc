"""``parley completion``."""

import click

from parley.cli.command import command


@command(
    "completion",
    "Print a shell's completion script.",
    "source <(parley completion bash)",
    "parley completion zsh > ~/.zfunc/_parley",
    "parley completion fish > ~/.config/fish/completions/parley.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the script that lets a shell complete commands, options and the names of your objects."""
    from click.shell_completion import get_completion_class

    from parley.cli.main import cli

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(made(cli, {}, "parley", "_PARLEY_COMPLETE").source())
