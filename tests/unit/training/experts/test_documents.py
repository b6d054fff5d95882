"""What docs/experts.md and the recipe say is what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from training.cli import app as zoo_app
from training.experts.__main__ import app as experts_app
from training.experts.packs.preparing import Plan
from training.export.recipe import OpenClipMember, RunMember, load_recipe

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs/experts.md"
PROGRAMS = {"training": zoo_app, "training.experts": experts_app}
START = re.compile(r"^`?(?:python|torchrun (?:--\S+ \d+ )*)\s*-m (training(?:\.experts)?) ([^`#]+)")


def _commands() -> list[tuple[str, list[str]]]:
    """Every command on the page: the program and its arguments, square brackets left out."""
    text = PAGE.read_text("utf-8").replace("\\\n", " ")
    inline = re.findall(r"`((?:python|torchrun)[^`]*)`", text)
    lines = [line for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    found = [match for line in (*lines, *inline) if (match := START.match(line))]
    return [(match[1], shlex.split(match[2].replace("[", "").replace("]", ""))) for match in found]


@pytest.mark.parametrize(("program", "arguments"), _commands(), ids=lambda value: str(value)[:60])
def test_every_command_on_the_page_is_one(program: str, arguments: list[str]) -> None:
    group: Any = typer.main.get_command(PROGRAMS[program])
    name, *options = arguments
    assert name in group.commands, f"there is no command {name}"
    if options and not {"…", "NAME", "i/n"} & set(options):  # else it is only mentioned
        group.commands[name].make_context(name, list(options))


def test_the_page_has_commands_for_every_step() -> None:
    named = {arguments[0] for program, arguments in _commands() if program == "training.experts"}
    assert {"scenes", "label", "fit"} <= named


def test_the_page_draws_the_sets_that_prepare_draws() -> None:
    plan = Plan()
    for command, planned in (("scenes", plan.scenes), ("composites", plan.composites)):
        found = {options[options.index("--name") + 1]: options for name, *options in _all_of(command)}
        for drawn in planned:
            options = found[drawn.name]
            assert [options[options.index(flag) + 1] for flag in ("--count", "--seed")] == [
                str(drawn.count),
                str(drawn.seed),
            ]
            assert ("test" in options) is drawn.test
            assert options[options.index("--backgrounds") + 1] == ",".join(plan.backgrounds)


def _all_of(command: str) -> list[list[str]]:
    return [arguments for _, arguments in _commands() if arguments[0] == command and "--name" in arguments]


def test_the_recipe_names_what_the_commands_leave() -> None:
    base, cliptex, plain = load_recipe(ROOT / "training/zoos/cliptex-vit-b-16.toml")
    fits = [arguments for _, arguments in _commands() if arguments[0] == "fit"]
    assert isinstance(base, OpenClipMember)
    for member in (cliptex, plain):
        assert isinstance(member, RunMember)
        (fit,) = (each for each in fits if "--out" in each and each[each.index("--out") + 1] == str(member.run))
        assert fit[fit.index("--backbone") + 1] == f"{base.openclip}:{base.pretrained}"
        # As the suite `variants` finds out what was made of what.
        assert str(member.name).startswith(f"{base.name}-")
        assert member.votes == "when_asked"
