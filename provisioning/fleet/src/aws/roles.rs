//! IAM roles with their trust, their managed policies and one inline policy.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Aws, document, found, gone_is_fine};
use crate::aws::error::CallError;
use crate::calls;
use crate::desired::INLINE;
use crate::model::{Body, Seen};
use crate::names::TAG;

impl Aws {
    pub(super) async fn see_role(&self, name: &str) -> Result<Option<Seen>, CallError> {
        let asked = self.call(&calls::GET_ROLE, name, || self.iam.get_role().role_name(name).send()).await;
        let Some(role) = found(asked)?.and_then(|a| a.role) else { return Ok(None) };
        let tagged = role.tags().iter().any(|t| t.key() == TAG && t.value() == self.fleet.as_str());
        let attached = self.attached_policies(name).await?;
        let mut inline = BTreeMap::new();
        for policy in self.inline_policies(name).await? {
            let got = self
                .call(&calls::GET_ROLE_POLICY, name, || {
                    self.iam.get_role_policy().role_name(name).policy_name(&policy).send()
                })
                .await?;
            inline.insert(policy, written(got.policy_document()));
        }
        let body = Body::Role {
            trust: written(role.assume_role_policy_document().unwrap_or_default()),
            managed: attached,
            // More than one, or another's, is not what is wanted: shown as all of them, so that it differs.
            inline: match (inline.len(), inline.get(INLINE)) {
                (0, _) => None,
                (1, Some(document)) => Some(document.clone()),
                _ => Some(inline.into_iter().collect()),
            },
        };
        Ok(Some(Seen::plain(body, tagged)))
    }

    pub(super) async fn make_role(&self, name: &str, want: &Body) -> Result<(), CallError> {
        let Body::Role { trust, .. } = want else { return Ok(()) };
        let text = trust.to_string();
        // The tag is the one thing that the SDK insists on, and it is given.
        let tag = aws_sdk_iam::types::Tag::builder().key(TAG).value(self.fleet.as_str()).build();
        let tags = tag.ok().map(|t| vec![t]);
        self.call(&calls::CREATE_ROLE, name, || {
            let make = self.iam.create_role().role_name(name).assume_role_policy_document(&text);
            make.description("certrotd fleet").set_tags(tags.clone()).send()
        })
        .await?;
        self.set_role(name, want, &["managed".to_owned(), "inline".to_owned()]).await
    }

    pub(super) async fn set_role(&self, name: &str, want: &Body, fields: &[String]) -> Result<(), CallError> {
        let Body::Role { trust, managed, inline } = want else { return Ok(()) };
        let has = |field: &str| fields.iter().any(|f| f == field);
        if has("trust") {
            let text = trust.to_string();
            self.call(&calls::UPDATE_TRUST, name, || {
                self.iam.update_assume_role_policy().role_name(name).policy_document(&text).send()
            })
            .await?;
        }
        if has("managed") {
            let there = self.attached_policies(name).await?;
            for arn in managed.difference(&there) {
                self.call(&calls::ATTACH_ROLE_POLICY, name, || {
                    self.iam.attach_role_policy().role_name(name).policy_arn(arn).send()
                })
                .await?;
            }
            for arn in there.difference(managed) {
                self.detach_managed(name, arn).await?;
            }
        }
        if has("inline") {
            let ours = inline.as_ref().map(|_| INLINE);
            if let Some(document) = inline {
                let text = document.to_string();
                self.call(&calls::PUT_ROLE_POLICY, name, || {
                    self.iam
                        .put_role_policy()
                        .role_name(name)
                        .policy_name(INLINE)
                        .policy_document(&text)
                        .send()
                })
                .await?;
            }
            for policy in self.inline_policies(name).await? {
                if Some(policy.as_str()) != ours {
                    self.delete_inline(name, &policy).await?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn tag_role(&self, name: &str) -> Result<(), CallError> {
        let tag = aws_sdk_iam::types::Tag::builder().key(TAG).value(self.fleet.as_str()).build();
        let tags = tag.ok().map(|t| vec![t]);
        self.call(&calls::TAG_ROLE, name, || {
            self.iam.tag_role().role_name(name).set_tags(tags.clone()).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn delete_role(&self, name: &str) -> Result<(), CallError> {
        for arn in found(self.attached_policies(name).await)?.unwrap_or_default() {
            self.detach_managed(name, &arn).await?;
        }
        for policy in found(self.inline_policies(name).await)?.unwrap_or_default() {
            self.delete_inline(name, &policy).await?;
        }
        let sent =
            self.call(&calls::DELETE_ROLE, name, || self.iam.delete_role().role_name(name).send()).await;
        gone_is_fine(sent.map(drop))
    }

    async fn attached_policies(&self, name: &str) -> Result<BTreeSet<String>, CallError> {
        let listed = self
            .call(&calls::LIST_ATTACHED_ROLE_POLICIES, name, || {
                self.iam.list_attached_role_policies().role_name(name).send()
            })
            .await?;
        Ok(listed.attached_policies().iter().filter_map(|p| p.policy_arn().map(str::to_owned)).collect())
    }

    async fn inline_policies(&self, name: &str) -> Result<Vec<String>, CallError> {
        let listed = self
            .call(&calls::LIST_ROLE_POLICIES, name, || self.iam.list_role_policies().role_name(name).send())
            .await?;
        Ok(listed.policy_names().to_vec())
    }

    async fn detach_managed(&self, name: &str, arn: &str) -> Result<(), CallError> {
        let sent = self
            .call(&calls::DETACH_ROLE_POLICY, name, || {
                self.iam.detach_role_policy().role_name(name).policy_arn(arn).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }

    async fn delete_inline(&self, name: &str, policy: &str) -> Result<(), CallError> {
        let sent = self
            .call(&calls::DELETE_ROLE_POLICY, name, || {
                self.iam.delete_role_policy().role_name(name).policy_name(policy).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }
}

/// IAM gives documents percent-encoded (RFC 3986, as its API reference says).
fn written(text: &str) -> Value {
    document(&decoded(text))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read_encoded_and_plain() {
        let wanted = serde_json::json!({ "a": "b c" });
        assert_eq!(written("%7B%22a%22%3A%22b%20c%22%7D"), wanted);
        assert_eq!(written("{\"a\":\"b c\"}"), wanted);
        assert_eq!(decoded("100%"), "100%");
    }
}
