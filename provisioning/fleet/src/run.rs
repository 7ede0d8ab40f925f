//! From the command line to the commands: one arm for each, and one way in which they fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jiff::SignedDuration;
use serde::Serialize;

use crate::allow;
use crate::arguments::{Allow, Arguments, Claim, Command, Setup};
use crate::aws::devices::Listed;
use crate::aws::{Aws, Reach};
use crate::claim;
use crate::cloudformation;
use crate::desired::{Code, Desired, Settings};
use crate::error::{CHANGES, FleetError};
use crate::ledger::Ledger;
use crate::names::{self, Fleet, Place};
use crate::operator;
use crate::plan::{Mode, count};
use crate::setup::{CONFIG, List, Wishes, Work};
use crate::status::{self, Devices};
use crate::tell::Tell;
use crate::things;
use crate::verify;

/// Does what the command line says.
pub async fn run(arguments: Arguments) -> Result<ExitCode, FleetError> {
    let fleet = fleet(&arguments)?;
    match &arguments.command {
        Command::OperatorPolicy => return Ok(print(&operator::policy(&fleet, &anywhere(&arguments)))),
        Command::Cloudformation => return Ok(print(&cloudformation::template(&fleet))),
        _ => {}
    }
    let tell = Tell::new(arguments.json, arguments.yes);
    let reach = Reach {
        region: arguments.region.clone(),
        profile: arguments.profile.clone(),
        patience: arguments.patience,
    };
    tell.live("asks AWS whose credentials these are");
    let aws = Aws::open(fleet, &reach).await?;
    let dir = arguments.dir.clone().unwrap_or_else(|| {
        PathBuf::from(format!("fleet/{}-{}-{}", aws.fleet, aws.place.account, aws.place.region))
    });
    let mut ledger = Ledger::open(&dir, &aws.fleet, &aws.place)?;
    let mut work = Work { aws: &aws, ledger: &mut ledger, tell: &tell };
    let result = command(&arguments, &mut work).await;
    if arguments.calls {
        for (name, number) in aws.counts() {
            tell.warn(&format!("{number:>6} × {name}"));
        }
    }
    ledger.close_if_empty()?;
    result
}

async fn command(arguments: &Arguments, work: &mut Work<'_>) -> Result<ExitCode, FleetError> {
    let (aws, tell) = (work.aws, work.tell);
    match &arguments.command {
        Command::Plan { setup, check } => return plan(work, &wishes(setup), *check, arguments.json).await,
        Command::Setup(setup) => {
            heading(work);
            let done = work.setup(&wishes(setup)).await?;
            if done == 0 {
                tell.line("nothing to do: everything is as it should be");
            }
            let dir = work.ledger.dir();
            tell.line(&format!(
                "{:.1}s  ready: {} and the pair in {} go to the devices",
                tell.seconds(),
                dir.join(CONFIG).display(),
                dir.join("claims").display()
            ));
        }
        Command::Status { max_age, most } => {
            let age = SignedDuration::try_from(*max_age).unwrap_or(SignedDuration::MAX);
            let view = status::view(aws, &bare(aws), work.ledger.claims(), age, tell).await?;
            if arguments.json {
                return Ok(print(&view));
            }
            view.tell(tell, *most);
        }
        Command::Sweep { thing, dry_run } => {
            let devices = devices(work, thing.as_deref()).await?;
            let things = match thing {
                Some(thing) => vec![thing.clone()],
                None => devices.crowded(),
            };
            let mut swept = things::sweep(aws, &things, *dry_run, tell).await?;
            swept.retired += things::sweep_bare(aws, &devices.bare, *dry_run, tell).await?;
            if arguments.json {
                return Ok(print(&serde_json::json!({
                    "things": things.len(), "retired": swept.retired, "reported": swept.reported,
                })));
            }
            tell.line(&format!(
                "{} with more than one certificate: {} retired, {} left and reported",
                count(things.len(), "thing"),
                swept.retired,
                swept.reported
            ));
        }
        Command::Cleanup { things } => {
            heading(work);
            work.cleanup(crate::cleanup::Scope { things: *things }).await?;
        }
        Command::Claim(Claim::New { batch }) => {
            let policy = bare(aws).claim_policy;
            if !claim::make(aws, work.ledger, &policy, batch, tell).await? {
                tell.line(&format!(
                    "batch {batch} is there: {}",
                    claim::Pair::of(work.ledger, batch).dir.display()
                ));
            }
        }
        Command::Claim(Claim::Revoke { batch }) => {
            claim::checked(batch)?;
            tell.ask(&format!(
                "End batch {batch}? Its devices that were not provisioned yet cannot be any more."
            ))?;
            let policies = aws.policies_of_fleet(&aws.fleet.claim_policy_prefix()).await?;
            claim::revoke(aws, work.ledger, &policies, batch, tell).await?;
        }
        Command::Allow(order) => allow_list(work, order).await?,
        Command::Reclaim { thing } => things::reclaim(aws, thing, tell).await?,
        Command::Quarantine { thing } => things::quarantine(aws, thing, tell).await?,
        Command::Retire { thing, keep } => things::retire(aws, thing, keep, tell).await?,
        Command::Verify(order) => {
            heading(work);
            let order = verify::Order {
                lambdas: order.lambdas.clone().unwrap_or_else(beside),
                port: order.port,
                root_ca: order.root_ca.clone(),
                short_life: order.short_life,
            };
            let (report, error) = verify::verify(work, &order).await;
            if arguments.json {
                print(&report);
            } else {
                report.tell(tell);
            }
            return match error {
                Some(error) => Err(error),
                None => Ok(report.code()),
            };
        }
        Command::OperatorPolicy | Command::Cloudformation => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn plan(work: &mut Work<'_>, wishes: &Wishes, check: bool, json: bool) -> Result<ExitCode, FleetError> {
    let wanted = work.wanted(wishes, false).await?;
    let (plan, _) = work.planned(&wanted, wishes).await?;
    if json {
        print(&plan);
    } else {
        heading(work);
        for (number, step) in plan.steps.iter().enumerate() {
            work.tell.line(&format!("{:>2}  {}  ({})", number + 1, step.what, step.why));
        }
        for note in &plan.notes {
            work.tell.warn(note);
        }
        work.tell.line(&match plan.steps.len() {
            0 => "nothing would change".to_owned(),
            n => format!("{}; `setup` does them", count(n, "step")),
        });
    }
    Ok(if check && !plan.steps.is_empty() { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS })
}

/// Shows the list, or changes it and the hook.
async fn allow_list(work: &mut Work<'_>, order: &Allow) -> Result<(), FleetError> {
    let none = BTreeSet::new();
    let (add, remove, lambdas) = match order {
        Allow::List => {
            let path = allow::path(work.ledger.dir());
            for serial in &allow::read(&path)?.ok_or_else(|| FleetError::NoList(path.clone()))? {
                work.tell.line(serial);
            }
            return Ok(());
        }
        Allow::Add { serials, lambdas } => (allow::parse(&serials.join("\n"))?, none, lambdas),
        Allow::Remove { serials, lambdas } => (none, serials.iter().cloned().collect(), lambdas),
    };
    let lambdas = lambdas.clone().unwrap_or_else(beside);
    let listed = allow::change(work, &add, &remove, &lambdas).await?;
    work.tell.line(&format!(
        "{} may claim; it counts within {}",
        count(listed, "serial"),
        allow::COUNTS_AFTER
    ));
    Ok(())
}

/// What there is of devices; of one thing alone only what nothing has any more.
async fn devices(work: &Work<'_>, thing: Option<&str>) -> Result<Devices, FleetError> {
    let aws = work.aws;
    if let Some(thing) = thing {
        let listed = Listed { name: thing.to_owned(), thing: things::ours(aws, thing).await? };
        let all = aws.certificates(|n| work.tell.live(&format!("certificates: {n}"))).await?;
        let bare = things::bare(aws, &[listed], &all).await?;
        return Ok(Devices { bare, ..Devices::default() });
    }
    let mut policies = BTreeMap::new();
    for name in aws.policies_of_fleet(&aws.fleet.device_policy_prefix()).await? {
        policies.insert(name.clone(), aws.targets(&name).await?);
    }
    Devices::ask(aws, &policies, work.tell).await
}

fn heading(work: &Work<'_>) {
    let Work { aws, .. } = work;
    work.tell.line(&format!(
        "certrot-fleet {} · fleet {} · account {} · {} · as {}",
        env!("CARGO_PKG_VERSION"),
        aws.fleet,
        aws.place.account,
        aws.place.region,
        aws.caller
    ));
}

/// What is wanted, as far as names go: enough to look and to take away.
fn bare(aws: &Aws) -> Desired {
    let code = Code { architecture: String::new(), hashes: BTreeMap::new() };
    Desired::new(&aws.fleet, &aws.place, &Settings::default(), &code)
}

fn wishes(setup: &Setup) -> Wishes {
    let list = match (&setup.allow_list, setup.open) {
        (Some(path), _) => List::File(path.clone()),
        (None, true) => List::Open,
        (None, false) => List::AsItIs,
    };
    let mode = match (setup.in_place, setup.rollback) {
        (true, _) => Mode::InPlace,
        (_, true) => Mode::Rollback,
        _ => Mode::AsTheyRotate,
    };
    Wishes {
        lambdas: setup.lambdas.clone().unwrap_or_else(beside),
        list,
        retire_concurrency: setup.retire_concurrency,
        log_days: setup.log_days,
        mode,
        adopt: setup.adopt,
        skip_check: setup.skip_check,
        batch: (!setup.no_claim).then(|| setup.batch.clone()),
        port: setup.port,
        root_ca: setup.root_ca.clone(),
    }
}

/// Where the functions' programs are looked for: beside this program, or where the package has them.
fn beside() -> PathBuf {
    let program = std::env::current_exe().ok();
    functions(program.as_deref().and_then(Path::parent).unwrap_or(Path::new(".")))
}

fn functions(programs: &Path) -> PathBuf {
    let packed = programs.join(PACKED);
    if packed.is_dir() { packed } else { programs.to_owned() }
}

/// From `/usr/bin`, where the package puts this program.
const PACKED: &str = "../lib/certrot-fleet";

fn fleet(arguments: &Arguments) -> Result<Fleet, FleetError> {
    let word =
        arguments.name.clone().or_else(|| std::env::var("IOT_TEMPLATE_NAME").ok().filter(|n| !n.is_empty()));
    Ok(Fleet::parse(word.as_deref().unwrap_or(names::DEFAULT))?)
}

/// For documents that are made without asking AWS: what is not said stays open.
fn anywhere(arguments: &Arguments) -> Place {
    let region = arguments.region.clone().or_else(|| std::env::var("AWS_REGION").ok());
    Place {
        partition: "aws".to_owned(),
        region: region.unwrap_or_else(|| "*".to_owned()),
        account: "*".to_owned(),
    }
}

fn print(document: &impl Serialize) -> ExitCode {
    // Plain data with text keys always becomes JSON.
    println!("{}", serde_json::to_string_pretty(document).unwrap_or_default());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_programs_are_the_package_s_where_there_is_one_and_else_beside_this_one() {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        assert_eq!(functions(&bin), bin);
        std::fs::create_dir_all(home.path().join("lib/certrot-fleet")).unwrap();
        std::fs::create_dir(&bin).unwrap();
        assert_eq!(functions(&bin), bin.join(PACKED));
    }
}
