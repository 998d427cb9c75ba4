//! What an operator does on this system.

/// The setting that limits receive buffers.
pub(crate) const RECEIVE_BUFFER_LIMIT: &str = "net.core.rmem_max";

/// Whether the sockets of a reuse-port group share what arrives, so that several workers have something to do.
pub(crate) const SPREADS: bool = true;

/// Whether kernels of this system have what the relay asks of them beyond single datagrams: then it is worth a warning
/// when this one does not.
pub(crate) const BEYOND_DATAGRAMS: bool = true;

/// Whether there is a `/proc` that tells of other processes.
pub(crate) const TELLS_OF_PROCESSES: bool = true;

/// The command that shows which program holds a port.
pub(crate) fn who_holds(port: u16, stream: bool) -> String {
    format!("ss -ln{}p 'sport = :{port}'", if stream { 't' } else { 'u' })
}
