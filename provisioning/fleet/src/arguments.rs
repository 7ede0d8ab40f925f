//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Sets up, shows and cleans up what a certrotd fleet needs in an AWS account.
#[derive(Debug, Parser)]
#[command(name = "certrot-fleet", version, after_help = AFTER)]
pub struct Arguments {
    /// What everything is called after; IOT_TEMPLATE_NAME if that is set, else certrot
    #[arg(long, global = true)]
    pub name: Option<String>,
    /// The region, over AWS_REGION and the profile's
    #[arg(long, global = true)]
    pub region: Option<String>,
    /// The profile, over AWS_PROFILE
    #[arg(long, global = true)]
    pub profile: Option<String>,
    /// Where the ledger, config.toml and claim pairs lie; by default fleet/NAME-ACCOUNT-REGION
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// How long one call is tried again while AWS throttles or is still at work
    #[arg(long, global = true, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub patience: Duration,
    /// Answers every question with yes
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// plan, status, sweep and verify: one JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Tells at the end how often each AWS call was made
    #[arg(long, global = true)]
    pub calls: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows what setup would change; changes nothing
    Plan {
        /// What setup would be told
        #[command(flatten)]
        setup: Setup,
        /// Exit with 1 when something would change
        #[arg(long)]
        check: bool,
    },
    /// Makes what is missing and sets right what differs; run it again after anything, it goes on from there
    Setup(Setup),
    /// Shows the fleet: resources, claims, things, certificates by age, and what wants a person
    Status {
        /// A certificate older than this is overdue
        #[arg(long, value_name = "TIME", default_value = "99d", value_parser = duration)]
        max_age: Duration,
        /// How many findings are told
        #[arg(long, default_value_t = 20)]
        most: usize,
    },
    /// Retires what commits left behind; reports what it must not touch
    Sweep {
        /// Only this thing
        #[arg(long)]
        thing: Option<String>,
        /// Only says what it would do
        #[arg(long)]
        dry_run: bool,
    },
    /// Takes away everything that setup made, and nothing else; asks before claims and devices
    Cleanup {
        /// The fleet's things and their certificates too
        #[arg(long)]
        things: bool,
    },
    /// Claim certificates, one for each batch of devices
    #[command(subcommand)]
    Claim(Claim),
    /// Who may claim
    #[command(subcommand)]
    Allow(Allow),
    /// Lets a thing that has certificates claim once more, for 24 hours
    Reclaim {
        /// The thing
        thing: String,
    },
    /// Cuts a thing off: every certificate of it is made INACTIVE
    Quarantine {
        /// The thing
        thing: String,
    },
    /// Retires the certificates of a thing that are older than one; for machines with AWS credentials of their own
    ///
    /// The commit topic is better: there the cloud knows by principal() which certificate asks, and a device holds no
    /// AWS credentials. Whoever holds these can end the certificates of every device; give them to one machine that is
    /// guarded as the fleet is, never to the devices.
    Retire {
        /// The thing
        #[arg(long)]
        thing: String,
        /// The certificate that stays
        #[arg(long, value_name = "CERTIFICATE_ID")]
        keep: String,
    },
    /// Tries on the live account what is promised: a throw-away device is provisioned, rotated, attacked and cut off,
    /// and taken away again with all that was made for it
    Verify(Verify),
    /// Prints the IAM policy that whoever runs this tool needs
    OperatorPolicy,
    /// Prints the same resources as a CloudFormation template
    Cloudformation,
}

/// What setup is told.
#[derive(Clone, Debug, Args)]
pub struct Setup {
    /// Only the serials in this file may claim (one a line); the list is kept beside the ledger
    #[arg(long, value_name = "FILE", conflicts_with = "open")]
    pub allow_list: Option<PathBuf>,
    /// Every well-formed serial may claim
    #[arg(long)]
    pub open: bool,
    /// Where certrot-hook and certrot-retire lie; by default beside this program or the package's
    #[arg(long, value_name = "DIR")]
    pub lambdas: Option<PathBuf>,
    /// The batch of the first claim certificate
    #[arg(long, default_value = "first", value_name = "BATCH")]
    pub batch: String,
    /// Makes no claim certificate
    #[arg(long)]
    pub no_claim: bool,
    /// Concurrent executions reserved for the retire handler; 0 reserves none
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub retire_concurrency: i32,
    /// How long logs are kept, in days (one of CloudWatch's)
    #[arg(long, default_value_t = 30, value_name = "DAYS")]
    pub log_days: i32,
    /// The port that devices use
    #[arg(long, default_value_t = 8883)]
    pub port: u16,
    /// Another root certificate for devices than Amazon's
    #[arg(long, value_name = "FILE")]
    pub root_ca: Option<PathBuf>,
    /// Emergency: devices get a changed policy now, not as they rotate
    #[arg(long, conflicts_with = "rollback")]
    pub in_place: bool,
    /// Goes back to the version of the templates before this one, and so to its device policy
    #[arg(long)]
    pub rollback: bool,
    /// Takes over what has the fleet's names and not its tag
    #[arg(long)]
    pub adopt: bool,
    /// Uses a new policy without trying it with TestAuthorization
    #[arg(long)]
    pub skip_check: bool,
}

/// What verify is told.
#[derive(Clone, Debug, Args)]
pub struct Verify {
    /// Where certrot-hook and certrot-retire lie, for the allow-list; by default beside this program
    #[arg(long, value_name = "DIR")]
    pub lambdas: Option<PathBuf>,
    /// The port that devices use; by default the one in config.toml beside the ledger, else 8883
    #[arg(long)]
    pub port: Option<u16>,
    /// The root certificate of the endpoint; by default the one beside the ledger, else Amazon's
    #[arg(long, value_name = "FILE")]
    pub root_ca: Option<PathBuf>,
    /// Life of the certificate by which is seen whether one past its notAfter is refused; 0s leaves it out
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub short_life: Duration,
}

/// Claim certificates.
#[derive(Debug, Subcommand)]
pub enum Claim {
    /// Makes one: key made here, never sent
    New {
        /// The batch's name
        batch: String,
    },
    /// Ends one for good: devices of this batch that were not provisioned yet cannot be any more
    Revoke {
        /// The batch's name
        batch: String,
    },
}

/// Who may claim.
#[derive(Debug, Subcommand)]
pub enum Allow {
    /// Adds serials
    Add {
        /// The serials
        #[arg(required = true)]
        serials: Vec<String>,
        /// Where certrot-hook and certrot-retire lie; by default beside this program or the package's
        #[arg(long, value_name = "DIR")]
        lambdas: Option<PathBuf>,
    },
    /// Takes serials off; a device that has its identity keeps it (`quarantine` cuts it off)
    Remove {
        /// The serials
        #[arg(required = true)]
        serials: Vec<String>,
        /// Where certrot-hook and certrot-retire lie; by default beside this program or the package's
        #[arg(long, value_name = "DIR")]
        lambdas: Option<PathBuf>,
    },
    /// Prints the list
    List,
}

/// Reads `90d`, `12h`, `2m`, `30s`.
fn duration(word: &str) -> Result<Duration, String> {
    let refused = || format!("{word:?} is no duration; write 90d, 12h, 2m or 30s");
    let unit = word.chars().last().ok_or_else(refused)?;
    let number: u64 = word[..word.len() - unit.len_utf8()].parse().map_err(|_| refused())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(refused()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(refused)
}

const AFTER: &str = "\
Region, profile, credentials and endpoints are found as by every AWS tool: AWS_REGION, AWS_PROFILE, ~/.aws,
AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_IOT and so on.

Exit codes: 0 done; 1 `plan --check`: something would change, `verify`: a promise is broken; 2 `verify`: a fact
differs from what was assumed; 64 the command line is wrong, names something that is
not there, or the answer was no; 69 AWS is not reachable; 70 AWS does not take what was sent; 75 try again later, or
not all is gone; 77 these credentials may not; 78 region, names, files or documents are wrong.";
