//! IoT policies: their versions, what they are attached to, and the batches of claim certificates on their tags.

use serde_json::Value;

use super::types::tag;
use super::{Aws, document, found, gone_is_fine};
use crate::aws::error::CallError;
use crate::calls;
use crate::model::{Body, Id, Kind, Seen, Version};

impl Aws {
    /// Names of all policies that begin so.
    pub(super) async fn policies_with(&self, prefix: &str) -> Result<Vec<String>, CallError> {
        let mut names = Vec::new();
        let mut marker = None;
        loop {
            let page = self
                .call(&calls::LIST_POLICIES, "the account", || {
                    self.iot.list_policies().page_size(PAGE).set_marker(marker.clone()).send()
                })
                .await?;
            let named = page.policies().iter().filter_map(|p| p.policy_name());
            names.extend(named.filter(|n| n.starts_with(prefix)).map(str::to_owned));
            marker = page.next_marker().map(str::to_owned);
            if marker.is_none() {
                return Ok(names);
            }
        }
    }

    pub(super) async fn see_policy(&self, name: &str) -> Result<Option<Seen>, CallError> {
        let asked =
            self.call(&calls::GET_POLICY, name, || self.iot.get_policy().policy_name(name).send()).await;
        let Some(policy) = found(asked)? else { return Ok(None) };
        let in_force = document(policy.policy_document().unwrap_or_default());
        let listed = self
            .call(&calls::LIST_POLICY_VERSIONS, name, || {
                self.iot.list_policy_versions().policy_name(name).send()
            })
            .await?;
        let mut versions = Vec::new();
        for version in listed.policy_versions() {
            let number = version.version_id().unwrap_or_default();
            let body = if version.is_default_version() {
                in_force.clone()
            } else {
                let asked = self
                    .call(&calls::GET_POLICY_VERSION, name, || {
                        self.iot.get_policy_version().policy_name(name).policy_version_id(number).send()
                    })
                    .await?;
                document(asked.policy_document().unwrap_or_default())
            };
            let number = number.parse().unwrap_or_default();
            versions.push(Version { number, default: version.is_default_version(), document: body });
        }
        let arn = self.iot_arn(&Id::new(Kind::Policy, name));
        let tagged = self.is_tagged(&calls::LIST_POLICY_TAGS, &arn).await?;
        let targets = self.targets(name).await?;
        Ok(Some(Seen { body: Body::Policy { document: in_force }, tagged, versions, targets }))
    }

    /// What a policy is attached to: certificates by their ids, anything else by what AWS calls it.
    pub async fn targets(&self, policy: &str) -> Result<Vec<String>, CallError> {
        let mut targets = Vec::new();
        let mut marker = None;
        loop {
            let page = self
                .call(&calls::LIST_TARGETS, policy, || {
                    let list = self.iot.list_targets_for_policy().policy_name(policy);
                    list.page_size(PAGE).set_marker(marker.clone()).send()
                })
                .await?;
            targets.extend(page.targets().iter().map(|t| certificate_of(t)));
            marker = page.next_marker().map(str::to_owned);
            if marker.is_none() {
                targets.sort();
                targets.dedup();
                return Ok(targets);
            }
        }
    }

    pub(super) async fn make_policy(&self, name: &str, document: &Value) -> Result<(), CallError> {
        let text = document.to_string();
        self.call(&calls::CREATE_POLICY, name, || {
            self.iot.create_policy().policy_name(name).policy_document(&text).tags(self.iot_tag()).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn make_policy_version(&self, name: &str, document: &Value) -> Result<(), CallError> {
        let text = document.to_string();
        self.call(&calls::CREATE_POLICY_VERSION, name, || {
            self.iot
                .create_policy_version()
                .policy_name(name)
                .policy_document(&text)
                .set_as_default(true)
                .send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn use_policy_version(&self, name: &str, number: i32) -> Result<(), CallError> {
        self.call(&calls::SET_POLICY_VERSION, name, || {
            let set = self.iot.set_default_policy_version().policy_name(name);
            set.policy_version_id(number.to_string()).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn delete_policy_version(&self, name: &str, number: i32) -> Result<(), CallError> {
        let sent = self
            .call(&calls::DELETE_POLICY_VERSION, name, || {
                let delete = self.iot.delete_policy_version().policy_name(name);
                delete.policy_version_id(number.to_string()).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }

    /// Deletes a policy with all its versions. A detachment takes minutes to be seen: until then AWS says conflict.
    pub(super) async fn delete_policy(&self, name: &str) -> Result<(), CallError> {
        let listed = self
            .call(&calls::LIST_POLICY_VERSIONS, name, || {
                self.iot.list_policy_versions().policy_name(name).send()
            })
            .await;
        let Some(listed) = found(listed)? else { return Ok(()) };
        for version in listed.policy_versions().iter().filter(|v| !v.is_default_version()) {
            let number = version.version_id().unwrap_or_default().parse().unwrap_or_default();
            self.delete_policy_version(name, number).await?;
        }
        let sent = self
            .call(&calls::DELETE_POLICY, name, || self.iot.delete_policy().policy_name(name).send())
            .await;
        gone_is_fine(sent.map(drop))
    }

    /// Attaches a policy to a certificate; twice is once.
    pub async fn attach_policy(&self, policy: &str, certificate: &str) -> Result<(), CallError> {
        let target = self.certificate_arn(certificate);
        self.call(&calls::ATTACH_POLICY, policy, || {
            self.iot.attach_policy().policy_name(policy).target(&target).send()
        })
        .await
        .map(drop)
    }

    /// Detaches a policy from a certificate.
    pub async fn detach_policy(&self, policy: &str, certificate: &str) -> Result<(), CallError> {
        let target = self.certificate_arn(certificate);
        let sent = self
            .call(&calls::DETACH_POLICY, policy, || {
                self.iot.detach_policy().policy_name(policy).target(&target).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }

    /// Batches of claim certificates, as the claim policy's tags have them: name and certificate.
    pub async fn claim_batches(&self, policy: &str) -> Result<Vec<(String, String)>, CallError> {
        let arn = self.iot_arn(&Id::new(Kind::Policy, policy));
        let Some(tags) = found(self.iot_tags(&calls::LIST_POLICY_TAGS, &arn).await)? else {
            return Ok(Vec::new());
        };
        let mut batches: Vec<(String, String)> =
            tags.into_iter().filter_map(|(k, v)| Some((k.strip_prefix(BATCH)?.to_owned(), v))).collect();
        batches.sort();
        Ok(batches)
    }

    /// Writes a batch on the claim policy.
    pub async fn note_batch(&self, policy: &str, batch: &str, certificate: &str) -> Result<(), CallError> {
        let arn = self.iot_arn(&Id::new(Kind::Policy, policy));
        self.call(&calls::TAG_POLICY, policy, || {
            let tag = tag(&format!("{BATCH}{batch}"), certificate);
            self.iot.tag_resource().resource_arn(&arn).tags(tag).send()
        })
        .await
        .map(drop)
    }

    /// Takes a batch off the claim policy.
    pub async fn forget_batch(&self, policy: &str, batch: &str) -> Result<(), CallError> {
        let arn = self.iot_arn(&Id::new(Kind::Policy, policy));
        let sent = self
            .call(&calls::UNTAG_POLICY, policy, || {
                self.iot.untag_resource().resource_arn(&arn).tag_keys(format!("{BATCH}{batch}")).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }

    /// A certificate's ARN.
    pub fn certificate_arn(&self, id: &str) -> String {
        self.place.arn("iot", &format!("cert/{id}"))
    }
}

/// The id in a certificate's ARN; what is none stays as it is.
pub(super) fn certificate_of(principal: &str) -> String {
    principal.rsplit_once(":cert/").map_or(principal, |(_, id)| id).to_owned()
}

/// The most that AWS lists at once here.
pub(super) const PAGE: i32 = 250;

/// What the tag of a batch of claim certificates begins with; its value is the certificate.
const BATCH: &str = "certrot-claim:";
