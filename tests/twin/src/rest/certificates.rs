//! Certificates: describe, list, update, delete, and make.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::routing::{delete, get, post, put};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Page, Problem, Reply, body, done, ok, op, seconds};
use crate::ca::{self, CaError};
use crate::cloud::Cloud;
use crate::registry::{ACCOUNT, Certificate, Status, certificate_arn};

pub(super) fn routes(cloud: &Arc<Cloud>) -> Router<Arc<Cloud>> {
    let op = |name, handler| op(cloud, name, handler);
    Router::new()
        .route("/certificates", op("ListCertificates", get(list)))
        .route("/certificates", op("CreateCertificateFromCsr", post(create_from_csr)))
        .route("/certificates/{id}", op("DescribeCertificate", get(describe)))
        .route("/certificates/{id}", op("UpdateCertificate", put(update)))
        .route("/certificates/{id}", op("DeleteCertificate", delete(remove)))
        .route("/keys-and-certificate", op("CreateKeysAndCertificate", post(create)))
}

async fn describe(State(cloud): App, Path(id): Path<String>) -> Reply {
    let certificate = cloud.registry(|r| r.certificate(&id).cloned())?;
    ok(json!({ "certificateDescription": described(&certificate) }))
}

/// `isAscendingOrder` (newest first without it), by creation.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Order {
    is_ascending_order: bool,
}

async fn list(State(cloud): App, Query(page): Query<Page>, Query(order): Query<Order>) -> Reply {
    let mut all: Vec<Certificate> = cloud.registry(|r| r.certificates.values().cloned().collect());
    all.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
    if !order.is_ascending_order {
        all.reverse();
    }
    let (found, next): (Vec<Certificate>, _) = page.cut(all);
    let listed: Vec<Value> = found
        .iter()
        .map(|c| {
            json!({
                "certificateArn": certificate_arn(&c.id),
                "certificateId": c.id,
                "status": c.status.as_str(),
                "certificateMode": "DEFAULT",
                "creationDate": seconds(c.created_ms),
            })
        })
        .collect();
    ok(json!({ "certificates": listed, "nextMarker": next }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    new_status: String,
}

async fn update(State(cloud): App, Path(id): Path<String>, Query(update): Query<Update>) -> Reply {
    let status = match Status::parse(&update.new_status) {
        Some(status @ (Status::Active | Status::Inactive | Status::Revoked)) => status,
        Some(_) | None => return Err(Problem::invalid("newStatus must be ACTIVE, INACTIVE or REVOKED")),
    };
    let now_ms = cloud.clock.now_ms();
    cloud.change(|r| r.set_status(&id, status, now_ms))?;
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delete {
    #[serde(default)]
    force_delete: bool,
}

async fn remove(State(cloud): App, Path(id): Path<String>, Query(delete): Query<Delete>) -> Reply {
    cloud.change(|r| r.delete_certificate(&id, delete.force_delete))?;
    done()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    #[serde(default)]
    set_as_active: bool,
}

impl Create {
    fn status(&self) -> Status {
        if self.set_as_active { Status::Active } else { Status::Inactive }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Csr {
    certificate_signing_request: String,
}

async fn create_from_csr(State(cloud): App, Query(create): Query<Create>, bytes: Bytes) -> Reply {
    let csr: Csr = body(&bytes)?;
    let key = ca::check_request(&csr.certificate_signing_request).map_err(problem)?;
    let minted = cloud.mint(&key, create.status()).map_err(problem)?;
    ok(json!({
        "certificateArn": certificate_arn(&minted.id),
        "certificateId": minted.id,
        "certificatePem": minted.pem,
    }))
}

async fn create(State(cloud): App, Query(create): Query<Create>) -> Reply {
    let internal = || Problem::new(500, "InternalFailureException", "the key could not be made");
    let made = tokio::task::spawn_blocking(ca::rsa_key).await.map_err(|_| internal())?;
    let key = made.map_err(problem)?;
    let minted = cloud.mint(&key.public, create.status()).map_err(problem)?;
    ok(json!({
        "certificateArn": certificate_arn(&minted.id),
        "certificateId": minted.id,
        "certificatePem": minted.pem,
        "keyPair": { "PublicKey": key.public_pem, "PrivateKey": key.private_pem },
    }))
}

fn described(certificate: &Certificate) -> Value {
    json!({
        "certificateArn": certificate_arn(&certificate.id),
        "certificateId": certificate.id,
        "status": certificate.status.as_str(),
        "certificatePem": certificate.pem,
        "ownedBy": ACCOUNT,
        "creationDate": seconds(certificate.created_ms),
        "lastModifiedDate": seconds(certificate.modified_ms),
        "customerVersion": 1,
        "transferData": {},
        "generationId": certificate.id.get(..32),
        "validity": { "notBefore": certificate.not_before, "notAfter": certificate.not_after },
        "certificateMode": "DEFAULT",
    })
}

fn problem(error: CaError) -> Problem {
    match error {
        CaError::Request(_) => Problem::invalid(error.to_string()),
        CaError::File(_) | CaError::Crypto { .. } => {
            Problem::new(500, "InternalFailureException", error.to_string())
        }
    }
}
