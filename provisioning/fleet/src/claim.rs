//! Claim certificates, one for each batch of devices: key made here, CSR, 0600 from birth.
//!
//! ```text
//! key (0600) ─▶ ledger: begun ─▶ CSR ─▶ certificate, INACTIVE ─▶ policy ─▶ batch on the policy's tags ─▶ ACTIVE
//!   ─▶ claim.cert.pem ─▶ ledger: claim
//! ```
//! Killed anywhere, the next run goes on: the key is on disk before AWS hears of it, and a certificate whose answer was
//! lost is found by its public key. It may connect only after everything about it is in place.

use std::path::{Path, PathBuf};

use certrot_rules::registry::Status;
use jiff::{SignedDuration, Timestamp};

use crate::aws::Aws;
use crate::error::FleetError;
use crate::files;
use crate::keys::{self, Key};
use crate::ledger::{Begun, Ledger};
use crate::plan::short;
use crate::tell::Tell;

/// Where a batch's pair lies.
pub struct Pair {
    /// The directory.
    pub dir: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Pair {
    /// The pair of a batch.
    pub fn of(ledger: &Ledger, batch: &str) -> Self {
        let dir = ledger.dir().join("claims").join(batch);
        Pair { certificate: dir.join("claim.cert.pem"), key: dir.join("claim.key"), dir }
    }
}

/// A batch's name: 1 to 60 of `a-z A-Z 0-9 _ . -`, so that it can be a file and a tag.
pub fn checked(batch: &str) -> Result<&str, FleetError> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    let first = batch.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && batch.len() <= 60 && batch.bytes().all(fits) {
        return Ok(batch);
    }
    Err(FleetError::NotOurs {
        what: "batch",
        name: batch.chars().take(60).collect(),
        why: "a batch's name has 1 to 60 of a-z A-Z 0-9 _ . - and begins with a letter or digit".to_owned(),
    })
}

/// Makes a batch's claim certificate, or finishes what was begun; tells whether anything was to be done.
pub async fn make(
    aws: &Aws,
    ledger: &mut Ledger,
    policy: &str,
    batch: &str,
    tell: &Tell,
) -> Result<bool, FleetError> {
    let batch = checked(batch)?;
    let pair = Pair::of(ledger, batch);
    let purpose = format!("claim {batch}");
    let noted = noted(aws, policy, batch).await?;
    let have = files::read(&pair.certificate)?.and_then(|pem| keys::id_of(&String::from_utf8_lossy(&pem)));
    let key = files::read(&pair.key)?;
    if ledger.begun(&purpose).is_none()
        && let (Some(have), Some(noted), Some(_)) = (&have, &noted, &key)
        && have == noted
    {
        return mend(aws, ledger, policy, batch, have, tell).await;
    }
    if let (Some(id), None) = (&noted, ledger.begun(&purpose)) {
        return Err(FleetError::NotOurs {
            what: "batch",
            name: batch.to_owned(),
            why: format!(
                "certificate {} is in the account, and its pair is not in {}; name another batch, or revoke this one",
                short(id),
                pair.dir.display()
            ),
        });
    }
    files::make_dir(&pair.dir)?;
    let key = match key {
        Some(pem) => Key::from_pem(&String::from_utf8_lossy(&pem))?,
        None => {
            let key = Key::new()?;
            files::write_private(&pair.key, key.pem().as_bytes())?;
            key
        }
    };
    tell.live(&format!("claim certificate of batch {batch}"));
    let (id, pem) = certificate(aws, ledger, &purpose, &key).await?;
    // Each is looked at first, so that every run gets further than the one before, wherever that was killed.
    if !aws.targets(policy).await?.contains(&id) {
        aws.attach_policy(policy, &id).await?;
    }
    if noted.as_ref() != Some(&id) {
        aws.note_batch(policy, batch, &id).await?;
    }
    activate(aws, &id).await?;
    files::write_public(&pair.certificate, pem.as_bytes())?;
    ledger.claim(batch, Some(&id))?;
    ledger.finish(&purpose)?;
    tell.line(&format!("claim certificate {} of batch {batch}: {}", short(&id), pair.dir.display()));
    Ok(true)
}

/// Makes a certificate ACTIVE that is not.
pub async fn activate(aws: &Aws, id: &str) -> Result<(), FleetError> {
    match aws.certificate(id).await? {
        Some((c, _)) if c.status == Status::Active => Ok(()),
        _ => Ok(aws.set_status(id, Status::Active).await?),
    }
}

/// Sets right what an operator or an accident changed of a finished batch.
async fn mend(
    aws: &Aws,
    ledger: &mut Ledger,
    policy: &str,
    batch: &str,
    id: &str,
    tell: &Tell,
) -> Result<bool, FleetError> {
    if ledger.claims().get(batch).map(String::as_str) != Some(id) {
        ledger.claim(batch, Some(id))?;
    }
    let Some((certificate, _)) = aws.certificate(id).await? else {
        return Err(gone(batch, id));
    };
    if certificate.status != Status::Active {
        tell.warn(&format!(
            "the claim certificate of batch {batch} is {}: somebody set it so, and it stays so; \
             `claim revoke {batch}` ends it",
            certificate.status
        ));
    }
    if aws.targets(policy).await?.iter().any(|t| t == id) {
        return Ok(false);
    }
    aws.attach_policy(policy, id).await?;
    tell.line(&format!("policy {policy} given back to the claim certificate of batch {batch}"));
    Ok(true)
}

/// The certificate for a key: asked for, or found where the answer to an earlier asking was lost.
pub async fn certificate(
    aws: &Aws,
    ledger: &mut Ledger,
    purpose: &str,
    key: &Key,
) -> Result<(String, String), FleetError> {
    let public_key = key.public_hash();
    if let Some(begun) = ledger.begun(purpose).filter(|b| b.public_key == public_key)
        && let Some((id, _, pem)) = by_public_key(aws, begun).await?
    {
        return Ok((id, pem));
    }
    let since = now();
    ledger.begin(purpose, Begun { public_key, since })?;
    Ok(aws.make_certificate(&key.csr("certrot claim")?, false).await?)
}

/// Finds the certificate of a public key among those that were made since it was first asked for.
pub async fn by_public_key(aws: &Aws, begun: &Begun) -> Result<Option<(String, Status, String)>, FleetError> {
    // This machine's clock and AWS's may differ; a day is more than any signature would have been taken with.
    let from = begun.since.checked_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
    let listed = aws.certificates(|_| {}).await?;
    for candidate in
        listed.iter().rev().filter(|c| c.created >= from && c.status != Status::PendingActivation)
    {
        if let Some((seen, pem)) = aws.certificate(&candidate.id).await?
            && keys::public_hash_of(&pem).as_ref() == Some(&begun.public_key)
        {
            return Ok(Some((candidate.id.clone(), seen.status, pem)));
        }
    }
    Ok(None)
}

/// Ends a batch: its certificate is switched off for good, taken apart and deleted, and its pair removed here.
pub async fn revoke(
    aws: &Aws,
    ledger: &mut Ledger,
    policies: &[String],
    batch: &str,
    tell: &Tell,
) -> Result<(), FleetError> {
    let batch = checked(batch)?;
    let mut id = ledger.claims().get(batch).cloned();
    for policy in policies {
        id = id.or(noted(aws, policy, batch).await?);
    }
    if id.is_none()
        && let Some(begun) = ledger.begun(&format!("claim {batch}")).cloned()
    {
        id = by_public_key(aws, &begun).await?.map(|(id, ..)| id);
    }
    if let Some(id) = &id {
        end(aws, id).await?;
    }
    for policy in policies {
        aws.forget_batch(policy, batch).await?;
    }
    let pair = Pair::of(ledger, batch);
    let here = files::read(&pair.key)?.is_some();
    if id.is_none() && !here {
        let why = "neither the account nor the ledger has it".to_owned();
        return Err(FleetError::NotOurs { what: "batch", name: batch.to_owned(), why });
    }
    remove_pair(&pair)?;
    ledger.finish(&format!("claim {batch}"))?;
    ledger.claim(batch, None)?;
    let id =
        id.map_or_else(|| "without a certificate".to_owned(), |id| format!("certificate {}", short(&id)));
    tell.line(&format!("batch {batch} is ended: {id}"));
    Ok(())
}

/// Switches a certificate off for good and takes it apart, in the order that AWS demands.
pub async fn end(aws: &Aws, id: &str) -> Result<(), FleetError> {
    let Some((certificate, _)) = aws.certificate(id).await? else { return Ok(()) };
    if certificate.status == Status::Active {
        aws.set_status(id, Status::Inactive).await?;
    }
    if certificate.status != Status::Revoked {
        aws.set_status(id, Status::Revoked).await?;
    }
    for policy in aws.policies_of(id).await? {
        aws.detach_policy(&policy, id).await?;
    }
    for thing in aws.things_of(id).await? {
        aws.detach_thing(&thing, id).await?;
    }
    crate::cleanup::patiently(|| aws.delete_certificate(id)).await?;
    Ok(())
}

fn remove_pair(pair: &Pair) -> Result<(), FleetError> {
    files::remove(&pair.key)?;
    files::remove(&pair.certificate)?;
    files::remove(&pair.dir)?;
    Ok(())
}

async fn noted(aws: &Aws, policy: &str, batch: &str) -> Result<Option<String>, FleetError> {
    Ok(aws.claim_batches(policy).await?.into_iter().find(|(b, _)| b == batch).map(|(_, id)| id))
}

fn gone(batch: &str, id: &str) -> FleetError {
    FleetError::NotOurs {
        what: "batch",
        name: batch.to_owned(),
        why: format!(
            "its certificate {} is not in the account any more; `claim revoke {batch}` clears it",
            short(id)
        ),
    }
}

/// The one place where this tool reads the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "an operator's tool stamps its ledger and judges ages by the wall clock"
)]
pub fn now() -> Timestamp {
    Timestamp::try_from(std::time::SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Says whether a batch's pair is here.
pub fn is_here(dir: &Path, batch: &str) -> bool {
    dir.join("claims").join(batch).join("claim.key").exists()
}
