//! Addresses to listen on, spelled as Prometheus' exporters spell them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, lookup_host};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Binds `host:port`, or `:port` for every address of the machine, IPv6 and IPv4.
pub async fn bind(address: &str) -> anyhow::Result<TcpListener> {
    let mut problem = None;
    for address in resolve(address).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            // A machine without IPv6 has IPv4; a port in use stays in use.
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
                "{address} is in use by another process: end that one, or choose another --web.listen-address"
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
        // Dual stack for [::], whatever the machine's default.
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The sockets that systemd passes to this process.
pub fn from_systemd() -> anyhow::Result<Vec<TcpListener>> {
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        bail!(
            "--web.systemd-socket: systemd passed no socket; start the service by its .socket unit, or leave the flag out"
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

/// Where somebody on this machine reaches a listen address: loopback for an unspecified one.
pub async fn loopback_of(address: &str) -> anyhow::Result<SocketAddr> {
    let Some(mut reached) = resolve(address).await?.into_iter().next() else {
        bail!("{address} names no address: expected host:port or :port")
    };
    if reached.ip().is_unspecified() {
        // IPv4 loopback reaches a dual-stack socket, and a machine without IPv6.
        reached.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    Ok(reached)
}
