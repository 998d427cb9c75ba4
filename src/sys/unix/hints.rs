//! What an operator does on these systems.

/// The setting that limits receive buffers.
pub(crate) const RECEIVE_BUFFER_LIMIT: &str = "kern.ipc.maxsockbuf";

/// Whether the sockets of a reuse-port group share what arrives: here one of them gets all, so one worker is enough.
pub(crate) const SPREADS: bool = false;

/// Whether kernels of this system have what the relay asks of them beyond single datagrams.
pub(crate) const BEYOND_DATAGRAMS: bool = false;

/// Whether there is a `/proc` that tells of other processes.
pub(crate) const TELLS_OF_PROCESSES: bool = false;

/// The command that shows which program holds a port.
pub(crate) fn who_holds(port: u16, stream: bool) -> String {
    format!("lsof -nP -i{}:{port}", if stream { "TCP" } else { "UDP" })
}
