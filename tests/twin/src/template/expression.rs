//! Works out `Ref`, `Fn::Join`, `Fn::Select`, `Fn::FindInMap`, `Fn::Split` and `Fn::Sub`.
//!
//! A value that a device wrote is text and stays text: what it contains is never read as an expression again.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::TemplateError;

/// What expressions may refer to.
pub(super) struct Scope<'a> {
    values: BTreeMap<String, String>,
    mappings: &'a Map<String, Value>,
}

impl<'a> Scope<'a> {
    /// Parameters by name, and the template's mappings.
    pub(super) fn new(values: BTreeMap<String, String>, mappings: &'a Map<String, Value>) -> Self {
        Scope { values, mappings }
    }

    /// Works out a value that must be text.
    pub(super) fn text(&self, value: &Value) -> Result<String, TemplateError> {
        match self.evaluate(value)? {
            Value::String(text) => Ok(text),
            other => Err(TemplateError::Shape { element: format!("the text {}", kind(&other)) }),
        }
    }

    /// Works out a value that must be a list of texts.
    pub(super) fn list(&self, value: &Value) -> Result<Vec<String>, TemplateError> {
        match self.evaluate(value)? {
            Value::Array(items) => items.into_iter().map(text_of).collect(),
            other => Err(TemplateError::Shape { element: format!("the list {}", kind(&other)) }),
        }
    }

    /// Works out a value of any shape.
    pub(super) fn evaluate(&self, value: &Value) -> Result<Value, TemplateError> {
        match value {
            Value::Array(items) => items.iter().map(|v| self.evaluate(v)).collect(),
            Value::Object(map) => match single(map) {
                Some(("Ref", name)) => self.reference(name).map(Value::String),
                Some(("Fn::Join", arguments)) => self.join(arguments).map(Value::String),
                Some(("Fn::Select", arguments)) => self.select(arguments).map(Value::String),
                Some(("Fn::FindInMap", arguments)) => self.find_in_map(arguments),
                Some(("Fn::Split", arguments)) => self.split(arguments),
                Some(("Fn::Sub", arguments)) => self.substitute(arguments).map(Value::String),
                Some((name, _)) if name.starts_with("Fn::") => {
                    Err(TemplateError::UnknownFunction(name.to_owned()))
                }
                _ => map.iter().map(|(k, v)| Ok((k.clone(), self.evaluate(v)?))).collect(),
            },
            plain => Ok(plain.clone()),
        }
    }

    fn reference(&self, name: &Value) -> Result<String, TemplateError> {
        let name = name.as_str().ok_or(TemplateError::Arguments { function: "Ref" })?;
        self.value(name)
    }

    fn value(&self, name: &str) -> Result<String, TemplateError> {
        self.values.get(name).cloned().ok_or_else(|| TemplateError::UnknownParameter(name.to_owned()))
    }

    fn join(&self, arguments: &Value) -> Result<String, TemplateError> {
        let [delimiter, list] = pair(arguments, "Fn::Join")?;
        let delimiter = delimiter.as_str().ok_or(TemplateError::Arguments { function: "Fn::Join" })?;
        Ok(self.list(list)?.join(delimiter))
    }

    fn select(&self, arguments: &Value) -> Result<String, TemplateError> {
        let [index, list] = pair(arguments, "Fn::Select")?;
        let index = match self.evaluate(index)? {
            Value::Number(n) => n.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let index = index.ok_or(TemplateError::Arguments { function: "Fn::Select" })?;
        let place = usize::try_from(index).map_err(|_| TemplateError::OutOfRange)?;
        self.list(list)?.into_iter().nth(place).ok_or(TemplateError::OutOfRange)
    }

    fn find_in_map(&self, arguments: &Value) -> Result<Value, TemplateError> {
        let function = "Fn::FindInMap";
        let [map, key, name] = arguments
            .as_array()
            .and_then(|list| <&[Value; 3]>::try_from(list.as_slice()).ok())
            .ok_or(TemplateError::Arguments { function })?;
        let (map, key, name) = (self.text(map)?, self.text(key)?, self.text(name)?);
        let found = self.mappings.get(&map).and_then(|m| m.get(&key)).and_then(|m| m.get(&name)).cloned();
        found.ok_or(TemplateError::NotInMap { map, key, name })
    }

    fn split(&self, arguments: &Value) -> Result<Value, TemplateError> {
        let function = "Fn::Split";
        let [delimiter, text] = pair(arguments, function)?;
        let delimiter =
            delimiter.as_str().filter(|d| !d.is_empty()).ok_or(TemplateError::Arguments { function })?;
        Ok(self.text(text)?.split(delimiter).map(Value::from).collect())
    }

    /// `"…${Name}…"`, or the same with a map of names of its own; `${!Name}` is the text `${Name}`.
    fn substitute(&self, arguments: &Value) -> Result<String, TemplateError> {
        let function = "Fn::Sub";
        let (text, own) = match arguments {
            Value::String(text) => (text.as_str(), None),
            _ => {
                let [text, own] = pair(arguments, function)?;
                let text = text.as_str().ok_or(TemplateError::Arguments { function })?;
                (text, Some(own.as_object().ok_or(TemplateError::Arguments { function })?))
            }
        };
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, open)) = rest.split_once("${") {
            let (name, after) = open.split_once('}').ok_or(TemplateError::Arguments { function })?;
            out.push_str(before);
            match (name.strip_prefix('!'), own.and_then(|map| map.get(name))) {
                (Some(plain), _) => out.push_str(&format!("${{{plain}}}")),
                (None, Some(value)) => out.push_str(&self.text(value)?),
                (None, None) => out.push_str(&self.value(name)?),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// The one field of an object that has one field.
fn single(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut fields = map.iter();
    let first = fields.next()?;
    fields.next().is_none().then_some((first.0.as_str(), first.1))
}

fn pair<'v>(arguments: &'v Value, function: &'static str) -> Result<&'v [Value; 2], TemplateError> {
    let list = arguments.as_array().ok_or(TemplateError::Arguments { function })?;
    list.as_slice().try_into().map_err(|_| TemplateError::Arguments { function })
}

fn text_of(value: Value) -> Result<String, TemplateError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(TemplateError::Shape { element: format!("the text {}", kind(&other)) }),
    }
}

/// What a value is, without showing it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "(null)",
        Value::Bool(_) => "(a boolean)",
        Value::Number(_) => "(a number)",
        Value::String(_) => "(a string)",
        Value::Array(_) => "(a list)",
        Value::Object(_) => "(an object)",
    }
}
