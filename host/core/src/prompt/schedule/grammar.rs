//! Reads prompt editing into a program of texts and jumps. Called by the schedule alone. Knows no clock: numbers are
//! left as they are written.
//!
//! ```text
//! prompt = { text | "[" | "]" | "(" | ")" | ":" }
//! text   = { "(" text [ ":" text ] ")" | "[" text "]" | edit | cycle | words }
//! edit   = "[" [ text ":" ] text ":" [ blanks ] number [ blanks ] "]"
//! cycle  = "[" text "|" text { "|" text } "]"
//! words  = anything but brackets, ":" and "|"; a backslash takes the next character with it
//! ```
//!
//! Leftover brackets and colons are text at the outermost level only: a bracket around one is itself left over. A
//! leftover bar, or a backslash before a line break or the end, is no prompt at all. What can be an edit is one.
//! So every bracket pairs with the last one open if that is of its kind, and otherwise nothing open can pair: one
//! pass over the tokens with a stack decides. No recursion, linear time.

/// A number in an edit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    /// Finite or infinite, never NaN.
    pub(super) value: f64,
    /// Written with a decimal point.
    pub(super) has_point: bool,
}

/// A prompt to be run at any step. Jumps lead forward only.
pub(super) struct Program<'a>(Vec<Operation<'a>>);

enum Operation<'a> {
    Text(&'a str),
    /// Go on here up to the boundary at `number`, at `after` from then on.
    Edit {
        number: Number,
        after: usize,
    },
    /// Go on at one of these, by the step.
    Cycle(Vec<usize>),
    Jump(usize),
}

impl<'a> Program<'a> {
    /// `None` for a text that the grammar does not cover.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let tokens = tokens(text)?;
        let roles = roles(&tokens)?;
        let mut assembler = Assembler::default();
        for (token, role) in tokens.iter().zip(roles) {
            assembler.add(token.text, role);
        }
        Some(Self(assembler.operations))
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = Number> {
        self.0.iter().filter_map(|operation| match operation {
            Operation::Edit { number, .. } => Some(*number),
            _ => None,
        })
    }

    pub(super) fn has_cycles(&self) -> bool {
        self.0.iter().any(|operation| matches!(operation, Operation::Cycle(_)))
    }

    /// The text at `step`, from 1. `boundary` gives the last step before the change at a number.
    pub(super) fn text_at(&self, step: u32, boundary: impl Fn(Number) -> u32) -> String {
        let mut text = String::new();
        let mut at = 0;
        while let Some(operation) = self.0.get(at) {
            at = match operation {
                Operation::Text(piece) => {
                    text.push_str(piece);
                    at + 1
                }
                Operation::Edit { number, after } if step > boundary(*number) => *after,
                Operation::Edit { .. } => at + 1,
                Operation::Cycle(items) => items[(step as usize - 1) % items.len()],
                Operation::Jump(to) => *to,
            };
        }
        text
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Words,
    OpenRound,
    OpenSquare,
    CloseRound,
    CloseSquare,
    Colon,
    Bar,
}

struct Token<'a> {
    kind: Kind,
    text: &'a str,
}

fn kind(c: char) -> Kind {
    match c {
        '(' => Kind::OpenRound,
        '[' => Kind::OpenSquare,
        ')' => Kind::CloseRound,
        ']' => Kind::CloseSquare,
        ':' => Kind::Colon,
        '|' => Kind::Bar,
        _ => Kind::Words,
    }
}

/// Words are as long as they can be. `None` when a backslash has nothing to take.
fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut words_start = 0;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match kind(c) {
            Kind::Words if c == '\\' => {
                chars.next().filter(|(_, next)| *next != '\n')?;
            }
            Kind::Words => {}
            kind => {
                if words_start < at {
                    tokens.push(Token { kind: Kind::Words, text: &text[words_start..at] });
                }
                words_start = at + 1;
                tokens.push(Token { kind, text: &text[at..words_start] });
            }
        }
    }
    if words_start < text.len() {
        tokens.push(Token { kind: Kind::Words, text: &text[words_start..] });
    }
    Some(tokens)
}

/// What a token is for.
#[derive(Clone, Copy)]
enum Role {
    /// Itself.
    Text,
    /// Begins an edit; without a text of its own before the boundary nothing stands there.
    Edit {
        number: Number,
        has_before: bool,
    },
    /// Begins a cycle.
    Cycle,
    /// Ends one side of an edit or a cycle; the next begins.
    Next,
    End,
    /// Part of an edit's number.
    Silent,
}

/// An open bracket.
struct Open {
    at: usize,
    kind: Kind,
    colons: Vec<usize>,
    bars: Vec<usize>,
}

/// `None` when a bar is left over.
fn roles(tokens: &[Token<'_>]) -> Option<Vec<Role>> {
    let mut roles = vec![Role::Text; tokens.len()];
    let mut stack: Vec<Open> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Words => {}
            Kind::OpenRound | Kind::OpenSquare => {
                stack.push(Open { at, kind: token.kind, colons: Vec::new(), bars: Vec::new() });
            }
            // A leftover colon needs nothing: its role is text.
            Kind::Colon => stack.last_mut().into_iter().for_each(|open| open.colons.push(at)),
            Kind::Bar => stack.last_mut()?.bars.push(at),
            Kind::CloseRound | Kind::CloseSquare => {
                let opener = if token.kind == Kind::CloseRound { Kind::OpenRound } else { Kind::OpenSquare };
                match stack.last() {
                    Some(open) if close(open, opener, at, tokens, &mut roles).is_some() => drop(stack.pop()),
                    _ => leave_over(&mut stack)?,
                }
            }
        }
    }
    leave_over(&mut stack)?;
    Some(roles)
}

/// Nothing that is open now can be closed: something inside is text of the outermost level.
fn leave_over(stack: &mut Vec<Open>) -> Option<()> {
    let has_bars = stack.iter().any(|open| !open.bars.is_empty());
    stack.clear();
    (!has_bars).then_some(())
}

/// Gives the tokens of a bracket that closes at `end` their roles; `None` when it is none that the grammar has.
fn close(open: &Open, opener: Kind, end: usize, tokens: &[Token<'_>], roles: &mut [Role]) -> Option<()> {
    let is_square = opener == Kind::OpenSquare;
    match (&open.colons[..], &open.bars[..]) {
        _ if open.kind != opener => None,
        ([], []) => Some(()),
        ([_], []) if !is_square => Some(()),
        ([], bars) if is_square => {
            roles[open.at] = Role::Cycle;
            bars.iter().for_each(|bar| roles[*bar] = Role::Next);
            roles[end] = Role::End;
            Some(())
        }
        ([before @ .., last], []) if is_square && before.len() < 2 => {
            let [only] = &tokens[last + 1..end] else { return None };
            let number = number(only)?;
            roles[open.at] = Role::Edit { number, has_before: !before.is_empty() };
            before.iter().for_each(|colon| roles[*colon] = Role::Next);
            roles[*last] = Role::Silent;
            roles[last + 1] = Role::Silent;
            roles[end] = Role::End;
            Some(())
        }
        _ => None,
    }
}

/// A decimal number with blanks around it: sign, digits with a point, exponent.
fn number(token: &Token<'_>) -> Option<Number> {
    let text = token.text.trim();
    // The standard library takes the same numbers, and words such as "inf" besides.
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | 'e' | 'E');
    let value = text.chars().all(is_part).then(|| text.parse().ok()).flatten()?;
    Some(Number { value, has_point: text.contains('.') })
}

/// Puts operations together and fills in jumps as their ends come to be known.
#[derive(Default)]
struct Assembler<'a> {
    operations: Vec<Operation<'a>>,
    stack: Vec<Construct>,
}

/// An edit or a cycle that has not ended.
struct Construct {
    /// Its operation.
    at: usize,
    /// Jumps to its end.
    jumps: Vec<usize>,
}

impl<'a> Assembler<'a> {
    fn add(&mut self, text: &'a str, role: Role) {
        match role {
            Role::Text => self.operations.push(Operation::Text(text)),
            Role::Edit { number, has_before } => {
                self.begin(Operation::Edit { number, after: 0 });
                if !has_before {
                    self.next_side();
                }
            }
            Role::Cycle => self.begin(Operation::Cycle(vec![self.operations.len() + 1])),
            Role::Next => self.next_side(),
            Role::End => {
                let end = self.operations.len();
                for jump in self.stack.pop().into_iter().flat_map(|construct| construct.jumps) {
                    self.operations[jump] = Operation::Jump(end);
                }
            }
            Role::Silent => {}
        }
    }

    fn begin(&mut self, operation: Operation<'a>) {
        self.stack.push(Construct { at: self.operations.len(), jumps: Vec::new() });
        self.operations.push(operation);
    }

    fn next_side(&mut self) {
        let Some(construct) = self.stack.last_mut() else { return };
        let start = self.operations.len() + 1;
        construct.jumps.push(start - 1);
        match &mut self.operations[construct.at] {
            Operation::Edit { after, .. } => *after = start,
            Operation::Cycle(items) => items.push(start),
            Operation::Text(_) | Operation::Jump(_) => {}
        }
        self.operations.push(Operation::Jump(start));
    }
}
