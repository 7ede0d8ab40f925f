//! Texts of a policy with `*`, `?` and `${variables}`, and how they match.
//!
//! A variable's value is put in as literal characters: it can never act as a pattern.

use super::{Context, PolicyError};

/// A text with wildcards and variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    AnyOne,
    AnyRun,
    Variable { name: String, default: Option<String> },
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if let Some(open) = rest.strip_prefix("${") {
                let (inside, after) =
                    open.split_once('}').ok_or_else(|| PolicyError::Variable(text.to_owned()))?;
                tokens.push(Token::of_variable(inside));
                rest = after;
                continue;
            }
            tokens.push(match c {
                '*' => Token::AnyRun,
                '?' => Token::AnyOne,
                c => Token::Char(c),
            });
            rest = &rest[c.len_utf8()..];
        }
        Ok(Pattern(tokens))
    }

    /// The same with `*` and `?` as plain characters, for operators that do not know wildcards.
    pub(super) fn literal(&self) -> Self {
        let plain = |t: &Token| match t {
            Token::AnyRun => Token::Char('*'),
            Token::AnyOne => Token::Char('?'),
            t => t.clone(),
        };
        Pattern(self.0.iter().map(plain).collect())
    }

    pub(super) fn lower(&self) -> Self {
        let lower = |t: &Token| match t {
            Token::Char(c) => c.to_lowercase().map(Token::Char).collect(),
            t => vec![t.clone()],
        };
        Pattern(self.0.iter().flat_map(lower).collect())
    }

    pub(super) fn text_is(&self, text: &str) -> bool {
        self.matches(text, &Context::default(), Undefined::MatchesNothing)
    }

    pub(super) fn matches(&self, text: &str, context: &Context, undefined: Undefined) -> bool {
        match self.resolve(context, undefined) {
            Some(glob) => glob_matches(&glob, &text.chars().collect::<Vec<_>>()),
            None => false,
        }
    }

    /// Puts values in for variables, as literal characters; `None` where one without a value matches nothing.
    fn resolve(&self, context: &Context, undefined: Undefined) -> Option<Vec<Glob>> {
        let mut glob = Vec::with_capacity(self.0.len());
        for token in &self.0 {
            match token {
                Token::Char(c) => glob.push(Glob::Char(*c)),
                Token::AnyOne => glob.push(Glob::AnyOne),
                Token::AnyRun => glob.push(Glob::AnyRun),
                Token::Variable { name, default } => {
                    match (context.get(name).or(default.as_deref()), undefined) {
                        (Some(value), _) => glob.extend(value.chars().map(Glob::Char)),
                        (None, Undefined::MatchesAnything) => glob.push(Glob::AnyRun),
                        (None, Undefined::MatchesNothing) => return None,
                    }
                }
            }
        }
        Some(glob)
    }
}

impl Token {
    /// `${*}`, `${?}` and `${$}` are the characters themselves; `${name, 'word'}` has a default (IAM's variables).
    fn of_variable(inside: &str) -> Self {
        match inside {
            "*" => return Token::Char('*'),
            "?" => return Token::Char('?'),
            "$" => return Token::Char('$'),
            _ => {}
        }
        let (name, default) = match inside.split_once(',') {
            Some((name, default)) => (name, Some(default.trim().trim_matches('\'').to_owned())),
            None => (inside, None),
        };
        Token::Variable { name: name.trim().to_owned(), default }
    }
}

/// A pattern with its variables filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Glob {
    Char(char),
    AnyOne,
    AnyRun,
}

/// Matches in time proportional to pattern × text: on a mismatch only the last `*` takes one character more.
fn glob_matches(glob: &[Glob], text: &[char]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut last_run: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some(Glob::AnyRun) => {
                last_run = Some((g, t));
                g += 1;
            }
            Some(Glob::AnyOne) => (g, t) = (g + 1, t + 1),
            Some(Glob::Char(c)) if *c == text[t] => (g, t) = (g + 1, t + 1),
            _ => match last_run {
                Some((star, taken)) => {
                    last_run = Some((star, taken + 1));
                    (g, t) = (star + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|token| *token == Glob::AnyRun)
}

/// What a variable without a value does to the statement it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undefined {
    MatchesNothing,
    MatchesAnything,
}
