//! Facts that no document settles; each is told beside what the programs assume, and they are meant to be right either
//! way. What cannot be asked without harm is listed with the reason.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Run;
use super::report::{fact, left_out};
use super::trial::told;
use super::wire::{Pair, Tried, WireError};
use crate::claim::now;
use crate::error::FleetError;
use crate::keys::{self, Key};

impl Run<'_, '_> {
    /// Which certificate the rotation's hook was told as the claim's, by its own log.
    pub async fn asker(
        &mut self,
        registered: &str,
        device: &Pair,
        since: Timestamp,
    ) -> Result<(), FleetError> {
        let what = "claimCertificateId in the hook's event of a rotation";
        let assumed = "the device's certificate";
        self.trying(what);
        let aws = self.work.aws;
        let end = Instant::now() + LOGGED;
        // CloudWatch and this machine need not agree on the second.
        let since = since - SignedDuration::from_mins(2);
        let line = loop {
            match aws.log_line(&aws.fleet.rotate_hook(), registered, since).await {
                Ok(Some(line)) => break line,
                Ok(None) if Instant::now() < end => sleep(Duration::from_secs(2)).await,
                Ok(None) => {
                    self.row(left_out(what, "the hook's log shows no line of it; is `setup`'s code older?"));
                    return Ok(());
                }
                Err(error) => {
                    self.row(left_out(what, told(&error)));
                    return Ok(());
                }
            }
        };
        let line: Value = serde_json::from_str(line.trim()).unwrap_or_default();
        let asker = line["claimCertificateId"].as_str().unwrap_or_default();
        let seen = match asker {
            "" => "none".to_owned(),
            id if id == device.id => "the device's certificate".to_owned(),
            id => format!("certificate {}", crate::plan::short(id)),
        };
        self.row(fact(what, assumed, asker == device.id, seen));
        Ok(())
    }

    /// Whether a certificate past its notAfter is refused: one that ends soon, registered without a CA.
    pub async fn expiry(&mut self, device: &Pair) -> Result<(), FleetError> {
        let what = "CONNECT with a certificate past its notAfter";
        if self.order.short_life.is_zero() {
            self.row(left_out(what, "--short-life 0s"));
            return Ok(());
        }
        self.trying(what);
        let key = Key::new()?;
        let from = now();
        let life = SignedDuration::try_from(self.order.short_life).unwrap_or(SignedDuration::MAX);
        let Ok(to) = from.checked_add(life) else {
            self.row(left_out(what, "--short-life is too long"));
            return Ok(());
        };
        let pem = key.self_signed("certrot verify", from - SignedDuration::from_mins(1), to)?;
        if let Some(id) = keys::id_of(&pem) {
            self.issued(&id)?;
        }
        let row = match self.expired(device, &pem, &key, to).await {
            Ok(Ok(Tried::Refused(how))) => fact(what, "refused", true, how),
            Ok(Ok(Tried::Through(how))) => fact(what, "refused", false, how),
            Ok(Ok(Tried::Unclear(how))) => left_out(what, how),
            Ok(Err(why)) => left_out(what, why),
            // Another way than devices': it keeps nothing else from being told.
            Err(error) => left_out(what, told(&error)),
        };
        self.row(row);
        Ok(())
    }

    async fn expired(
        &self,
        device: &Pair,
        pem: &str,
        key: &Key,
        to: Timestamp,
    ) -> Result<Result<Tried, &'static str>, FleetError> {
        let (aws, other) = (self.work.aws, self.trial.other());
        let pair = self.wire.pair(pem, key)?;
        let id = aws.register_certificate(pem).await?;
        // The policy that provisioning gave: what the device's certificate has.
        for policy in self.device_policies(device).await? {
            aws.attach_policy(&policy, &id).await?;
        }
        aws.attach_thing(&other, &id).await?;
        let mut let_in = false;
        while now() < to && !let_in {
            let_in = self.wire.connect(&pair, &other, true).await.is_ok();
        }
        if !let_in {
            return Ok(Err("it was not let in before its end either: a longer --short-life may tell"));
        }
        let rest = to.duration_since(now()) + SignedDuration::from_secs(2);
        sleep(Duration::try_from(rest).unwrap_or_default()).await;
        Ok(Ok(self.wire.connects(&pair, &other).await))
    }

    /// The policies that provisioning gives to device certificates: the newest certificate's of the thing.
    async fn device_policies(&self, device: &Pair) -> Result<Vec<String>, FleetError> {
        let mut of = vec![device.id.clone()];
        of.extend(self.work.aws.principals(&self.trial.thing()).await?);
        for id in of {
            let policies = crate::aws::found(self.work.aws.policies_of(&id).await)?.unwrap_or_default();
            if !policies.is_empty() {
                return Ok(policies);
            }
        }
        Err(WireError::Late("no certificate of the throw-away thing has a policy".to_owned()).into())
    }

    /// What is not asked, and why.
    pub fn left_out(&mut self) {
        for (what, why) in [
            (
                "RegisterThing a second, an account (10?)",
                "it would take the allowance of live devices; see Service Quotas",
            ),
            (
                "CreateKeysAndCertificate a second, an account (10?)",
                "it would take the allowance of live devices; see Service Quotas",
            ),
            (
                "CreateCertificateFromCsr a second, an account (200?)",
                "it would take the allowance of live devices; see Service Quotas",
            ),
        ] {
            self.row(left_out(what, why));
        }
    }
}

/// How long CloudWatch may take to show a line.
const LOGGED: Duration = Duration::from_secs(90);
