"""The emulator's IAM login in front of the real PostgreSQL, seen by asyncpg and on the wire."""

import asyncio
import os
import socket
import ssl
import struct
import time
import unittest
from pathlib import Path
from typing import Any

import asyncpg

from google_emulator.client import GoogleEmulator

FULL_ADDRESS = "prefect-sa@my-project.iam.gserviceaccount.com"
IAM_REFUSAL = 'Cloud SQL IAM service account authentication failed for user "prefect-sa@my-project.iam"'

READY_FOR_QUERY = b"Z\0\0\0\5I"


class DatabaseTest(unittest.IsolatedAsyncioTestCase):
    """One emulator for a class."""

    emulator: GoogleEmulator
    options: dict[str, Any] = {}

    @classmethod
    def setUpClass(cls) -> None:
        cls.emulator = GoogleEmulator(**({"token_life": "1h"} | cls.options))
        cls.emulator.start()
        cls.addClassCleanup(cls.emulator.stop)

    async def asyncSetUp(self) -> None:
        # The tests ask the emulator's control port between two awaits; nobody waits for the loop meanwhile.
        asyncio.get_running_loop().slow_callback_duration = 60

    async def connect(self, token: str | None = None, **arguments: Any) -> asyncpg.Connection:
        arguments = {
            "host": self.emulator.db_host,
            "port": self.emulator.db_port,
            "user": self.emulator.user,
            "password": self.emulator.fetch_token()[0] if token is None else token,
            "database": self.emulator.database_name,
            "ssl": "disable",
            "timeout": 30,
        } | arguments
        connection = await asyncpg.connect(**arguments)
        self.addAsyncCleanup(connection.close, timeout=30)
        return connection

    def log_in_by_hand(self) -> socket.socket:
        client = socket.create_connection((self.emulator.db_host, self.emulator.db_port), timeout=60)
        client.sendall(startup_packet(self.emulator.user, "prefect"))
        client.recv(100)
        password = self.emulator.fetch_token()[0].encode() + b"\0"
        client.sendall(b"p" + struct.pack("!I", len(password) + 4) + password)
        return client

    async def assert_refused(self, code: str, message: str, **arguments: Any) -> None:
        with self.assertRaises(asyncpg.PostgresError) as caught:
            await self.connect(**arguments)
        self.assertEqual((caught.exception.sqlstate, str(caught.exception)), (code, message))

    def last_login(self) -> Any:
        return self.emulator.logins()[-1]


class Passwords(DatabaseTest):
    async def test_a_live_token_reaches_a_real_postgresql_18(self) -> None:
        connection = await self.connect()
        self.assertRegex(await connection.fetchval("SELECT version()"), "^PostgreSQL 18")
        self.assertEqual(await connection.fetchval("SELECT session_user"), self.emulator.user)
        login = self.last_login()
        self.assertTrue(login.accepted and login.newest and not login.refused)
        self.assertEqual((login.user, login.database, login.tls), (self.emulator.user, "prefect", False))
        self.assertEqual(login.token, self.emulator.tokens()[-1].hash)
        self.assertAlmostEqual(login.token_age + login.token_left, 3600, delta=0.01)

    async def test_an_unknown_token_is_refused_in_cloud_sqls_words(self) -> None:
        await self.assert_refused("28000", IAM_REFUSAL, token="ya29.c.unknown")
        login = self.last_login()
        self.assertEqual((login.accepted, login.refused, login.why), (False, True, "unknown token"))

    async def test_no_password_is_refused(self) -> None:
        await self.assert_refused("28000", IAM_REFUSAL, token="")
        self.assertEqual(self.last_login().why, "no password")

    async def test_all_tokens_that_are_not_expired_are_good(self) -> None:
        tokens = [self.emulator.rotate().text for _ in range(3)]
        for token in tokens:
            await self.connect(token)
        self.assertEqual([login.newest for login in self.emulator.logins()[-3:]], [False, False, True])

    async def test_a_padded_token_is_good_and_only_with_its_dots(self) -> None:
        self.emulator.script({"answer": "padded-token"})
        token = self.emulator.fetch_token()[0]
        self.assertTrue(token.endswith("."))
        await self.connect(token)
        await self.assert_refused("28000", IAM_REFUSAL, token=token.rstrip("."))

    async def test_the_full_address_is_no_user(self) -> None:
        await self.assert_refused(
            "28P01", f'password authentication failed for user "{FULL_ADDRESS}"', user=FULL_ADDRESS
        )

    async def test_the_real_servers_own_refusal_comes_through(self) -> None:
        await self.assert_refused("3D000", 'database "nowhere" does not exist', database="nowhere")

    async def test_a_client_that_leaves_before_the_password_is_not_a_refusal(self) -> None:
        before = len(self.emulator.logins())
        with socket.create_connection((self.emulator.db_host, self.emulator.db_port), timeout=20) as client:
            client.sendall(startup_packet(self.emulator.user, "prefect"))
            self.assertEqual(client.recv(100), b"R" + struct.pack("!II", 8, 3))
        self.emulator.wait_for(lambda: len(self.emulator.logins()) > before, "the login to be logged")
        login = self.last_login()
        self.assertEqual((login.accepted, login.refused), (False, False))

    async def test_encryption_that_is_not_there_is_declined(self) -> None:
        for request in (80877103, 80877104):
            with socket.create_connection((self.emulator.db_host, self.emulator.db_port), timeout=20) as client:
                client.sendall(struct.pack("!II", 8, request))
                self.assertEqual(client.recv(1), b"N")

    async def test_garbage_costs_only_its_own_connection(self) -> None:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\7\0\0\0\0", b"\xff" * 100):
            with socket.create_connection((self.emulator.db_host, self.emulator.db_port), timeout=20) as client:
                client.sendall(garbage)
                self.assertEqual(client.recv(1), b"")
        await self.connect()


class Expiry(DatabaseTest):
    async def test_an_expired_token_is_refused_and_its_open_session_lives_on(self) -> None:
        token, _ = self.emulator.fetch_token()
        session = await self.connect(token)
        await session.execute("CREATE TEMPORARY TABLE kept (value integer)")
        self.emulator.expire()
        await self.assert_refused("28000", IAM_REFUSAL, token=token)
        login = self.last_login()
        self.assertEqual(login.why, "expired token")
        self.assertLessEqual(login.token_left, 0)
        await session.execute("INSERT INTO kept VALUES (1)")
        self.assertEqual(await session.fetchval("SELECT count(*) FROM kept"), 1)
        await self.connect(self.emulator.fetch_token()[0])


class Relay(DatabaseTest):
    async def test_large_values_pass_whole_both_ways(self) -> None:
        connection = await self.connect()
        value = os.urandom(8 * 1024 * 1024)
        self.assertEqual(await connection.fetchval("SELECT $1::bytea", value), value)

    async def test_a_query_can_be_cancelled(self) -> None:
        connection = await self.connect()
        with self.assertRaises(TimeoutError):
            await connection.execute("SELECT pg_sleep(600)", timeout=0.5)
        self.assertEqual(await connection.fetchval("SELECT 1", timeout=30), 1)

    async def test_many_sessions_at_once(self) -> None:
        connections = await asyncio.gather(*(self.connect() for _ in range(40)))
        values = await asyncio.gather(*(one.fetchval("SELECT pg_backend_pid()") for one in connections))
        self.assertEqual(len(set(values)), 40)
        self.assertGreaterEqual(self.emulator.status()["database"]["open_sessions"], 40)

    async def test_the_end_of_a_session_reaches_the_other_side(self) -> None:
        connection = await self.connect()
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        watcher = await self.connect()
        connection.terminate()
        alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
        for _ in range(300):
            if await watcher.fetchval(alive, pid) == 0:
                break
            await asyncio.sleep(0.1)
        self.assertEqual(await watcher.fetchval(alive, pid), 0)

    async def test_the_servers_last_words_reach_the_client(self) -> None:
        other = await self.connect()
        with self.log_in_by_hand() as client:
            login = b""
            while not login.endswith(READY_FOR_QUERY):
                login += client.recv(10_000)
            ended = await other.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE usename = current_user AND pid != pg_backend_pid()"
            )
            self.assertEqual(ended, 1)
            with client.makefile("rb") as rest:
                self.assertIn(b"C57P01\0", rest.read())

    async def test_a_client_that_does_not_read_does_not_fill_memory(self) -> None:
        watcher = await self.connect()
        with self.log_in_by_hand() as client:
            before = resident_megabytes(self.emulator.pid)
            query = b"SELECT repeat('x', 1000000) FROM generate_series(1, 300)\0"
            client.sendall(b"Q" + struct.pack("!I", len(query) + 4) + query)
            # The real server waits for its client, which is the emulator, and that waits for this one.
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"
            for _ in range(600):
                if await watcher.fetchval(waiting):
                    break
                await asyncio.sleep(0.1)
            self.assertEqual(await watcher.fetchval(waiting), 1)
            self.assertLess(resident_megabytes(self.emulator.pid) - before, 50)
            received = 0
            while received < 300_000_000:
                received += len(client.recv(1 << 20))
            self.assertLess(resident_megabytes(self.emulator.pid) - before, 50)


class TlsOn(DatabaseTest):
    options = {"tls": "on"}

    async def test_with_and_without(self) -> None:
        for mode, encrypted in (("require", True), ("prefer", True), ("disable", False)):
            with self.subTest(ssl=mode):
                connection = await self.connect(ssl=mode)
                self.assertEqual(await connection.fetchval("SELECT 1"), 1)
                self.assertEqual(self.last_login().tls, encrypted)

    async def test_the_certificate_names_the_instance_and_no_host(self) -> None:
        """As Cloud SQL's default does (cloud-sql-go-connector, tls_verify.go): verify-ca works and verify-full does not."""
        for host in ("127.0.0.1", "localhost"):
            with self.subTest(host=host):
                verify_ca, verify_full = (ssl.create_default_context(cafile=self.emulator.ca) for _ in range(2))
                verify_ca.check_hostname = False
                connection = await self.connect(host=host, ssl=verify_ca)
                value = os.urandom(4 * 1024 * 1024)
                self.assertEqual(await connection.fetchval("SELECT $1::bytea", value), value)
                certificate = connection._transport.get_extra_info("ssl_object").getpeercert()
                self.assertEqual(certificate["subject"], ((("commonName", "my-project:prefect-db"),),))
                self.assertNotIn("subjectAltName", certificate)
                with self.assertRaisesRegex(ssl.SSLCertVerificationError, "mismatch|not valid for|doesn't match"):
                    await self.connect(host=host, ssl=verify_full)

    async def test_another_authority_does_not_vouch_for_it(self) -> None:
        with self.assertRaises(ssl.SSLCertVerificationError):
            await self.connect(ssl=ssl.create_default_context())

    async def test_refused_over_tls(self) -> None:
        await self.assert_refused("28000", IAM_REFUSAL, token="ya29.c.unknown", ssl="require")


class TlsOfASharedAuthority(DatabaseTest):
    options = {"tls": "on", "ca_mode": "shared"}

    async def test_the_certificate_is_good_for_the_dns_name_alone(self) -> None:
        verify_full = ssl.create_default_context(cafile=self.emulator.ca)
        await self.connect(host="localhost", ssl=verify_full)
        self.assertTrue(self.last_login().tls)
        with self.assertRaises(ssl.SSLCertVerificationError):
            await self.connect(host="127.0.0.1", ssl=verify_full)


class TlsRequired(DatabaseTest):
    options = {"tls": "required"}

    async def test_a_login_without_is_refused_before_the_password(self) -> None:
        await self.assert_refused(
            "28000",
            'pg_hba.conf rejects connection for host "127.0.0.1", user "prefect-sa@my-project.iam", '
            'database "prefect", SSL off',
        )
        login = self.last_login()
        self.assertEqual((login.why, login.token), ("TLS is required", None))

    async def test_a_login_with_is_taken(self) -> None:
        await self.connect(ssl="require")
        self.assertTrue(self.last_login().accepted)


class Faults(DatabaseTest):
    async def test_logins_refused_for_a_time(self) -> None:
        session = await self.connect()
        self.emulator.database("refuse-logins")
        await self.assert_refused("28000", IAM_REFUSAL)
        self.assertEqual(self.last_login().why, "logins are refused by script")
        self.assertEqual(await session.fetchval("SELECT 1"), 1)
        self.emulator.database("accept-logins")
        await self.connect()
        self.emulator.database("refuse-logins", "1s")
        self.emulator.wait_for(
            lambda: not self.emulator.status()["database"]["refuse_logins"], "logins to be taken"
        )
        await self.connect()

    async def test_down_and_back(self) -> None:
        session = await self.connect()
        token = self.emulator.fetch_token()[0]
        self.emulator.database("go-down")
        with self.assertRaises(ConnectionRefusedError):
            await self.connect(token)
        self.assertEqual(await session.fetchval("SELECT 1"), 1)
        self.emulator.database("come-back")
        await self.connect(token)
        self.emulator.database("go-down", 1)
        self.emulator.wait_for(lambda: self.emulator.status()["database"]["accepting"], "the port to come back")
        await self.connect(token)

    async def test_open_sessions_cut(self) -> None:
        session = await self.connect()
        self.assertGreaterEqual(self.emulator.database("cut-sessions")["cut"], 1)
        with self.assertRaises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await session.fetchval("SELECT 1", timeout=30)
        await self.connect()

    async def test_slow_logins(self) -> None:
        self.addCleanup(self.emulator.database, "delay-logins", 0)
        self.emulator.database("delay-logins", 1)
        started = time.monotonic()
        await self.connect()
        self.assertGreaterEqual(time.monotonic() - started, 1)


class Grants(DatabaseTest):
    async def test_the_user_may_do_what_the_grants_say_and_no_more(self) -> None:
        connection = await self.connect()
        await connection.execute("CREATE EXTENSION pg_trgm")
        await connection.execute("CREATE TABLE public.flows (name text)")
        await connection.execute("CREATE INDEX CONCURRENTLY ON flows USING gin (name gin_trgm_ops)")
        role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
        for attribute in ("rolsuper", "rolcreaterole", "rolcreatedb", "rolbypassrls", "rolreplication"):
            self.assertFalse(role[attribute], attribute)
        for statement in (
            f'ALTER SCHEMA public OWNER TO "{self.emulator.user}"',
            "CREATE ROLE other",
            "CREATE DATABASE other",
            "DROP DATABASE template1",
        ):
            with self.subTest(statement=statement), self.assertRaises(asyncpg.PostgresError) as caught:
                await connection.execute(statement)
            self.assertEqual(caught.exception.sqlstate, "42501", statement)

    async def test_the_administrator_is_no_superuser(self) -> None:
        administrator = await asyncpg.connect(
            host=self.emulator.socket_directory, user="postgres", database=self.emulator.database_name
        )
        self.addAsyncCleanup(administrator.close)
        superusers = await administrator.fetch("SELECT rolname FROM pg_roles WHERE rolsuper")
        self.assertEqual([role["rolname"] for role in superusers], ["cloudsqladmin"])
        with self.assertRaises(asyncpg.InsufficientPrivilegeError):
            await administrator.execute(f'ALTER SCHEMA public OWNER TO "{self.emulator.user}"')


class DedicatedSchema(DatabaseTest):
    options = {"schema": "prefect", "database": "Prefect DB", "iam_user": 'odd"user@my-project.iam'}

    async def test_the_schema_is_the_users_and_public_is_not(self) -> None:
        connection = await self.connect(server_settings={"search_path": "prefect, public"})
        await connection.execute("CREATE EXTENSION pg_trgm")
        await connection.execute("CREATE TABLE flows (name text)")
        table = await connection.fetchval("SELECT schemaname FROM pg_tables WHERE tablename = 'flows'")
        self.assertEqual(table, "prefect")
        with self.assertRaises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("CREATE TABLE public.flows (name text)")


def startup_packet(user: str, database: str) -> bytes:
    parameters = f"user\0{user}\0database\0{database}\0\0".encode()
    return struct.pack("!II", len(parameters) + 8, 196608) + parameters


def resident_megabytes(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2
