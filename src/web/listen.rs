//! Listen addresses in the syntax of Prometheus exporters, and the sockets bound to them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, lookup_host};

use crate::invalid::Invalid;

/// Default port, which error messages suggest.
const PORT: u16 = 9932;

/// Maximum number of connections in the kernel's backlog.
const BACKLOG: i32 = 1024;

/// Validates the syntax of a listen address, without resolving names.
///
/// Returns the text unchanged. The error says what is wrong and what to write instead.
pub(crate) fn listen_address(text: &str) -> Result<String, Invalid> {
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let is_ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    if is_port(text) {
        return Err(format!("did you mean :{text}?").into());
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/');
        return Err(format!("leave {scheme}:// out: write {rest}").into());
    }
    match text.rsplit_once(':') {
        Some((host, port)) if is_ipv6(host) && is_port(port) => {
            Err(format!("an IPv6 address stands in brackets: write [{host}]:{port}").into())
        }
        _ if is_ipv6(text) => Err(format!(
            "an IPv6 address stands in brackets, before a port: write [{text}]:{PORT}"
        )
        .into()),
        Some((host, _)) if host.starts_with('[') && !host.ends_with(']') => {
            Err(format!("the port is missing: write {text}:{PORT}").into())
        }
        None if !text.is_empty() => Err(format!("the port is missing: write {text}:{PORT}").into()),
        None => Err("expected host:port or :port".into()),
        Some((_, port)) if !is_port(port) => Err(format!(
            "expected a port from 0 to 65535 after the last colon, such as :{PORT}"
        )
        .into()),
        Some(_) => Ok(text.to_owned()),
    }
}

/// Binds `host:port`, or `:port` for every IPv6 and IPv4 address of the machine.
pub async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    let mut problem = None;
    for address in resolve(address).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            // The next address may work: a machine without IPv6 has IPv4. A port in use does not
            // become free at the next address.
            Err(error) => {
                let taken = error.kind() == io::ErrorKind::AddrInUse;
                problem = Some(error);
                if taken {
                    break;
                }
            }
        }
    }
    match problem {
        Some(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!(
                "{address} is in use by another process: end that one, or choose another \
                    --web.listen-address"
            )
        }
        Some(error) => Err(error).with_context(|| format!("listening on {address}")),
        None => bail!("{address} names no address: expected host:port or :port"),
    }
}

async fn resolve(address: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let Some(port) = address.strip_prefix(':') else {
        let addresses = lookup_host(address).await;
        return Ok(addresses
            .with_context(|| {
                format!("--web.listen-address {address}: expected host:port or :port")
            })?
            .collect());
    };
    let port = port.parse().with_context(|| {
        format!("--web.listen-address {address}: expected a port from 0 to 65535")
    })?;
    Ok(vec![
        (Ipv6Addr::UNSPECIFIED, port).into(),
        (Ipv4Addr::UNSPECIFIED, port).into(),
    ])
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // `[::]` is dual-stack, whatever the default of the system.
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Returns the listening sockets that systemd passes to this process.
///
/// Fails if systemd passes none, or one that does not listen for TCP.
pub(crate) fn from_systemd() -> anyhow::Result<Vec<TcpListener>> {
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        bail!(
            "--web.systemd-socket: systemd passed no socket; start the service by its .socket \
                unit, or leave the flag out"
        );
    }
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let socket = passed.take_tcp_listener(index);
        let Some(socket) = socket.with_context(|| {
            format!(
                "--web.systemd-socket: socket {} of systemd's is not one that listens for TCP",
                index + 1
            )
        })?
        else {
            continue;
        };
        socket
            .set_nonblocking(true)
            .context("--web.systemd-socket")?;
        listeners.push(TcpListener::from_std(socket).context("--web.systemd-socket")?);
    }
    Ok(listeners)
}

/// Returns the address at which a local client reaches a listen address.
///
/// Loopback replaces an unspecified address.
pub(crate) async fn loopback_of(address: &str) -> anyhow::Result<SocketAddr> {
    let Some(mut reached) = resolve(address).await?.into_iter().next() else {
        bail!("{address} names no address: expected host:port or :port")
    };
    if reached.ip().is_unspecified() {
        // IPv4 loopback also reaches a dual-stack socket, and works on a machine without IPv6.
        reached.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    Ok(reached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_listen_address_is_answered_with_what_to_write() {
        for (typed, expected) in [
            ("9932", "did you mean :9932?"),
            ("::1:9932", "write [::1]:9932"),
            (":::9932", "write [::]:9932"),
            ("fe80::1:80", "write [fe80::1]:80"),
            ("::1", "write [::1]:9932"),
            ("[::1]", "write [::1]:9932"),
            ("localhost", "write localhost:9932"),
            ("127.0.0.1", "write 127.0.0.1:9932"),
            ("http://0.0.0.0:9932/", "write 0.0.0.0:9932"),
            (":99999", "expected a port from 0 to 65535"),
            ("localhost:http", "expected a port from 0 to 65535"),
            ("localhost:", "expected a port from 0 to 65535"),
            ("", "expected host:port or :port"),
        ] {
            let problem = listen_address(typed).unwrap_err().to_string();
            assert!(problem.contains(expected), "{typed}: {problem}");
        }
        for typed in [
            ":9932",
            "localhost:0",
            "127.0.0.1:80",
            "[::1]:9932",
            "[::]:9932",
        ] {
            assert_eq!(listen_address(typed).as_deref(), Ok(typed));
        }
    }
}
