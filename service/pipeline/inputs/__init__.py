"""What callers send, as what towers take: pictures decoded and cut, texts as token ids."""
