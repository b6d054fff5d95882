"""The command line as a user types it, without a server."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.main import get_command

from service.cli import app
from service.settings import Settings
from tests.integration.conftest import Quorum
from tests.support.cli import said
from tests.support.images import jpeg

ROOT = Path(__file__).parents[2]
COMMANDS = [
    [],
    ["serve"],
    ["classify"],
    ["fit"],
    ["calibrate"],
    ["index"],
    ["search"],
    ["models"],
    ["labels"],
    ["labels", "list"],
    ["labels", "show"],
    ["labels", "set"],
    ["labels", "delete"],
    ["labels", "fitted"],
    ["labels", "activate"],
    ["labels", "forget"],
    ["galleries"],
    ["galleries", "list"],
    ["galleries", "show"],
    ["galleries", "delete"],
    ["jobs"],
    ["jobs", "list"],
    ["jobs", "show"],
    ["jobs", "cancel"],
]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"this is no image")
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_complete(quorum: Quorum, command: list[str]) -> None:
    result = quorum(*command, "--help")
    assert result.exit_code == 0
    assert "Example: quorum" in result.stdout or not command
    assert all(
        getattr(parameter, "help", "") for parameter in found_command(command).params if parameter.name != "name"
    )


def found_command(path: list[str]) -> Any:
    command: Any = get_command(app)
    for name in path:
        command = command.commands[name]
    return command


def shown_default(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def test_options_of_serve_are_settings_and_show_their_defaults() -> None:
    parameters = [each for each in found_command(["serve"]).params if each.name != "help"]
    fields = Settings.model_fields
    assert {each.name: each.show_default for each in parameters} == {
        each.name: shown_default(fields[each.name].default) for each in parameters
    }


def test_the_version_is_the_packages(quorum: Quorum) -> None:
    assert re.fullmatch(r"quorum \d+\.\d+\.\d+\S*\n", quorum("--version").stdout)


def test_help_loads_nothing_heavy() -> None:
    heavy = {"fastapi", "pydantic_settings", "httpx2", "numpy", "uvicorn", "onnxruntime"}
    check = f"import sys, service.cli; sys.exit(', '.join({heavy!r} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_classify_shows_labels_votes_and_cost(quorum: Quorum, cat: Path) -> None:
    result = quorum("classify", cat, "--labels", "cat, dog,", "--labels", "fox")
    assert result.exit_code == 0, result.output
    for expected in (str(cat), "cat", "dog", "fox", "%", "small says", "large says", "1.75 of 1.75 GFLOPs"):
        assert expected in result.stdout.replace("\n", " ")


def test_classify_leaves_no_state_behind(quorum: Quorum, cat: Path, environment: dict[str, str]) -> None:
    assert quorum("classify", cat, "--labels", "cat,dog").exit_code == 0
    assert quorum("labels", "list").exit_code == 0
    assert not Path(environment["QUORUM_STATE_URL"]).exists()


def test_markup_in_labels_and_names_is_only_text(quorum: Quorum, tmp_path: Path) -> None:
    path = tmp_path / "[red]x[nonsense].jpg"
    path.write_bytes(jpeg())
    result = quorum("classify", path, "--labels", "[bold]cat,[/dog]")
    assert result.exit_code == 0, result.output
    assert "[bold]cat" in result.stdout
    assert "[red]x[nonsense].jpg" in result.stdout.replace("\n", "")


def test_classify_reads_standard_input(quorum: Quorum) -> None:
    result = quorum("classify", "-", "--labels", "cat,dog", "--json", stdin=jpeg())
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["usage"]["images"] == 1


def test_a_broken_file_among_several_is_reported_and_the_others_are_answered(
    quorum: Quorum, cat: Path, broken: Path
) -> None:
    result = quorum("classify", broken, cat, "--labels", "cat,dog")
    assert result.exit_code == 1
    assert f"{broken}: This is not an image" in result.stderr
    assert str(cat) in result.stdout
    assert str(broken) not in result.stdout


def test_json_is_the_apis_and_nothing_else(quorum: Quorum, cat: Path, broken: Path) -> None:
    result = quorum("classify", cat, broken, "--labels", "cat,dog", "--top-k", "1", "--json")
    answer = json.loads(result.stdout)
    assert [item.get("error", {}).get("code") for item in answer["results"]] == [None, "invalid_image"]
    assert len(answer["results"][0]["predictions"]) == 1
    assert result.exit_code == 1


def test_with_json_an_error_of_the_api_is_json_too(quorum: Quorum, broken: Path) -> None:
    result = quorum("classify", broken, "--labels", "cat,dog", "--json")
    assert json.loads(result.stdout)["error"]["code"] == "invalid_image"
    assert result.stderr.startswith(f"{broken}: ")
    assert result.exit_code == 1


def test_one_backbone_can_be_asked_alone(quorum: Quorum, cat: Path) -> None:
    result = quorum("classify", cat, "--labels", "cat,dog", "--policy", "single", "--backbone", "small")
    assert "single: small says" in result.stdout
    assert "large" not in result.stdout


def test_an_unknown_backbone_is_answered_with_the_servers_sentence(quorum: Quorum, cat: Path) -> None:
    result = quorum("classify", cat, "--labels", "cat,dog", "--backbone", "huge")
    assert 'There is no backbone "huge". This server has: small, large.' in result.stderr
    assert "unknown_backbone" in result.stderr
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.jpg", "--labels", "a,b"], "missing.jpg: No such file or directory"),
        ([".", "--labels", "a,b"], ".: Is a directory"),
        (["CAT"], 'no labels: give --labels "cat, dog" or --label-set NAME'),
        (["CAT", "--labels", " , "], "no labels"),
        (["CAT", "--labels", "a", "--label-set", "pets"], "a label set has its labels and templates"),
        (["-", "-", "--labels", "a,b"], "- can be given once"),
        (["CAT", "--labels", "a,b", "--policy", "guess"], "'guess' is not one of"),
        (["CAT", "--labels", "a,b", "--top-k", "0"], "--top-k"),
        (["CAT", "--labels", "a,b", "--min-confidence", "1.5"], "--min-confidence"),
        (["CAT", "--labels", "a,b", "--max-gflops", "-1"], "--max-gflops"),
        (["CAT", "--labels", "a,b", "--url", "localhost:8000"], '"localhost:8000" is not the address of a server'),
        ([], "Missing argument"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_explained_with_status_2(quorum: Quorum, cat: Path, arguments: list[str], sentence: str) -> None:
    result = quorum("classify", *[str(cat) if argument == "CAT" else argument for argument in arguments])
    assert sentence in said(result)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_an_unreachable_server_is_named_and_how_to_start_one(quorum: Quorum, cat: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        result = quorum("classify", cat, "--labels", "cat,dog", QUORUM_CLIENT_URL=url)
    assert f"{url} cannot be reached" in result.stderr
    assert "quorum serve" in result.stderr
    assert result.exit_code == 1


def test_an_application_that_cannot_start_in_process_has_status_3(quorum: Quorum, tmp_path: Path) -> None:
    result = quorum("models", QUORUM_MODEL_REPOSITORY=str(tmp_path / "nowhere"))
    assert result.stderr.startswith("quorum cannot start: ")
    assert "(invalid_repository)" in result.stderr
    assert result.exit_code == 3
    assert quorum("models", QUORUM_PORT="eighty").exit_code == 3


def test_models_are_listed_with_the_committee(quorum: Quorum) -> None:
    rows = quorum("models").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["Model", "small", "large", "committee"]
    assert [model["id"] for model in json.loads(quorum("models", "--json").stdout)["data"]] == [
        "small",
        "large",
        "committee",
    ]


def test_label_sets_are_kept_between_commands(quorum: Quorum, cat: Path) -> None:
    assert "There are no label sets" in quorum("labels", "list").stdout
    created = quorum("labels", "set", "pets", "--labels", "cat,dog", "--template", "a sketch of a {}.")
    assert created.stdout == "pets: created, 2 classes.\n"
    assert quorum("labels", "set", "pets", "--labels", "cat").stdout == "pets: replaced, 1 class.\n"
    assert "pets" in quorum("labels", "list").stdout
    described = quorum("labels", "show", "pets").stdout
    assert "Prompts: a photo of a {}." in described
    assert "Nothing is fitted for it. `quorum fit` and `quorum calibrate` do that." in described
    assert quorum("classify", cat, "--label-set", "pets").exit_code == 0
    assert quorum("labels", "delete", "pets").stdout == "pets: deleted.\n"
    gone = quorum("labels", "show", "pets")
    assert 'There is no label set "pets".' in gone.stderr
    assert "quorum labels set" in gone.stderr
    assert gone.exit_code == 1


def test_every_page_of_label_sets_is_listed(quorum: Quorum, environment: dict[str, str]) -> None:
    quorum("labels", "set", "set-000", "--labels", "cat")
    with sqlite3.connect(environment["QUORUM_STATE_URL"]) as state:
        for number in range(1, 101):
            state.execute(
                "INSERT INTO label_sets SELECT ?, content, created_at, updated_at FROM label_sets LIMIT 1",
                [f"set-{number:03}"],
            )
    state.close()
    assert len(quorum("labels", "list").stdout.splitlines()) == 102
    pages = [json.loads(line) for line in quorum("labels", "list", "--json").stdout.splitlines()]
    assert [len(page["data"]) for page in pages] == [100, 1]


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("pets.txt", "cat\n\n  dog \n", ["cat", "dog"]),
        ("pets.txt", "\ufeffcat, the animal\r\ndog", ["cat, the animal", "dog"]),
        ("pets.json", '["cat", "dog"]', ["cat", "dog"]),
        ("pets.JSON", '{"cat": ["cat", "kitten"], "dog": ["dog"]}', {"cat": ["cat", "kitten"], "dog": ["dog"]}),
    ],
)
def test_labels_come_from_files(quorum: Quorum, tmp_path: Path, name: str, content: str, labels: object) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    result = quorum("labels", "set", "pets", "--file", tmp_path / name, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["labels"] == labels
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("pets.txt", b" \n", "no labels in it"),
        ("pets.txt", b"\xff\xfe\x00", "is not a text file in UTF-8"),
        ("pets.json", b"[1,", "is not JSON: Expecting value in line 1, column 4"),
        ("pets.json", b'{"cat": "kitten"}', "holds neither a list of labels nor an object"),
        ("pets.json", b"[1, 2]", "holds neither a list of labels nor an object"),
    ],
)
def test_a_file_without_labels_is_explained(
    quorum: Quorum, tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    result = quorum("labels", "set", "pets", "--file", tmp_path / name)
    assert sentence in said(result)
    assert result.exit_code == 2


def test_labels_come_from_one_place(quorum: Quorum) -> None:
    result = quorum("labels", "set", "pets")
    assert "give exactly one of --labels and --file" in said(result)
    assert result.exit_code == 2
    assert quorum("labels", "set", "", "--labels", "cat").exit_code == 2
