//! The text of the program itself: how much of it counts as the process's memory.

/// Gives back the pages of program text that have been used so far; what is used again comes back from the page cache, for
/// the price of a fault without a read. To be called when the start is over: most of what it runs never runs again.
pub(crate) fn give_back() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Some((start, end)) = text_with(&maps, give_back as *const () as usize) else { return };
    // SAFETY: the range is a mapping of this program's file that may be read and executed and not written: nothing in it
    // differs from the file, which the kernel reads it from again.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
}

/// The range of the mapping that `address` is in, if it is one of a file's that may be executed and not written.
fn text_with(maps: &str, address: usize) -> Option<(usize, usize)> {
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let range = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        let is_text = fields.next()? == "r-xp" && fields.nth(3)?.starts_with('/');
        (is_text && (range.0..range.1).contains(&address)).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
55bf7352e000-55bf73898000 r--p 00000000 fe:00 12 /usr/bin/relais
55bf73898000-55bf743fa000 r-xp 0036a000 fe:00 12 /usr/bin/relais
55bf743fa000-55bf74453000 rw-p 00ecc000 fe:00 12 /usr/bin/relais
7fff0000-7fff1000 r-xp 00000000 00:00 0 
";

    #[test]
    fn only_text_of_a_file_is_found() {
        assert_eq!(text_with(MAPS, 0x55bf_7389_8000), Some((0x55bf_7389_8000, 0x55bf_743f_a000)));
        for other in [0x55bf_7352_e000, 0x55bf_743f_a000, 0x7fff_0010, 1] {
            assert_eq!(text_with(MAPS, other), None, "{other:x}");
        }
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = resident();
        give_back();
        assert!(resident() < before, "{before} kB");
    }
}
