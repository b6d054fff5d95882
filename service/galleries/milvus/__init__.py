"""Galleries in Milvus: embedded (Milvus Lite, a folder of this process) or a server, by the same code."""

from service.galleries.milvus.store import MilvusGalleries

__all__ = ["MilvusGalleries"]
