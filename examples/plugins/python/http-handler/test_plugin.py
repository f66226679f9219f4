import unittest

from gesso_plugin import Request
from gesso_plugin.fake import Host

import plugin


class Test(unittest.TestCase):
    def test_words_stand_between_spaces(self):
        answer = plugin.handle(Request("POST", "/", body=b" two  words\n"), Host())
        self.assertEqual((answer.status, answer.body), (200, '{"words": 2}'))

    def test_only_posts_of_text_are_counted(self):
        self.assertEqual(plugin.handle(Request("GET", "/"), Host()).status, 405)
        self.assertEqual(plugin.handle(Request("POST", "/", body=b"\xff"), Host()).status, 400)


if __name__ == "__main__":
    unittest.main()
