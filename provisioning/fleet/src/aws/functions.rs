//! Lambda functions, their code, and who may invoke them.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Architecture, DeadLetterConfig, Environment, FunctionCode, Runtime};
use serde_json::Value;

use super::{Aws, document, found, gone_is_fine};
use crate::aws::error::{CallError, Refusal};
use crate::calls;
use crate::desired::STATEMENT;
use crate::model::{Body, Seen};
use crate::names::TAG;

impl Aws {
    pub(super) async fn see_function(&self, name: &str) -> Result<Option<Seen>, CallError> {
        let asked = self
            .call(&calls::GET_FUNCTION, name, || self.lambda.get_function().function_name(name).send())
            .await;
        let Some(function) = found(asked)? else { return Ok(None) };
        let tagged = function.tags().and_then(|t| t.get(TAG)).is_some_and(|v| v == self.fleet.as_str());
        let Some(c) = function.configuration() else { return Ok(None) };
        let variables = c.environment().and_then(|e| e.variables());
        let body = Body::Function {
            role: c.role().unwrap_or_default().to_owned(),
            architecture: c.architectures().first().map_or("x86_64", Architecture::as_str).to_owned(),
            code: c.code_sha256().unwrap_or_default().to_owned(),
            environment: variables
                .map(|v| v.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
                .unwrap_or_default(),
            memory: c.memory_size().unwrap_or_default(),
            timeout: c.timeout().unwrap_or_default(),
            concurrency: function.concurrency().and_then(|c| c.reserved_concurrent_executions()),
            dead_letters: c
                .dead_letter_config()
                .and_then(|d| d.target_arn())
                .filter(|a| !a.is_empty())
                .map(str::to_owned),
        };
        Ok(Some(Seen::plain(body, tagged)))
    }

    pub(super) async fn make_function(&self, name: &str, want: &Body, zip: &[u8]) -> Result<(), CallError> {
        let Body::Function { role, architecture, memory, timeout, .. } = want else { return Ok(()) };
        let code = FunctionCode::builder().zip_file(Blob::new(zip)).build();
        self.call(&calls::CREATE_FUNCTION, name, || {
            self.lambda
                .create_function()
                .function_name(name)
                .description("certrotd fleet")
                .runtime(Runtime::Providedal2023)
                .handler("bootstrap")
                .architectures(Architecture::from(architecture.as_str()))
                .role(role)
                .memory_size(*memory)
                .timeout(*timeout)
                .set_environment(environment(want))
                .set_dead_letter_config(dead_letters(want))
                .tags(TAG, self.fleet.as_str())
                .code(code.clone())
                .send()
        })
        .await?;
        self.set_concurrency(name, want).await
    }

    pub(super) async fn set_function(
        &self,
        name: &str,
        want: &Body,
        fields: &[String],
        zip: &[u8],
    ) -> Result<(), CallError> {
        let Body::Function { role, architecture, memory, timeout, .. } = want else { return Ok(()) };
        let has = |words: &[&str]| fields.iter().any(|f| words.contains(&f.as_str()));
        if has(&["code", "architecture"]) {
            self.call(&calls::UPDATE_CODE, name, || {
                self.lambda
                    .update_function_code()
                    .function_name(name)
                    .architectures(Architecture::from(architecture.as_str()))
                    .zip_file(Blob::new(zip))
                    .send()
            })
            .await?;
        }
        if has(&["role", "environment", "memory", "timeout", "deadLetters"]) {
            self.call(&calls::UPDATE_CONFIGURATION, name, || {
                self.lambda
                    .update_function_configuration()
                    .function_name(name)
                    .role(role)
                    .memory_size(*memory)
                    .timeout(*timeout)
                    .set_environment(environment(want))
                    .set_dead_letter_config(dead_letters(want))
                    .send()
            })
            .await?;
        }
        if has(&["concurrency"]) {
            self.set_concurrency(name, want).await?;
        }
        Ok(())
    }

    async fn set_concurrency(&self, name: &str, want: &Body) -> Result<(), CallError> {
        let Body::Function { concurrency, .. } = want else { return Ok(()) };
        match concurrency {
            Some(reserved) => self
                .call(&calls::PUT_CONCURRENCY, name, || {
                    let put = self.lambda.put_function_concurrency().function_name(name);
                    put.reserved_concurrent_executions(*reserved).send()
                })
                .await
                .map(drop),
            None => {
                let sent = self
                    .call(&calls::DELETE_CONCURRENCY, name, || {
                        self.lambda.delete_function_concurrency().function_name(name).send()
                    })
                    .await;
                gone_is_fine(sent.map(drop))
            }
        }
    }

    pub(super) async fn tag_function(&self, name: &str) -> Result<(), CallError> {
        let arn = self.function_arn(name);
        self.call(&calls::TAG_FUNCTION, name, || {
            self.lambda.tag_resource().resource(&arn).tags(TAG, self.fleet.as_str()).send()
        })
        .await
        .map(drop)
    }

    pub(super) async fn delete_function(&self, name: &str) -> Result<(), CallError> {
        let sent = self
            .call(&calls::DELETE_FUNCTION, name, || self.lambda.delete_function().function_name(name).send())
            .await;
        gone_is_fine(sent.map(drop))
    }

    pub(super) async fn see_permission(&self, function: &str) -> Result<Option<Seen>, CallError> {
        let asked = self
            .call(&calls::GET_FUNCTION_POLICY, function, || {
                self.lambda.get_policy().function_name(function).send()
            })
            .await;
        let Some(policy) = found(asked)? else { return Ok(None) };
        let policy = document(policy.policy().unwrap_or_default());
        let statement = policy["Statement"].as_array().into_iter().flatten().find(|s| s["Sid"] == STATEMENT);
        let Some(statement) = statement else { return Ok(None) };
        let body = Body::Permission {
            source: condition(statement, "aws:sourcearn"),
            source_account: condition(statement, "aws:sourceaccount"),
        };
        Ok(Some(Seen::plain(body, true)))
    }

    pub(super) async fn make_permission(&self, function: &str, want: &Body) -> Result<(), CallError> {
        let Body::Permission { source, source_account } = want else { return Ok(()) };
        let sent = self
            .call(&calls::ADD_PERMISSION, function, || {
                self.lambda
                    .add_permission()
                    .function_name(function)
                    .statement_id(STATEMENT)
                    .action("lambda:InvokeFunction")
                    .principal("iot.amazonaws.com")
                    .source_arn(source)
                    .source_account(source_account)
                    .send()
            })
            .await;
        match sent {
            // The answer to an earlier one was lost: whether it is the right one, the next look says.
            Err(error) if error.refusal == Refusal::Exists => Ok(()),
            other => other.map(drop),
        }
    }

    pub(super) async fn set_permission(&self, function: &str, want: &Body) -> Result<(), CallError> {
        self.delete_permission(function).await?;
        self.make_permission(function, want).await
    }

    pub(super) async fn delete_permission(&self, function: &str) -> Result<(), CallError> {
        let sent = self
            .call(&calls::REMOVE_PERMISSION, function, || {
                self.lambda.remove_permission().function_name(function).statement_id(STATEMENT).send()
            })
            .await;
        gone_is_fine(sent.map(drop))
    }

    fn function_arn(&self, name: &str) -> String {
        self.place.arn("lambda", &format!("function:{name}"))
    }
}

fn environment(want: &Body) -> Option<Environment> {
    let Body::Function { environment, .. } = want else { return None };
    let variables: HashMap<String, String> = environment.clone().into_iter().collect();
    Some(Environment::builder().set_variables(Some(variables)).build())
}

fn dead_letters(want: &Body) -> Option<DeadLetterConfig> {
    let Body::Function { dead_letters, .. } = want else { return None };
    // An empty target takes an old one away.
    Some(DeadLetterConfig::builder().target_arn(dead_letters.clone().unwrap_or_default()).build())
}

/// The value of a condition, whatever the operator and however the key is written.
fn condition(statement: &Value, key: &str) -> String {
    let operators: BTreeMap<&String, &Value> =
        statement["Condition"].as_object().map(|o| o.iter().collect()).unwrap_or_default();
    operators
        .values()
        .filter_map(|keys| keys.as_object())
        .flatten()
        .find(|(k, _)| k.eq_ignore_ascii_case(key))
        .and_then(|(_, v)| v.as_str().or_else(|| v.get(0)?.as_str()))
        .unwrap_or_default()
        .to_owned()
}
