//! From when to when a certificate holds (RFC 5280 §4.1.2.5). The TLS library checks that of others, but does not tell
//! it of our own.

/// Both ends in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begin: u64,
    pub(super) end: u64,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Finds it in a certificate in DER. `None`: this is no certificate.
pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
    let (tag, certificate, _) = element(certificate)?;
    let (inner, signed, _) = element(certificate)?;
    if (tag, inner) != (SEQUENCE, SEQUENCE) {
        return None;
    }
    let (tag, _, rest) = element(signed)?;
    // The version stands in front unless it is the first.
    let (_, _, rest) = if tag == VERSION { element(rest)? } else { (tag, signed, rest) };
    // Behind the serial number: algorithm, issuer, validity.
    let (_, _, rest) = element(rest)?;
    let (_, _, rest) = element(rest)?;
    let (tag, dates, _) = element(rest)?;
    let (first, begin, rest) = element(dates)?;
    let (second, end, _) = element(rest)?;
    (tag == SEQUENCE).then_some(Validity { begin: time(first, begin)?, end: time(second, end)? })
}

/// Whether a certificate in DER is of version 1 (RFC 5280 §4.1.2.1), which knows no names of hosts: its version is
/// left out.
pub(super) fn is_version_1(certificate: &[u8]) -> bool {
    let first = element(certificate).and_then(|(_, inside, _)| element(inside));
    first.and_then(|(_, signed, _)| element(signed)).is_some_and(|(tag, ..)| tag != VERSION)
}

/// Whether a certificate in DER is that of an authority: its basic constraints (RFC 5280 §4.2.1.9) say so.
pub(super) fn is_authority(certificate: &[u8]) -> bool {
    const ID: [u8; 5] = [0x06, 0x03, 0x55, 0x1D, 0x13];
    const BOOLEAN: u8 = 0x01;
    let behind = || {
        let at = certificate.windows(ID.len()).position(|window| window == ID)?;
        let (tag, content, rest) = element(certificate.get(at + ID.len()..)?)?;
        // Whether it is critical stands in front, if it does.
        let (_, value, _) = if tag == BOOLEAN { element(rest)? } else { (tag, content, rest) };
        let (_, constraints, _) = element(value)?;
        element(constraints)
    };
    matches!(behind(), Some((BOOLEAN, [1..=255], _)))
}

/// Tag, content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (len, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((*tag, content, rest))
}

fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let number = |from: usize, to: usize| -> Option<u64> {
        let part = digits.get(from..to)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let (year, at) = match tag {
        // Two digits: 1950 to 2049.
        UTC_TIME => (number(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        GENERALIZED_TIME => (number(0, 4)?, 4),
        _ => return None,
    };
    let field = |index: usize| number(at + 2 * index, at + 2 * index + 2);
    let (month, day) = (field(0)?, field(1)?);
    let (hour, minute, second) = (field(2)?, field(3)?, field(4)?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day) && digits.len() == at + 10;
    // A certificate from before 1970 has begun in any case.
    is_date
        .then(|| days(year, month, day).map_or(0, |days| days * 86_400 + hour * 3_600 + minute * 60 + second))
}

/// Days since 1970-01-01.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin in March end with the leap day; 400 of them are 146097 days.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::super::ice::rfc3339;
    use super::*;

    #[test]
    fn both_ends_are_read_from_a_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        for (begin, end, shown) in [
            ((2024, 2, 29), (2049, 12, 31), ["2024-02-29T00:00:00Z", "2049-12-31T00:00:00Z"]),
            ((1970, 1, 1), (2050, 3, 1), ["1970-01-01T00:00:00Z", "2050-03-01T00:00:00Z"]),
        ] {
            let mut parameters = rcgen::CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(begin.0, begin.1, begin.2);
            parameters.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
            let certificate = parameters.self_signed(&key).unwrap();
            let found = validity(certificate.der()).unwrap();
            assert_eq!([found.begin, found.end].map(rfc3339), shown);
            for cut in 0..100 {
                assert_eq!(validity(&certificate.der()[..cut]), None, "{cut} bytes");
            }
        }
    }

    #[test]
    fn dates_of_both_kinds() {
        assert_eq!(time(UTC_TIME, b"700101000001Z"), Some(1));
        assert_eq!(time(UTC_TIME, b"500101000000Z"), Some(0), "1950");
        assert_eq!(time(GENERALIZED_TIME, b"21000101000000Z"), Some(4_102_444_800));
        for (tag, text) in [
            (UTC_TIME, &b"700101000001"[..]),
            (UTC_TIME, b"701301000000Z"),
            (UTC_TIME, b"70010100000Z"),
            (UTC_TIME, b"+00101000000Z"),
            (GENERALIZED_TIME, b"700101000001Z"),
            (0x04, b"700101000001Z"),
        ] {
            assert_eq!(time(tag, text), None, "{text:?}");
        }
    }
}
