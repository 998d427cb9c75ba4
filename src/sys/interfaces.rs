//! The addresses of this machine.

use std::ffi::CStr;
use std::io;
use std::net::IpAddr;

/// An address of a network interface of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InterfaceAddress {
    pub(crate) ip: IpAddr,
    /// Whether the interface is up.
    pub(crate) up: bool,
}

/// All addresses of this machine.
pub(crate) fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut addresses = Vec::new();
    for_each_address(|ip, up, _| addresses.push(InterfaceAddress { ip, up }))?;
    Ok(addresses)
}

/// Tells each address of this machine, whether its interface is up, and the interface's name.
pub(super) fn for_each_address(mut each: impl FnMut(IpAddr, bool, &CStr)) -> io::Result<()> {
    let mut list = std::ptr::null_mut();
    // SAFETY: getifaddrs fills the pointer, which is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: not null, so an element of the list that getifaddrs made.
        let interface = unsafe { &*entry };
        if !interface.ifa_addr.is_null() {
            // SAFETY: an address of the family that its first field says; nothing longer is read than that family has.
            let ip = unsafe {
                match i32::from((*interface.ifa_addr).sa_family) {
                    libc::AF_INET => {
                        let name = interface.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                        Some(IpAddr::from(name.sin_addr.s_addr.to_ne_bytes()))
                    }
                    libc::AF_INET6 => {
                        let name = interface.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                        Some(IpAddr::from(name.sin6_addr.s6_addr))
                    }
                    _ => None,
                }
            };
            // SAFETY: the name of an interface is a C string that lives as long as the list.
            let name = unsafe { CStr::from_ptr(interface.ifa_name) };
            if let Some(ip) = ip {
                each(ip, interface.ifa_flags & libc::IFF_UP as u32 != 0, name);
            }
        }
        entry = interface.ifa_next;
    }
    // SAFETY: the list of getifaddrs, not used any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(())
}
