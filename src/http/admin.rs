//! Health and metrics.

use super::error::Refusal;
use crate::observe::{self, StatsSource};
use crate::turn::Counters;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

#[derive(Clone)]
pub(super) struct Health {
    pub(super) stats: Arc<dyn StatsSource>,
    pub(super) ready: watch::Receiver<bool>,
}

impl Health {
    async fn counters(&self) -> Result<Vec<Counters>, Refusal> {
        // The source promises to give up after a second; a scrape must not hang if it does not.
        let counters = tokio::time::timeout(Duration::from_secs(2), self.stats.snapshot()).await;
        counters.ok().flatten().ok_or_else(|| {
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "worker_silent", "A worker did not answer in time.")
                .help("It is starved of CPU or stuck. Look at the load of the machine and the server's log.")
        })
    }
}

/// Alive: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready: all sockets are open and every worker answers.
pub(super) async fn readyz(State(health): State<Health>) -> Result<&'static str, Refusal> {
    if !*health.ready.borrow() {
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "The server is not ready.")
            .help("It is starting or draining; the log says which."));
    }
    health.counters().await.map(|_| "ready\n")
}

/// Prometheus text, version 0.0.4.
pub(super) async fn metrics(State(health): State<Health>) -> Result<Response, Refusal> {
    let counters = health.counters().await?;
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    let (offload, expiry) = (health.stats.offload(), health.stats.certificate_expiry());
    let (grants, process) = (health.stats.grants_refused(), observe::Process::read());
    Ok((kind, observe::render(&counters, grants, process, &offload, expiry)).into_response())
}
