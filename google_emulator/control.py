"""The control port: scripts, settings and logs over HTTP and JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from google_emulator.durations import parse_duration
from google_emulator.google_apis import ApiScript, GoogleApis
from google_emulator.http_server import HttpServer, Request, Response
from google_emulator.iam_front import IamFront
from google_emulator.listener import Listener
from google_emulator.metadata import MetadataServer
from google_emulator.postgres import Postgres
from google_emulator.running_postgres import RunningPostgres
from google_emulator.records import MintedToken
from google_emulator.script import Step
from google_emulator.tokens import CacheModel, Mint, Token, TokenCache, check_life


class ControlServer:
    def __init__(
        self,
        host: str,
        port: int,
        mint: Mint,
        cache: TokenCache,
        metadata: MetadataServer,
        front: IamFront | None,
        postgres: Postgres | RunningPostgres | None,
        apis: GoogleApis | None,
    ) -> None:
        self._mint, self._cache = mint, cache
        self._metadata, self._front, self._postgres, self._apis = metadata, front, postgres, apis
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._http = HttpServer(self._handle)
        self.listener = Listener("control port", host, port, self._http.serve)
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[Any]]] = {
            ("GET", "/status"): self._status,
            ("GET", "/tokens"): self._tokens,
            ("POST", "/tokens/rotate"): self._rotate,
            ("POST", "/tokens/expire"): self._expire,
            ("POST", "/tokens/settings"): self._settings,
            ("GET", "/metadata/log"): self._metadata_log,
            ("POST", "/metadata/script"): self._add_script,
            ("POST", "/metadata/clear"): self._clear_script,
            ("GET", "/database/log"): self._database_log,
            ("POST", "/database/script"): self._database_script,
            ("GET", "/apis/log"): self._apis_log,
            ("POST", "/apis/script"): self._apis_script,
        }

    async def start(self) -> None:
        await self.listener.accept()

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self.listener.close()
        self._http.close_all()

    async def _handle(self, request: Request) -> Response:
        action = self._routes.get((request.method, request.path))
        if action is None:
            known = ", ".join(f"{method} {path}" for method, path in self._routes)
            error = f"{request.method} {request.path} is not known here; known: {known}"
            return Response.json({"error": error}, 404)
        try:
            return Response.json(await action(request))
        except (ValueError, TypeError) as error:
            return Response.json({"error": str(error)}, 400)

    async def _status(self, request: Request) -> Any:
        now = time.time()
        current = self._cache.current(now)
        database = None
        if self._front is not None and self._postgres is not None:
            database = {
                "accepting": self._front.listener.accepting,
                "refuse_logins": self._front.refuse_logins,
                "login_delay": self._front.login_delay,
                "open_sessions": self._front.open_sessions,
                "connections": self._front.connections,
                "logins": len(self._front.log),
                "refused_logins": sum(login.refused for login in self._front.log),
                "postgres_pid": self._postgres.pid,
            }
        return {
            "time": now,
            "tokens": {
                "life": self._mint.life,
                "cache_model": self._cache.model.value,
                "padded": self._mint.padded,
                "minted": len(self._mint.tokens),
                "current": asdict(self._minted(current, now)) if current else None,
            },
            "metadata": {
                "accepting": self._metadata.listener.accepting,
                "requests": len(self._metadata.log),
                "script_steps": len(self._metadata.script),
            },
            "database": database,
        }

    # Tokens

    def _minted(self, token: Token, now: float) -> MintedToken:
        return MintedToken(
            number=token.number,
            text=token.text,
            hash=token.hash,
            minted_at=token.minted_at,
            expires_at=token.expires_at,
            expired=token.expired(now),
            current=token is self._cache.current(now),
        )

    async def _tokens(self, request: Request) -> Any:
        now = time.time()
        # A background refresh that is due may mint one more.
        self._cache.current(now)
        return [asdict(self._minted(token, now)) for token in self._mint.tokens]

    async def _rotate(self, request: Request) -> Any:
        now = time.time()
        return asdict(self._minted(self._cache.rotate(now), now))

    async def _expire(self, request: Request) -> Any:
        self._mint.expire_all(time.time())
        return await self._tokens(request)

    async def _settings(self, request: Request) -> Any:
        settings = _object(request, ("life", "cache_model", "padded"))
        life = check_life(parse_duration(settings.get("life", self._mint.life)))
        model = CacheModel(settings.get("cache_model", self._cache.model.value))
        self._mint.life, self._cache.model = life, model
        self._mint.padded = bool(settings.get("padded", self._mint.padded))
        return (await self._status(request))["tokens"]

    # Metadata server

    async def _metadata_log(self, request: Request) -> Any:
        since = int(request.query.get("since", "0"))
        only_tokens = request.query.get("tokens", "") in ("1", "true")
        return [
            asdict(entry)
            for entry in self._metadata.log
            if entry.number > since and (entry.is_token_request or not only_tokens)
        ]

    async def _add_script(self, request: Request) -> Any:
        value = request.json()
        if isinstance(value, dict) and "steps" in value:
            value = value["steps"]
        steps = [Step.from_json(step) for step in (value if isinstance(value, list) else [value])]
        await self._metadata.add_steps(steps)
        return {"steps": len(self._metadata.script)}

    async def _clear_script(self, request: Request) -> Any:
        await self._metadata.clear_script()
        return {"steps": 0}

    # Google's APIs

    def _google_apis(self) -> GoogleApis:
        if self._apis is None:
            raise ValueError("this emulator was started without --credentials")
        return self._apis

    async def _apis_log(self, request: Request) -> Any:
        apis = self._google_apis()
        since = int(request.query.get("since", "0"))
        requests = [asdict(entry) for entry in apis.log if entry.number > since]
        return {"requests": requests, "tunnels": apis.tunnels}

    async def _apis_script(self, request: Request) -> Any:
        """Takes the place of what was queued and set before."""
        apis = self._google_apis()
        apis.script = ApiScript(**_object(request, ("answers", "revoked", "clock_offset", "proxy_status")))
        return asdict(apis.script)

    # Database

    def _database(self) -> IamFront:
        if self._front is None:
            raise ValueError("this emulator was started with --no-postgres")
        return self._front

    async def _database_log(self, request: Request) -> Any:
        since = int(request.query.get("since", "0"))
        return [asdict(login) for login in self._database().log if login.number > since]

    async def _database_script(self, request: Request) -> Any:
        front = self._database()
        order = _object(request, ("action", "seconds"))
        seconds = parse_duration(order["seconds"]) if order.get("seconds") is not None else None
        match order.get("action"):
            case "refuse-logins":
                front.refuse_logins = True
                self._later("logins", seconds, self._accept_logins)
            case "accept-logins":
                await self._accept_logins()
            case "go-down":
                front.listener.refuse()
                self._later("listener", seconds, front.listener.accept)
            case "come-back":
                self._later("listener", None, front.listener.accept)
                await front.listener.accept()
            case "delay-logins":
                front.login_delay = seconds or 0.0
            case "cut-sessions":
                return {"cut": front.cut_sessions()}
            case other:
                allowed = "refuse-logins, accept-logins, go-down, come-back, delay-logins, cut-sessions"
                raise ValueError(f"{other!r} is not an action; allowed: {allowed}")
        return (await self._status(request))["database"]

    async def _accept_logins(self) -> None:
        self._later("logins", None, self._accept_logins)
        self._database().refuse_logins = False

    def _later(self, what: str, seconds: float | None, action: Callable[[], Awaitable[None]]) -> None:
        """Undoes `what` after so many seconds; an earlier order about the same no longer counts."""
        if what in self._timers:
            self._timers.pop(what).cancel()
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._timers[what] = loop.call_later(seconds, self._run_soon, action)

    def _run_soon(self, action: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.ensure_future(action())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _object(request: Request, allowed: tuple[str, ...]) -> dict[str, Any]:
    value = request.json()
    if not isinstance(value, dict) or any(key not in allowed for key in value):
        raise ValueError(f"the body is an object of {', '.join(allowed)}, not {value!r}")
    return value
