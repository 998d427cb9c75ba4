//! ChannelData (RFC 8656 §12.4): four bytes of header, then application data.

use super::Error;

/// A channel number that may be bound: 0x4000..=0x4FFF (RFC 8656 §12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelNumber(u16);

impl ChannelNumber {
    /// The number, when it is in the range.
    pub const fn new(number: u16) -> Option<Self> {
        match number {
            0x4000..=0x4FFF => Some(Self(number)),
            _ => None,
        }
    }

    /// Reads a CHANNEL-NUMBER attribute: two bytes of number, two that are reserved and ignored (RFC 8656 §18.1).
    /// The outer `None` is a wrong length, the inner one a number outside the range.
    pub fn decode(value: &[u8]) -> Option<Option<Self>> {
        let &[n0, n1, _, _] = <&[u8; 4]>::try_from(value).ok()?;
        Some(Self::new(u16::from_be_bytes([n0, n1])))
    }

    /// The number itself.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// A ChannelData message, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// The channel.
    pub channel: ChannelNumber,
    /// The application data, without padding.
    pub data: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// Length of the header in bytes.
    pub const HEADER_LEN: usize = 4;

    /// Reads a datagram. What stands behind the data is padding and ignored (RFC 8656 §12.5).
    ///
    /// # Errors
    /// [`Error::Truncated`] when the datagram does not hold what the header claims,
    /// [`Error::ReservedChannel`] for a number that can never be bound.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (&[n0, n1, l0, l1], rest) = bytes.split_first_chunk::<4>().ok_or(Error::Truncated)?;
        let channel = ChannelNumber::new(u16::from_be_bytes([n0, n1])).ok_or(Error::ReservedChannel)?;
        let data = rest.get(..usize::from(u16::from_be_bytes([l0, l1]))).ok_or(Error::Truncated)?;
        Ok(Self { channel, data })
    }

    /// The header for `len` bytes of data; `None` when they are more than its length field can say.
    pub fn header(channel: ChannelNumber, len: usize) -> Option<[u8; 4]> {
        let [n0, n1] = channel.0.to_be_bytes();
        let [l0, l1] = u16::try_from(len).ok()?.to_be_bytes();
        Some([n0, n1, l0, l1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8656_12_4_length_field_counts_not_the_padding() {
        let parsed = ChannelData::parse(&[0x40, 0x00, 0x00, 0x01, 7, 0, 0, 0]).unwrap();
        assert_eq!((parsed.channel.get(), parsed.data), (0x4000, &[7][..]));
        assert_eq!(ChannelData::parse(&[0x40, 0, 0, 0]).unwrap().data, b"");
        assert_eq!(ChannelData::parse(&[0x40, 0, 0, 2, 7]), Err(Error::Truncated));
        assert_eq!(ChannelData::parse(&[0x40, 0, 0]), Err(Error::Truncated));
    }

    #[test]
    fn rfc8656_12_only_4000_to_4fff_are_channels() {
        for number in [0x0000, 0x3FFF, 0x5000, 0x7FFF, 0xFFFF] {
            assert_eq!(ChannelNumber::new(number), None);
        }
        assert!(ChannelNumber::new(0x4000).is_some() && ChannelNumber::new(0x4FFF).is_some());
        assert_eq!(ChannelNumber::decode(&[0x40, 0]), None);
        assert_eq!(ChannelNumber::decode(&[0x50, 0, 0, 0]), Some(None));
    }
}
