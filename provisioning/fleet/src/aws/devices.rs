//! Things and certificates, as the retire handler's, the sweep's and the operator's commands need them.

use std::collections::BTreeMap;

use certrot_rules::registry::{Certificate, Status, Thing};
use certrot_rules::retire::{Call as Wish, Outcome};
use jiff::Timestamp;

use super::policies::{PAGE, certificate_of};
use super::{Aws, found, gone_is_fine};
use crate::aws::error::{CallError, Refusal};
use crate::calls;

/// A thing in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its attributes and version.
    pub thing: Thing,
}

impl Aws {
    /// The address that devices connect to (`iot:Data-ATS`).
    pub async fn endpoint(&self) -> Result<String, CallError> {
        let asked = self
            .call(&calls::DESCRIBE_ENDPOINT, "iot:Data-ATS", || {
                self.iot.describe_endpoint().endpoint_type("iot:Data-ATS").send()
            })
            .await?;
        Ok(asked.endpoint_address().unwrap_or_default().to_owned())
    }

    /// Every thing of the fleet; `tell` hears how many there are so far.
    pub async fn things(&self, mut tell: impl FnMut(usize)) -> Result<Vec<Listed>, CallError> {
        let mut things = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .call(&calls::LIST_THINGS, "the account", || {
                    let list = self.iot.list_things().thing_type_name(self.fleet.as_str());
                    list.max_results(PAGE).set_next_token(token.clone()).send()
                })
                .await?;
            // The filter is asked for and kept: nothing of another fleet gets further than this line.
            let ours = page.things().iter().filter(|t| t.thing_type_name() == Some(self.fleet.as_str()));
            things.extend(ours.map(|t| Listed {
                name: t.thing_name().unwrap_or_default().to_owned(),
                thing: Thing {
                    version: Some(t.version()),
                    type_name: t.thing_type_name().map(str::to_owned),
                    attributes: attributes(t.attributes()),
                },
            }));
            tell(things.len());
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(things);
            }
        }
    }

    /// One thing with its type; `None` when there is none.
    pub async fn thing(&self, name: &str) -> Result<Option<(Thing, Option<String>)>, CallError> {
        let asked = self
            .call(&calls::DESCRIBE_THING, name, || self.iot.describe_thing().thing_name(name).send())
            .await;
        Ok(found(asked)?.map(|t| {
            let thing = Thing {
                version: Some(t.version()),
                type_name: t.thing_type_name().map(str::to_owned),
                attributes: attributes(t.attributes()),
            };
            (thing, t.thing_type_name().map(str::to_owned))
        }))
    }

    /// Ids of the certificates that are attached to a thing.
    pub async fn principals(&self, thing: &str) -> Result<Vec<String>, CallError> {
        let mut ids = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .call(&calls::LIST_THING_PRINCIPALS, thing, || {
                    self.iot.list_thing_principals().thing_name(thing).set_next_token(token.clone()).send()
                })
                .await?;
            ids.extend(page.principals().iter().map(|p| certificate_of(p)));
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(ids);
            }
        }
    }

    /// Names of the things that a certificate is attached to.
    pub async fn things_of(&self, certificate: &str) -> Result<Vec<String>, CallError> {
        let arn = self.certificate_arn(certificate);
        let mut names = Vec::new();
        let mut token = None;
        loop {
            let page = self
                .call(&calls::LIST_PRINCIPAL_THINGS, certificate, || {
                    self.iot.list_principal_things().principal(&arn).set_next_token(token.clone()).send()
                })
                .await?;
            names.extend(page.things().iter().cloned());
            token = page.next_token().map(str::to_owned);
            if token.is_none() {
                return Ok(names);
            }
        }
    }

    /// Every certificate of the account with its status and age, newest last; `tell` hears how many there are so far.
    pub async fn certificates(&self, mut tell: impl FnMut(usize)) -> Result<Vec<Certificate>, CallError> {
        let mut certificates = Vec::new();
        let mut marker = None;
        loop {
            let page = self
                .call(&calls::LIST_CERTIFICATES, "the account", || {
                    self.iot.list_certificates().page_size(PAGE).set_marker(marker.clone()).send()
                })
                .await?;
            certificates.extend(page.certificates().iter().map(|c| Certificate {
                id: c.certificate_id().unwrap_or_default().to_owned(),
                status: status(c.status().map(|s| s.as_str())),
                created: time(c.creation_date()).unwrap_or_default(),
                not_after: None,
            }));
            tell(certificates.len());
            marker = page.next_marker().map(str::to_owned);
            if marker.is_none() {
                certificates.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
                return Ok(certificates);
            }
        }
    }

    /// One certificate, with its PEM; `None` when there is none.
    pub async fn certificate(&self, id: &str) -> Result<Option<(Certificate, String)>, CallError> {
        let asked = self
            .call(&calls::DESCRIBE_CERTIFICATE, id, || {
                self.iot.describe_certificate().certificate_id(id).send()
            })
            .await;
        Ok(found(asked)?.and_then(|a| a.certificate_description).map(|c| {
            let not_after = c.validity().and_then(|v| time(v.not_after()));
            let certificate = Certificate {
                id: id.to_owned(),
                status: status(c.status().map(|s| s.as_str())),
                created: time(c.creation_date()).unwrap_or_default(),
                not_after,
            };
            (certificate, c.certificate_pem().unwrap_or_default().to_owned())
        }))
    }

    /// Names of the policies that are attached to a certificate.
    pub async fn policies_of(&self, certificate: &str) -> Result<Vec<String>, CallError> {
        let target = self.certificate_arn(certificate);
        let mut names = Vec::new();
        let mut marker = None;
        loop {
            let page = self
                .call(&calls::LIST_ATTACHED_POLICIES, certificate, || {
                    self.iot.list_attached_policies().target(&target).set_marker(marker.clone()).send()
                })
                .await?;
            names.extend(page.policies().iter().filter_map(|p| p.policy_name().map(str::to_owned)));
            marker = page.next_marker().map(str::to_owned);
            if marker.is_none() {
                return Ok(names);
            }
        }
    }

    /// Has a certificate made for a CSR; gives its id and PEM. It may not connect before it is ACTIVE.
    pub async fn make_certificate(&self, csr: &str, active: bool) -> Result<(String, String), CallError> {
        let made = self
            .call(&calls::CREATE_CERTIFICATE, "a new key", || {
                let make = self.iot.create_certificate_from_csr().certificate_signing_request(csr);
                make.set_as_active(active).send()
            })
            .await?;
        let word = |w: Option<&str>| w.unwrap_or_default().to_owned();
        Ok((word(made.certificate_id()), word(made.certificate_pem())))
    }

    /// Registers a certificate that somebody else signed, ACTIVE; gives its id.
    pub async fn register_certificate(&self, pem: &str) -> Result<String, CallError> {
        let made = self
            .call(&calls::REGISTER_CERTIFICATE, "a certificate of its own making", || {
                let register = self.iot.register_certificate_without_ca().certificate_pem(pem);
                register.status(Status::Active.as_str().into()).send()
            })
            .await?;
        Ok(made.certificate_id().unwrap_or_default().to_owned())
    }

    /// Sets a certificate's status.
    pub async fn set_status(&self, id: &str, status: Status) -> Result<(), CallError> {
        self.call(&calls::UPDATE_CERTIFICATE, id, || {
            self.iot.update_certificate().certificate_id(id).new_status(status.as_str().into()).send()
        })
        .await
        .map(drop)
    }

    /// Deletes a certificate; refused while it is ACTIVE or attached.
    pub async fn delete_certificate(&self, id: &str) -> Result<(), CallError> {
        let sent = self
            .call(&calls::DELETE_CERTIFICATE, id, || self.iot.delete_certificate().certificate_id(id).send())
            .await;
        gone_is_fine(sent.map(drop))
    }

    /// Makes a thing of the fleet's type, or finds it.
    pub async fn make_thing(&self, name: &str) -> Result<(), CallError> {
        self.call(&calls::CREATE_THING, name, || {
            self.iot.create_thing().thing_name(name).thing_type_name(self.fleet.as_str()).send()
        })
        .await
        .map(drop)
    }

    /// Merges attributes into a thing; an empty value takes one away.
    pub async fn set_attributes(
        &self,
        thing: &str,
        values: &BTreeMap<String, String>,
        expected_version: Option<i64>,
    ) -> Result<(), CallError> {
        let payload = aws_sdk_iot::types::AttributePayload::builder()
            .set_attributes(Some(values.clone().into_iter().collect()))
            .merge(true)
            .build();
        self.call(&calls::UPDATE_THING, thing, || {
            let update = self.iot.update_thing().thing_name(thing).attribute_payload(payload.clone());
            update.set_expected_version(expected_version).send()
        })
        .await
        .map(drop)
    }

    /// Deletes a thing; refused while a certificate is attached.
    pub async fn delete_thing(&self, name: &str) -> Result<(), CallError> {
        let sent =
            self.call(&calls::DELETE_THING, name, || self.iot.delete_thing().thing_name(name).send()).await;
        gone_is_fine(sent.map(drop))
    }

    /// Attaches a certificate to a thing.
    pub async fn attach_thing(&self, thing: &str, certificate: &str) -> Result<(), CallError> {
        let arn = self.certificate_arn(certificate);
        self.call(&calls::ATTACH_THING_PRINCIPAL, thing, || {
            self.iot.attach_thing_principal().thing_name(thing).principal(&arn).send()
        })
        .await
        .map(drop)
    }

    /// Detaches a certificate from a thing; it takes seconds to be seen.
    pub async fn detach_thing(&self, thing: &str, certificate: &str) -> Result<(), CallError> {
        let arn = self.certificate_arn(certificate);
        let sent = self
            .call(&calls::DETACH_THING_PRINCIPAL, thing, || {
                self.iot.detach_thing_principal().thing_name(thing).principal(&arn).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }

    /// Does what the retire handler's machine asks for; `Outcome::Failed` goes with the error that it stands for.
    pub async fn wish(&self, wish: &Wish) -> (Outcome, Option<CallError>) {
        let done = |result: Result<(), CallError>| result.map(|()| Outcome::Done);
        let result = match wish {
            Wish::ListThingPrincipals { thing } => self.principals(thing).await.map(Outcome::Ids),
            Wish::DescribeCertificate { id } => {
                self.certificate(id).await.map(|c| c.map_or(Outcome::Gone, |(c, _)| Outcome::Certificate(c)))
            }
            Wish::ListPrincipalThings { id } => self.things_of(id).await.map(Outcome::Names),
            Wish::UpdateCertificate { id, status } => done(self.set_status(id, *status).await),
            Wish::ListAttachedPolicies { id } => self.policies_of(id).await.map(Outcome::Names),
            Wish::DetachPolicy { id, policy } => done(self.detach_policy(policy, id).await),
            Wish::DetachThingPrincipal { thing, id } => done(self.detach_thing(thing, id).await),
            Wish::DeleteCertificate { id } => done(self.delete_certificate(id).await),
            Wish::DescribeThing { thing } => {
                self.thing(thing).await.map(|t| t.map_or(Outcome::Gone, |(t, _)| Outcome::Thing(t)))
            }
            Wish::UpdateThing { thing, attributes, expected_version } => {
                done(self.set_attributes(thing, attributes, *expected_version).await)
            }
            Wish::Pause { seconds } => {
                tokio::time::sleep(std::time::Duration::from_secs(u64::from(*seconds))).await;
                Ok(Outcome::Done)
            }
            // The operator's tool answers no device.
            Wish::Reply(_) => Ok(Outcome::Done),
        };
        match result {
            Ok(outcome) => (outcome, None),
            Err(error) if error.refusal == Refusal::Gone => (Outcome::Gone, None),
            Err(error) if error.refusal == Refusal::Conflict => (Outcome::Conflict, Some(error)),
            Err(error) => (Outcome::Failed, Some(error)),
        }
    }
}

fn attributes<'a>(
    given: Option<impl IntoIterator<Item = (&'a String, &'a String)>>,
) -> BTreeMap<String, String> {
    given.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn status(word: Option<&str>) -> Status {
    serde_json::from_value(word.unwrap_or_default().into()).unwrap_or(Status::Unknown)
}

fn time(at: Option<&aws_smithy_types::DateTime>) -> Option<Timestamp> {
    Timestamp::from_millisecond(at?.to_millis().ok()?).ok()
}
