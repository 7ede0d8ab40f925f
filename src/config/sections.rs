//! From keys to sections: defaults, and what must fit together across keys, files and facts.
//!
//! One function a section; each goes on after a fault, so that all are found in one pass. A section is `None` only
//! where a problem has been recorded.

use super::files::{self, Credential};
use super::problem::{Fault, Problem};
use super::raw::Raw;
use super::units::{Choice, number_within};
use super::*;

/// Reads every section; problems are in `raw`, warnings are added.
pub(super) fn read(raw: &mut Raw<'_>, facts: &Facts, warnings: &mut Vec<Problem>) -> Option<Config> {
    let of_toml = raw.problems.len();
    let config = read_all(raw, facts, warnings);
    if raw.broken {
        // What was not found may stand in the part that could not be read.
        let later = raw.problems.split_off(of_toml);
        raw.problems.extend(later.into_iter().filter(|p| p.value.is_some()));
        warnings.retain(|p| p.value.is_some());
    }
    config
}

fn read_all(raw: &mut Raw<'_>, facts: &Facts, warnings: &mut Vec<Problem>) -> Option<Config> {
    let device = device(raw, facts, warnings);
    let aws = aws(raw, warnings);
    let claim = claim(raw, facts, warnings);
    let identity = identity(raw, warnings);
    let rotation = rotation(raw, facts, warnings);
    let retire = Retire {
        mode: choice(raw, "retire.mode"),
        delay: raw.duration("retire.delay", &defaults::RETIRE_DELAY),
        keep_generations: small(raw.number_or("retire.keep-generations", defaults::KEEP_GENERATIONS, |n| {
            number_within(n, 1, defaults::KEEP_GENERATIONS_MOST)
        })),
    };
    let session = Session {
        keep_alive: raw.duration("session.keep-alive", &defaults::KEEP_ALIVE),
        start_jitter: raw.duration("session.start-jitter", &defaults::START_JITTER),
    };
    let messages = messages(raw, warnings);
    let control = control(raw, warnings);
    let log = Log { level: choice(raw, "log.level") };
    let config = Config {
        device: device?,
        aws: aws?,
        claim: claim?,
        identity: identity?,
        rotation: rotation?,
        retire,
        session,
        messages: messages?,
        control: control?,
        log,
    };
    if config.control.operators.is_empty() && config.device.serial == SerialSource::Open {
        raw.refuse(
            "control.operators",
            Fault::new(
                "without a serial in [device] an operator must give it, and here nobody is one",
                "name an operator, or set device.serial",
            ),
        );
    }
    Some(config)
}

fn device(raw: &mut Raw<'_>, facts: &Facts, warnings: &mut Vec<Problem>) -> Option<Device> {
    let thing_name = raw.text("device.thing-name", ThingName::parse);
    let parameters = raw.table("device.parameters", names::check_parameter_name);
    let written = raw.text("device.serial", Serial::parse);
    let file = raw.text("device.serial-file", |text| Credential::parse(text, facts));
    if raw.has("device.serial") && raw.has("device.serial-file") {
        let fault = Fault::new("the serial has one source", "remove device.serial or device.serial-file");
        raw.refuse("device.serial-file", fault);
    }
    let serial = match (written, file) {
        (Some(serial), _) => SerialSource::Given(serial),
        (None, None) => SerialSource::Open,
        (None, Some(Credential::Elsewhere)) => {
            not_checkable(raw, facts, "device.serial-file", warnings);
            SerialSource::Unread
        }
        (None, Some(Credential::At(path))) => match files::read_serial(&path) {
            Ok(serial) => SerialSource::Given(serial),
            Err(fault) => {
                judge(raw, facts, "device.serial-file", fault, warnings);
                SerialSource::Unread
            }
        },
    };
    Some(Device { serial, thing_name, parameters })
}

fn aws(raw: &mut Raw<'_>, warnings: &mut Vec<Problem>) -> Option<Aws> {
    if !raw.has("aws.endpoint") {
        let fault = Fault::new(
            "the endpoint has no default: it is your account's",
            "write the host that `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints",
        );
        raw.refuse("aws.endpoint", fault);
    }
    let endpoint = raw.text("aws.endpoint", Endpoint::parse);
    if endpoint.as_ref().is_some_and(Endpoint::is_legacy) {
        let fault = Fault::new(
            "without -ats this is one of AWS's old endpoints, whose certificate AmazonRootCA1 does not sign",
            "write the host that `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints",
        );
        warnings.push(raw.problem("aws.endpoint", fault));
    }
    let port = raw.number_or("aws.port", defaults::PORT, |n| number_within(n, 1, i64::from(u16::MAX)));
    let root_ca = raw.text_or("aws.root-ca", defaults::ROOT_CA, AbsolutePath::parse);
    if let Some(fault) = root_ca.as_ref().and_then(|path| files::check_root_ca(path).err()) {
        raw.refuse("aws.root-ca", fault);
    }
    Some(Aws { endpoint: endpoint?, port: u16::try_from(port).ok()?, root_ca: root_ca? })
}

fn claim(raw: &mut Raw<'_>, facts: &Facts, warnings: &mut Vec<Problem>) -> Option<Claim> {
    const CERTIFICATE: &str = "claim.certificate";
    const KEY: &str = "claim.private-key";
    let at = |text: &str| Credential::parse(text, facts);
    let certificate = raw.text_or(CERTIFICATE, defaults::CLAIM_CERTIFICATE, at);
    let key = raw.text_or(KEY, defaults::CLAIM_KEY, at);
    let template = raw.text_or("claim.template", defaults::CLAIM_TEMPLATE, Template::parse);
    let fallback_after = raw.duration("claim.fallback-after", &defaults::FALLBACK_AFTER);

    let mut checked = |raw: &mut Raw<'_>, name: &str, place: Option<&Credential>, key: bool| match place {
        None => None,
        Some(Credential::Elsewhere) => {
            not_checkable(raw, facts, name, warnings);
            None
        }
        Some(Credential::At(path)) => {
            let read = if key { files::read_key(path, facts) } else { files::read_certificate(path) };
            read.map_err(|fault| judge(raw, facts, name, fault, warnings)).ok()
        }
    };
    let certificate_pem = checked(raw, CERTIFICATE, certificate.as_ref(), false);
    let key_pem = checked(raw, KEY, key.as_ref(), true);
    if let (Some(certificate), Some(key)) = (certificate_pem, key_pem)
        && let Err(why) = files::pair_matches(&certificate, &key)
    {
        let fault = Fault::new(
            format!("the claim's key and certificate are one pair: {why}"),
            "put the key and the certificate there that came in one answer of AWS IoT",
        );
        judge(raw, facts, KEY, fault, warnings);
    }

    let files = match (certificate?, key?) {
        (Credential::At(certificate), Credential::At(private_key)) => {
            Some(ClaimFiles { certificate, private_key })
        }
        _ => None,
    };
    Some(Claim { files, template: template?, fallback_after })
}

fn identity(raw: &mut Raw<'_>, warnings: &mut Vec<Problem>) -> Option<Identity> {
    let directory = raw.text_or("identity.directory", defaults::IDENTITY_DIRECTORY, AbsolutePath::parse);
    if directory.as_ref().is_some_and(|d| ["/run", "/dev/shm"].iter().any(|m| d.as_path().starts_with(m))) {
        let fault = Fault::new(
            "what is below /run and /dev/shm is gone after a restart of the machine: so would the identity be",
            "keep it on a disk, as /var/lib/certrotd",
        );
        warnings.push(raw.problem("identity.directory", fault));
    }
    Some(Identity {
        directory: directory?,
        key_source: choice(raw, "identity.key-source"),
        key_type: choice(raw, "identity.key-type"),
        machine_change: choice(raw, "identity.machine-change"),
    })
}

fn rotation(raw: &mut Raw<'_>, facts: &Facts, warnings: &mut Vec<Problem>) -> Option<Rotation> {
    let template = raw.text_or("rotation.template", defaults::ROTATION_TEMPLATE, Template::parse);
    let rotation = Rotation {
        enabled: true,
        template: template?,
        max_age: raw
            .text("rotation.max-age", patch::parse_max_age)
            .unwrap_or(Some(defaults::MAX_AGE.default)),
        renew_before: raw.duration("rotation.renew-before", &defaults::RENEW_BEFORE),
        check_interval: raw.duration("rotation.check-interval", &defaults::CHECK_INTERVAL),
        splay: raw.duration("rotation.splay", &defaults::SPLAY),
        min_interval: raw.duration("rotation.min-interval", &defaults::MIN_INTERVAL),
    };
    if let Some(fault) = patch::cannot_fire(&rotation, facts.certificate_lifetime) {
        raw.refuse("rotation.max-age", fault);
    }
    if let Some(lifetime) = facts.certificate_lifetime
        && rotation.renew_before >= lifetime
    {
        let fault = Fault::new(
            format!("the certificate in use lives {lifetime} in all: it would be due from its first second"),
            format!("write \"{}\", a third of that, or less", Duration::from_secs(lifetime.as_secs() / 3)),
        );
        warnings.push(raw.problem("rotation.renew-before", fault));
    }
    Some(rotation)
}

fn messages(raw: &mut Raw<'_>, warnings: &mut Vec<Problem>) -> Option<Messages> {
    let default = Filter::parse(defaults::FILTER).ok()?;
    let mut filters =
        |key| raw.list(key, MOST_ENTRIES, Filter::parse).unwrap_or_else(|| vec![default.clone()]);
    let (publish, subscribe) = (filters("messages.publish"), filters("messages.subscribe"));
    let users = Users::new(raw.list("messages.users", MOST_ENTRIES, User::parse).unwrap_or_default());
    warn_of_strangers(raw, "messages.users", &users, warnings);
    Some(Messages { publish, subscribe, users })
}

fn control(raw: &mut Raw<'_>, warnings: &mut Vec<Problem>) -> Option<Control> {
    let socket = raw.text_or("control.socket", defaults::SOCKET, |text| {
        let path = AbsolutePath::parse(text)?;
        if text.len() > SUN_PATH {
            let rule =
                format!("a socket's path is at most {SUN_PATH} bytes long, and this one has {}", text.len());
            return Err(Fault::new(rule, format!("write a shorter one, as \"{}\"", defaults::SOCKET)));
        }
        Ok(path)
    });
    let operators = match raw.list("control.operators", MOST_ENTRIES, User::parse) {
        Some(users) => Users::new(users),
        None => Users::new(vec![User::parse(defaults::OPERATOR).ok()?]),
    };
    warn_of_strangers(raw, "control.operators", &operators, warnings);
    let metrics_listen = raw.text_or("control.metrics-listen", "", |text| match text {
        "" => Ok(None),
        _ => text.parse::<SocketAddr>().ok().filter(|a| a.port() != 0).map(Some).ok_or_else(|| {
            Fault::new("it is an address with a port, or nothing", "write \"127.0.0.1:9477\", or \"\"")
        }),
    });
    if metrics_listen.flatten().is_some_and(|address| !address.ip().is_loopback()) {
        let fault = Fault::new(
            "everybody who reaches this address can read the metrics: they carry no secret, and no lock either",
            "write \"127.0.0.1:9477\" and let your collector run here, or see to a firewall",
        );
        warnings.push(raw.problem("control.metrics-listen", fault));
    }
    Some(Control { socket: socket?, operators, metrics_listen: metrics_listen? })
}

/// A fault of the claim or of the serial's file: no reason to stand still while the store holds an identity.
fn judge(raw: &mut Raw<'_>, facts: &Facts, key: &str, fault: Fault, warnings: &mut Vec<Problem>) {
    let problem = raw.problem(key, fault);
    if facts.identity_present { warnings.push(problem) } else { raw.problems.push(problem) }
}

/// What lies below `${CREDENTIALS_DIRECTORY}` when that is not set: to be seen only as a service.
fn not_checkable(raw: &mut Raw<'_>, facts: &Facts, key: &str, warnings: &mut Vec<Problem>) {
    let rule = "not checkable: CREDENTIALS_DIRECTORY is not set, as it is for a service with LoadCredential=";
    let problem = |fix: &str| raw.problem(key, Fault::new(rule, fix));
    match facts.purpose {
        Purpose::Check => warnings.push(problem("nothing to do here: the service checks it when it starts")),
        Purpose::Run if facts.identity_present => {
            warnings.push(problem(
                "nothing to do while the identity works; start it as a service to have the claim",
            ));
        }
        Purpose::Run => {
            let problem = problem("start it as the service certrotd, or write the path from / here");
            raw.problems.push(problem);
        }
    }
}

fn warn_of_strangers(raw: &Raw<'_>, key: &str, users: &Users, warnings: &mut Vec<Problem>) {
    for user in users.iter().filter(|user| user.uid().is_none()) {
        let fault = Fault::new(
            format!("this machine has no user {user}: the entry lets nobody in"),
            "see to the spelling, or make the user",
        );
        warnings.push(raw.problem(key, fault));
    }
}

/// Reads a word; absent means the default.
fn choice<C: Choice>(raw: &mut Raw<'_>, key: &str) -> C {
    raw.text(key, C::parse).unwrap_or(C::DEFAULT.1)
}

fn small(checked: i64) -> u32 {
    u32::try_from(checked).unwrap_or(u32::MAX)
}

/// Most entries of a list.
const MOST_ENTRIES: usize = 32;

/// Longest path of a Unix socket on Linux, its end not counted (unix(7): `sun_path` has 108 bytes).
const SUN_PATH: usize = 107;
