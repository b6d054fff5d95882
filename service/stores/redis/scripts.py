"""The Lua scripts of `lua/`: each is one transaction, sent and answered in one round trip."""

from __future__ import annotations

from hashlib import sha1
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

PREFIX: Final = "quorum:1:"
"""Of every key and channel. The number is the schema's: another version of it leaves what it cannot read alone."""

CHANGES: Final = f"{PREFIX}changes"
FOLDER: Final = Path(__file__).parent / "lua"

Word = str | bytes | int | float


class Script:
    """One file of the folder, after what they all share."""

    def __init__(self, name: str) -> None:
        common, own = ((FOLDER / f"{each}.lua").read_text(encoding="utf-8") for each in ("common", name))
        self._text = f"local P = '{PREFIX}'\n{common}\n{own}"
        self._digest = sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Redis, *arguments: Word) -> Any:
        """What the script gives: bytes, numbers, None, and lists of them."""
        # Keys are not announced apart from arguments: only a cluster of Redis servers needs that, and a label set, its
        # artefacts and its jobs change together, which such a cluster cannot do.
        try:
            return await client.evalsha(self._digest, 0, *arguments)
        except NoScriptError:  # a new server, or one that was restarted; nothing was run
            return await client.eval(self._text, 0, *arguments)


PUT_LABEL_SET: Final = Script("put_label_set")
GET_LABEL_SET: Final = Script("get_label_set")
DELETE_LABEL_SET: Final = Script("delete_label_set")
LIST_LABEL_SETS: Final = Script("list_label_sets")

PUT_ARTEFACT: Final = Script("put_artefact")
ACTIVE_ARTEFACTS: Final = Script("active_artefacts")
GET_ARTEFACT: Final = Script("get_artefact")
LIST_ARTEFACTS: Final = Script("list_artefacts")
ACTIVATE_ARTEFACT: Final = Script("activate_artefact")
DELETE_ARTEFACTS: Final = Script("delete_artefacts")

CREATE_JOB: Final = Script("create_job")
START_JOB: Final = Script("start_job")
JOB_PROGRESS: Final = Script("job_progress")
FINISH_JOB: Final = Script("finish_job")
END_JOB: Final = Script("end_job")
GET_JOB: Final = Script("get_job")
LIST_JOBS: Final = Script("list_jobs")
MISSING_OWNERS: Final = Script("missing_owners")
INTERRUPT_JOBS: Final = Script("interrupt_jobs")
FORGET_JOBS: Final = Script("forget_jobs")

BEAT: Final = Script("beat")
LEAVE: Final = Script("leave")
