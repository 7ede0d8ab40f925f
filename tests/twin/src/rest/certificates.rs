//! Certificates: describe, list, update, delete, and make.

use std::collections::BTreeMap;
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
        .route("/certificate/register-no-ca", op("RegisterCertificateWithoutCA", post(register)))
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Foreign {
    certificate_pem: String,
    #[serde(default)]
    status: Option<String>,
}

/// A certificate that the twin did not sign, known from now on by its SHA-256 like any other.
async fn register(State(cloud): App, bytes: Bytes) -> Reply {
    let foreign: Foreign = body(&bytes)?;
    let status = match foreign.status.as_deref().map(Status::parse) {
        None => Status::Inactive,
        Some(Some(status @ (Status::Active | Status::Inactive))) => status,
        Some(_) => return Err(Problem::invalid("status must be ACTIVE or INACTIVE")),
    };
    let invalid = |why: &str| Problem::new(400, "CertificateValidationException", why);
    let der =
        ca::der_of(&foreign.certificate_pem).map_err(|_| invalid("certificatePem is no certificate"))?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(&der).map_err(|_| invalid("certificatePem is no certificate"))?;
    let validity = parsed.validity();
    let now_ms = cloud.clock.now_ms();
    let certificate = Certificate {
        id: ca::certificate_id(&der),
        pem: foreign.certificate_pem.clone(),
        status,
        created_ms: now_ms,
        modified_ms: now_ms,
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        policies: BTreeMap::new(),
        things: BTreeMap::new(),
    };
    let id = certificate.id.clone();
    if !cloud.change(|r| r.adopt(certificate)) {
        return Err(Problem::new(409, "ResourceAlreadyExistsException", "the certificate is registered"));
    }
    ok(json!({ "certificateArn": certificate_arn(&id), "certificateId": id }))
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
