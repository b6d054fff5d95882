"""A job while it is waited for: what a lost connection and Ctrl+C do. No test here sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2
import pytest
import typer

from service.cli.following import begin, follow
from service.client import NO_RETRY, ApiError, AsyncQuorumClient, JobFailedError, calls
from tests.support.client import ended, job

Capture = pytest.CaptureFixture[str]
URL = "http://quorum.test"
FIT = calls.fit_controller("pets", [(b"one", "cat")])


class Server:
    """Answers as it is told to; the looks at a job wait until `answer` is set."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.reached = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.method)
        if request.method in ("GET", "POST"):
            self.reached.set()
            await self.released.wait()
        return self.answer(request)

    def client(self) -> AsyncQuorumClient:
        return AsyncQuorumClient(URL, transport=httpx2.MockTransport(self), retry=NO_RETRY)


def answers(response: httpx2.Response) -> Callable[[httpx2.Request], httpx2.Response]:
    return lambda _: response


async def interrupted(server: Server, task: asyncio.Task[object]) -> None:
    """Ctrl+C, once the server was asked."""
    await server.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_ctrl_c_cancels_the_job_on_the_server(capsys: Capture) -> None:
    server = Server(answers(job("cancelled")))
    async with server.client() as client:
        await interrupted(server, asyncio.create_task(follow(client, "job_1", url=None)))
    assert server.asked == ["GET", "DELETE"]
    assert "job_1 is cancelled, nothing of it is activated." in capsys.readouterr().err


async def test_ctrl_c_leaves_a_job_alone_that_others_began() -> None:
    server = Server(answers(job("cancelled")))
    async with server.client() as client:
        await interrupted(server, asyncio.create_task(follow(client, "job_1", url=None, own=False)))
    assert server.asked == ["GET"]


async def test_ctrl_c_while_a_job_is_begun_cancels_it_as_soon_as_it_is_known(capsys: Capture) -> None:
    server = Server(answers(job("queued")))
    async with server.client() as client:
        task = asyncio.create_task(begin(client, FIT, url=None))
        await server.reached.wait()
        task.cancel()
        await asyncio.sleep(0)
        server.released.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.asked == ["POST", "DELETE"]
    assert "job_1 is cancelled" in capsys.readouterr().err


async def test_ctrl_c_while_a_job_is_refused_asks_for_nothing_more() -> None:
    server = Server(answers(httpx2.Response(422)))
    async with server.client() as client:
        task = asyncio.create_task(begin(client, FIT, url=None))
        await server.reached.wait()
        task.cancel()
        await asyncio.sleep(0)
        server.released.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.asked == ["POST"]


async def test_a_job_that_was_faster_than_ctrl_c_is_said(capsys: Capture) -> None:
    body = {"message": "It succeeded before.", "type": "x", "param": None, "code": "conflict", "request_id": "r"}
    server = Server(answers(httpx2.Response(409, json={"error": body})))
    async with server.client() as client:
        await interrupted(server, asyncio.create_task(follow(client, "job_1", url=None)))
    assert "It succeeded before." in capsys.readouterr().err


@pytest.mark.parametrize("url", [None, URL])
async def test_a_lost_connection_says_that_the_job_goes_on_and_how_to_look_at_it(
    capsys: Capture, url: str | None
) -> None:
    def lost(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("gone", request=request)

    server = Server(lost)
    server.released.set()
    async with server.client() as client:
        with pytest.raises(typer.Exit) as caught:
            await follow(client, "job_1", url=url)
    assert caught.value.exit_code == 1
    said = capsys.readouterr().err
    assert "was lost: gone" in said
    assert "The job goes on" in said
    assert said.rstrip().endswith("quorum jobs show job_1 --wait" + (f" --url {URL}" if url else ""))


async def test_a_proxy_without_its_server_counts_as_a_lost_connection(capsys: Capture) -> None:
    server = Server(answers(httpx2.Response(502)))
    server.released.set()
    async with server.client() as client:
        with pytest.raises(typer.Exit):
            await follow(client, "job_1", url=None)
    assert "The job goes on" in capsys.readouterr().err


async def test_a_job_that_nobody_knows_does_not_go_on(capsys: Capture) -> None:
    server = Server(answers(httpx2.Response(404)))
    server.released.set()
    async with server.client() as client:
        with pytest.raises(ApiError):
            await follow(client, "job_1", url=None)
    assert capsys.readouterr().err == ""


async def test_a_connection_lost_while_sending_leaves_it_open_whether_there_is_a_job(capsys: Capture) -> None:
    def lost(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("gone", request=request)

    server = Server(lost)
    server.released.set()
    async with server.client() as client:
        with pytest.raises(typer.Exit):
            await begin(client, FIT, url=URL)
    assert f"quorum jobs list --url {URL} shows it" in capsys.readouterr().err


@pytest.mark.parametrize("state", ["succeeded", "failed"])
async def test_as_json_the_ended_job_is_printed_as_it_came(capsys: Capture, state: str) -> None:
    response = ended("failed", "job_timeout") if state == "failed" else job("succeeded", 1.0, result={})
    server = Server(answers(response))
    server.released.set()
    async with server.client() as client:
        if state == "failed":
            with pytest.raises(JobFailedError):
                await follow(client, "job_1", url=None, as_json=True)
        else:
            await follow(client, "job_1", url=None, as_json=True)
    assert capsys.readouterr().out == f"{response.text}\n"
