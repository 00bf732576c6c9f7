//! Routes as HAProxy's configuration, and as its file of server states. Pure; the order is that of the routes.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::endpoint::Host;
use super::master::{ServerName, ServerStates};
use super::table::{Route, Server};

/// How many connections one instance may hold, so that it cannot use up everybody's. Well above PostgreSQL's own
/// `max_connections`, so that a client hears PostgreSQL's clear refusal rather than waiting here.
const MAX_CONNECTIONS: u32 = 500;

/// A configuration and what tells it from every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Said by a running worker as its `description`, so that one knows what it runs.
    pub fingerprint: String,
}

/// The configuration for these routes, with its sockets and state file in `directory`.
///
/// - Checks: a server that is up is looked at every second, every 0.3 s as soon as one check fails or succeeds out of
///   line, and is down after two failures: one lost packet or a busy second is no failover, and a dead leader is
///   out after at most 1.3 s (2.3 s when it does not even refuse). One that is down is looked at every 0.5 s and is
///   up after one success, since Patroni answers 200 only to who holds the leader's lock: so long does the route
///   lag behind Patroni. 2,000 clusters of two make about 6,000 small requests a second of it.
/// - A check asks whether it is the primary *of this cluster*: a port that was given to another one meanwhile is down.
/// - Sessions may idle for days: dead peers are found by TCP keepalive, not by a timeout.
#[must_use]
pub fn render(directory: &Path, listen: IpAddr, routes: &[Route]) -> Rendered {
    let mut body = defaults(directory, routes);
    for route in routes {
        render_route(&mut body, listen, route);
    }
    let fingerprint = format!("patroni-broker {:016x}", fnv1a(body.as_bytes()));
    let text = format!(
        "# Written by patroni-broker's router, which overwrites it: changes made here are lost.\n\
         global\n    description {}\n{body}",
        fingerprint.replace(' ', "\\ ")
    );
    Rendered { text, fingerprint }
}

fn defaults(directory: &Path, routes: &[Route]) -> String {
    let servers: usize = routes.iter().map(|route| route.servers.len()).sum();
    // The first checks after a reload come within this many milliseconds, one after the other.
    let spread_ms = servers.clamp(50, 1000);
    let stats = quoted(&directory.join("stats.sock"));
    let states = quoted(&directory.join("server-states"));
    format!(
        "    stats socket {stats} mode 600 level admin
    server-state-file {states}
    maxconn 20000
    no strict-limits
    nbthread 2
    max-spread-checks {spread_ms}
defaults
    mode tcp
    timeout connect 3s
    timeout check 1s
    timeout client 24d
    timeout server 24d
    option clitcpka
    clitcpka-idle 60s
    clitcpka-intvl 10s
    clitcpka-cnt 6
    option srvtcpka
    srvtcpka-idle 60s
    srvtcpka-intvl 10s
    srvtcpka-cnt 6
    retries 2
    option redispatch 1
    load-server-state-from-file global
    default-server check inter 1s fastinter 300ms downinter 500ms fall 2 rise 1 \
on-marked-down shutdown-sessions init-addr libc,none
"
    )
}

fn render_route(text: &mut String, listen: IpAddr, route: &Route) {
    let Route { instance, port, servers } = route;
    let name = backend_name(instance.as_str());
    let bind = SocketAddr::new(listen, *port);
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line(&format!("listen {name}"));
    line(&format!("    bind {bind}"));
    line(&format!("    maxconn {MAX_CONNECTIONS}"));
    if servers.is_empty() {
        line("    tcp-request connection reject");
        return;
    }
    // Spelled out in each section: rules of `defaults` are dropped as a whole where a section has one of its own.
    line("    option httpchk");
    line("    http-check send meth GET uri /primary ver HTTP/1.1 hdr Host patroni hdr Connection close");
    line("    http-check expect status 200");
    // Patroni says 200 to whoever holds the lock, also while its PostgreSQL is still being started or promoted; Patroni
    // 4 says primary, older ones master.
    line("    http-check expect rstring '\"state\": *\"running\"'");
    line("    http-check expect rstring '\"role\": *\"(primary|master)\"'");
    // An id has no character that is special in a regular expression but the dot.
    let scope = instance.as_str().replace('.', "[.]");
    line(&format!("    http-check expect rstring '\"scope\": *\"{scope}\"'"));
    for server in servers {
        line(&format!("    {}", server_line(server)));
    }
}

fn server_line(server: &Server) -> String {
    let Server { node, sql, api, api_tls } = server;
    let mut line = format!("server {} {sql} port {}", server_name(node.as_str()), api.port);
    if api.host != sql.host {
        let _ = write!(line, " addr {}", api.host);
    }
    if *api_tls {
        // Who answers is told by the scope; Patroni's certificates are its own.
        line.push_str(" check-ssl verify none");
    }
    line
}

/// What HAProxy is told of its servers before it starts or reloads: what the running worker knows of them, and of every
/// other one that it is down. Without this file HAProxy believes a server up until its first check, and a new port
/// would lead to replicas for a moment.
#[must_use]
pub fn render_states(routes: &[Route], known: &ServerStates) -> String {
    let mut text = String::from(
        "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight \
         srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
         srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port \
         srv_check_addr srv_agent_addr srv_agent_port\n",
    );
    for route in routes {
        for (index, server) in route.servers.iter().enumerate() {
            let name = server_of(route, server);
            let Server { sql, api, .. } = server;
            let (address, fqdn) = match &sql.host {
                Host::Address(address) => (address.to_string(), "-".to_owned()),
                Host::Name(fqdn) => ("-".to_owned(), fqdn.clone()),
            };
            let same = known.get(&name).filter(|state| {
                state.is_checked()
                    && state.port == sql.port
                    && state.check_port == api.port
                    && (fqdn != "-" || state.address == address)
            });
            let (up, since, status, result, health) = match same {
                Some(state) => (
                    u8::from(state.is_up()) * 2,
                    state.since_s,
                    state.check_status,
                    state.check_result,
                    state.check_health,
                ),
                None => (0, 0, 1, 0, 0),
            };
            let (backend, node) = (&name.backend, &name.server);
            let _ = writeln!(
                text,
                "0 {backend} {} {node} {address} {up} 0 1 1 {since} {status} {result} {health} 6 0 0 0 {fqdn} {} - 0 {} - - 0",
                index + 1,
                sql.port,
                api.port
            );
        }
    }
    text
}

/// How HAProxy calls this server.
#[must_use]
pub fn server_of(route: &Route, server: &Server) -> ServerName {
    ServerName { backend: backend_name(route.instance.as_str()), server: server_name(server.node.as_str()) }
}

/// How HAProxy calls an instance's section. The prefix keeps clear of HAProxy's own names, such as `GLOBAL`.
#[must_use]
pub fn backend_name(instance: &str) -> String {
    format!("pg-{}", server_name(instance))
}

/// HAProxy's names know no tilde, ids know no colon.
#[must_use]
pub fn server_name(id: &str) -> String {
    id.replace('~', ":")
}

fn quoted(path: &Path) -> String {
    let mut text = String::from('"');
    for c in path.to_string_lossy().chars() {
        if matches!(c, '"' | '\\' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}

/// Stable across builds, unlike the standard library's hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
