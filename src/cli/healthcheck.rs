//! `relais healthcheck`: for container health checks, where there is no curl.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::options::ConfigArgs;
use super::{FAILED, fail, print};
use crate::config::Overrides;

/// How long each step of the question may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 16 * 1024;

#[derive(Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Admin listener to ask; default: the first of admin.listen
    #[arg(long, value_name = "ADDR:PORT")]
    address: Option<SocketAddr>,
}

pub(super) fn run(args: &HealthArgs) -> ExitCode {
    let address = match args.address {
        Some(address) => address,
        None => {
            let settings = match args.config.load(Overrides::default()) {
                Ok((settings, _)) => settings,
                Err(code) => return code,
            };
            match settings.admin.listen.first() {
                Some(address) if address.port() != 0 => reachable(*address),
                _ => {
                    return fail(
                        FAILED,
                        "there is no admin listener of a known port to ask",
                        "set `listen` in [admin], or give `--address`",
                    );
                }
            }
        }
    };
    match ask(address) {
        Ok((200, body)) => print(&format!("ready: {}\n", body.trim())),
        Ok((status, body)) => {
            fail(FAILED, &format!("not ready: status {status}"), &format!("it says: {}", body.trim()))
        }
        Err(error) => fail(
            FAILED,
            &format!("no answer from {address}: {error}"),
            "is the server running, with this [admin] listen?",
        ),
    }
}

/// Where a listener on every address can be asked from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => (),
    }
    address
}

/// Status and body of `GET /readyz`.
fn ask(address: SocketAddr) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status =
        head.strip_prefix("HTTP/1.").and_then(|head| head.get(2..5)).and_then(|code| code.parse().ok());
    match status {
        Some(status) => Ok((status, body.to_owned())),
        None => Err(std::io::Error::other("the answer is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answered(answer: &'static str) -> std::io::Result<(u16, String)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let result = ask(address);
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"));
        result
    }

    #[test]
    fn the_status_decides() {
        assert_eq!(answered("HTTP/1.1 200 OK\r\n\r\nready\n").unwrap(), (200, "ready\n".to_owned()));
        assert_eq!(answered("HTTP/1.1 503 Service Unavailable\r\n\r\ndraining").unwrap().0, 503);
        assert!(answered("SSH-2.0-OpenSSH\r\n").is_err());
    }

    #[test]
    fn a_wildcard_listener_is_asked_over_loopback() {
        let shown = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(shown("0.0.0.0:9478"), "127.0.0.1:9478");
        assert_eq!(shown("[::]:9478"), "[::1]:9478");
        assert_eq!(shown("192.0.2.1:9478"), "192.0.2.1:9478");
    }
}
