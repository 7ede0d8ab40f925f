//! The way to the endpoint: name, TCP, TLS, who signed the server, and whether it takes our certificate.
//!
//! Ends after TLS, without CONNECT: nobody's client id is taken. Each part is one step, so that a report says where the
//! way ends and who stands there.

use std::net::SocketAddr;
use std::time::Duration;

use super::files::day;
use super::step::{Step, took};
use crate::cloud::{
    Cause, ClientIdentity, ProbeFailure, ServerFacts, Step as At, Target, Times, probe_tcp, probe_tls,
};
use crate::control::wire::CheckStep;
use crate::world::Detail;
use crate::x509;

/// The names of its steps, in order.
pub const NAMES: [&str; 5] = ["dns", "tcp", "tls", "server", "accepted"];

/// Goes the way with an identity; as far as TCP where there is none, for this reason.
pub async fn way(
    target: &Target,
    identity: Result<&ClientIdentity, String>,
    deadline: Duration,
    now: i64,
) -> Vec<CheckStep> {
    match identity {
        Ok(identity) => told(target, probe_tls(target, identity, deadline).await, now),
        Err(why) => match probe_tcp(target, deadline).await {
            Err(cause) => {
                stopped(target, &ProbeFailure { cause, server_verified: false, certificate: None }, now)
            }
            Ok((address, times)) => {
                let mut steps = reached(target, address, &times);
                steps.extend(NAMES.iter().skip(2).map(|name| Step::begin(name).skip(why.as_str())));
                steps
            }
        },
    }
}

fn reached(target: &Target, address: SocketAddr, times: &Times) -> Vec<CheckStep> {
    let host = target.dial.as_deref().unwrap_or(&target.host);
    let dns = Step::begin(NAMES[0]).ok(format!("{host} is {}", address.ip()));
    let tcp = Step::begin(NAMES[1]).ok(format!("port {} answers", address.port()));
    vec![took(dns, times.dns), took(tcp, times.tcp)]
}

fn told(target: &Target, probed: Result<ServerFacts, ProbeFailure>, now: i64) -> Vec<CheckStep> {
    match probed {
        Ok(facts) => {
            let [_, _, tls, server, accepted] = NAMES.map(Step::begin);
            let mut steps = reached(target, facts.address, &facts.times);
            steps.push(took(tls.ok(spoken(&facts)), facts.times.tls));
            steps.push(signed(server, &facts.certificate, now));
            steps.push(
                accepted.ok("the server has nothing against this device's certificate in the handshake"),
            );
            steps
        }
        Err(failure) => stopped(target, &failure, now),
    }
}

fn spoken(facts: &ServerFacts) -> String {
    match &facts.alpn {
        Some(alpn) => format!("{}, ALPN {alpn}", facts.tls),
        None => facts.tls.to_owned(),
    }
}

/// The step at which the way ends; the ones before it were good, the ones after it were not reached.
fn stopped(target: &Target, failure: &ProbeFailure, now: i64) -> Vec<CheckStep> {
    let at = match &failure.cause {
        Cause::Dns { .. } | Cause::Timeout(At::Dns) => 0,
        Cause::Refused { .. } | Cause::Unreachable { .. } | Cause::Timeout(At::Tcp) => 1,
        Cause::UntrustedServer { .. } => 3,
        _ if failure.server_verified => 4,
        _ => 2,
    };
    NAMES
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let step = Step::begin(name);
            match n.cmp(&at) {
                std::cmp::Ordering::Greater => step.skip(format!("{} failed", NAMES[at])),
                std::cmp::Ordering::Equal => ended(step, failure),
                std::cmp::Ordering::Less => match (&failure.certificate, *name) {
                    (Some(der), "server") => signed(step, der, now),
                    (_, "server") => step.ok("signed by a root in root-ca"),
                    (_, "dns") => took(step.ok(format!("{} has an address", target.host)), Duration::ZERO),
                    (_, "tcp") => took(step.ok(format!("port {} answers", target.port)), Duration::ZERO),
                    _ => took(step.ok("TLS is spoken there"), Duration::ZERO),
                },
            }
        })
        .collect()
}

fn ended(step: Step, failure: &ProbeFailure) -> CheckStep {
    let detail = Detail::of_cause(&failure.cause);
    match (&failure.cause, &failure.certificate) {
        (Cause::UntrustedServer { .. }, Some(der)) => {
            let who = x509::names_of(der).map_or_else(
                |_| "what it shows cannot be read".to_owned(),
                |n| {
                    format!(
                        "it calls itself {}, signed by {}, until {}",
                        n.subject,
                        n.issuer,
                        day(n.not_after)
                    )
                },
            );
            step.fail(&detail.code, format!("{}; {who}", detail.text), detail.remedy)
        }
        (Cause::TlsAlert { .. } | Cause::TlsFault { .. } | Cause::ClosedBeforeConnack, _)
            if failure.server_verified =>
        {
            let words = format!("{}: it does not take this device's certificate", detail.text);
            let fix = "certrot-fleet status with the thing's name: is the certificate ACTIVE there? If it is lost for good, certrot-fleet reclaim lets the claim in";
            step.fail("certificate-refused", words, fix)
        }
        _ => step.failed(&detail),
    }
}

fn signed(step: Step, der: &[u8], now: i64) -> CheckStep {
    let Ok(names) = x509::names_of(der) else {
        return step.ok("signed by a root in root-ca");
    };
    let words = format!("{}, signed by {}, until {}", names.subject, names.issuer, day(names.not_after));
    if names.not_after - now < SOON {
        let fix = "the cloud's operator: renew the server's certificate (AWS does it by itself); see to the clock here";
        return step.warn("server-certificate", format!("{words}: it ends soon"), fix);
    }
    step.ok(words)
}

/// A server's certificate that ends within this is warned of. Seconds.
const SOON: i64 = 7 * 86_400;
