"""The pod of `helm test`: classifies a bundled picture through the Service, by the standard library alone."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

LABELS = ("banana", "carrots", "pineapple", "lemon")


def main() -> int:
    """Exit status 0 once every backbone took part in an answer; what is still loading is waited for."""
    query = "&".join([*(f"labels={label}" for label in LABELS), f"top_k={len(LABELS)}"])
    url = f"{os.environ['GATEWAY_URL']}/v1/classify?{query}"
    give_up_s = time.monotonic() + float(os.environ.get("WAIT_S", "120"))
    while True:
        status, body = ask(url)
        if status == 401 and "API_KEY" not in os.environ:
            return say("ok: without a key the gateway refuses. With one in tests.apiKeySecret a picture is classified.")
        problem = what_is_wrong(status, body)
        if problem is None:
            result = body["results"][0]
            best = result["predictions"][0]
            return say(f"ok: {', '.join(result['backbones'])} say {best['label']} ({best['probability']:.0%})")
        # What a caller did wrong stays wrong.
        if (400 <= status < 500 and status != 429) or time.monotonic() > give_up_s:
            return say(f"not ok: {problem}", status=1)
        say(f"waiting: {problem}")
        time.sleep(2)


def ask(url: str) -> tuple[int, Any]:
    """Status and parsed body; a sentence instead where there is none, with status 0 if nobody answered."""
    headers = {"Content-Type": "image/webp"}
    if "API_KEY" in os.environ:
        headers["Authorization"] = f"Bearer {os.environ['API_KEY'].strip()}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, picture(), headers), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (OSError, ValueError) as error:
        return 0, str(error)


def picture() -> bytes:
    package = importlib.util.find_spec("service")
    if package is None or package.origin is None:
        sys.exit("not ok: this image holds no gateway, and so no picture")
    return Path(package.origin).with_name("playground").joinpath("samples/bananas.webp").read_bytes()


def what_is_wrong(status: int, body: Any) -> str | None:
    """None if all backbones took part in an answer about all labels."""
    if status != 200:
        return f"status {status}: {body}"
    try:
        return what_is_missing(body)
    except (AttributeError, KeyError, TypeError, ValueError):  # somebody else's server
        return f"this is no answer to a classification: {body}"


def what_is_missing(body: Any) -> str | None:
    """Raises what it meets where the answer has another shape."""
    (result,) = body["results"]
    if "error" in result:
        return f"the picture is refused: {result['error']}"
    found = {each["label"]: each["probability"] for each in result["predictions"]}
    if sorted(found) != sorted(LABELS) or abs(sum(found.values()) - 1) > 1e-3:
        return f"these are no probabilities of the labels: {found}"
    if result["degraded"]:
        return f"no answer from {', '.join(result['failed'])}"
    return None


def say(words: str, status: int = 0) -> int:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
