"""How vectors are searched.

**Lite: always exactly.** Few items are compared one by one. From `INDEX_FROM` items on a gallery gets FAISS' inverted
lists with a single list, which is an exact search too, but without the copy of all vectors that Lite's plain search
makes for every request (three times as fast at 60,000 items of 1,280 numbers). More lists and fewer probes would gain
nothing, since most of the time goes into Lite's own bookkeeping, and would lose hits: a query of text lies far from all
clusters of images (recall at 10 of 0.96 with a quarter of the lists).

**A server: HNSW**, approximately; it compares small and growing segments one by one by itself. With these parameters
recall at 10 was 0.998 and more on clustered embeddings of five members, for queries of images, of one member alone and
of text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from service.galleries.base import IndexInfo

METRIC: Final = "IP"
"""Of galleries of either metric: unit length is the business of those who fill them."""
INDEX_FROM: Final = 10_000

PLAIN: Final = IndexInfo("FLAT", {}, exact=True)
ONE_LIST: Final = IndexInfo("IVF_FLAT", {"nlist": 1}, exact=True)
HNSW: Final = IndexInfo("HNSW", {"M": 32, "efConstruction": 200, "ef": 256}, exact=False)


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """Which index a gallery has: none that is built below `index_from` items, `built` above."""

    built: IndexInfo
    index_from: int

    @classmethod
    def lite(cls, index_from: int = INDEX_FROM) -> IndexPlan:
        return cls(ONE_LIST, index_from)

    @classmethod
    def server(cls) -> IndexPlan:
        return cls(HNSW, 0)

    def build_params(self) -> dict[str, Any]:
        """Arguments of pymilvus' `add_index`."""
        if self.built.type == "IVF_FLAT":
            # Lite reads them one level below where pymilvus puts them for a server.
            return {"index_type": "IVF_FLAT", "metric_type": METRIC, "params": {"params": {"nlist": 1}}}
        params = {name: value for name, value in self.built.params.items() if name != "ef"}
        return {"index_type": self.built.type, "metric_type": METRIC, "params": params}

    def search_params(self, limit: int) -> dict[str, Any]:
        """For `limit` hits per query."""
        ef = self.built.params.get("ef")
        return {"metric_type": METRIC, "params": {} if ef is None else {"ef": max(ef, 2 * limit)}}
