//! Who may what: users outside the group, inside, operators; an application of another user that needs the identity.

use super::Step;
use crate::lab::Lab;

/// The steps.
pub const STEPS: &[Step] = &[
    ("a user outside the group sees nothing, one inside reads, an operator acts", users),
    (
        "an application of another user starts after the identity and gets the pair as credentials",
        application,
    ),
];

fn users(lab: &mut Lab) {
    let generation = lab.generation();
    let it = &mut lab.container;
    it.sh("for u in stranger reader boss; do useradd -m $u; done; usermod -aG certrotd reader; usermod -aG certrotd boss");
    lab.edit("s|^# operators = .*|operators = [\"root\", \"boss\"]|");
    lab.container.sh("certrotctl reload");
    let as_user = |user: &str, words: &str| lab.container.ran(&format!("runuser -u {user} -- {words}"));
    for (user, words, code) in [
        ("stranger", "certrotctl status", 77),
        ("reader", "certrotctl status", 0),
        ("reader", "certrotctl history", 0),
        ("reader", "certrotctl rotate-now", 77),
        ("reader", "certrotctl reload", 77),
        ("boss", "certrotctl status", 0),
        ("boss", "certrotctl reload", 0),
        ("boss", "certrotctl rotate-now --wait --timeout 40s", 0),
    ] {
        let (ended, said) = as_user(user, words);
        assert_eq!(ended, Some(code), "{user}: {words}: {said}");
        assert!(code == 0 || said.contains("fix: "), "{user}: {words}: {said}");
    }
    for user in ["stranger", "reader", "boss"] {
        assert_ne!(as_user(user, "ls /var/lib/certrotd").0, Some(0), "{user} looks into the store");
    }
    lab.steady(generation + 1);
}

fn application(lab: &mut Lab) {
    let generation = lab.generation();
    lab.container.sh("useradd -r myapp; install -d -o myapp /var/lib/myapp");
    // As certrotd-wait-online.service says.
    lab.container.write(
        "/etc/systemd/system/myapp.service",
        "[Unit]\nWants=certrotd-wait-online.service\nAfter=certrotd-wait-online.service\n\
         [Service]\nUser=myapp\n\
         LoadCredential=device.cert:/var/lib/certrotd/current/device.cert.pem\n\
         LoadCredential=device.key:/var/lib/certrotd/current/device.key.pem\n\
         ExecStart=/bin/sh -c 'test -s $CREDENTIALS_DIRECTORY/device.key && sha256sum < $CREDENTIALS_DIRECTORY/device.cert >> /var/lib/myapp/seen; exec sleep infinity'\n\
         [Install]\nWantedBy=multi-user.target\n",
    );
    lab.container.sh("systemctl daemon-reload; systemctl enable myapp");
    lab.container.reboot();
    lab.container.until("systemctl is-active certrotd-wait-online && test -s /var/lib/myapp/seen");
    has_the_pair_in_use(lab);
    lab.steady(generation);
}

/// The application's last line is the certificate that `current` names.
pub fn has_the_pair_in_use(lab: &mut Lab) {
    lab.container.until("test \"$(tail -n 1 /var/lib/myapp/seen)\" = \"$(sha256sum < /var/lib/certrotd/current/device.cert.pem)\"");
}
