//! A stream that is read no faster than its sender may send. What is read costs its reader time, also where it says nothing.

use super::admission::Bucket;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// One such stream.
pub(super) struct Paced<S> {
    inner: S,
    bytes: Bucket,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// `burst` bytes pass at once, then `per_second`.
    pub(super) fn new(inner: S, burst: u32, per_second: u32) -> Self {
        Self { inner, bytes: Bucket::new(burst, per_second, Instant::now()), pause: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let read = u32::try_from(buffer.filled().len() - before).unwrap_or(u32::MAX);
        let wait = self.bytes.take(read, Instant::now());
        self.pause = (!wait.is_zero()).then(|| Box::pin(sleep(wait)));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn bytes_beyond_the_burst_come_at_their_rate_and_none_is_lost() {
        let (mut far, near) = tokio::io::duplex(1 << 16);
        let mut paced = Paced::new(near, 1000, 20_000);
        far.write_all(&[7; 3000]).await.unwrap();
        drop(far);
        let began = Instant::now();
        let (mut piece, mut all) = ([0; 500], Vec::new());
        loop {
            match paced.read(&mut piece).await.unwrap() {
                0 => break,
                len => all.extend_from_slice(&piece[..len]),
            }
        }
        assert_eq!(all, [7; 3000]);
        assert!(began.elapsed() >= Duration::from_millis(90), "{:?}", began.elapsed());
    }
}
