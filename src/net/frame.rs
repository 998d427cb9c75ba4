//! Where one message ends and the next begins in a stream (RFC 8489 §6.2.2, RFC 8656 §12.5).

use crate::wire::{HEADER_LEN, MAGIC_COOKIE, Protocol, padded};

/// The longest frame of a client that has no allocation.
pub(super) const MAX_BEFORE_LOGIN: usize = 2048;
/// The first bytes of a frame: whatever they say, the others do not change it.
pub(super) const TELLING: usize = 8;
/// The longest frame: ChannelData with 65,535 bytes, header and padding.
pub(super) const MAX_FRAME: usize = 65_540;

/// What the first bytes of a stream say about its next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// Too few bytes to tell.
    Incomplete,
    /// It is this long, padding included.
    Length(usize),
    /// No frame begins like this: the stream is lost.
    Broken,
}

/// Looks at the beginning of a frame. Nothing longer than `max` is a frame.
pub(super) fn next(bytes: &[u8], max: usize) -> Frame {
    let Some(first) = bytes.first() else { return Frame::Incomplete };
    let length = match Protocol::of(*first) {
        Protocol::Stun => {
            let cookie = MAGIC_COOKIE.to_be_bytes();
            let seen = bytes.get(4..8.min(bytes.len())).unwrap_or_default();
            if !cookie.starts_with(seen) {
                return Frame::Broken;
            }
            match bytes {
                [_, _, l0, l1, ..] => {
                    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
                    if len % 4 != 0 {
                        return Frame::Broken;
                    }
                    HEADER_LEN + len
                }
                _ => return Frame::Incomplete,
            }
        }
        Protocol::ChannelData => match bytes {
            [_, _, l0, l1, ..] => padded(4 + usize::from(u16::from_be_bytes([*l0, *l1]))),
            _ => return Frame::Incomplete,
        },
        Protocol::Tls | Protocol::Unknown => return Frame::Broken,
    };
    if length > max { Frame::Broken } else { Frame::Length(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8656_12_5_channel_data_is_padded_on_streams() {
        assert_eq!(next(&[0x40, 0, 0, 0], MAX_FRAME), Frame::Length(4));
        assert_eq!(next(&[0x40, 0, 0, 1], MAX_FRAME), Frame::Length(8));
        assert_eq!(next(&[0x4F, 0xFF, 0xFF, 0xFF], MAX_FRAME), Frame::Length(65_540));
        assert_eq!(next(&[0x40, 0, 0xFF, 0xFF], MAX_BEFORE_LOGIN), Frame::Broken);
        assert_eq!(next(&[0x40, 0, 0], MAX_FRAME), Frame::Incomplete);
    }

    #[test]
    fn rfc8489_6_2_2_stun_frames_are_as_long_as_their_header_says() {
        assert_eq!(next(&[0, 1, 0, 0], MAX_FRAME), Frame::Length(20));
        assert_eq!(next(&[0, 1, 0, 8, 0x21, 0x12, 0xA4, 0x42], MAX_FRAME), Frame::Length(28));
        assert_eq!(next(&[0, 1, 0, 8, 0x21, 0x13], MAX_FRAME), Frame::Broken, "no cookie will come");
        assert_eq!(next(&[0, 1, 0, 7], MAX_FRAME), Frame::Broken);
        assert_eq!(next(&[0, 1, 8, 0], MAX_BEFORE_LOGIN), Frame::Broken);
        assert_eq!(next(&[], MAX_FRAME), Frame::Incomplete);
    }

    #[test]
    fn what_no_frame_begins_with_is_broken_at_once() {
        for first in [4, 19, 20, 22, 63, 80, 128, 255] {
            assert_eq!(next(&[first], MAX_FRAME), Frame::Broken, "{first}");
        }
        // HTTP begins like ChannelData, of a length that nobody may have before login.
        assert_eq!(next(b"GET / HTTP/1.1", MAX_BEFORE_LOGIN), Frame::Broken);
    }
}
