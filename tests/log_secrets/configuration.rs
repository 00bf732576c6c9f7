//! Passwords in every place that a configuration on the embedded store has for them.

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use test_servers::Certificates;

use super::hoard::Hoard;
use super::site::{USERNAME, bare_program};

/// What a configuration names.
pub struct Place<'a> {
    pub directory: &'a Path,
    pub certificates: &'a Certificates,
    pub address: SocketAddr,
    pub store: SocketAddr,
}

/// Those beside the first, each by his password.
pub struct Users {
    /// A platform, whose password is configured as it is.
    pub plain: String,
    /// A platform, of whose password only the hash is.
    pub hashed: String,
    /// A viewer, from the file of users.
    pub viewer: String,
    /// Where the configuration names them; `users_file` must come before any table.
    pub table: String,
}

pub fn users(hoard: &mut Hoard, directory: &Path) -> Users {
    let plain = hoard.mint("broker.users.password");
    let hashed = hoard.mint("the password of a hash");
    let viewer = hoard.mint("users_file");
    let hash = hash(&hashed);
    hoard.keep("broker.users.password_hash", hash.rsplit('$').next().unwrap());
    let file = directory.join("etc/users.toml");
    write_private(
        &file,
        &format!("[[users]]\nname = \"viewer\"\nrole = \"viewer\"\npassword = \"{viewer}\"\n"),
    );
    let user =
        |name: &str, way: &str| format!("[[broker.users]]\nname = \"{name}\"\nrole = \"platform\"\n{way}\n");
    let table = format!(
        "users_file = \"{}\"\n{}{}",
        file.display(),
        user("plain", &format!("password = \"{plain}\"")),
        user("hashed", &format!("password_hash = \"{hash}\"")),
    );
    Users { plain, hashed, viewer, table }
}

/// What `hash-password` prints.
fn hash(password: &str) -> String {
    let mut command = bare_program();
    command.arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// Passwords in every place that a configuration on the embedded store has for them. The cells are away.
pub fn configuration(hoard: &mut Hoard, place: &Place<'_>, format: &str, password: &str) -> String {
    let Place { directory, certificates, address, store } = place;
    let storage_password = directory.join("etc/storage-password");
    write_private(&storage_password, &format!("{}\n", hoard.mint("storage.password_file")));
    let var = directory.join("var");
    let (var, storage_password) = (var.display(), storage_password.display());
    format!(
        r#"
[broker]
listen = "{address}"
username = "{USERNAME}"
password = "{password}"
bind_host = "127.0.0.1"
sync_timeout_s = 1

[storage]
engine = "embedded"
path = "{var}/data"
listen = "{store}"
password_file = "{storage_password}"

[[cells]]
guid = "away"
availability_zone = "z1"
docker = "tcp://127.0.0.1:1"
tls = {{ ca = "{ca}", cert = "{cert}", key = "{key}" }}
host = "127.0.0.1"
ports = "20000-20009"

[[cells]]
guid = "none"
availability_zone = "z2"
docker = "unix://{var}/no-docker.sock"
host = "127.0.0.1"
ports = "20010-20019"

[routing]
haproxy = false
directory = "{var}/haproxy"

[log]
format = "{format}"

[[services]]
id = "s1"
name = "postgresql"
driver = "patroni"
description = "PostgreSQL"
bindable = true

[[services.plans]]
id = "p1"
name = "cluster"
description = "one node"
image = "patroni-broker/postgresql-patroni:17"
node_count = 1

[[services]]
id = "d1"
name = "dream"
driver = "dream"
description = "Nothing"
bindable = true
plan_updateable = true
binding_rotatable = true

[[services.plans]]
id = "dp1"
name = "small"
description = "A small one"

[[services.plans]]
id = "dp2"
name = "large"
description = "A large one"
"#,
        ca = certificates.authority.display(),
        cert = certificates.client.certificate.display(),
        key = certificates.client.key.display(),
    )
}
