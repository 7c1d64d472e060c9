"""Access tokens and the metadata server's cache of them. Pure: every call is told what time it is."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from enum import Enum

# Google's margins are known for tokens of one hour; shorter lives scale them down.
_FULL_LIFE = 3600.0

# How long GKE's background refresh takes to have the new token, for a token of one hour.
_BACKGROUND_REFRESH = 1.0

SHORTEST_LIFE, LONGEST_LIFE = 10.0, 3600.0


def token_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


@dataclass(eq=False)
class Token:
    number: int
    text: str
    minted_at: float
    expires_at: float

    @property
    def life(self) -> float:
        return self.expires_at - self.minted_at

    @property
    def hash(self) -> str:
        return token_hash(self.text)

    def left(self, now: float) -> float:
        return self.expires_at - now

    def expired(self, now: float) -> bool:
        return now >= self.expires_at


def check_life(life: float) -> float:
    if not SHORTEST_LIFE <= life <= LONGEST_LIFE:
        raise ValueError(f"a token lives from {SHORTEST_LIFE:.0f}s to 1h, not {life:g}s")
    return life


class Mint:
    """Makes tokens and remembers all of them, as Google's IAM does."""

    def __init__(self, life: float) -> None:
        self.life = check_life(life)
        self.padded = False
        self.tokens: list[Token] = []
        self._by_text: dict[str, Token] = {}

    def make(self, minted_at: float, *, padded: bool = False) -> Token:
        length = 200 + secrets.randbelow(801)
        text = "ya29.c." + secrets.token_urlsafe(length)[:length]
        if padded or self.padded:
            text = text[:1000].ljust(1024, ".")
        token = Token(len(self.tokens) + 1, text, minted_at, minted_at + self.life)
        self.tokens.append(token)
        self._by_text[text] = token
        return token

    def expire_all(self, now: float) -> None:
        """Ends the life of every token minted so far. A cache that holds one gets a new one at the next request."""
        for token in self.tokens:
            token.expires_at = min(token.expires_at, now)

    def find(self, text: str) -> Token | None:
        return self._by_text.get(text)

    @property
    def newest(self) -> Token | None:
        return self.tokens[-1] if self.tokens else None


class CacheModel(Enum):
    # A new token once 5 minutes are left: Compute Engine's documented behaviour.
    FIVE_MINUTES = "five-minutes"
    # A new token once 4 minutes are left: the shortest cache that Google's client libraries plan for.
    FOUR_MINUTES = "four-minutes"
    # Between 5 minutes and 1 minute left the old token is answered while a new one is fetched.
    GKE = "gke"
    # A new token for every request.
    NONE = "none"


class TokenCache:
    """Which token the metadata server answers with, and when it gets a new one."""

    def __init__(self, mint: Mint, model: CacheModel, first_token_age: float = 0.0) -> None:
        self.mint = mint
        self.model = model
        self.first_token_age = first_token_age
        self._current: Token | None = None
        self._background_done_at: float | None = None

    def current(self, now: float) -> Token | None:
        self._finish_background_refresh(now)
        return self._current

    def answer(self, now: float) -> Token:
        self._finish_background_refresh(now)
        if self._current is None:
            # The first one is handed out whatever its age: an instance may start beside a warm cache.
            return self._replace(self.mint.make(now - self.first_token_age))

        token = self._current
        left, scale = token.left(now), token.life / _FULL_LIFE
        match self.model:
            case CacheModel.NONE:
                due = True
            case CacheModel.FIVE_MINUTES:
                due = left <= 300 * scale
            case CacheModel.FOUR_MINUTES:
                due = left <= 240 * scale
            case CacheModel.GKE:
                due = left <= 60 * scale
                if not due and left <= 300 * scale and self._background_done_at is None:
                    self._background_done_at = now + _BACKGROUND_REFRESH * scale
        return self.rotate(now) if due else token

    def rotate(self, now: float, *, padded: bool = False) -> Token:
        """Gets a new token whatever the old one's age."""
        return self._replace(self.mint.make(now, padded=padded))

    def answer_padded(self, now: float) -> Token:
        token = self.answer(now)
        return token if token.text.endswith(".") else self.rotate(now, padded=True)

    def _replace(self, token: Token) -> Token:
        self._current, self._background_done_at = token, None
        return token

    def _finish_background_refresh(self, now: float) -> None:
        if self._background_done_at is not None and now >= self._background_done_at:
            self._replace(self.mint.make(self._background_done_at))
