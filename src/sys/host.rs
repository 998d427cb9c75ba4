//! What this machine is called.

/// The name of this machine, as it calls itself. `None`: it has none that is text.
pub(crate) fn host_name() -> Option<String> {
    // Longer than any name may be (POSIX: 255 bytes), and zero behind it.
    let mut name = [0_u8; 512];
    // SAFETY: the buffer is as long as said and lives through the call.
    let result = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    let name = name.split(|byte| *byte == 0).next()?;
    let name = std::str::from_utf8(name).ok()?;
    (result == 0 && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_has_a_name() {
        let name = super::host_name().unwrap();
        assert!(!name.contains('\0') && name.len() < 256);
    }
}
