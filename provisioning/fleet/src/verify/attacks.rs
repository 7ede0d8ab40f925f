//! What must be refused: a stranger's serial, a claim holder's ways to a device, a device's ways to another.
//!
//! Each is one row: refused, let through, or not clear. What is let through is taken away with the rest.

use certrotd::cloud::payload::{Class, Secret};
use tokio::time::{Duration, sleep};

use super::Run;
use super::report::{left_out, promise, refused};
use super::wire::{Line, Pair, Tried, WireError};
use crate::error::FleetError;

impl Run<'_, '_> {
    /// Serials that nobody may claim.
    pub async fn strangers(&mut self, claim: &Pair, listed: bool) -> Result<(), FleetError> {
        let (stranger, forbidden) = (self.trial.stranger(), self.trial.forbidden());
        if listed {
            self.denied("a claim for a serial that is not on the allow-list", claim, &stranger, true).await?;
        } else {
            self.row(left_out(
                "a claim for a serial that is not on the allow-list",
                "the fleet is open to every serial",
            ));
        }
        self.denied("a claim for a serial that begins with claim-", claim, &forbidden, true).await
    }

    /// What a claim holder could try against a device that is connected.
    pub async fn on_claim(
        &mut self,
        claim: &Pair,
        a: &Pair,
        line: &Line,
        token: &Secret,
    ) -> Result<(), FleetError> {
        let (thing, aws) = (self.trial.thing(), self.work.aws);
        for client in [thing.as_str(), "anything", "+", "#"] {
            let what = format!("a claim certificate connects as {}", self.short(client));
            self.trying(&what);
            let tried = self.wire.connects(claim, client).await;
            self.row(refused(what, tried));
        }
        sleep(Duration::from_secs(2)).await;
        let alive = line.session.is_alive();
        let seen = line.session.cause().map_or("connected".to_owned(), |cause| cause.to_string());
        self.row(promise("the device's session meanwhile", "lives on", alive, seen));

        let rotation = aws.fleet.rotation_template();
        for filter in [
            "#".to_owned(),
            "device/#".to_owned(),
            format!("device/{thing}/certrot/rotate"),
            format!("$aws/things/{thing}/shadow/#"),
        ] {
            let what = format!("a claim certificate subscribes to {}", self.short(&filter));
            self.trying(&what);
            let tried = self.claim_line(claim).await?.subscribes(&filter).await;
            self.row(refused(what, tried));
        }
        for topic in [
            format!("device/{thing}/state"),
            format!("device/{thing}/certrot/commit"),
            format!("device/{thing}/certrot/rotate"),
            format!("$aws/provisioning-templates/{rotation}/provision/json"),
        ] {
            let what = format!("a claim certificate publishes to {}", self.short(&topic));
            self.trying(&what);
            let tried = self.claim_line(claim).await?.publishes(&topic, EMPTY).await;
            self.row(refused(what, tried));
        }
        self.denied("a claim for a thing that has a certificate", claim, &thing, false).await?;
        let held = aws.principals(&thing).await?;
        self.row(promise(
            "the thing's certificates after that",
            "its own, alone",
            held == [a.id.clone()],
            format!("{} attached", held.len()),
        ));
        let what = "an ownership token a second time";
        self.trying(what);
        let line = self.claim_line(claim).await?;
        let tried = self.registers(&line, &aws.fleet.claim_template(), token, &thing).await?;
        self.row(refused(what, tried));
        Ok(())
    }

    /// What a device could try against another.
    pub async fn on_device(&mut self, a: &Pair) -> Result<(), FleetError> {
        let (thing, other) = (self.trial.thing(), self.trial.other());
        if let Err(failure) = self.wire.connect(a, &other, true).await {
            self.how("how a client id that the policy does not allow is refused", &failure.cause);
        }
        for client in [other.clone(), format!("{thing}x"), self.trial.forbidden(), "+".into(), "#".into()] {
            let what = format!("a device connects as {}", self.short(&client));
            self.trying(&what);
            let tried = self.wire.connects(a, &client).await;
            self.row(refused(what, tried));
        }
        for filter in [
            "#".to_owned(),
            "device/#".to_owned(),
            "device/+/certrot/commit".to_owned(),
            format!("device/{other}/orders"),
            format!("$aws/things/{other}/shadow/#"),
        ] {
            let what = format!("a device subscribes to {}", self.short(&filter));
            self.trying(&what);
            let tried = self.connected(a, &thing).await?.subscribes(&filter).await;
            self.row(refused(what, tried));
        }
        let claim = self.work.aws.fleet.claim_template();
        for topic in [
            format!("device/{other}/state"),
            format!("device/{other}/certrot/commit"),
            format!("device/{thing}/certrot/commit/accepted"),
            format!("device/{thing}/certrot/rotate"),
            format!("$aws/things/{other}/shadow/update"),
            format!("$aws/provisioning-templates/{claim}/provision/json"),
        ] {
            let what = format!("a device publishes to {}", self.short(&topic));
            self.trying(&what);
            let tried = self.connected(a, &thing).await?.publishes(&topic, EMPTY).await;
            self.row(refused(what, tried));
        }
        Ok(())
    }

    /// A claim that must be denied; `nameless` where no thing of that name may come to be.
    pub async fn denied(
        &mut self,
        what: &str,
        claim: &Pair,
        serial: &str,
        nameless: bool,
    ) -> Result<(), FleetError> {
        self.trying(what);
        let line = self.claim_line(claim).await?;
        let issued = self.issue(&line).await?;
        let template = self.work.aws.fleet.claim_template();
        let mut tried = self.registers(&line, &template, &issued.token, serial).await?;
        if nameless && matches!(tried, Tried::Refused(_)) && self.work.aws.thing(serial).await?.is_some() {
            tried = Tried::Through("refused, and the thing was made".to_owned());
        }
        self.row(refused(what, tried));
        Ok(())
    }

    /// RegisterThing that must be refused.
    async fn registers(
        &self,
        line: &Line,
        template: &str,
        token: &Secret,
        serial: &str,
    ) -> Result<Tried, FleetError> {
        Ok(match line.register(template, token, serial).await {
            Ok(Ok(registered)) => Tried::Through(format!(
                "registered as {}",
                registered.thing_name.as_deref().unwrap_or("a thing without a name")
            )),
            Ok(Err(rejected)) if rejected.class == Class::Denied => Tried::Refused(rejected.to_string()),
            Ok(Err(rejected)) => Tried::Unclear(rejected.to_string()),
            Err(WireError::Request(error)) => Tried::Unclear(error.to_string()),
            Err(error) => return Err(error.into()),
        })
    }

    /// A name with the random words taken out, so that the table is the same each time.
    fn short(&self, name: &str) -> String {
        name.replace(&self.trial.other(), "OTHER").replace(&self.trial.thing(), "THING")
    }
}

const EMPTY: &[u8] = b"{}";
