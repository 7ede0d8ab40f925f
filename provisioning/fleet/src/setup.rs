//! `plan` and `setup`: looks, plans, and does one step after the other until there is nothing left to do.
//!
//! ```text
//! observe ─▶ plan ─▶ nothing? ─▶ claim ─▶ config.toml, root CA
//!    ▲        └▶ steps, one by one ─┐
//!    └──────────────────────────────┘
//! ```
//! There is no memory between steps: what is done is what the account shows. So a setup that was killed anywhere is
//! finished by the next one, and what somebody changed is set right by the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::allow;
use crate::aws::Aws;
use crate::aws::error::{CallError, Refusal};
use crate::check;
use crate::claim;
use crate::code::Zips;
use crate::config;
use crate::desired::{Desired, Settings};
use crate::error::FleetError;
use crate::files;
use crate::ledger::Ledger;
use crate::model::{Body, Id, Kind, Observed};
use crate::plan::{self, Act, Mode, Plan, Step};
use crate::tell::Tell;

/// What `setup` and `plan` are told.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// Where the two programs lie.
    pub lambdas: PathBuf,
    /// Who may claim.
    pub list: List,
    /// Reserved concurrency of the retire handler; 0 is none.
    pub retire_concurrency: i32,
    /// How long logs stay.
    pub log_days: i32,
    /// How changed policies reach devices.
    pub mode: Mode,
    /// Whether what has the fleet's names and not its tag is taken over.
    pub adopt: bool,
    /// Whether a new policy is used without a try.
    pub skip_check: bool,
    /// The batch of the first claim certificate; `None` makes none.
    pub batch: Option<String>,
    /// The port in the devices' `config.toml`.
    pub port: u16,
    /// The root certificate for the devices; `None` is Amazon's.
    pub root_ca: Option<PathBuf>,
}

impl Default for Wishes {
    /// A setup without options.
    fn default() -> Self {
        let settings = Settings::default();
        Wishes {
            lambdas: PathBuf::from("."),
            list: List::AsItIs,
            retire_concurrency: settings.retire_concurrency.unwrap_or_default(),
            log_days: settings.log_days,
            mode: Mode::AsTheyRotate,
            adopt: false,
            skip_check: false,
            batch: None,
            port: 8883,
            root_ca: None,
        }
    }
}

/// Who may claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// As it is: the list in the operator's directory, or none where the fleet has none.
    AsItIs,
    /// Every well-formed serial.
    Open,
    /// The serials in a file.
    File(PathBuf),
}

/// An account, a ledger and a terminal: what every command works with.
pub struct Work<'a> {
    /// The account.
    pub aws: &'a Aws,
    /// The ledger.
    pub ledger: &'a mut Ledger,
    /// The terminal.
    pub tell: &'a Tell,
}

/// What is wanted, with what it is made of.
pub struct Wanted {
    /// The resources.
    pub desired: Desired,
    /// The functions' code.
    pub zips: BTreeMap<String, Vec<u8>>,
    /// Whether the fleet has an allow-list.
    pub listed: bool,
}

impl Work<'_> {
    /// Works out what is wanted. The allow-list in the operator's directory is brought up to date.
    pub async fn wanted(&mut self, wishes: &Wishes, write: bool) -> Result<Wanted, FleetError> {
        let list = self.list(&wishes.list, write).await?;
        let zips = Zips::pack(&wishes.lambdas, &self.aws.fleet, list.as_deref().map(str::as_bytes))?;
        let settings = Settings {
            retire_concurrency: Some(wishes.retire_concurrency).filter(|c| *c > 0),
            log_days: wishes.log_days,
            allow_list: list.is_some(),
        };
        let desired = Desired::new(&self.aws.fleet, &self.aws.place, &settings, &zips.code);
        Ok(Wanted { desired, zips: zips.files, listed: list.is_some() })
    }

    /// Looks and plans.
    pub async fn planned(&self, wanted: &Wanted, wishes: &Wishes) -> Result<(Plan, Observed), FleetError> {
        let all = wanted.desired.resources.len();
        let mut number = 0;
        let observed = self
            .aws
            .observe(&wanted.desired, |id| {
                number += 1;
                self.tell.live(&format!("looks at {number} of about {all}: {id}"));
            })
            .await?;
        let known: BTreeSet<Id> = if wishes.adopt {
            wanted.desired.resources.keys().cloned().collect()
        } else {
            self.ledger.made().clone()
        };
        let plan = plan::plan(&self.aws.fleet, &wanted.desired, &observed, &known, wishes.mode)?;
        Ok((plan, observed))
    }

    /// Sets everything up; gives the number of steps that were needed.
    pub async fn setup(&mut self, wishes: &Wishes) -> Result<usize, FleetError> {
        let mut wishes = wishes.clone();
        let mut wanted = self.wanted(&wishes, true).await?;
        let mut done = 0;
        let mut round = 0;
        let notes = loop {
            let (plan, _) = self.planned(&wanted, &wishes).await?;
            if plan.steps.is_empty() {
                break plan.notes;
            }
            round += 1;
            if round > ROUNDS {
                return Err(FleetError::Unsettled(plan.steps.into_iter().map(|s| s.what).collect()));
            }
            let of = plan.steps.len();
            for (number, step) in plan.steps.iter().enumerate() {
                self.tell.live(&step.what);
                match self.step(step, &wanted, &wishes).await {
                    Ok(()) => {}
                    Err(FleetError::Call(error)) if reserves_too_much(&error) => {
                        self.tell.warn(&format!(
                            "the account has too few concurrent executions to reserve {} for the retire handler \
                             ({}); it runs without. Ask AWS for a higher quota, or say --retire-concurrency 0",
                            wishes.retire_concurrency, error.message
                        ));
                        wishes.retire_concurrency = 0;
                        wanted = self.wanted(&wishes, true).await?;
                    }
                    Err(error) => return Err(error),
                }
                done += 1;
                self.tell.step(number + 1, of, &step.what, &step.why);
            }
            if wishes.mode == Mode::Rollback {
                return Ok(done);
            }
        };
        for note in &notes {
            self.tell.warn(note);
        }
        if let Some(batch) = &wishes.batch {
            let policy = wanted.desired.claim_policy.clone();
            // One batch is what a fleet starts with; where there are others, nobody needs this one.
            let begun = self.ledger.unfinished().iter().any(|p| *p == format!("claim {batch}"));
            let others = self.aws.claim_batches(&policy).await?;
            if (begun
                || others.is_empty()
                || others.iter().any(|(b, _)| b == batch && claim::is_here(self.ledger.dir(), b)))
                && claim::make(self.aws, self.ledger, &policy, batch, self.tell).await?
            {
                done += 1;
            }
        }
        self.write_devices_files(&wishes).await?;
        if !wanted.listed {
            self.tell
                .warn("the fleet is open: every well-formed serial may claim; --allow-list FILE closes it");
        }
        Ok(done)
    }

    async fn step(&mut self, step: &Step, wanted: &Wanted, wishes: &Wishes) -> Result<(), FleetError> {
        match &step.act {
            Act::CheckPolicy(policy) if wishes.skip_check => {
                self.tell.warn(&format!("policy {policy} is used without a try: --skip-check"));
                return Ok(());
            }
            Act::CheckPolicy(policy) => {
                let claims = &wanted.desired.claim_policy;
                let findings = check::check(self.aws, self.ledger, policy, claims).await?;
                if !findings.open.is_empty() {
                    self.tell
                        .warn(&format!("TestAuthorization could not tell: {}", findings.open.join("; ")));
                }
                if !findings.wrong.is_empty() {
                    return Err(FleetError::Check { policy: policy.clone(), wrong: findings.wrong });
                }
                return Ok(());
            }
            Act::Create(id) => self.ledger.making(id)?,
            _ => {}
        }
        self.aws.perform(&step.act, &wanted.desired, &wanted.zips).await?;
        if let Act::Delete(id) = &step.act {
            self.ledger.removed(id)?;
        }
        Ok(())
    }

    /// The allow-list that counts.
    async fn list(&mut self, list: &List, write: bool) -> Result<Option<String>, FleetError> {
        let here = allow::path(self.ledger.dir());
        match list {
            List::Open => {
                if write {
                    files::remove(&here)?;
                }
                Ok(None)
            }
            List::File(path) => {
                let serials = allow::read(path)?.ok_or_else(|| FleetError::NoList(path.clone()))?;
                let text = allow::text(&serials);
                if write {
                    files::write_public(&here, text.as_bytes())?;
                }
                Ok(Some(text))
            }
            List::AsItIs => match allow::read(&here)? {
                Some(serials) => Ok(Some(allow::text(&serials))),
                None if self.has_list().await? => Err(FleetError::NoList(here)),
                None => Ok(None),
            },
        }
    }

    /// Says whether the hook in the account has an allow-list.
    pub(crate) async fn has_list(&self) -> Result<bool, FleetError> {
        let id = Id::new(Kind::Function, self.aws.fleet.claim_hook());
        Ok(match self.aws.see(&id).await?.map(|s| s.body) {
            Some(Body::Function { environment, .. }) => {
                environment.contains_key(crate::desired::ALLOW_LIST_VARIABLE)
            }
            _ => false,
        })
    }

    async fn write_devices_files(&mut self, wishes: &Wishes) -> Result<(), FleetError> {
        let address = self.aws.endpoint().await?;
        // AWS's has no port; an emulator's may.
        let (endpoint, port) = match address.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => (host, port),
            _ => (address.as_str(), wishes.port),
        };
        let text = config::text(&config::Device { fleet: &self.aws.fleet, endpoint, port });
        let root = match &wishes.root_ca {
            Some(path) => files::read(path)?.ok_or_else(|| {
                let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
                files::FileError::new("read", path, missing)
            })?,
            None => config::ROOT_CA.as_bytes().to_vec(),
        };
        let dir = self.ledger.dir().to_owned();
        for (name, bytes) in [(CONFIG, text.as_bytes()), (ROOT, root.as_slice())] {
            let path = dir.join(name);
            if files::read(&path)?.as_deref() != Some(bytes) {
                files::write_public(&path, bytes)?;
                self.tell.line(&format!("wrote {}", path.display()));
            }
        }
        Ok(())
    }
}

fn reserves_too_much(error: &CallError) -> bool {
    error.refusal == Refusal::Other && error.message.contains("UnreservedConcurrentExecution")
}

/// The devices' configuration in the operator's directory.
pub const CONFIG: &str = "config.toml";

/// The devices' root certificate in the operator's directory.
pub const ROOT: &str = "AmazonRootCA1.pem";

/// A second round sets right what AWS showed late in the first.
const ROUNDS: usize = 3;
