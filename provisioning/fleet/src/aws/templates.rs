//! Provisioning templates and their versions.

use aws_sdk_iot::types::ProvisioningHook;
use serde_json::Value;

use super::{Aws, document, found, gone_is_fine};
use crate::aws::error::CallError;
use crate::calls;
use crate::model::{Body, Id, Kind, Seen, Version};

impl Aws {
    pub(super) async fn see_template(&self, name: &str) -> Result<Option<Seen>, CallError> {
        let asked = self
            .call(&calls::DESCRIBE_TEMPLATE, name, || {
                self.iot.describe_provisioning_template().template_name(name).send()
            })
            .await;
        let Some(template) = found(asked)? else { return Ok(None) };
        let in_force = document(template.template_body().unwrap_or_default());
        let mut versions = Vec::new();
        for (number, default) in self.template_versions(name).await? {
            let body = if default {
                in_force.clone()
            } else {
                let asked = self
                    .call(&calls::DESCRIBE_TEMPLATE_VERSION, name, || {
                        let ask = self.iot.describe_provisioning_template_version().template_name(name);
                        ask.version_id(number).send()
                    })
                    .await?;
                document(asked.template_body().unwrap_or_default())
            };
            versions.push(Version { number, default, document: body });
        }
        let arn = self.iot_arn(&Id::new(Kind::Template, name));
        let tagged = self.is_tagged(&calls::LIST_TEMPLATE_TAGS, &arn).await?;
        let body = Body::Template {
            body: in_force,
            role: template.provisioning_role_arn().unwrap_or_default().to_owned(),
            hook: template.pre_provisioning_hook().map(|h| h.target_arn().to_owned()),
            enabled: template.enabled().unwrap_or_default(),
        };
        Ok(Some(Seen { body, tagged, versions, targets: Vec::new() }))
    }

    async fn template_versions(&self, name: &str) -> Result<Vec<(i32, bool)>, CallError> {
        let listed = self
            .call(&calls::LIST_TEMPLATE_VERSIONS, name, || {
                self.iot.list_provisioning_template_versions().template_name(name).send()
            })
            .await?;
        Ok(listed.versions().iter().filter_map(|v| Some((v.version_id()?, v.is_default_version()))).collect())
    }

    pub(super) async fn make_template(&self, name: &str, want: &Body) -> Result<(), CallError> {
        let Body::Template { body, role, hook, enabled } = want else { return Ok(()) };
        let text = body.to_string();
        self.call(&calls::CREATE_TEMPLATE, name, || {
            self.iot
                .create_provisioning_template()
                .template_name(name)
                .description(DESCRIPTION)
                .template_body(&text)
                .enabled(*enabled)
                .provisioning_role_arn(role)
                .set_pre_provisioning_hook(hook.as_deref().map(hooked))
                .tags(self.iot_tag())
                .send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn set_template(&self, name: &str, want: &Body) -> Result<(), CallError> {
        let Body::Template { role, hook, enabled, .. } = want else { return Ok(()) };
        self.call(&calls::UPDATE_TEMPLATE, name, || {
            self.iot
                .update_provisioning_template()
                .template_name(name)
                .enabled(*enabled)
                .provisioning_role_arn(role)
                .set_pre_provisioning_hook(hook.as_deref().map(hooked))
                .send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn make_template_version(&self, name: &str, body: &Value) -> Result<(), CallError> {
        let text = body.to_string();
        self.call(&calls::CREATE_TEMPLATE_VERSION, name, || {
            let make = self.iot.create_provisioning_template_version().template_name(name);
            make.template_body(&text).set_as_default(true).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn use_template_version(&self, name: &str, number: i32) -> Result<(), CallError> {
        self.call(&calls::UPDATE_TEMPLATE, name, || {
            self.iot.update_provisioning_template().template_name(name).default_version_id(number).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn delete_template_version(&self, name: &str, number: i32) -> Result<(), CallError> {
        let sent = self
            .call(&calls::DELETE_TEMPLATE_VERSION, name, || {
                let delete = self.iot.delete_provisioning_template_version().template_name(name);
                delete.version_id(number).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }

    pub(super) async fn delete_template(&self, name: &str) -> Result<(), CallError> {
        let Some(versions) = found(self.template_versions(name).await)? else { return Ok(()) };
        for (number, _) in versions.into_iter().filter(|(_, default)| !default) {
            self.delete_template_version(name, number).await?;
        }
        let sent = self
            .call(&calls::DELETE_TEMPLATE, name, || {
                self.iot.delete_provisioning_template().template_name(name).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }
}

fn hooked(function: &str) -> ProvisioningHook {
    // The target is the one thing that the SDK insists on, and it is given.
    ProvisioningHook::builder()
        .payload_version(PAYLOAD)
        .target_arn(function)
        .build()
        .expect("a hook with a target is whole")
}

/// The only payload version that AWS IoT has for hooks.
const PAYLOAD: &str = "2020-04-01";
const DESCRIPTION: &str = "certrotd fleet";
