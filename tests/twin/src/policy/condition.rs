//! Conditions of a statement: one operator, one key of the context, the values that it is held against.

use super::Context;
use super::pattern::{Pattern, Undefined};

/// One operator with one key and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) test: Test,
    pub(super) negated: bool,
    pub(super) if_exists: bool,
    pub(super) key: String,
    pub(super) values: Vec<Pattern>,
}

/// The operators that are known, without their `Not` and `IfExists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equals,
    EqualsIgnoreCase,
    Like,
    Bool,
    Null,
}

impl Condition {
    pub(super) fn holds(&self, context: &Context, undefined: Undefined) -> bool {
        let value = context.get(&self.key);
        if self.test == Test::Null {
            return self.values.iter().any(|p| p.text_is(if value.is_none() { "true" } else { "false" }));
        }
        let Some(value) = value else {
            return self.if_exists || undefined == Undefined::MatchesAnything;
        };
        self.values.iter().any(|p| self.meets(p, value, context, undefined)) != self.negated
    }

    fn meets(&self, pattern: &Pattern, value: &str, context: &Context, undefined: Undefined) -> bool {
        // A negated test that an undefined variable makes unanswerable must come out as `undefined` wants it.
        let undefined = match (self.negated, undefined) {
            (false, same) => same,
            (true, Undefined::MatchesAnything) => Undefined::MatchesNothing,
            (true, Undefined::MatchesNothing) => Undefined::MatchesAnything,
        };
        match self.test {
            Test::Like => pattern.matches(value, context, undefined),
            Test::Equals => pattern.literal().matches(value, context, undefined),
            Test::EqualsIgnoreCase | Test::Bool => {
                pattern.literal().lower().matches(&value.to_lowercase(), &context.lower(), undefined)
            }
            Test::Null => false,
        }
    }
}
