"""`quorum labels …`: registered label sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from service.cli import options
from service.cli.connection import Target, ask, in_sentences, talk
from service.cli.fitted import activate, all_fitted, fitted, forget, show_versions
from service.cli.output import count, out, say, say_raw, table

if TYPE_CHECKING:
    from service.api.schemas import FittedOut, LabelSetDetails, LabelSetOut
    from service.client import AsyncQuorumClient

LabelsByName = list[str] | dict[str, list[str]]
SHOWN_LABELS = 8

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Label sets: classes and prompts that are named once, encoded once, and used by name from then on.

    Example: `quorum labels set pets --labels "cat, dog"`, then
    `quorum classify cat.jpg --label-set pets`
    """,
)


app.command()(fitted)
app.command()(activate)
app.command()(forget)

Name = Annotated[str, typer.Argument(metavar="NAME", callback=options.checked_name, show_default=False)]


@app.command("list")
def list_(url: options.Url = None, as_json: options.Json = False) -> None:
    """List the label sets in order of name.

    --json prints the API's pages, one per line, of at most 100 sets each.

    Example: `quorum labels list`
    """
    from service.client import calls

    async def conversation(client: AsyncQuorumClient) -> list[LabelSetOut]:
        found: list[LabelSetOut] = []
        call: Any = calls.list_label_sets(calls.PAGE_SIZE)
        while call is not None:
            response = await client.send(call)
            if as_json:
                say_raw(response.text)
            page = call.parse(response)
            found += page.data
            call = calls.page_after(page, calls.PAGE_SIZE)
        return found

    found = talk(Target(url), conversation, as_json=as_json)
    if not as_json:
        _show_list(found)


@app.command()
def show(name: Name, url: options.Url = None, as_json: options.Json = False) -> None:
    """Show one label set: its classes, their phrasings and the prompts, and what was fitted for it.

    --json prints the label set with what is active; `quorum labels fitted` has every version.

    Example: `quorum labels show pets`
    """
    from service.client import calls

    if as_json:
        ask(Target(url), calls.get_label_set(name), as_json=True)
        return

    async def conversation(client: AsyncQuorumClient) -> tuple[LabelSetDetails, list[FittedOut]]:
        label_set = await client.get_label_set(name)
        return label_set, await all_fitted(client, label_set)

    label_set, found = talk(Target(url), conversation)
    _show(label_set)
    if found:
        out.print()
        with in_sentences():
            show_versions(found)
    else:
        say("Nothing is fitted for it. `quorum fit` and `quorum calibrate` do that.")


@app.command("set")
def set_(
    name: Name,
    labels: options.Labels = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="In place of --labels: a text file with one label per line, or a .json file with a list of labels or "
            'an object of phrasings, such as {"cat": ["cat", "kitten"]}.',
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ] = None,
    template: options.Templates = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Create a label set, or replace it as a whole.

    Example: `quorum labels set pets --labels "cat, dog" --template "a photo of a {}."`
    """
    from service.client import calls

    call = calls.put_label_set(name, _labels(labels, file), template or None)
    label_set = ask(Target(url, writes=True), call, as_json=as_json)
    if not as_json:
        done = "created" if label_set.created_at == label_set.updated_at else "replaced"
        say(f"{label_set.name}: {done}, {count(len(label_set.labels), 'class', 'classes')}.")


@app.command()
def delete(name: Name, url: options.Url = None) -> None:
    """Delete a label set and everything that was fitted for it. There is no way back.

    Example: `quorum labels delete pets`
    """
    from service.client import calls

    ask(Target(url), calls.delete_label_set(name))
    say(f"{name}: deleted.")


def _labels(labels: list[str] | None, file: Path | None) -> LabelsByName:
    if (labels is None) == (file is None):
        raise typer.BadParameter("give exactly one of --labels and --file", param_hint="--labels")
    found = _read(file) if file is not None else options.split_at_commas(labels or [])
    if not found:
        raise typer.BadParameter("there are no labels in it", param_hint="--labels" if file is None else "--file")
    return found


def _read(file: Path) -> LabelsByName:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() != ".json":
            return [label for line in text.splitlines() if (label := line.strip())]
        content = json.loads(text)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--file") from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"{file} is not a text file in UTF-8", param_hint="--file") from error
    except json.JSONDecodeError as error:
        raise typer.BadParameter(
            f"{file} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}", param_hint="--file"
        ) from error
    if not _texts(content) and not (isinstance(content, dict) and all(map(_texts, content.values()))):
        raise typer.BadParameter(
            f'{file} holds neither a list of labels nor an object such as {{"cat": ["cat", "kitten"]}}',
            param_hint="--file",
        )
    labels: LabelsByName = content
    return labels


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _show_list(label_sets: list[LabelSetOut]) -> None:
    if not label_sets:
        say("There are no label sets. Create one: quorum labels set pets --labels cat,dog")
        return
    shown = table("Name", "Classes", "Labels", "Prompts", "Changed", numbers=("Classes",))
    for label_set in label_sets:
        names = list(label_set.labels)
        more = " …" if len(names) > SHOWN_LABELS else ""
        shown.add_row(
            Text(label_set.name, style="bold"),
            str(len(names)),
            Text(", ".join(names[:SHOWN_LABELS]) + more),
            Text("\n".join(label_set.templates)),
            f"{label_set.updated_at.astimezone():%Y-%m-%d %H:%M}",
        )
    out.print(shown)


def _show(label_set: LabelSetDetails) -> None:
    labels = label_set.labels
    shown = table("Label", "Said as")
    for label in labels:
        shown.add_row(Text(label), Text(", ".join(labels[label]) if isinstance(labels, dict) else label))
    out.print(Text(label_set.name, style="bold"), Text(count(len(labels), "class", "classes"), style="dim"))
    out.print(shown)
    say(f"Prompts: {' | '.join(label_set.templates)}")
    created, updated = (f"{at.astimezone():%Y-%m-%d %H:%M}" for at in (label_set.created_at, label_set.updated_at))
    say(f"Created {created}, changed {updated}, digest {label_set.digest[:12]}")
