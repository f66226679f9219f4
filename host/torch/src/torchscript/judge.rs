//! Whether the code and the pickles of a TorchScript archive stay with computing. Pure: looks at text and bytes.
//!
//! Operators are reached through the names `torch` and `ops`, as methods of values, and by `getattr` with a text; native
//! classes by their path. Each of these is allowed in the one form that exporters write.

/// The operators of libtorch 2.11 that touch files (`from_file` reads, `save` writes).
const FILE_OPERATORS: [&str; 2] = ["from_file", "save"];
/// Whose operators archives may name with `ops.`; torchvision's exist only where that library is loaded.
const OPERATOR_LIBRARIES: [&str; 4] = ["aten", "prim", "quantized", "torchvision"];
/// The path of native classes, as one name and, in pickles, as a module and a name.
const NATIVE_PATH: &str = "torch.classes";
const NATIVE_CLASSES: [&[u8]; 2] = [NATIVE_PATH.as_bytes(), b"torch\nclasses"];

/// A piece of code as libtorch's lexer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    /// Between its quotes, as written.
    Text(&'a str),
    Sign(char),
}

/// # Errors
/// What the code names that reaches outside of it.
pub(super) fn code(code: &str) -> Result<(), String> {
    let tokens = tokens(code)?;
    for (place, token) in tokens.iter().enumerate() {
        let at = |ahead: usize| tokens.get(place + ahead).copied();
        match *token {
            Token::Word(word) | Token::Text(word) if FILE_OPERATORS.contains(&word) => {
                return Err(format!("the operator {word}, which touches files"));
            }
            Token::Text(text) if text.contains(NATIVE_PATH) => return Err(native()),
            // By itself it is a value whose parts may be asked for by other names.
            Token::Word("__torch__") if at(1) != Some(Token::Sign('.')) => {
                return Err("__torch__ other than by a class of it".to_owned());
            }
            Token::Word("torch") => match (at(1), at(2)) {
                (Some(Token::Sign('.')), Some(Token::Word(word))) if word != "classes" => {}
                _ => return Err("torch other than by an operator or a module of it".to_owned()),
            },
            // Behind a dot it is a part of a name, as in `torchvision.ops`.
            Token::Word("ops") if !is_part_of_a_name(&tokens[..place]) => match (at(1), at(2), at(3)) {
                (Some(Token::Sign('.')), Some(Token::Word(library)), Some(Token::Sign('.')))
                    if OPERATOR_LIBRARIES.contains(&library) => {}
                (Some(Token::Sign('.')), Some(Token::Word(library)), _) => {
                    return Err(format!("ops.{library:.50}, which is no part of libtorch's operators"));
                }
                _ => return Err("ops other than by an operator of it".to_owned()),
            },
            Token::Word("getattr") => plain_getattr(&tokens[place + 1..])?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether what stands before a word is a name and a dot, and not a number that ends with one.
fn is_part_of_a_name(before: &[Token<'_>]) -> bool {
    match before {
        [.., Token::Word(name), Token::Sign('.')] => !name.starts_with(|first: char| first.is_ascii_digit()),
        _ => false,
    }
}

/// `getattr(a.path, "name")`: one text without escapes, which is looked at like every other.
fn plain_getattr(tokens: &[Token<'_>]) -> Result<(), String> {
    let refused = || Err("getattr other than with one plain text".to_owned());
    let Some((Token::Sign('('), rest)) = tokens.split_first() else { return refused() };
    let is_path = |token: &&Token<'_>| match token {
        Token::Word(word) => !["__torch__", "torch", "ops"].contains(word),
        Token::Sign(sign) => *sign == '.',
        Token::Text(_) => false,
    };
    let path = rest.iter().take_while(is_path).count();
    match rest.get(path..path + 3) {
        Some([Token::Sign(','), Token::Text(name), Token::Sign(')')]) if path > 0 && !name.contains('\\') => {
            Ok(())
        }
        _ => refused(),
    }
}

fn tokens(code: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        if !first.is_ascii() {
            return Err("letters that no exporter writes outside of texts".to_owned());
        }
        let length = match first {
            // Not a remark: libtorch reads it, and what follows in its line.
            '#' if rest[1..].trim_start_matches([' ', '\t']).starts_with("type:") => {
                return Err("a type in a remark, which no exporter writes".to_owned());
            }
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => {
                let inside = text_length(&rest[1..], first).ok_or("a text without an end")?;
                // Three quotes begin another kind of text.
                if inside == 0 && rest[2..].starts_with(first) {
                    return Err("a text in three quotes, which no exporter writes".to_owned());
                }
                tokens.push(Token::Text(&rest[1..=inside]));
                inside + 2
            }
            letter if is_word(letter) => {
                let end = rest.find(|letter: char| !is_word(letter)).unwrap_or(rest.len());
                tokens.push(Token::Word(&rest[..end]));
                end
            }
            // Goes on in the next line.
            '\\' => return Err("a backslash outside of texts, which no exporter writes".to_owned()),
            sign => {
                if !sign.is_ascii_whitespace() {
                    tokens.push(Token::Sign(sign));
                }
                1
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Bytes up to the quote that ends a text of one line; a backslash takes the letter behind it along.
fn text_length(text: &str, quote: char) -> Option<usize> {
    let mut letters = text.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '\\' if letters.next().is_none_or(|(_, letter)| letter == '\n') => return None,
            '\\' => {}
            '\n' => return None,
            _ if letter == quote => return Some(place),
            _ => {}
        }
    }
    None
}

/// # Errors
/// Where a pickle names a native class, whose state would be made of the file's bytes.
pub(super) fn pickle(bytes: &[u8]) -> Result<(), String> {
    let names = |path: &&&[u8]| bytes.windows(path.len()).any(|window| window == **path);
    match NATIVE_CLASSES.iter().find(names) {
        Some(_) => Err(native()),
        None => Ok(()),
    }
}

fn native() -> String {
    "a native class (torch.classes); export the network unquantized".to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn code_that_reaches_outside_is_refused() {
        for (code, says) in [
            (r#"x = torch.from_file("/etc/passwd", False, 10)"#, "from_file"),
            (r#"input.save("/tmp/x")"#, "save"),
            ("input . # a remark\n save(\"/tmp/x\")", "save"),
            ("_0 = ops . c10d.broadcast(x)", "ops.c10d"),
            ("_0 = ops.# aten.\nc10d.broadcast(x)", "ops.c10d"),
            ("prim = ops\nprim.c10d.foo(x)", "ops other than"),
            ("x = 1.\nops.c10d.f(x)", "ops.c10d"),
            ("x = ...\nops.c10d.f(x)", "ops.c10d"),
            ("def f(x): # type: (Tensor) -> None return torch.save(x, \"/path\")", "a type in a remark"),
            ("def f(x): #type: (Tensor) -> None return torch.save(x, \"/path\")", "a type in a remark"),
            ("x = \"a\\\nb\"", "without an end"),
            (r#"a = getattr(__torch__, "torch")"#, "getattr other than"),
            (r#"a = getattr(__torch__.x, "torch")"#, "getattr other than"),
            ("t = __torch__\nt.torch.classes.x", "__torch__ other than"),
            (r#"x : "torch.classes.quantized.X" = y"#, "a native class"),
            ("aten = torch\naten.add(x)", "torch other than"),
            ("(torch).add(x)", "torch other than"),
            (r#"getattr(torch, "save")(x, "/path")"#, "getattr other than"),
            (r#"getattr(x, "sa" "ve")("/path")"#, "getattr other than"),
            (r#"getattr(x, "\163ave")("/path")"#, "getattr other than"),
            ("getattr(x, name)", "getattr other than"),
            ("g = getattr", "getattr other than"),
            (r#"getattr(x, "save")"#, "save"),
            ("y : __torch__.torch.classes.c10d.Store", "torch other than"),
            ("y : __torch__.torch.# x\nclasses.c10d.Store", "torch other than"),
            ("input.sa\\\nve(x)", "a backslash"),
            (r#"x = """a""""#, "three quotes"),
            ("x = \"a", "without an end"),
            ("x = \"a\nsave\"", "without an end"),
            ("x = ｓave", "no exporter writes"),
        ] {
            let problem = super::code(code).unwrap_err();
            assert!(problem.contains(says), "{code}: {problem} should say {says}");
        }
        // Whatever comes first: `getattr` or `torch`.
        assert!(super::code(r#"getattr(torch, "sa" "ve")(x, "/path")"#).is_err());
    }

    #[test]
    fn what_exporters_write_is_allowed() {
        for code in [
            "def forward(self: __torch__.Net, x: Tensor) -> Tensor:\n  weight = self.weight\n  _0 = torch._convolution(x, \
             weight, None, [1, 1])\n  return ops.prim.NumToTensor(torch.size(_0, 2))",
            r#"_1 = getattr(self, "0")"#,
            r#"_1 = getattr(self.layers, "conv-1")"#,
            "relu = __torch__.torch.nn.functional.relu",
            "from __torch__.torchvision.ops.misc import ConvNormActivation",
            "boxes = ops.torchvision.nms(boxes, scores, 0.5)",
            r#"ops.prim.RaiseException("it\'s \"odd\" – really") # and so on – really"#,
        ] {
            assert_eq!(super::code(code), Ok(()), "{code}");
        }
    }

    #[test]
    fn pickles_that_name_native_classes_are_refused() {
        assert!(pickle(b"c__torch__.torch.classes.quantized\nConv2dPackedParamsBase\n").is_err());
        assert!(pickle(b"c__torch__.torch\nclasses.x\n").is_err());
        assert!(pickle(b"c__torch__\nNet\nctorch._utils\n_rebuild_tensor_v2\n").is_ok());
    }

    proptest! {
        #[test]
        fn any_code_is_judged(code in "(torch|ops|getattr|save|[a-z.,()\"'\\\\#\n é]){0,60}") {
            let _ = super::code(&code);
        }
    }
}
