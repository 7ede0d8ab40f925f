//! Provisioning templates and their versions; RegisterThing executes what was made here.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, patch, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Page, Problem, Reply, Tag, body, done, ok, op, pairs, seconds};
use crate::cloud::Cloud;
use crate::registry::control::{Hook, Template};
use crate::registry::versions::Versions;
use crate::registry::{RegistryError, arn};
use crate::template;

pub(super) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    let op = |name, handler| op(cloud, name, handler);
    let (all, one) = ("/provisioning-templates", "/provisioning-templates/{name}");
    let versions_of = "/provisioning-templates/{name}/versions";
    let version_of = "/provisioning-templates/{name}/versions/{version}";
    Router::new()
        .route(all, op("ListProvisioningTemplates", get(list)))
        .route(all, op("CreateProvisioningTemplate", post(create)))
        .route(one, op("DescribeProvisioningTemplate", get(describe)))
        .route(one, op("UpdateProvisioningTemplate", patch(update)))
        .route(one, op("DeleteProvisioningTemplate", delete(remove)))
        .route(versions_of, op("ListProvisioningTemplateVersions", get(versions)))
        .route(versions_of, op("CreateProvisioningTemplateVersion", post(add)))
        .route(version_of, op("DescribeProvisioningTemplateVersion", get(version)))
        .route(version_of, op("DeleteProvisioningTemplateVersion", delete(remove_version)))
}

async fn list(State(cloud): App, Query(page): Query<Page>) -> Reply {
    let all = cloud.registry(|r| r.templates.iter().map(|(n, t)| (n.clone(), t.clone())).collect());
    let (found, next): (Vec<(String, Template)>, _) = page.cut(all);
    let listed: Vec<Value> = found
        .iter()
        .map(|(name, t)| {
            json!({
                "templateArn": template_arn(name),
                "templateName": name,
                "description": t.description,
                "creationDate": seconds(t.created_ms),
                "lastModifiedDate": seconds(t.modified_ms),
                "enabled": t.enabled,
                "type": t.kind,
            })
        })
        .collect();
    ok(json!({ "templates": listed, "nextToken": next }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    template_name: String,
    #[serde(default)]
    description: String,
    template_body: String,
    #[serde(default)]
    enabled: bool,
    provisioning_role_arn: String,
    pre_provisioning_hook: Option<Hook>,
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

async fn create(State(cloud): App, bytes: Bytes) -> Reply {
    let wanted: Create = body(&bytes)?;
    let name = wanted.template_name;
    // AWS's model: TemplateName.
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !(1..=36).contains(&name.len()) || !name.bytes().all(letter) {
        return Err(Problem::invalid("templateName must match [0-9A-Za-z_-]{1,36}"));
    }
    let kind = wanted.kind.unwrap_or_else(|| "FLEET_PROVISIONING".to_owned());
    if kind != "FLEET_PROVISIONING" {
        return Err(Problem::invalid("the twin has templates of type FLEET_PROVISIONING only"));
    }
    readable(&wanted.template_body)?;
    role(&wanted.provisioning_role_arn)?;
    let now_ms = cloud.clock.now_ms();
    cloud.change(|r| {
        if r.templates.contains_key(&name) {
            return Err(RegistryError::Exists(format!("Provisioning template {name}")));
        }
        let template = Template {
            versions: Versions::new(&wanted.template_body, now_ms),
            description: wanted.description,
            enabled: wanted.enabled,
            role: wanted.provisioning_role_arn,
            hook: wanted.pre_provisioning_hook,
            kind,
            created_ms: now_ms,
            modified_ms: now_ms,
        };
        r.templates.insert(name.clone(), template);
        r.tag(&template_arn(&name), pairs(wanted.tags))
    })?;
    ok(json!({ "templateArn": template_arn(&name), "templateName": name, "defaultVersionId": 1 }))
}

async fn describe(State(cloud): App, Path(name): Path<String>) -> Reply {
    let template = cloud.registry(|r| r.template(&name).cloned())?;
    let mut answer = json!({
        "templateArn": template_arn(&name),
        "templateName": name,
        "description": template.description,
        "creationDate": seconds(template.created_ms),
        "lastModifiedDate": seconds(template.modified_ms),
        "defaultVersionId": template.versions.default,
        "templateBody": template.versions.document(),
        "enabled": template.enabled,
        "provisioningRoleArn": template.role,
        "type": template.kind,
    });
    if let Some(hook) = &template.hook {
        answer["preProvisioningHook"] = json!(hook);
    }
    ok(answer)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Update {
    description: Option<String>,
    enabled: Option<bool>,
    default_version_id: Option<u32>,
    provisioning_role_arn: Option<String>,
    pre_provisioning_hook: Option<Hook>,
    remove_pre_provisioning_hook: bool,
}

async fn update(State(cloud): App, Path(name): Path<String>, bytes: Bytes) -> Reply {
    let wanted: Update = body(&bytes)?;
    wanted.provisioning_role_arn.as_deref().map_or(Ok(()), role)?;
    changed(&cloud, &name, |t| {
        if let Some(number) = wanted.default_version_id {
            t.versions.set_default(number)?;
        }
        t.description = wanted.description.unwrap_or(std::mem::take(&mut t.description));
        t.enabled = wanted.enabled.unwrap_or(t.enabled);
        t.role = wanted.provisioning_role_arn.unwrap_or(std::mem::take(&mut t.role));
        if wanted.remove_pre_provisioning_hook {
            t.hook = None;
        } else if wanted.pre_provisioning_hook.is_some() {
            t.hook = wanted.pre_provisioning_hook;
        }
        Ok(())
    })?;
    done()
}

async fn remove(State(cloud): App, Path(name): Path<String>) -> Reply {
    cloud.change(|r| r.delete_template(&name))?;
    done()
}

async fn versions(State(cloud): App, Path(name): Path<String>, Query(page): Query<Page>) -> Reply {
    let template = cloud.registry(|r| r.template(&name).cloned())?;
    let all = template
        .versions
        .all
        .iter()
        .map(|(number, version)| {
            json!({
                "versionId": number,
                "creationDate": seconds(version.created_ms),
                "isDefaultVersion": *number == template.versions.default,
            })
        })
        .collect();
    let (found, next): (Vec<Value>, _) = page.cut(all);
    ok(json!({ "versions": found, "nextToken": next }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    template_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Add {
    #[serde(default)]
    set_as_default: bool,
}

async fn add(State(cloud): App, Path(name): Path<String>, Query(add): Query<Add>, bytes: Bytes) -> Reply {
    let wanted: Body = body(&bytes)?;
    readable(&wanted.template_body)?;
    let now_ms = cloud.clock.now_ms();
    let number =
        changed(&cloud, &name, |t| t.versions.add(&wanted.template_body, add.set_as_default, now_ms))?;
    ok(json!({
        "templateArn": template_arn(&name),
        "templateName": name,
        "versionId": number,
        "isDefaultVersion": add.set_as_default,
    }))
}

async fn version(State(cloud): App, Path((name, number)): Path<(String, u32)>) -> Reply {
    let template = cloud.registry(|r| r.template(&name).cloned())?;
    let version = template.versions.get(number)?;
    ok(json!({
        "versionId": number,
        "creationDate": seconds(version.created_ms),
        "templateBody": version.document,
        "isDefaultVersion": number == template.versions.default,
    }))
}

async fn remove_version(State(cloud): App, Path((name, number)): Path<(String, u32)>) -> Reply {
    changed(&cloud, &name, |t| t.versions.remove(number))?;
    done()
}

fn changed<T>(
    cloud: &Cloud,
    name: &str,
    change: impl FnOnce(&mut Template) -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    let now_ms = cloud.clock.now_ms();
    cloud.change(|r| {
        let template = r.template_mut(name)?;
        template.modified_ms = now_ms;
        change(template)
    })
}

/// Refuses a body that RegisterThing could not read, or that is longer than AWS takes.
fn readable(body: &str) -> Result<(), Problem> {
    template::Template::parse(body)
        .map(drop)
        .map_err(|e| Problem::invalid(format!("Invalid template body: {e}")))
}

fn role(arn: &str) -> Result<(), Problem> {
    let shaped = arn.starts_with("arn:") && arn.contains(":iam::") && arn.contains(":role/");
    if shaped { Ok(()) } else { Err(Problem::invalid("provisioningRoleArn is no role's ARN")) }
}

fn template_arn(name: &str) -> String {
    arn(&format!("provisioningtemplate/{name}"))
}
