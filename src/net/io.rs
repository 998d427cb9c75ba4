//! One stream of bytes to a client: bare TCP, or TLS over it. Reading and writing never wait; waiting is [`Io::ready`].

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// A client's connection.
pub(super) struct Io {
    socket: TcpStream,
    /// What was read to find out what begins here, and has not been handed out.
    ahead: Vec<u8>,
    tls: Option<Box<ServerConnection>>,
    /// Whether something is at hand that the socket's readiness knows nothing of.
    unread: bool,
    /// Bytes that have come over TLS since there were data last.
    undecided: usize,
}

impl Io {
    /// Bare TCP; `ahead` was read already and comes first.
    pub(super) fn plain(socket: TcpStream, ahead: Vec<u8>) -> Self {
        Self { socket, unread: !ahead.is_empty(), ahead, tls: None, undecided: 0 }
    }

    /// TLS whose handshake is done; `ahead` was read from the socket, but not by `tls`.
    pub(super) fn tls(socket: TcpStream, ahead: Vec<u8>, mut tls: Box<ServerConnection>) -> Self {
        // One call of `try_write` is the bound: the next one takes nothing before all has left.
        tls.set_buffer_limit(None);
        Self { socket, ahead, tls: Some(tls), unread: true, undecided: 0 }
    }

    /// Waits until something can be read, or, with `writing` or when records wait to be sent, written. Returns at once
    /// after a [`Self::try_read`] that left something behind. Can be given up and called again.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) async fn ready(&self, writing: bool) -> io::Result<()> {
        self.ready_for(true, writing).await
    }

    /// The same for whoever does not always want to read. Without a wish for anything it waits for ever.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) async fn ready_for(&self, reading: bool, writing: bool) -> io::Result<()> {
        if reading && self.unread {
            return Ok(());
        }
        let interest = match (reading, writing || self.has_unsent()) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
            (false, false) => return std::future::pending().await,
        };
        self.socket.ready(interest).await.map(drop)
    }

    /// Waits until the socket takes bytes.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// Reads what is there, with one read of the socket at most, and takes no more than `most` bytes of data, one at least.
    /// `Ok(0)`: the client sends no more, and has said so. A TLS record, of which a part may be left for the next time, must
    /// not be longer than `buffer`: what is kept of a stranger is to be small.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. `Interrupted`: something came, but no data yet; ask again. `UnexpectedEof`: a
    /// TLS client has gone without saying so. `InvalidData`: what came is not TLS; the client has been told.
    pub(super) fn try_read(&mut self, buffer: &mut [u8], most: usize) -> io::Result<usize> {
        let (room, most) = (buffer.len(), most.min(buffer.len()));
        let buffer = &mut buffer[..most];
        let mut source = Source { socket: &self.socket, ahead: &mut self.ahead };
        let result = match &mut self.tls {
            None => source.read(buffer),
            Some(tls) => read_tls(tls, &mut source, &mut self.undecided, buffer, room),
        };
        self.note(&result);
        result
    }

    /// Reads what is there, with one read of the socket of at most `most` bytes; TLS records are read into `sealed`, and
    /// the data of all of them, and of one that had come in part, stand in `buffer`, which must have room for that.
    ///
    /// # Errors
    /// As of [`Self::try_read`].
    pub(super) fn try_read_many(
        &mut self,
        buffer: &mut [u8],
        sealed: &mut [u8],
        most: usize,
    ) -> io::Result<usize> {
        let (buffer_room, sealed_room) = (most.min(buffer.len()), most.min(sealed.len()));
        let mut source = Source { socket: &self.socket, ahead: &mut self.ahead };
        let result = match &mut self.tls {
            None => source.read(&mut buffer[..buffer_room]),
            Some(tls) => {
                let sealed = &mut sealed[..sealed_room];
                read_records(tls, &mut source, &mut self.undecided, buffer, sealed)
            }
        };
        self.note(&result);
        result
    }

    /// Remembers what a read has left behind, and tells a TLS client what was wrong.
    fn note(&mut self, result: &io::Result<usize>) {
        // TLS hands out first what it has, and the end of the stream behind it.
        let at_hand = self.tls.as_ref().is_some_and(|tls| !tls.wants_read()) && result.is_ok();
        self.unread = at_hand || !self.ahead.is_empty();
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
            // The alert; a client that does not take it now has no use for it.
            let _ = self.flush();
        }
    }

    /// Writes what the socket takes. Over TLS all of `bytes` is taken, unless earlier records still wait: see
    /// [`Self::flush`].
    ///
    /// # Errors
    /// `WouldBlock`: nothing was taken. Otherwise those of the socket.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.try_write(bytes) };
        flush(tls, &self.socket)?;
        let taken = tls.writer().write(bytes)?;
        match flush(tls, &self.socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Sends records that wait. Nothing waits on bare TCP.
    ///
    /// # Errors
    /// `WouldBlock`: not all have left. Otherwise those of the socket.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => flush(tls, &self.socket),
        }
    }

    /// Whether records wait to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Whether data have come that have not been read. Of TLS that cannot be told without opening it: no.
    pub(super) fn has_unread(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        self.tls.is_none()
            && (self.unread || SockRef::from(&self.socket).peek(&mut byte).is_ok_and(|len| len > 0))
    }

    /// Says that nothing more will be written: close_notify (RFC 8446 §6.1), and the end of the TCP stream if all that
    /// was written before has left. Reading goes on.
    pub(super) fn finish_writing(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        if self.flush().is_ok() {
            // A client that is gone already has no use for it.
            let _ = SockRef::from(&self.socket).shutdown(std::net::Shutdown::Write);
        }
    }

    /// Makes the end of the connection a reset for the client, so that what it has received does not look complete.
    pub(super) fn reset_on_close(&self) {
        // Where it cannot be had, the end looks like any other.
        let _ = self.socket.set_zero_linger();
    }
}

/// Hands out what was read ahead.
pub(super) fn take(ahead: &mut Vec<u8>, buffer: &mut [u8]) -> usize {
    let len = ahead.len().min(buffer.len());
    buffer[..len].copy_from_slice(&ahead[..len]);
    ahead.drain(..len);
    if ahead.is_empty() {
        ahead.shrink_to_fit();
    }
    len
}

fn read_tls(
    tls: &mut ServerConnection,
    source: &mut Source<'_>,
    undecided: &mut usize,
    buffer: &mut [u8],
    room: usize,
) -> io::Result<usize> {
    match tls.reader().read(buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        read => {
            *undecided = 0;
            return read;
        }
    }
    *undecided += tls.read_tls(source)?;
    if *undecided > room {
        return Err(too_long());
    }
    tls.process_new_packets().map_err(invalid)?;
    let read = tls.reader().read(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::Interrupted.into(),
        _ => error,
    });
    if read.is_ok() {
        *undecided = 0;
    }
    read
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a record longer than there is room for")
}

/// Opens all records that one read of `source` brings, and puts their data into `buffer`.
fn read_records(
    tls: &mut ServerConnection,
    source: &mut Source<'_>,
    undecided: &mut usize,
    buffer: &mut [u8],
    sealed: &mut [u8],
) -> io::Result<usize> {
    match tls.reader().read(buffer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        read => {
            *undecided = 0;
            return read;
        }
    }
    let len = source.read(sealed)?;
    *undecided += len;
    let (mut rest, mut filled) = (&sealed[..len], 0);
    // It takes a piece at a time; of an empty one it learns that no more will come.
    while tls.read_tls(&mut rest)? > 0 {
        let state = tls.process_new_packets().map_err(invalid)?;
        if state.plaintext_bytes_to_read() > 0 {
            *undecided = 0;
            filled += tls.reader().read(&mut buffer[filled..])?;
        }
        if rest.is_empty() {
            return match filled {
                0 if *undecided > sealed.len() => Err(too_long()),
                0 => Err(io::ErrorKind::Interrupted.into()),
                _ => Ok(filled),
            };
        }
    }
    // What came before the end comes first.
    if filled > 0 { Ok(filled) } else { tls.reader().read(buffer) }
}

fn flush(tls: &mut ServerConnection, socket: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(&mut Sink(socket))?;
    }
    Ok(())
}

/// What TLS reads from.
pub(super) struct Source<'a> {
    pub(super) socket: &'a TcpStream,
    pub(super) ahead: &'a mut Vec<u8>,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.ahead.is_empty() {
            return Ok(take(self.ahead, buffer));
        }
        let len = self.socket.try_read(buffer)?;
        if len > 0 && len < buffer.len() {
            // Nothing is left then, and the kernel says so when more has come: asking would be one call more.
            let _: io::Result<()> =
                self.socket.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
        }
        Ok(len)
    }
}

/// What TLS writes to.
pub(super) struct Sink<'a>(pub(super) &'a TcpStream);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(records)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
