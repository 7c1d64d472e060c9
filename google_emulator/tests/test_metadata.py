"""The emulator's metadata server over real connections: its tree, its refusals, and every scripted failure."""

import http.client
import json
import socket
import sys
import time
import unittest
from collections.abc import Callable
from contextlib import closing
from typing import Any

from google_emulator.client import GoogleEmulator, EmulatorError

ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default/"
TOKEN = ACCOUNT + "token"
FLAVOR = {"Metadata-Flavor": "Google"}


class MetadataTest(unittest.TestCase):
    """One emulator for a class; every test leaves it without a script."""

    emulator: GoogleEmulator
    options: dict[str, Any] = {}

    @classmethod
    def setUpClass(cls) -> None:
        cls.emulator = GoogleEmulator(postgres=False, **cls.options)
        cls.emulator.start()
        cls.addClassCleanup(cls.emulator.stop)

    def setUp(self) -> None:
        self.addCleanup(self.emulator.clear)

    def connect(self, timeout: float = 20.0) -> http.client.HTTPConnection:
        host, _, port = self.emulator.metadata.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        self.addCleanup(connection.close)
        return connection

    def get(
        self, path: str = TOKEN, headers: dict[str, str] = FLAVOR, method: str = "GET", timeout: float = 20.0
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self.connect(timeout)
        with closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer, answer.read()

    def check_expires_in(self, expires_at: float, answer: dict[str, Any]) -> None:
        """The whole seconds left when it was answered, which was between its request and its end."""
        entry = self.emulator.wait_for(
            lambda: (last := self.emulator.token_requests()[-1]).finished and last, "the end of the answer"
        )
        self.assertLessEqual(answer["expires_in"], expires_at - entry.time)
        self.assertGreater(answer["expires_in"], expires_at - entry.finished - 1)

    def get_token(self) -> dict[str, Any]:
        answer, body = self.get()
        self.assertEqual(answer.status, 200, body)
        return json.loads(body)


class Tree(MetadataTest):
    def test_the_token_answer_is_as_googles(self) -> None:
        answer, body = self.get()
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.getheader("Content-Type"), "application/json")
        self.assertEqual(answer.getheader("Metadata-Flavor"), "Google")
        self.assertEqual(answer.getheader("Server"), "Metadata Server for VM")
        self.assertEqual(answer.getheader("X-XSS-Protection"), "0")
        self.assertEqual(answer.getheader("X-Frame-Options"), "SAMEORIGIN")
        token = json.loads(body)
        self.assertEqual(list(token), ["access_token", "expires_in", "token_type"])
        self.assertEqual(token["token_type"], "Bearer")
        self.assertIs(type(token["expires_in"]), int)
        self.check_expires_in(self.emulator.tokens()[-1].expires_at, token)

    def test_leaves_and_directories(self) -> None:
        email = "prefect-sa@my-project.iam.gserviceaccount.com"
        for path, expected in [
            ("/", "computeMetadata/\n"),
            ("/computeMetadata/", "v1/\n"),
            ("/computeMetadata/v1/", "instance/\nproject/\n"),
            ("/computeMetadata/v1/project/project-id", "my-project"),
            ("/computeMetadata/v1/project/numeric-project-id", "123456789012"),
            ("/computeMetadata/v1/instance/service-accounts/", f"default/\n{email}/\n"),
            (ACCOUNT, "aliases\nemail\nscopes\ntoken\n"),
            (ACCOUNT + "email", email),
            (ACCOUNT + "scopes", "https://www.googleapis.com/auth/cloud-platform\n"),
        ]:
            with self.subTest(path=path):
                answer, body = self.get(path)
                self.assertEqual((answer.status, body.decode()), (200, expected))
                self.assertEqual(answer.getheader("Content-Type"), "application/text")
                self.assertEqual(answer.getheader("Metadata-Flavor"), "Google")

    def test_recursive_account(self) -> None:
        answer, body = self.get(ACCOUNT + "?recursive=true")
        self.assertEqual(answer.getheader("Content-Type"), "application/json")
        account = json.loads(body)
        self.assertEqual(account["email"], "prefect-sa@my-project.iam.gserviceaccount.com")
        self.assertEqual(account["aliases"], ["default"])
        self.assertEqual(account["scopes"], ["https://www.googleapis.com/auth/cloud-platform"])

    def test_a_directory_without_its_slash_is_moved(self) -> None:
        for path in ("/computeMetadata/v1", "/computeMetadata/v1/instance", ACCOUNT[:-1]):
            with self.subTest(path=path):
                answer, _ = self.get(path)
                self.assertEqual(answer.status, 301)
                self.assertEqual(answer.getheader("Location"), f"http://{self.emulator.metadata}{path}/")

    def test_what_is_not_there(self) -> None:
        for path in ("/computeMetadata/v1/universe/universe-domain", "/nothing", ACCOUNT + "email/", "//"):
            with self.subTest(path=path):
                self.assertEqual(self.get(path)[0].status, 404)

    def test_refusals(self) -> None:
        for method, headers, status, words in [
            ("GET", {}, 403, 'Missing required header "Metadata-Flavor": "Google"'),
            ("GET", {"Metadata-Flavor": "google"}, 404, "Not found"),
            ("GET", FLAVOR | {"X-Forwarded-For": "192.0.2.1"}, 403, "X-Forwarded-For"),
            ("POST", FLAVOR, 405, "POST is not allowed"),
        ]:
            with self.subTest(method=method, headers=headers):
                answer, body = self.get(TOKEN, headers, method)
                self.assertEqual(answer.status, status)
                self.assertIn(words, body.decode())
                self.assertNotIn("ya29", body.decode())

    def test_the_root_answers_a_ping_without_the_header(self) -> None:
        answer, _ = self.get("/", {})
        self.assertEqual((answer.status, answer.getheader("Metadata-Flavor")), (200, "Google"))

    def test_one_connection_takes_many_requests(self) -> None:
        connection = self.connect()
        connection.connect()
        local_port = connection.sock.getsockname()[1]
        for _ in range(3):
            connection.request("GET", TOKEN, headers=FLAVOR)
            self.assertEqual(connection.getresponse().read()[:1], b"{")
        last = self.emulator.log()[-3:]
        self.assertEqual({entry.peer_port for entry in last}, {local_port})

    def test_bad_requests_are_answered_400(self) -> None:
        for request in (
            b"nonsense\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        ):
            with self.subTest(request=request), self.open_socket() as sock:
                sock.sendall(request)
                self.assertTrue(sock.makefile("rb").read().startswith(b"HTTP/1.1 400 "))

    def open_socket(self) -> socket.socket:
        host, _, port = self.emulator.metadata.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=20)


class Cache(MetadataTest):
    options = {"token_life": "1h"}

    def test_the_same_token_until_it_is_rotated(self) -> None:
        first, second = self.get_token(), self.get_token()
        self.assertEqual(first["access_token"], second["access_token"])
        self.check_expires_in(self.emulator.tokens()[-1].expires_at, second)
        self.assertEqual(self.emulator.tokens()[-1].expires_at - self.emulator.tokens()[-1].minted_at, 3600)
        rotated = self.emulator.rotate()
        self.assertEqual(self.get_token()["access_token"], rotated.text)
        self.assertEqual(self.emulator.current_token(), self.emulator.tokens()[-1])

    def test_settings_change_at_run_time(self) -> None:
        self.addCleanup(self.emulator.rotate)
        self.addCleanup(self.emulator.settings, life="1h", cache_model="five-minutes", padded=False)
        self.emulator.settings(life="20s", padded=True, cache_model="none")
        first, second = self.get_token(), self.get_token()
        self.assertNotEqual(first["access_token"], second["access_token"])
        self.assertEqual(len(first["access_token"]), 1024)
        newest = self.emulator.tokens()[-1]
        self.assertEqual(newest.expires_at - newest.minted_at, 20)
        self.check_expires_in(newest.expires_at, second)

    def test_bad_settings_are_refused_in_words(self) -> None:
        for setting, words in [
            ({"life": "2h"}, "10s to 1h"),
            ({"cache_model": "gce"}, "gce"),
            ({"lief": "20s"}, "lief"),
        ]:
            with self.subTest(setting=setting), self.assertRaisesRegex(EmulatorError, f"answered 400.*{words}"):
                self.emulator.settings(**setting)


class OldFirstToken(MetadataTest):
    options = {"token_life": "1h", "first_token_age": "50m"}

    def test_the_first_answer_has_less_left(self) -> None:
        answer = self.get_token()
        first = self.emulator.tokens()[0]
        self.assertEqual(first.expires_at - first.minted_at, 3600)
        self.assertAlmostEqual(first.minted_at, self.emulator.token_requests()[0].time - 3000, delta=60)
        self.check_expires_in(first.expires_at, answer)


class RequestLog(MetadataTest):
    def test_it_has_what_the_client_sent_and_what_it_got(self) -> None:
        scope = "https://www.googleapis.com/auth/sqlservice.login"
        before = time.time()
        token = self.get(f"{TOKEN}?scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fsqlservice.login")[1]
        entry = self.emulator.token_requests()[-1]
        self.assertEqual((entry.method, entry.path, entry.query), ("GET", TOKEN, {"scopes": scope}))
        self.assertEqual(entry.headers["metadata-flavor"], "Google")
        self.assertEqual((entry.answer, entry.status), ("token", 200))
        self.assertEqual(entry.expires_in, json.loads(token)["expires_in"])
        self.assertEqual(entry.token, self.emulator.tokens()[-1].hash)
        self.assertLessEqual(before, entry.time)
        self.assertLessEqual(entry.time, entry.answered)
        self.assertLessEqual(entry.answered, time.time())

    def test_since_gives_the_new_ones_only(self) -> None:
        before = self.emulator.log()[-1].number if self.emulator.log() else 0
        self.get("/")
        self.get()
        self.assertEqual([entry.path for entry in self.emulator.log(before)], ["/", TOKEN])
        self.assertEqual([entry.path for entry in self.emulator.token_requests(before)], [TOKEN])

    def test_two_at_once_are_seen(self) -> None:
        self.emulator.script({"answer": "hang"})
        first = self.connect()
        first.request("GET", TOKEN, headers=FLAVOR)
        before = self.emulator.wait_for(lambda: self.unfinished(), "the first request to come in")[0]
        self.get()
        second = self.emulator.token_requests(before.number)[0]
        self.assertEqual((before.in_flight, second.in_flight), (0, 1))
        first.close()
        self.emulator.wait_for(lambda: not self.unfinished(), "the emulator to see that the client left")
        self.get()
        self.assertEqual(self.emulator.token_requests()[-1].in_flight, 0)

    def test_a_client_that_gave_up_is_no_longer_in_flight(self) -> None:
        self.emulator.script({"answer": "hang"}, {"answer": "token", "delay": 600})
        for _ in range(2):
            client = self.connect()
            client.request("GET", TOKEN, headers=FLAVOR)
            self.emulator.wait_for(lambda: self.unfinished(), "the request to come in")
            client.close()
            self.emulator.wait_for(lambda: not self.unfinished(), "the emulator to see that the client left")
        self.assertTrue(all(entry.client_left_early for entry in self.emulator.token_requests()[-2:]))
        self.get()
        self.assertEqual(self.emulator.token_requests()[-1].in_flight, 0)

    def unfinished(self) -> list[Any]:
        return [entry for entry in self.emulator.token_requests() if entry.finished is None]


class ScriptedFailures(MetadataTest):
    def scripted(self, **step: Any) -> tuple[http.client.HTTPResponse, bytes]:
        """The answer under the step; the one after it is right again."""
        self.emulator.script(step)
        answer, body = self.get()
        self.assertEqual(self.emulator.token_requests()[-1].answer, step.get("answer", "status"))
        self.assertIn("access_token", self.get_token())
        return answer, body

    def good(self) -> str:
        return self.get_token()["access_token"]

    def test_status_with_body_and_retry_after(self) -> None:
        answer, body = self.scripted(status=429, body="slow down", retry_after=7)
        self.assertEqual((answer.status, body), (429, b"slow down"))
        self.assertEqual(answer.getheader("Retry-After"), "7")
        answer, body = self.scripted(status=500)
        self.assertEqual(body.decode(), f"Could not fetch URI {TOKEN}\n")
        self.assertIsNone(answer.getheader("Retry-After"))

    def test_a_sequence(self) -> None:
        self.emulator.script({"status": 500, "times": 2}, {"answer": "token"}, {"status": 404}, {"status": 403})
        statuses = [self.get()[0].status for _ in range(6)]
        self.assertEqual(statuses, [500, 500, 200, 404, 403, 200])

    def test_other_paths_are_not_counted(self) -> None:
        self.emulator.script({"status": 500})
        self.assertEqual(self.get("/")[0].status, 200)
        self.assertEqual(self.get(TOKEN, {})[0].status, 403)
        self.assertEqual(self.get()[0].status, 500)

    def test_for_a_duration(self) -> None:
        before, number = time.time(), len(self.emulator.log())
        self.emulator.script({"status": 503, "seconds": "1500ms"})
        self.emulator.wait_for(lambda: self.get()[0].status == 200, "the end of the failure")
        *failed, good = self.emulator.token_requests(number)
        self.assertEqual({entry.status for entry in failed} - {503}, set())
        self.assertGreaterEqual(good.time - before, 1.5)

    def test_clear(self) -> None:
        self.emulator.script({"status": 503, "seconds": 600})
        self.assertEqual(self.get()[0].status, 503)
        self.emulator.clear()
        self.assertEqual(self.get()[0].status, 200)

    def test_delay(self) -> None:
        started = time.monotonic()
        answer, _ = self.scripted(answer="token", delay=1)
        self.assertEqual(answer.status, 200)
        self.assertGreaterEqual(time.monotonic() - started, 1)

    def test_hang(self) -> None:
        self.emulator.script({"answer": "hang"})
        with self.assertRaises(TimeoutError):
            self.get(timeout=1)

    def test_cut_body(self) -> None:
        self.emulator.script({"answer": "cut-body"})
        connection = self.connect()
        connection.request("GET", TOKEN, headers=FLAVOR)
        answer = connection.getresponse()
        with self.assertRaises(http.client.IncompleteRead) as caught:
            answer.read()
        self.assertGreater(len(caught.exception.partial), 50)
        self.assertGreater(caught.exception.expected, 50)

    def test_refused(self) -> None:
        self.good()
        idle = self.connect()
        idle.request("GET", TOKEN, headers=FLAVOR)
        idle.getresponse().read()
        self.emulator.script({"answer": "refused", "seconds": 600})
        with self.assertRaises(ConnectionRefusedError):
            self.get()
        with self.assertRaises((ConnectionError, http.client.HTTPException)):
            idle.request("GET", TOKEN, headers=FLAVOR)
            idle.getresponse()
        self.assertFalse(self.emulator.status()["metadata"]["accepting"])
        self.emulator.clear()
        self.good()

    def test_refused_for_a_duration(self) -> None:
        self.emulator.script({"answer": "refused", "seconds": 1})
        self.emulator.wait_for(lambda: self.emulator.status()["metadata"]["accepting"], "the port to come back")
        self.good()

    def test_refused_after_another_step(self) -> None:
        self.emulator.script({"status": 500}, {"answer": "refused", "seconds": 600})
        self.assertEqual(self.get()[0].status, 500)
        self.emulator.wait_for(lambda: not self.emulator.status()["metadata"]["accepting"], "the port to close")
        with self.assertRaises(ConnectionRefusedError):
            self.get()
        self.emulator.clear()
        self.good()

    def test_reset(self) -> None:
        self.emulator.script({"answer": "reset"})
        with self.assertRaises(ConnectionResetError):
            self.get()

    def test_bad_json(self) -> None:
        _, body = self.scripted(answer="bad-json")
        with self.assertRaises(ValueError):
            json.loads(body)
        self.assertIn(b"access_token", body)

    def test_empty_body(self) -> None:
        answer, body = self.scripted(answer="empty-body")
        self.assertEqual((answer.status, body), (200, b""))

    def test_odd_expires_in(self) -> None:
        for value in (0, -5, "3599", 12.5, None, True, 10**20):
            with self.subTest(value=value):
                _, body = self.scripted(answer="expires-in", expires_in=value)
                self.assertIs(type(json.loads(body)["expires_in"]), type(value))
                self.assertEqual(json.loads(body)["expires_in"], value)
                self.assertEqual(self.emulator.token_requests()[-2].expires_in, value)

    def test_members_left_out(self) -> None:
        self.assertEqual(
            set(json.loads(self.scripted(answer="no-expires-in")[1])), {"access_token", "token_type"}
        )
        self.assertEqual(set(json.loads(self.scripted(answer="no-token")[1])), {"expires_in", "token_type"})

    def test_odd_tokens(self) -> None:
        checks: dict[str, Callable[[str], bool]] = {
            "empty-token": lambda token: token == "",
            "long-token": lambda token: len(token) == 9000,
            "newline-token": lambda token: token.count("\n") == 1,
            "padded-token": lambda token: len(token) == 1024 and token.endswith(".."),
        }
        for answer, check in checks.items():
            with self.subTest(answer=answer):
                token = json.loads(self.scripted(answer=answer)[1])["access_token"]
                self.assertTrue(check(token), token)

    def test_a_padded_token_is_a_real_one(self) -> None:
        token = json.loads(self.scripted(answer="padded-token")[1])["access_token"]
        self.assertIn(token, [minted.text for minted in self.emulator.tokens()])
        self.assertEqual(self.good(), token)

    def test_redirect_leads_to_a_token_of_no_worth(self) -> None:
        answer, _ = self.scripted(answer="redirect")
        self.assertEqual(answer.status, 301)
        self.assertEqual(answer.getheader("Location"), f"http://{self.emulator.metadata}/elsewhere/token")
        followed = json.loads(self.get("/elsewhere/token", {})[1])["access_token"]
        self.assertNotIn(followed, [minted.text for minted in self.emulator.tokens()])
        answer, _ = self.scripted(answer="redirect", location="http://192.0.2.1/")
        self.assertEqual(answer.getheader("Location"), "http://192.0.2.1/")

    def test_no_flavor(self) -> None:
        answer, body = self.scripted(answer="no-flavor")
        self.assertEqual(answer.status, 200)
        self.assertIsNone(answer.getheader("Metadata-Flavor"))
        self.assertIn("access_token", json.loads(body))

    def test_huge_body(self) -> None:
        _, body = self.scripted(answer="huge-body")
        self.assertEqual(len(body), 1024 * 1024)
        self.assertIn("access_token", json.loads(body))
        self.assertEqual(len(self.scripted(answer="huge-body", size=70_000)[1]), 70_000)

    def test_proxy_page(self) -> None:
        answer, body = self.scripted(answer="proxy-page")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.getheader("Content-Type"), "text/html")
        self.assertIsNone(answer.getheader("Metadata-Flavor"))
        self.assertIn(b"<html>", body)

    def test_a_bad_step_is_refused_and_none_of_the_order_counts(self) -> None:
        with self.assertRaisesRegex(EmulatorError, "answered 400.*nonsense"):
            self.emulator.script({"status": 500}, {"answer": "nonsense"})
        self.assertEqual(self.get()[0].status, 200)
