"""Writes the table that the prompt schedules of this crate are tested against.

    pip install lark
    python host/core/tests/reference_prompts.py > host/core/tests/prompt_schedules.txt

The grammar of prompt editing as the documentation of web UIs gives it, run by a general parser (Earley) that shares
nothing with the one in `src/prompt/schedule.rs`. A line is a case: steps, steps of the hires pass or `-`, `old` or
`new`, the prompt, then `end:text` for each entry, with tabs between and `\\`, `\\n`, `\\t` in the texts escaped.
Prompts are the documented ones, then random ones: nested as the grammar wants it with some accidents, and loose heaps
of what it cares about.
"""

import random

import lark

# One text is a run of pieces; brackets, colons and blanks left over at the outermost level are text, bars are not.
GRAMMAR = r"""
start: (_text | STRAY)*
_text: (_piece | BLANKS)*
_piece: weighted | edit | cycle | WORDS
!weighted: "(" _text ")" | "(" _text ":" _text ")" | "[" _text "]"
edit: "[" (side ":")? side ":" BLANKS? NUMBER BLANKS? "]"
cycle: "[" side ("|" side)+ "]"
side: _text
STRAY: "[" | "]" | "(" | ")" | ":"
BLANKS: /\s+/
WORDS: /(?:\\.|[^\\\[\]():|])+/
%import common.SIGNED_NUMBER -> NUMBER
"""

PARSER = lark.Lark(GRAMMAR, parser="earley")


class Clock:
    def __init__(self, steps, hires_steps, old):
        continued = hires_steps is not None and not old
        self.steps = hires_steps if continued else steps
        self.past_steps = steps if continued else 0
        self.past_fraction = 1.0 if continued else 0.0
        self.old = old

    def boundary(self, number):
        value = float(number)
        if self.old:
            value = value * self.steps if value < 1 else value
        elif "." in number:
            value = (value - self.past_fraction) * self.steps
        else:
            value -= self.past_steps
        return int(max(-1.0, min(value, self.steps)))


def text_at(node, step, clock):
    if isinstance(node, lark.Token):
        return str(node)
    sides = [child for child in node.children if isinstance(child, lark.Tree) and child.data == "side"]
    if node.data == "edit":
        number = next(c for c in node.children if isinstance(c, lark.Token) and c.type == "NUMBER")
        before, after = sides if len(sides) == 2 else (None, sides[0])
        chosen = before if step <= clock.boundary(number) else after
        return text_at(chosen, step, clock) if chosen is not None else ""
    if node.data == "cycle":
        return text_at(sides[(step - 1) % len(sides)], step, clock)
    return "".join(text_at(child, step, clock) for child in node.children)


def schedule(prompt, clock):
    try:
        tree = PARSER.parse(prompt)
    except lark.exceptions.LarkError:
        return [(clock.steps, prompt)]
    ends = {clock.steps}
    for edit in tree.find_data("edit"):
        number = next(c for c in edit.children if isinstance(c, lark.Token) and c.type == "NUMBER")
        ends.add(clock.boundary(number))
    if next(tree.find_data("cycle"), None) is not None:
        ends.update(range(1, clock.steps + 1))
    return [(end, text_at(tree, end, clock)) for end in sorted(ends) if end >= 1]


DOCUMENTED = [
    "", "test", "a [b:3]", "a [b: 3]", "a [b:\t3\n]", "a [[[b]]:2]", "[(a:2):3]", "a [b : c : 1] d",
    "a[b:[c:d:2]:1]e", "a [unbalanced", "a [b:.5] c", "a [b:1.5] c", "a [{b|d{:.5] c", "((a][:b:c [d:3]",
    "[a|(b:1.1)]", "[fe|]male", "[fe|||]male", "[a|b|c:d:0.5]", "[a:b:c]", "[a:b:c:3]", r"\[a:b:3\]", r"[a\:b:3]",
    r"[a\]b:3]", r"[a\|b|c]", "[a::3]", "[::3]", "[:3]", "[a:3]", "[a:b:]", "[a:]", "[:]", "[|]", "[||]", "|",
    "a | b [c:3]", "(a|b) [c:3]", "[(a|b):3]", "[[a|b]:3]", "[a|[b:3]]", "[a|[b|c]|d]", "[a|b", "a|b]", "[a|(b]",
    "[a (b:3]", "[a b):3]", "[a (b):3]", "[a (b:1.2:c):3]", "[[a:3]", "[a:3]]", "[[a:3]]", "[a:3] b:4]",
    "[x:[a:b:c:d]:5]", "[x:(a:b:c) [d:e:4]:5]", "(([a:b:2]", "[a:b:+3]", "[a:b:-3]", "[a:b:3.]", "[a:b:3.0]",
    "[a:b:1.]", "[a:b:.]", "[a:b:1e0]", "[a:b:1e-1]", "[a:b:3e-1]", "[a:b:.3E+0]", "[a:b:5.e-1]", "[a:b:1e]",
    "[a:b:1e5]", "[a:b:1_0]", "[a:b:inf]", "[a:b:nan]", "[a:b:0x3]", "[a:b:3 4]", "[a:b:- 3]", "[a:b:0]",
    "[a:b:0.0]", "[a:b:0.05]", "[a:b:1.0]", "[a:b:99]", "[a:b:0.29]", "[a:b:12]", "[a:b:15]", "[a:b:1.3]",
    "[a:b:2.0]", "[a:[b:c:0.7]:0.3]", "trailing \\", "[a:b:3] \\", "[a:b:3] \\\n", "[a:\\\n:3]", "[é:ß:2]",
    "(a [b:c:2]:1.3)", "([a|b]:[1.1:1.2:3])", "[(a:1.1)(b:1.2):c:2]", "a:b [c:2]", ": [c:2]", ") [c:2] (",
    "] [c:2] [", "[]", "()", "(:)", "([)]", "([a:2)]", "[a(:b):3]", "[a:b(:3)]", "[a:b:3 [c:4]]", "[a:b: [3]]",
    "[a:b:(3)]", "[a b:c|d:2]", "[[a|b|]:[c||d]:4]",
]

LOOSE = [
    "[", "[", "]", "]", "(", ")", ":", ":", "|", "a", " ", ":3]", ":.5]", ": 2 ]", "[a:b:", "[a|", "|b]", "(a:1.2)",
    "\\[", "\\]", "\\:", "\\|", "\\\\", "\n", "[a:2]", "[a|b]", "\u00e9", "-1]",
]
WORDS = ["", "a", "b", "c ", " d", "\\[", "\\|", "\u00e9\n", "7", "1.5"]
NUMBERS = ["1", "2", " 3", "5 ", "12", "-1", ".5", "0.3", "1.4", "1.75", "2e0", "1.", "x", ""]

CLOCKS = [(10, None, False), (10, 8, False), (10, None, True), (10, 6, True), (1, None, False), (3, 9, False)]


def escaped(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def nested(draw, depth):
    """Well-formed but for a number here and there."""
    if depth == 0:
        return draw.choice(WORDS)
    inner = [nested(draw, depth - 1) for _ in range(draw.randint(1, 3))]
    number = draw.choice(NUMBERS)
    form = draw.randint(0, 5)
    if form <= 1:
        return f"[{':'.join(inner[:2])}:{number}]"
    if form == 2:
        return f"[{'|'.join(inner)}]" if len(inner) > 1 else f"[{inner[0]}]"
    if form == 3:
        return f"({inner[0]}:1.2)"
    return "".join(inner)


def with_accident(draw, prompt):
    at = draw.randint(0, len(prompt))
    return prompt[:at] + draw.choice(LOOSE) + prompt[at + draw.randint(0, 1) :]


def main():
    draw = random.Random(20)
    prompts = [(prompt, clock) for prompt in DOCUMENTED for clock in CLOCKS[:3]]
    for _ in range(700):
        prompt = nested(draw, draw.randint(1, 4))
        if draw.random() < 0.4:
            prompt = with_accident(draw, prompt)
        prompts.append((prompt, draw.choice(CLOCKS)))
    for _ in range(300):
        prompts.append(("".join(draw.choices(LOOSE, k=draw.randint(2, 10))), draw.choice(CLOCKS)))
    for prompt, clock in dict.fromkeys(prompts):
        steps, hires_steps, old = clock
        entries = schedule(prompt, Clock(*clock))
        fields = [str(steps), str(hires_steps or "-"), "old" if old else "new", escaped(prompt)]
        print("\t".join(fields + [f"{end}:{escaped(text)}" for end, text in entries]))


if __name__ == "__main__":
    main()
