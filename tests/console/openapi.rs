//! `src/control/openapi.json` is made here, from the wire's types as their source has them and the table of paths below;
//! it must be what is committed. `UPDATE_OPENAPI=1 cargo test --test console openapi` writes it.
//!
//! The table cannot drift either: the server is asked for each path, and its source for paths that are not in the table.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::fake::Fake;

/// A path: method, path, what it does, what it takes, what it answers.
struct Row(&'static str, &'static str, &'static str, Option<&'static str>, Answers);

enum Answers {
    /// A JSON document of that type.
    One(&'static str),
    /// A JSON array of that type.
    Many(&'static str),
    /// One or the other.
    Either(&'static str, &'static str),
    /// Server-sent events whose data are of these types.
    Events(&'static [&'static str]),
    /// Prometheus text.
    Text,
}

use Answers::*;

const TABLE: &[Row] = &[
    Row(
        "get",
        "/v1/status",
        "What the daemon does, since when, why, and what comes next.",
        None,
        One("Status"),
    ),
    Row(
        "get",
        "/v1/history",
        "What has happened to the identity, the oldest first.",
        None,
        Many("HistoryEntry"),
    ),
    Row(
        "get",
        "/v1/check",
        "Tries every step to the cloud that can be tried without minting a certificate.",
        None,
        One("CheckReport"),
    ),
    Row(
        "get",
        "/v1/events",
        "What happens, as it happens; with `Last-Event-ID` from after that event on.",
        None,
        Events(&["Event"]),
    ),
    Row("get", "/metrics", "Metrics in Prometheus's text format 0.0.4.", None, Text),
    Row(
        "post",
        "/v1/provision",
        "Provisions the device with its claim certificate.",
        Some("ProvisionRequest"),
        One("Accepted"),
    ),
    Row(
        "post",
        "/v1/rotate",
        "Rotates now, or tries with `dryRun` what can be tried.",
        Some("RotateRequest"),
        Either("RotateAccepted", "CheckReport"),
    ),
    Row(
        "post",
        "/v1/reload",
        "Reads the configuration again; a bad one is refused and the old one stays.",
        None,
        One("Accepted"),
    ),
    Row(
        "post",
        "/v1/connect",
        "Connects after a disconnect, or now instead of later.",
        None,
        One("Accepted"),
    ),
    Row(
        "post",
        "/v1/disconnect",
        "Ends the session and stays away until connect or a restart.",
        None,
        One("Accepted"),
    ),
    Row("post", "/v1/adopt", "Accepts a store that was copied from another machine.", None, One("Accepted")),
    Row(
        "patch",
        "/v1/rotation",
        "Changes the policy of rotation until the next reload or restart.",
        Some("RotationPatch"),
        One("Accepted"),
    ),
    Row(
        "post",
        "/v1/publish",
        "Publishes at QoS 1; answered after the cloud's acknowledgement.",
        Some("PublishRequest"),
        One("Published"),
    ),
    Row(
        "get",
        "/v1/subscribe",
        "Messages within one topic filter, as they come: the events `subscribed`, `message`, `gap` and at last `ended`.",
        None,
        Events(&["Message", "Gap", "Problem"]),
    ),
];

#[test]
fn the_document_is_what_the_types_and_the_table_make() {
    let made = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/control/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        fs::File::create(&path).and_then(|mut file| file.write_all(made.as_bytes())).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap();
    let differs = made.lines().zip(there.lines()).find(|(a, b)| a != b);
    assert!(
        made == there,
        "the wire has changed: UPDATE_OPENAPI=1 cargo test --test console openapi; first difference: {differs:?}"
    );
}

#[tokio::test]
async fn the_table_is_the_servers() {
    let source = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/routes.rs")).unwrap();
    let mut served: Vec<&str> = source
        .lines()
        .filter_map(|l| l.trim().strip_prefix('"')?.split_once("\" => Path::"))
        .map(|p| p.0)
        .collect();
    let mut listed: Vec<&str> = TABLE.iter().map(|row| row.1).collect();
    served.sort_unstable();
    listed.sort_unstable();
    assert_eq!(served, listed);
    let fake = Fake::start().await;
    for Row(method, path, ..) in TABLE {
        let (status, _) = fake.ask("DELETE", path, "").await;
        assert_eq!(status, 405, "{path} is known");
        let answer = fake
            .raw(&format!("DELETE {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
            .await
            .to_lowercase();
        let allowed = answer.lines().find_map(|l| l.strip_prefix("allow: ")).expect("an Allow");
        assert!(allowed.split(", ").any(|m| m == *method), "{path}: {allowed}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut wanted = Vec::new();
    references(&document, &mut wanted);
    assert!(wanted.len() > 20);
    for name in wanted {
        assert!(!document["components"]["schemas"][&name].is_null(), "{name} is no type of the wire");
    }
}

fn document() -> Value {
    let mut paths: BTreeMap<&str, Value> = BTreeMap::new();
    for Row(method, path, summary, takes, answers) in TABLE {
        paths.insert(path, json!({ *method: operation(path, summary, *takes, answers) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "certrotd's control socket",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "HTTP/1.1 over a Unix socket: curl --unix-socket /run/certrotd/control.sock http://certrotd/v1/status. \
                Whoever may connect may read; what changes something is for operators, messages for operators and the users of \
                [messages]: by the user id that the kernel names. Fields are only ever added: ignore what you do not know, and \
                take a word that you do not know for none of these. certrotctl console passes on a part of it.",
        },
        "servers": [{"url": "http://certrotd", "description": "over the control socket"}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": {"Problem": {
                "description": "A refusal, with what clears it (RFC 9457).",
                "content": {"application/problem+json": {"schema": reference("Problem")}},
            }},
        },
    })
}

fn operation(path: &str, summary: &str, takes: Option<&str>, answers: &Answers) -> Value {
    let one = |schema: Value| json!({"application/json": {"schema": schema}});
    let content = match answers {
        One(name) => one(reference(name)),
        Many(name) => one(json!({"type": "array", "items": reference(name)})),
        Either(a, b) => one(json!({"anyOf": [reference(a), reference(b)]})),
        Events(data) => {
            let data: Vec<Value> = data.iter().map(|name| reference(name)).collect();
            json!({"text/event-stream": {"schema": {
                "type": "string",
                "description": "Server-sent events (WHATWG HTML, section 9.2); `x-data` are the schemas of their data.",
                "x-data": data,
            }}})
        }
        Text => json!({"text/plain": {"schema": {"type": "string"}}}),
    };
    let mut operation = json!({
        "operationId": path.trim_start_matches("/v1").trim_start_matches('/'),
        "summary": summary,
        "responses": {
            "200": {"description": "Done, or taken.", "content": content},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    });
    if let Some(name) = takes {
        operation["requestBody"] = json!({"content": one(reference(name))});
    }
    let parameter = |place: &str, name: &str, required: bool, kind: Value, what: &str| json!([{"in": place, "name": name, "required": required, "schema": kind, "description": what}]);
    match path {
        "/v1/events" => {
            let what =
                "The id of the last event that was seen; after an id of an earlier life, `gap` comes first.";
            operation["parameters"] =
                parameter("header", "Last-Event-ID", false, json!({"type": "integer"}), what);
        }
        "/v1/subscribe" => {
            let what = "The MQTT topic filter, within [messages] subscribe.";
            operation["parameters"] = parameter("query", "filter", true, json!({"type": "string"}), what);
        }
        _ => {}
    }
    operation
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get("$ref") {
                into.extend(target.strip_prefix("#/components/schemas/").map(str::to_owned));
            }
            object.values().for_each(|v| references(v, into));
        }
        Value::Array(values) => values.iter().for_each(|v| references(v, into)),
        _ => {}
    }
}

/// The schemas of every type of the wire that serde writes, out of its source.
fn schemas() -> Map<String, Value> {
    let mut found = Map::new();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/control/wire");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        read_types(text, &mut found);
    }
    found
}

fn read_types(text: &str, found: &mut Map<String, Value>) {
    let (mut docs, mut attributes) = (String::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(doc) = line.strip_prefix("///") {
            docs += doc;
        } else if line.starts_with("#[") {
            attributes += line;
        } else {
            let head = line.strip_suffix(" {").unwrap_or_default();
            let body = || lines.clone().take_while(|l| *l != "}").map(str::to_owned).collect::<Vec<_>>();
            let written = attributes.contains("Serialize") && !attributes.contains("tag =");
            let made = match head.split_once("pub struct ").or_else(|| head.split_once("pub enum ")) {
                Some((_, name)) if written && head.starts_with("pub struct") => {
                    Some((name, object(&body(), attributes.contains("deny_unknown_fields"))))
                }
                Some((_, name)) if written => Some((name, words(&body()))),
                _ => None,
            };
            if let Some((name, mut schema)) = made {
                schema["description"] = docs.trim().replace("[`", "`").replace("`]", "`").into();
                found.insert(name.to_owned(), schema);
            }
            (docs, attributes) = (String::new(), String::new());
        }
    }
}

fn object(body: &[String], request: bool) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    let (mut docs, mut attributes) = (String::new(), String::new());
    for line in body.iter().map(|l| l.trim()) {
        if let Some(doc) = line.strip_prefix("///") {
            docs += doc;
        } else if line.starts_with("#[") {
            attributes += line;
        } else if let Some((name, kind)) = line.strip_prefix("pub ").and_then(|l| l.split_once(": ")) {
            let name = match attributes.split_once("rename = \"") {
                Some((_, rest)) => rest.split('"').next().unwrap().to_owned(),
                None => camel(name),
            };
            let optional = request || attributes.contains("skip_serializing_if");
            let kind = kind.trim_end_matches(',');
            let (inner, nullable) = match kind.strip_prefix("Option<").and_then(|k| k.strip_suffix('>')) {
                Some(inner) => (inner, !optional),
                None => (kind, false),
            };
            let mut schema = schema_of(inner);
            if nullable {
                schema = match schema.get("type").cloned() {
                    Some(plain) => {
                        schema["type"] = json!([plain, "null"]);
                        schema
                    }
                    None => json!({"anyOf": [schema, {"type": "null"}]}),
                };
            }
            schema["description"] = docs.trim().into();
            if !optional {
                required.push(name.clone());
            }
            properties.insert(name, schema);
            (docs, attributes) = (String::new(), String::new());
        }
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    if request {
        schema["additionalProperties"] = false.into();
    }
    schema
}

fn words(body: &[String]) -> Value {
    let names = body.iter().map(|l| l.trim()).filter(|l| l.starts_with(char::is_uppercase));
    let words: Vec<String> =
        names.map(|l| kebab(l.trim_end_matches(','))).filter(|word| word != "unknown").collect();
    json!({"type": "string", "enum": words})
}

fn schema_of(kind: &str) -> Value {
    if let Some(inner) = kind.strip_prefix("Vec<").and_then(|k| k.strip_suffix('>')) {
        return json!({"type": "array", "items": schema_of(inner)});
    }
    match kind {
        "String" | "Box<str>" => json!({"type": "string"}),
        "bool" => json!({"type": "boolean"}),
        "u8" | "u16" | "u32" | "u64" | "usize" => json!({"type": "integer", "minimum": 0}),
        "Time" => json!({"type": "string", "format": "date-time"}),
        "BTreeMap<String, String>" => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        "serde_json::Value" | "Value" => json!({}),
        name => {
            assert!(
                name.chars().all(char::is_alphanumeric),
                "{name}: teach tests/console/openapi.rs this type"
            );
            reference(name)
        }
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |all, word| all + &word[..1].to_uppercase() + &word[1..])
}

fn kebab(name: &str) -> String {
    let mut word = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.extend(letter.to_lowercase());
    }
    word
}

#[test]
fn names_are_written_as_the_wire_writes_them() {
    assert_eq!(camel("thing_name"), "thingName");
    assert_eq!(kebab("AwaitingSerial"), "awaiting-serial");
    // The hand-made reader against serde itself, on the largest of the documents.
    let status = serde_json::to_value(certrotd::control::wire::Status::default()).unwrap();
    let schema = schemas()["Status"].clone();
    let written: Vec<&String> = status.as_object().unwrap().keys().collect();
    let listed: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(written, listed);
}
