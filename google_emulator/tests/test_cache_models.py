"""The metadata server's cache of tokens, on a simulated clock."""

import unittest

from google_emulator.script import Script, Step
from google_emulator.tokens import CacheModel, Mint, TokenCache

START = 1_800_000_000.0


def cache_of(model: CacheModel, life: float = 3600.0, first_token_age: float = 0.0) -> TokenCache:
    return TokenCache(Mint(life), model, first_token_age)


class RefreshMargins(unittest.TestCase):
    def check_margin(self, model: CacheModel, life: float, margin: float) -> None:
        """The same token until `margin` seconds are left, and then at once a new one of full life."""
        cache = cache_of(model, life)
        first = cache.answer(START)
        self.assertIs(cache.answer(START + life - margin - 0.01), first)
        due = START + life - margin + 0.001
        second = cache.answer(due)
        self.assertNotEqual(second.text, first.text)
        self.assertAlmostEqual(second.left(due), life)

    def test_five_minutes(self) -> None:
        self.check_margin(CacheModel.FIVE_MINUTES, 3600, 300)

    def test_four_minutes(self) -> None:
        self.check_margin(CacheModel.FOUR_MINUTES, 3600, 240)

    def test_margins_scale_with_the_life(self) -> None:
        self.check_margin(CacheModel.FIVE_MINUTES, 60, 5)
        self.check_margin(CacheModel.FOUR_MINUTES, 60, 4)
        self.check_margin(CacheModel.FOUR_MINUTES, 10, 240 * 10 / 3600)

    def test_without_a_cache_each_request_gets_its_own(self) -> None:
        cache = cache_of(CacheModel.NONE)
        self.assertEqual(len({cache.answer(START + second).text for second in range(20)}), 20)


class StaleWhileRefresh(unittest.TestCase):
    def test_the_old_token_is_answered_once_more_and_then_the_new_one(self) -> None:
        cache = cache_of(CacheModel.GKE)
        first = cache.answer(START)
        self.assertIs(cache.answer(START + 3299), first)
        self.assertIs(cache.answer(START + 3301), first)
        second = cache.answer(START + 3303)
        self.assertIsNot(second, first)
        self.assertEqual(second.minted_at, START + 3302)
        self.assertIs(cache.answer(START + 3304), second)

    def test_requests_during_the_refresh_do_not_put_it_off(self) -> None:
        cache = cache_of(CacheModel.GKE)
        first = cache.answer(START)
        for millisecond in range(0, 1000, 50):
            self.assertIs(cache.answer(START + 3400 + millisecond / 1000), first)
        self.assertIsNot(cache.answer(START + 3401), first)

    def test_under_a_minute_nobody_gets_the_old_one(self) -> None:
        cache = cache_of(CacheModel.GKE)
        first = cache.answer(START)
        self.assertIsNot(cache.answer(START + 3540), first)

    def test_a_refresh_that_nobody_came_back_for_counts_from_when_it_was_done(self) -> None:
        cache = cache_of(CacheModel.GKE)
        cache.answer(START)
        cache.answer(START + 3400)
        late = START + 3401 + 3590
        self.assertAlmostEqual(cache.answer(late).left(late), 3600)

    def test_it_shows_without_a_request(self) -> None:
        cache = cache_of(CacheModel.GKE, life=60)
        first = cache.answer(START)
        cache.answer(START + 56)
        self.assertIsNot(cache.current(START + 57), first)


class FirstToken(unittest.TestCase):
    def test_it_is_as_old_as_asked_when_it_is_first_given_out(self) -> None:
        for model in CacheModel:
            with self.subTest(model=model.value):
                cache = cache_of(model, first_token_age=3500)
                self.assertEqual(cache.answer(START).left(START), 100)

    def test_the_next_request_follows_the_model(self) -> None:
        cache = cache_of(CacheModel.FIVE_MINUTES, first_token_age=3500)
        first = cache.answer(START)
        self.assertEqual(cache.answer(START + 1).left(START + 1), 3600)
        self.assertIsNot(cache.answer(START + 1), first)


class OverDays(unittest.TestCase):
    def test_every_answer_has_at_least_the_models_margin_left(self) -> None:
        least = {
            CacheModel.FIVE_MINUTES: 300,
            CacheModel.FOUR_MINUTES: 240,
            CacheModel.GKE: 60,
            CacheModel.NONE: 3600,
        }
        for model, margin in least.items():
            with self.subTest(model=model.value):
                cache = cache_of(model)
                left = []
                for step in range(0, 2 * 86400, 7):
                    now = START + step
                    token = cache.answer(now)
                    self.assertFalse(token.expired(now))
                    left.append(token.left(now))
                self.assertGreaterEqual(min(left), margin)
                self.assertLessEqual(max(left), 3600)


class TokenText(unittest.TestCase):
    def test_it_looks_like_a_real_one(self) -> None:
        mint = Mint(3600)
        for _ in range(200):
            self.assertRegex(mint.make(START).text, r"\Aya29\.c\.[A-Za-z0-9_-]{200,1000}\Z")
        self.assertEqual(len({token.text for token in mint.tokens}), 200)

    def test_padded_to_1024_characters_with_dots(self) -> None:
        cache = cache_of(CacheModel.FIVE_MINUTES)
        token = cache.answer_padded(START)
        self.assertRegex(token.text, r"\Aya29\.c\.[A-Za-z0-9_-]{200,993}\.+\Z")
        self.assertEqual(len(token.text), 1024)
        self.assertIs(cache.answer(START + 1), token)

    def test_lives_outside_10_s_to_1_h_are_refused(self) -> None:
        for life in (9.9, 3601):
            with self.assertRaisesRegex(ValueError, "10s to 1h"):
                Mint(life)


class Scripts(unittest.TestCase):
    def answers(self, script: Script, times: list[float]) -> list[str]:
        return [(script.take(START + time) or Step()).answer for time in times]

    def test_steps_by_count(self) -> None:
        script = Script()
        script.add([Step("hang", times=2), Step("reset")])
        self.assertEqual(self.answers(script, [0, 1, 2, 3]), ["hang", "hang", "reset", "token"])

    def test_steps_by_duration_follow_one_another(self) -> None:
        script = Script()
        script.add([Step("status", seconds=10), Step("hang", seconds=5), Step("reset")])
        times = [0, 9.9, 10, 14.9, 15, 16]
        self.assertEqual(self.answers(script, times), ["status", "status", "hang", "hang", "reset", "token"])

    def test_a_step_added_after_the_end_of_the_others_starts_then(self) -> None:
        script = Script()
        script.add([Step("status", seconds=10)])
        self.assertEqual(self.answers(script, [0, 20]), ["status", "token"])
        script.add([Step("hang", seconds=10)])
        self.assertEqual(self.answers(script, [30, 39, 41]), ["hang", "hang", "token"])

    def test_a_bad_step_is_refused_in_words(self) -> None:
        for value, words in [
            ({"answer": "nonsense"}, "'nonsense' is not an answer; allowed: token, status"),
            ({"anwser": "hang"}, "'anwser' is not part of a step"),
            ({"answer": "hang", "times": 1, "seconds": 2}, "not both"),
            ({"answer": "hang", "times": 0}, "from 1 up"),
            ({"answer": "refused"}, "give `seconds`"),
            ({"answer": "expires-in"}, "needs the value"),
            ({"answer": "hang", "seconds": "5 weeks"}, "is not a duration"),
            ("hang", "a step is an object"),
        ]:
            with self.subTest(value=value), self.assertRaisesRegex(ValueError, words):
                Step.from_json(value)
