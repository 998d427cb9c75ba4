//! Load on the control plane: requests and answers, no data.
//!
//! `stun` asks from many sockets in one loop; `answers` verifies. `churn` and `hold` drive many clients of `crate::client` on one thread; `session` gives each a socket and a clock.

mod answers;
pub(super) mod args;
pub(super) mod churn;
pub(super) mod hold;
mod memory;
mod meter;
pub(super) mod outcome;
mod ports;
mod session;
mod stall;
pub(super) mod stun;

use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::outcome::Failure;
use super::server::Target;
use crate::client::Account;

/// Runs `work` on this thread to its end.
///
/// # Errors
/// Its own, or the runtime does not start.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(format!("the runtime does not start: {error}"), "look at this machine")
    })?;
    runtime.block_on(work)
}

/// Something has to be measured: at a fixed rate, so many a second that a figure comes of it.
fn check_duration(duration: Duration, rate: Option<f64>) -> Result<(), Failure> {
    if duration.is_zero() {
        return Err(Failure::usage("nothing can be measured in no time", "give a --duration such as 5s"));
    }
    let fewest = meter::float(outcome::FEWEST);
    match rate {
        Some(rate) if rate * duration.as_secs_f64() < fewest => Err(Failure::usage(
            format!(
                "at {rate} per second there are only {} in the measured time: too few to say anything about a rate",
                super::units::digits(rate * duration.as_secs_f64())
            ),
            format!("give a --duration of {:.0}s or more, or a higher --rate", (fewest / rate).ceil()),
        )),
        _ => Ok(()),
    }
}

/// Descriptors that are used for other things than clients.
const OTHER_DESCRIPTORS: u64 = 64;

/// Each client is a socket; `flag` says how many there are.
fn check_descriptors(clients: u32, flag: &str) -> Result<(), Failure> {
    let limit = crate::sys::raise_descriptor_limit();
    if limit < u64::from(clients) + OTHER_DESCRIPTORS {
        return Err(Failure::usage(
            format!("{clients} sockets cannot be made: this process may have {limit} open files"),
            format!("raise the hard limit (`ulimit -Hn`), or ask for fewer with {flag}"),
        ));
    }
    Ok(())
}

/// Who logs in.
fn account(target: &Target) -> Result<Arc<Account>, Failure> {
    let known = target.credentials.as_ref();
    known.and_then(|known| Account::new(&known.username, known.password.expose())).map(Arc::new).ok_or_else(
        || {
            Failure::usage(
                "this user name or password cannot be used",
                "neither may be empty or have control characters (RFC 8265)",
            )
        },
    )
}

/// Sleeps until the clock says so.
async fn sleep_until(clock: &Clock, then: u64) {
    let now = clock.now();
    if then > now {
        tokio::time::sleep(Duration::from_nanos(then - now)).await;
    }
}
