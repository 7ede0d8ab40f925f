//! IoT policy documents: may this principal do this to this resource?
//!
//! The rules are AWS's (developer guide, “AWS IoT Core policies”): default deny, an explicit Deny wins, `*` crosses
//! `/`, `?` is one character, `+` and `#` are literal text. Where AWS's words leave room this engine refuses:
//! - an element, operator or effect that it does not know fails the whole document at [`Policy::parse`];
//! - a variable without a value makes an Allow statement grant nothing, and a Deny statement deny: in its resource it
//!   stands for anything, in its condition it counts as met.
//!
//! The *value* of a variable is always literal text. A client id `*` matches the one resource that ends in `*`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use thiserror::Error;

/// One policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
}

impl Policy {
    /// Reads a document as CreatePolicy would take it.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        let root: Value = serde_json::from_str(json).map_err(PolicyError::Json)?;
        let root = root.as_object().ok_or(PolicyError::Shape { element: "the document" })?;
        known(root, &["Version", "Id", "Statement"])?;
        match root.get("Version").and_then(Value::as_str) {
            Some("2012-10-17" | "2008-10-17") => {}
            _ => return Err(PolicyError::Version),
        }
        let statements = match root.get("Statement") {
            Some(Value::Array(list)) => list.iter().map(statement).collect::<Result<Vec<_>, _>>()?,
            Some(one @ Value::Object(_)) => vec![statement(one)?],
            _ => return Err(PolicyError::Shape { element: "Statement" }),
        };
        Ok(Policy { statements })
    }
}

/// Decides one action on one resource by every document that is attached to the principal.
pub fn decide<'a>(
    documents: impl IntoIterator<Item = &'a Policy>,
    action: &str,
    resource: &str,
    context: &Context,
) -> Decision {
    let mut decision = Decision::ImplicitDeny;
    for statement in documents.into_iter().flat_map(|d| &d.statements) {
        if !statement.applies(action, resource, context) {
            continue;
        }
        match statement.effect {
            Effect::Deny => return Decision::ExplicitDeny,
            Effect::Allow => decision = Decision::Allow,
        }
    }
    decision
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allow,
    /// A Deny statement applies.
    ExplicitDeny,
    /// No statement applies.
    ImplicitDeny,
}

impl Decision {
    /// Says whether it may go on.
    pub fn is_allowed(self) -> bool {
        self == Decision::Allow
    }
}

/// The variables of one connection; what is not there is undefined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    variables: BTreeMap<String, String>,
}

impl Context {
    /// The variables of a connection before anything of its thing is known.
    pub fn new(client_id: &str, certificate_id: &str) -> Self {
        // AWS: false unless the client id names a thing that the certificate is attached to.
        Context::default()
            .with("iot:ClientId", client_id)
            .with("iot:CertificateId", certificate_id)
            .with("iot:Connection.Thing.IsAttached", "false")
    }

    /// Sets one variable, `iot:…` or `aws:…`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds the thing variables. Call it only where the client id equals the thing's name *and* the certificate is
    /// attached to it: AWS resolves them in no other case.
    #[must_use]
    pub fn with_attached_thing(
        self,
        name: &str,
        thing_type: Option<&str>,
        attributes: &BTreeMap<String, String>,
    ) -> Self {
        let mut context =
            self.with("iot:Connection.Thing.ThingName", name).with("iot:Connection.Thing.IsAttached", "true");
        if let Some(thing_type) = thing_type {
            context = context.with("iot:Connection.Thing.ThingTypeName", thing_type);
        }
        for (name, value) in attributes {
            context = context.with(&format!("iot:Connection.Thing.Attributes[{name}]"), value);
        }
        context
    }

    /// Adds `iot:Certificate.Subject.CommonName`.
    #[must_use]
    pub fn with_common_name(self, name: &str) -> Self {
        self.with("iot:Certificate.Subject.CommonName", name)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }
}

/// Makes resource ARNs for one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arns {
    prefix: String,
}

impl Arns {
    /// For a region and an account of the partition `aws`.
    pub fn new(region: &str, account: &str) -> Self {
        Arns { prefix: format!("arn:aws:iot:{region}:{account}:") }
    }

    /// The resource of `iot:Connect`.
    pub fn client(&self, client_id: &str) -> String {
        self.arn("client", client_id)
    }

    /// The resource of `iot:Publish`, `iot:Receive` and `iot:RetainPublish`.
    pub fn topic(&self, topic: &str) -> String {
        self.arn("topic", topic)
    }

    /// The resource of `iot:Subscribe`.
    pub fn topic_filter(&self, filter: &str) -> String {
        self.arn("topicfilter", filter)
    }

    /// A thing.
    pub fn thing(&self, name: &str) -> String {
        self.arn("thing", name)
    }

    /// A certificate.
    pub fn certificate(&self, id: &str) -> String {
        self.arn("cert", id)
    }

    /// A policy.
    pub fn policy(&self, name: &str) -> String {
        self.arn("policy", name)
    }

    /// A provisioning template.
    pub fn template(&self, name: &str) -> String {
        self.arn("provisioningtemplate", name)
    }

    fn arn(&self, kind: &str, name: &str) -> String {
        format!("{}{kind}/{name}", self.prefix)
    }
}

/// Why a text is no policy document.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// It is not JSON.
    #[error("the policy document is not JSON")]
    Json(#[source] serde_json::Error),
    /// `Version` is not one of AWS's.
    #[error("the policy document has no Version 2012-10-17")]
    Version,
    /// An element has the wrong JSON type or is missing.
    #[error("{element} of the policy document is missing or has the wrong type")]
    Shape {
        /// Which.
        element: &'static str,
    },
    /// An element that IoT policies do not have.
    #[error("the policy document has an element {0:?} that IoT policies do not have")]
    Element(String),
    /// An effect that is neither Allow nor Deny.
    #[error("the policy document has an Effect that is neither Allow nor Deny")]
    Effect,
    /// A condition operator that this engine does not know.
    #[error("the policy document has a condition operator {0:?} that is not known here")]
    Operator(String),
    /// A `${` without its end.
    #[error("the policy document has an unfinished variable in {0:?}")]
    Variable(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    actions: Vec<Pattern>,
    resources: Vec<Pattern>,
    conditions: Vec<Condition>,
}

impl Statement {
    fn applies(&self, action: &str, resource: &str, context: &Context) -> bool {
        let undefined = match self.effect {
            Effect::Allow => Undefined::MatchesNothing,
            Effect::Deny => Undefined::MatchesAnything,
        };
        let action = action.to_ascii_lowercase();
        self.actions.iter().any(|p| p.matches(&action, context, undefined))
            && self.resources.iter().any(|p| p.matches(resource, context, undefined))
            && self.conditions.iter().all(|c| c.holds(context, undefined))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// What a variable without a value does to the statement it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undefined {
    MatchesNothing,
    MatchesAnything,
}

/// One operator with one key and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    test: Test,
    negated: bool,
    if_exists: bool,
    key: String,
    values: Vec<Pattern>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equals,
    EqualsIgnoreCase,
    Like,
    Bool,
    Null,
}

impl Condition {
    fn holds(&self, context: &Context, undefined: Undefined) -> bool {
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

impl Context {
    /// Values in lower case; names stay.
    fn lower(&self) -> Self {
        let variables = self.variables.iter().map(|(k, v)| (k.clone(), v.to_lowercase())).collect();
        Context { variables }
    }
}

/// A text with wildcards and variables.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    AnyOne,
    AnyRun,
    Variable { name: String, default: Option<String> },
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, PolicyError> {
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
    fn literal(&self) -> Self {
        let plain = |t: &Token| match t {
            Token::AnyRun => Token::Char('*'),
            Token::AnyOne => Token::Char('?'),
            t => t.clone(),
        };
        Pattern(self.0.iter().map(plain).collect())
    }

    fn lower(&self) -> Self {
        let lower = |t: &Token| match t {
            Token::Char(c) => c.to_lowercase().map(Token::Char).collect(),
            t => vec![t.clone()],
        };
        Pattern(self.0.iter().flat_map(lower).collect())
    }

    fn text_is(&self, text: &str) -> bool {
        self.matches(text, &Context::default(), Undefined::MatchesNothing)
    }

    fn matches(&self, text: &str, context: &Context, undefined: Undefined) -> bool {
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

fn statement(value: &Value) -> Result<Statement, PolicyError> {
    let map = value.as_object().ok_or(PolicyError::Shape { element: "Statement" })?;
    known(map, &["Sid", "Effect", "Action", "Resource", "Condition"])?;
    let effect = match map.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        _ => return Err(PolicyError::Effect),
    };
    let actions = patterns(map.get("Action"), "Action")?.iter().map(Pattern::lower).collect();
    let resources = patterns(map.get("Resource"), "Resource")?;
    let conditions = match map.get("Condition") {
        None => Vec::new(),
        Some(Value::Object(operators)) => conditions(operators)?,
        Some(_) => return Err(PolicyError::Shape { element: "Condition" }),
    };
    Ok(Statement { effect, actions, resources, conditions })
}

fn conditions(operators: &Map<String, Value>) -> Result<Vec<Condition>, PolicyError> {
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let keys = keys.as_object().ok_or(PolicyError::Shape { element: "Condition" })?;
        let bare = operator.strip_suffix("IfExists").unwrap_or(operator);
        let (test, negated) = match bare {
            "StringEquals" => (Test::Equals, false),
            "StringNotEquals" => (Test::Equals, true),
            "StringEqualsIgnoreCase" => (Test::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Test::EqualsIgnoreCase, true),
            "StringLike" | "ArnLike" | "ArnEquals" => (Test::Like, false),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (Test::Like, true),
            "Bool" => (Test::Bool, false),
            "Null" => (Test::Null, false),
            _ => return Err(PolicyError::Operator(operator.clone())),
        };
        for (key, values) in keys {
            let values = patterns(Some(values), "Condition")?;
            let if_exists = bare.len() != operator.len();
            conditions.push(Condition { test, negated, if_exists, key: key.clone(), values });
        }
    }
    Ok(conditions)
}

/// Reads a string, a boolean or a list of them.
fn patterns(value: Option<&Value>, element: &'static str) -> Result<Vec<Pattern>, PolicyError> {
    let one = |v: &Value| match v {
        Value::String(text) => Pattern::parse(text),
        Value::Bool(b) if element == "Condition" => Pattern::parse(if *b { "true" } else { "false" }),
        _ => Err(PolicyError::Shape { element }),
    };
    match value {
        Some(Value::Array(list)) if !list.is_empty() => list.iter().map(one).collect(),
        Some(value @ (Value::String(_) | Value::Bool(_))) => Ok(vec![one(value)?]),
        _ => Err(PolicyError::Shape { element }),
    }
}

fn known(map: &Map<String, Value>, names: &[&str]) -> Result<(), PolicyError> {
    match map.keys().find(|key| !names.contains(&key.as_str())) {
        Some(stranger) => Err(PolicyError::Element(stranger.clone())),
        None => Ok(()),
    }
}
