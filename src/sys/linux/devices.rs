//! What network devices do with super-packets.

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use crate::sys::interfaces::for_each_address;

/// The feature by which a device takes super-packets of UDP and cuts them itself, or claims to.
const FEATURE: &[u8] = b"tx-udp-segmentation";

/// Length of a name in a set of strings of ethtool.
const NAME: usize = 32;

/// The request of ethtool, and its commands for the names of a set, for how many there are, and for the features.
const SIOCETHTOOL: u64 = 0x8946;
const GSTRINGS: u32 = 0x1B;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3A;
/// The set of the features' names.
const FEATURES: u32 = 4;
/// The most features that are looked through; there are some 60.
const MOST: usize = 256;

/// Whether super-packets of UDP that leave from this address are cut before the next machine, or what plays its part, sees
/// them: by the kernel, or by a real network card. A virtual device that takes them whole hands them on whole.
pub(crate) fn cuts_bursts(local: IpAddr) -> bool {
    let Ok(Some(device)) = interface_with(local) else { return false };
    if std::path::Path::new("/sys/class/net").join(&device).join("device").exists() {
        return true;
    }
    matches!(takes_bursts(&device), Ok(false))
}

/// The name of the interface that has an address.
fn interface_with(ip: IpAddr) -> io::Result<Option<String>> {
    let mut found = None;
    for_each_address(|other, _, name| {
        if other == ip && found.is_none() {
            found = name.to_str().ok().map(str::to_owned);
        }
    })?;
    Ok(found)
}

/// Whether a device has the feature switched on.
fn takes_bursts(device: &str) -> io::Result<bool> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let ask = |words: &mut [u32]| {
        // SAFETY: a plain C structure for which zeroes are a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(device.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from.cast_signed() as _;
        }
        request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
        // SAFETY: the request points to as many words as its command and the counts in them speak of, which outlive the
        // call.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // struct ethtool_sset_info: command, reserved, mask of sets in 64 bits, one count.
    let mut info = [GSSET_INFO, 0, 1 << FEATURES, 0, 0];
    if cfg!(target_endian = "big") {
        info.swap(2, 3);
    }
    ask(&mut info)?;
    let count = (info[4] as usize).min(MOST);
    // struct ethtool_gstrings: command, set, length, names. The kernel writes as many names as there are.
    let mut names = vec![0_u32; 3 + (info[4] as usize) * NAME / 4];
    (names[0], names[1], names[2]) = (GSTRINGS, FEATURES, info[4]);
    ask(&mut names)?;
    let bytes: Vec<u8> = names[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let is_it = |name: &[u8]| name.split(|byte| *byte == 0).next() == Some(FEATURE);
    let Some(bit) = bytes.chunks(NAME).take(count).position(is_it) else { return Ok(false) };
    // struct ethtool_gfeatures: command, number of blocks; of each block available, requested, active, never changed.
    let blocks = count.div_ceil(32);
    let mut features = vec![0_u32; 2 + 4 * blocks];
    (features[0], features[1]) = (GFEATURES, u32::try_from(blocks).unwrap_or(0));
    ask(&mut features)?;
    let active = features[2 + 4 * (bit / 32) + 2];
    Ok(active & 1 << (bit % 32) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_hands_bursts_on_whole_and_strangers_are_no_device() {
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(interface_with(local).unwrap().as_deref(), Some("lo"));
        assert!(!cuts_bursts(local));
        assert!(!cuts_bursts("192.0.2.77".parse().unwrap()));
        assert!(takes_bursts("no-such-device").is_err());
    }
}
