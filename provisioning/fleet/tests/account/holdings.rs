//! What the emulators' accounts hold, asked past the gateway and without the SDK.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// Everything that moto's and the twin's account hold, in words.
pub fn all(twin: &str, moto: &str) -> Vec<String> {
    let mut all = Vec::new();
    let signed = |service: &str| {
        format!("Authorization: AWS4-HMAC-SHA256 Credential=A/20260101/eu-west-1/{service}/aws4_request\r\n")
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let roles = "Action=ListRoles&Version=2010-05-08";
    let roles = http_with(moto, "POST", "/", &(signed("iam") + form), roles);
    all.extend(roles.split("<RoleName>").skip(1).map(|r| format!("role {}", &r[..r.find('<').unwrap()])));
    let functions = http_with(moto, "GET", "/2015-03-31/functions", &signed("lambda"), "");
    for (service, target, list, name) in [
        ("sqs", "AmazonSQS.ListQueues", "QueueUrls", ""),
        ("logs", "Logs_20140328.DescribeLogGroups", "logGroups", "logGroupName"),
    ] {
        let headers = format!(
            "{}X-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-1.0\r\n",
            signed(service)
        );
        let answer: Value = serde_json::from_str(&http_with(moto, "POST", "/", &headers, "{}")).unwrap();
        for item in answer[list].as_array().into_iter().flatten() {
            all.push(format!("{service} {}", if name.is_empty() { item } else { &item[name] }));
        }
    }
    let functions: Value = serde_json::from_str(&functions).unwrap();
    for item in functions["Functions"].as_array().unwrap() {
        all.push(format!("function {}", item["FunctionName"]));
    }
    all.extend(iot(twin));
    all
}

/// Everything that the twin's account holds.
pub fn iot(twin: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (path, list, name) in [
        ("/policies", "policies", "policyName"),
        ("/provisioning-templates", "templates", "templateName"),
        ("/rules", "rules", "ruleName"),
        ("/thing-types", "thingTypes", "thingTypeName"),
        ("/thing-groups", "thingGroups", "groupName"),
        ("/things", "things", "thingName"),
        ("/certificates", "certificates", "certificateId"),
    ] {
        let answer: Value = serde_json::from_str(&http(twin, "GET", path, "")).unwrap();
        for item in answer[list].as_array().unwrap_or_else(|| panic!("{path}: {answer}")) {
            all.push(format!("iot {list} {}", item[name].as_str().unwrap_or_default()));
        }
    }
    all
}

/// One plain request.
pub fn http(to: &str, method: &str, path: &str, body: &str) -> String {
    http_with(to, method, path, "", body)
}

/// One plain request with further headers.
pub fn http_with(to: &str, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    assert!(head.starts_with("HTTP/1.1 2") || head.starts_with("HTTP/1.0 2"), "{method} {path}: {answer}");
    body.to_owned()
}
