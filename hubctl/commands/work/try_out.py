"""Trying an adapter: its answer and the base's, as they are written; for a mixture also which expert served a token."""

import sys
from typing import Any

import click

from hubctl.corpus import plain_text
from hubctl.options.common import connect, json_option, need_token, url_option
from hubctl.options.recipes import RecipeCommand
from hubctl.output import emit


@click.command("try", cls=RecipeCommand, verb="try")
@click.argument("name", metavar="NAME[@REF]")
@click.option("--prompt", required=True, help="What to ask; `-` reads it from standard input.")
@click.option(
    "--context",
    multiple=True,
    metavar="FILE",
    help="A text file: the base answers once more with it before the prompt, to compare a generated adapter with the "
    "full text. Repeatable.",
)
@json_option
@url_option
@click.pass_context
def try_command(ctx, name, prompt, context, as_json, url, **options: Any) -> int:
    """Ask the adapter NAME something. A worker answers with it and, to compare, without it. Ctrl-C stops the trial.

    hubctl try you/doc --prompt "Which pump is red?" --context doc.txt
    """
    prompt = sys.stdin.read() if prompt == "-" else prompt
    shown = {"context": plain_text(context)} if context else {}
    with connect(url) as hub:
        need_token(hub)
        recipe = {"prompt": prompt, **shown, **ctx.command.recipe_of(options)}
        job = hub.queue_job("try", inputs=[name], recipe=recipe)
        screen = Screen(job, quiet=as_json)
        try:
            job = hub.wait(job["id"], watch=screen.watch, token=screen.token)
        except KeyboardInterrupt:
            hub.cancel_job(job["id"])
            click.echo(f"\nStopped; job {job['id']} is cancelled.", err=True)
            return 130
    if as_json:
        emit(job, True)
    else:
        screen.end(job)
    return 0


class Screen:
    """The answers on standard output as they come, what goes on around them on standard error."""

    def __init__(self, job: dict[str, Any], quiet: bool) -> None:
        self.titles = {
            "with": f"with {job['inputs'][0]}",
            "without": f"without: {job['base']} alone",
            "text": f"without, the full text in the prompt: {job['base']}",
        }
        self.quiet = quiet
        self.side, self.attempt, self.waiting = "", None, ""
        self.written: set[str] = set()

    def watch(self, job: dict[str, Any]) -> None:
        """Say what the trial waits for, once."""
        waiting = job.get("waiting_for") or ""
        if waiting != self.waiting and not self.quiet:
            self.waiting = waiting
            if waiting:
                print(f"waiting: {waiting}", file=sys.stderr, flush=True)

    def token(self, data: dict[str, Any]) -> None:
        """Write a piece; a new side, or a new attempt after a worker was lost, begins with its title."""
        if self.quiet:
            return
        if (data["side"], data["attempt"]) != (self.side, self.attempt):
            self._title(data["side"])
            self.side, self.attempt = data["side"], data["attempt"]
        print(data["text"], end="", flush=True)

    def end(self, job: dict[str, Any]) -> None:
        """What did not come live, then the figures and the routing."""
        outcome = job["outcome"]
        for side, answer in outcome["answers"].items():
            if side not in self.written:
                self._title(side)
                print(answer["text"], end="")
        print("\n" if self.written else "")
        for side, answer in outcome["answers"].items():
            rate = f", {answer['tokens_per_second']:.1f} tokens/s" if answer["tokens_per_second"] else ""
            print(
                f"{side:8} {answer['tokens']} tokens in {answer['seconds']:.2f} s{rate}, "
                f"first after {answer['first_seconds']:.2f} s"
            )
        print(f"memory   {outcome['memory'] / 1e6:.0f} MB held at most")
        if routing := outcome["answers"]["with"].get("routing"):
            print(routing_text(routing))

    def _title(self, side: str) -> None:
        print(("\n\n" if self.written else "") + f"── {self.titles[side]} ──", flush=True)
        self.written.add(side)


def routing_text(routing: dict[str, Any]) -> str:
    """The experts with their mean shares, and the text with `[n]` where expert n takes over."""
    tokens = routing["tokens"]
    lines = ["", "served by"]
    for number, expert in enumerate(routing["experts"]):
        share = sum(token["shares"][number] for token in tokens) / max(len(tokens), 1)
        lines.append(f"  [{number + 1}] {expert}  {100 * share:.0f} %")
    text, before = "", None
    for place, token in enumerate(tokens):
        if place == routing["prompt"]:
            text, before = text + "\n── answer ──\n", None
        text += token["text"] if token["expert"] == before else f"[{token['expert'] + 1}]{token['text']}"
        before = token["expert"]
    return "\n".join([*lines, "", text])
